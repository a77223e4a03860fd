"""Where an extraction stands: one folder of the tree at a time, walked to by names and never through a link."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import TypeVar

from mgmt.archive.names_here import hostile, not_here
from mgmt.archive.rules import Counted
from mgmt.machine.filling import Look, open_filling
from mgmt.text import shown

_Made = TypeVar("_Made")


class _Level:
    """A folder between the root and where the extraction stands: of a very deep tree there are many."""

    __slots__ = ("known_names", "look")

    def __init__(self, look: Look) -> None:
        self.look = look
        """What it is given when it is left."""
        self.known_names: set[bytes] | None = None


class Position:
    """Goes to any folder of a tree, in any order; in the order of a packed tree each folder is entered once.

    A folder is ours alone while the extraction stands in it, and gets its mode and time when it is left.

    Args:
        parent: The folder that the tree's root lies in.
        root_name: The root's temporary name.
        counted: Is told of each folder that is made.
    """

    def __init__(self, parent: str | os.PathLike[str], root_name: bytes, counted: Counted) -> None:
        self.folder = open_filling(parent)
        self._root_name = root_name
        self._counted = counted
        self._levels: list[_Level] = []
        self._names: list[bytes] = []
        """Of the levels, from the root's on."""
        self._folds = sys.platform in ("darwin", "win32")

    def name_of(self, parts: list[bytes]) -> bytes:
        """Return a member's name on the disk."""
        return parts[-1] if len(parts) > 1 else self._root_name

    def go_to(self, parts: list[bytes], *, makes: bool = True) -> None:
        """Stand in a folder; with `makes` it is made where it is missing.

        Raises:
            IntegrityError: hostile-archive, where a file or link is in the way.
            FileNotFoundError: If it is missing.
        """
        levels = self._levels
        common = _count_common(self._names, parts)
        del self._names[common:]
        while len(levels) > common:
            self.folder.step_out(levels.pop().look)
        for depth in range(common, len(parts)):
            look = self._enter(parts, depth, makes=makes)
            levels.append(_Level(look))
            self._names.append(parts[depth])

    def set_look(self, look: Look) -> None:
        """Say what the folder gets when it is left."""
        self._levels[-1].look = look

    def make(self, parts: list[bytes], make: Callable[[], _Made]) -> _Made | None:
        """Make an entry of this folder that is no folder; None where there is one of this very name.

        Raises:
            LocalStateError: not-possible-here, where the disk takes its name for another's.
        """
        try:
            made = make()
        except FileExistsError:
            self._refuse_other_spelling(parts)
            return None
        self._note_made(parts[-1])
        return made

    def _enter(self, parts: list[bytes], depth: int, *, makes: bool) -> Look:
        """Go into the folder `parts[depth]` of the one before it; the list is not cut, as it may be very long."""
        name = parts[depth] if depth else self._root_name
        is_new = makes and self._make_folder(name, is_root=not depth)
        if not is_new and depth and (self._folds or not name.isascii()):
            self._refuse_other_spelling(parts[: depth + 1])
        try:
            look = self.folder.step_in(name)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            raise hostile(f"'{shown(b'/'.join(parts[: depth + 1]))}' is used as a folder, and is none") from error
        return Look(look.mode, None) if is_new else look

    def _make_folder(self, name: bytes, *, is_root: bool) -> bool:
        try:
            self.folder.make_folder(name)
        except FileExistsError:
            return False
        self._counted.add_folder()
        self._note_made(name)
        if is_root:
            self._folds = self._folds or self._answers_to(name.swapcase())
        return True

    def _answers_to(self, name: bytes) -> bool:
        with contextlib.suppress(FileNotFoundError):
            self.folder.status(name)
            return True
        return False

    def _note_made(self, name: bytes) -> None:
        if self._levels and (known := self._levels[-1].known_names) is not None:
            known.add(name)

    def _refuse_other_spelling(self, parts: list[bytes]) -> None:
        """Refuse a name that this disk answers to, though no entry is spelled so."""
        if len(parts) == 1:
            return  # the temporary name, ours alone
        level = self._levels[-1]
        if level.known_names is None:
            level.known_names = set(self.folder.names())
        if parts[-1] not in level.known_names:
            raise not_here(
                b"/".join(parts),
                "its name differs from another file's only by capital letters or by the way that accents are "
                "written, and this disk does not keep such names apart",
            )


def _count_common(names: list[bytes], others: list[bytes]) -> int:
    """Count the names that two lists begin with alike; not one by one, as of a very deep tree there are thousands."""
    low, high = 0, min(len(names), len(others))
    if names[:high] == others[:high]:  # most often the one goes on where the other ends
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if names[low:middle] == others[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
