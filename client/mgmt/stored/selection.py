"""Members that globs select: by name, by path, and with a folder all that is below it."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_FOLDERS_KEPT_MAX: Final = 1_000
"""Folders whose answer is remembered: members of one folder stand together."""


class Selection:
    """Tells of each member whether it is selected.

    A glob is compared, as `--exclude` does, with an entry's name and with its path below the root; also with its
    whole path, as lists show it. A folder that matches takes everything below it along. Without globs all match.
    """

    def __init__(self, globs: Sequence[str] = ()) -> None:
        self._globs = tuple(globs)
        self._patterns = [re.compile(fnmatch.translate(glob.rstrip("/"))) for glob in globs]
        self._unmatched = set(range(len(self._patterns)))
        self._takes_folder = lru_cache(_FOLDERS_KEPT_MAX)(self.takes)

    def takes(self, path: bytes) -> bool:
        """Tell whether a member is selected; `path` starts with the root's name."""
        if not self._patterns:
            return True
        folder, _, name = path.rpartition(b"/")
        is_taken = bool(folder) and self._takes_folder(folder)
        return self._matches(name, path) or is_taken

    @property
    def unmatched(self) -> list[str]:
        """The globs that have matched nothing so far."""
        return [self._globs[number] for number in sorted(self._unmatched)]

    def _matches(self, name: bytes, path: bytes) -> bool:
        texts = {_text(each) for each in (name, path, path.partition(b"/")[2])}
        found = [number for number, pattern in enumerate(self._patterns) if any(map(pattern.match, texts))]
        self._unmatched.difference_update(found)
        return bool(found)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
