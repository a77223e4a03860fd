"""Merges an extracted folder into one that exists: each file replaces the one of its name, the others stay."""

from __future__ import annotations

import contextlib
import stat
from contextlib import closing
from pathlib import Path
from typing import Final

from mgmt.errors import LocalStateError
from mgmt.machine.filling import Filling, Look, drop, open_filling
from mgmt.text import shown

_UNCHANGED: Final = Look(None, None)


def merge(parent: Path, source: bytes, target: bytes, *, replaces: bool = True) -> None:
    """Move all that is in one folder into another one in the same `parent`, and remove the first.

    Every file is replaced in one step, so that a run that is killed leaves old files and new ones, all of them whole.
    Nothing is moved before it is known that no file has to replace a folder, or a folder a file.

    Raises:
        LocalStateError: target-exists, where one would have to, or where a file is there and is not to be replaced.
        OSError: What the disk met with.
    """
    with closing(open_filling(parent)) as new, closing(open_filling(parent)) as old:
        for moves in (False, True):
            _Merging(new, old, moves=moves, replaces=replaces).merge(source, target)
        new.remove_folder(source)


class _Merging:
    """Walks two trees side by side: one that is ours, and the user's own."""

    def __init__(self, new: Filling, old: Filling, *, moves: bool, replaces: bool) -> None:
        self._new = new
        self._old = old
        self._moves = moves
        self._replaces = replaces

    def merge(self, source: bytes, target: bytes) -> None:
        path, looks = [target], [self._enter(source, target)]
        waiting = [self._new.names()]
        while waiting:
            name = next(waiting[-1], None)
            if name is not None:
                if self._place(name, [*path, name]):
                    looks.append(self._enter(name, name))
                    path.append(name)
                    waiting.append(self._new.names())
                continue
            waiting.pop()
            self._new.step_out(looks.pop())
            self._old.step_out(_UNCHANGED)
            left = path.pop()
            if self._moves and path:
                self._new.remove_folder(left)

    def _enter(self, source: bytes, target: bytes) -> Look:
        self._old.step_in(target, is_ours=False)
        return self._new.step_in(source)

    def _place(self, name: bytes, path: list[bytes]) -> bool:
        """Move an entry to its place; True where it is a folder that must be walked for that."""
        is_folder = stat.S_ISDIR(self._new.status(name).st_mode)
        was_folder = None
        with contextlib.suppress(FileNotFoundError):
            was_folder = stat.S_ISDIR(self._old.status(name).st_mode)
        if was_folder is not None and was_folder != is_folder:
            raise LocalStateError(
                f"'{shown(b'/'.join(path))}' exists already as a {'folder' if was_folder else 'file'}, and cannot be "
                "replaced by anything else. Rename or remove it, then run the same command again.",
                code="target-exists",
            )
        if is_folder and was_folder:
            return True
        if was_folder is not None and not self._replaces:
            raise LocalStateError(
                f"'{shown(b'/'.join(path))}' exists already. Choose another folder, or replace it with --replace.",
                code="target-exists",
            )
        if self._moves:
            self._move(name, is_folder=is_folder)
        return False

    def _move(self, name: bytes, *, is_folder: bool) -> None:
        look = None
        if is_folder:
            # A folder that its own mode makes read-only cannot change its parent.
            look = self._new.step_in(name)
            self._new.step_out(_UNCHANGED)
        anchor = self._old.anchor()
        try:
            self._new.move(name, anchor, name)
        finally:
            drop(anchor)
        if look is not None:
            self._old.step_in(name)
            self._old.step_out(look)
