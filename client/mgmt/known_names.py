"""Keys that this machine has seen lately, for completion in a shell without asking the service.

A convenience: an unreadable or unwritable file counts as none.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mgmt_contract.names import ARCHIVE_SUFFIX

KEPT_MAX: Final = 500
_FILE_NAME: Final = "known-names"


class KnownNames:
    """The keys of uploads that were shown or made, newest first."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _FILE_NAME
        self._added: dict[str, None] = {}

    def add(self, key: str) -> None:
        """Remember a key; kept when `save` is called."""
        if key and len(self._added) < KEPT_MAX and key.isprintable():
            self._added.setdefault(key)

    def save(self) -> None:
        """Save the added keys before the known ones."""
        if not self._added:
            return
        kept = list(dict.fromkeys([*self._added, *self._read()]))[:KEPT_MAX]
        with contextlib.suppress(OSError, ValueError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=f".{_FILE_NAME}-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.writelines(f"{key}\n" for key in kept)
                Path(temporary).replace(self._path)
            except BaseException:  # such as a full disk, on which each command would leave one more
                Path(temporary).unlink(missing_ok=True)
                raise

    def complete(self, begun: str) -> list[str]:
        """Complete a begun text: to names as their owners know them, or to whole keys once it has a slash."""
        keys = [key.removesuffix(ARCHIVE_SUFFIX) for key in self._read()]
        names: Iterable[str] = keys if "/" in begun else (key.rpartition("/")[2] for key in keys)
        return sorted({name for name in names if name.startswith(begun)})

    def _read(self) -> list[str]:
        try:
            return self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return []
