"""Globs that choose members of an archive: by name, by path, and with a folder all that is below it."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from mgmt.layout import decode_path

_FOLDERS_KEPT_MAX: Final = 1_000
"""Folders whose answer is remembered: members of one folder stand together."""
_SLASH: Final = ord("/")
_HERE: Final = re.compile(r"^(\./+)+")


class Globs:
    """Tells of each member whether it is chosen.

    A glob is compared, as `--exclude` does, with an entry's name and with its path below the root; also with its
    whole path, as lists show it. A folder that matches takes everything below it along. Without globs all are chosen.
    A `./` at its beginning, as shells complete paths, is no part of it. What is typed just as it is called is chosen
    too: brackets are part of many names.
    """

    def __init__(self, globs: Sequence[str] = ()) -> None:
        self._globs = tuple(globs)
        self._patterns = [_compile(_HERE.sub("", glob).rstrip("/")) for glob in globs]
        self._unmatched = set(range(len(self._patterns)))
        self._takes_folder = lru_cache(_FOLDERS_KEPT_MAX)(self._takes_any_above)

    def takes(self, path: bytes) -> bool:
        """Tell whether a member is chosen; `path` starts with the root's name."""
        if not self._patterns:
            return True
        folder, _, _ = path.rpartition(b"/")
        is_taken = bool(folder) and self._takes_folder(folder)
        return self._matches(path) or is_taken

    @property
    def unmatched(self) -> list[str]:
        """The globs that have matched nothing so far."""
        return [self._globs[number] for number in sorted(self._unmatched)]

    def _takes_any_above(self, folder: bytes) -> bool:
        ends = [place for place, byte in enumerate(folder) if byte == _SLASH]
        matches = [self._matches(folder[:end]) for end in (*ends, None)]  # all are asked: `unmatched` is to be right
        return any(matches)

    def _matches(self, path: bytes) -> bool:
        candidates = (path, path.partition(b"/")[2], path.rpartition(b"/")[2])
        texts = {decode_path(each) for each in candidates if each}
        found = [number for number, pattern in enumerate(self._patterns) if any(map(pattern.match, texts))]
        self._unmatched.difference_update(found)
        return bool(found)


def _compile(glob: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(glob)}\Z|{fnmatch.translate(glob)}")
