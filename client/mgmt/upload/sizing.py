"""How much a command has to do, said as early as it can be known: so that progress and time left are true."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from mgmt.errors import MgmtError
from mgmt.events import Expected, Sized
from mgmt.session import Session
from mgmt.source import count_bytes, file_size

_STOPPING_MAX_SECONDS: Final = 1.0
"""A disk that does not answer holds nobody up."""


class Sizing:
    """Sizes of one command's targets: files are looked at once, folders are counted beside the sending."""

    def __init__(self, session: Session, excludes: Sequence[str]) -> None:
        self._session = session
        self._excludes = excludes
        self._folders: list[str] = []
        self._begun: set[str] = set()
        self._stop = threading.Event()

    def look(self, targets: Iterable[str]) -> list[str]:
        """Look at every target's own entry; return the targets, those first that cannot be uploaded.

        So a mistyped name is told at once, and not when everything before it was sent.
        """
        sizes: dict[str, int | None] = {}
        failing, others = [], []
        for target in targets:
            try:
                sizes[target] = file_size(target)
                others.append(target)
            except MgmtError:
                sizes[target] = 0
                failing.append(target)
        self._session.emit(Expected(sizes))
        self._folders = [target for target, size in sizes.items() if size is None] if len(sizes) > 1 else []
        return failing + others

    def note_begun(self, target: str) -> bool:
        """Leave a target out that needs no counting any more; tell whether it is the first that is spelled so."""
        is_first = target not in self._begun
        self._begun.add(target)
        return is_first

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what is in folders until the context is left."""
        thread = threading.Thread(target=self._count, name="count", daemon=True)
        if self._folders:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            if self._folders:
                thread.join(_STOPPING_MAX_SECONDS)

    def _count(self) -> None:
        # From the end on: those at the beginning are looked at whole meanwhile, as they are uploaded.
        for target in reversed(self._folders):
            if target in self._begun:
                continue
            try:
                size_bytes = count_bytes(target, self._excludes, self._stop.is_set)
            except MgmtError:
                size_bytes = 0  # when its turn comes it fails, by name
            if self._stop.is_set():
                return
            self._session.emit(Sized(target, size_bytes))
