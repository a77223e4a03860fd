"""Globs that choose members of an archive: by name, by path, and with a folder all that is below it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from mgmt.layout import decode_path
from mgmt.source.globs import FolderNames, translate_leading, trim_glob

_NOT_EMPTY: Final = r"(?s:(?<=.))"


class Globs:
    """Tells of each member whether it is chosen.

    A glob is compared, as `--exclude` does, with an entry's name, with its path below the root, and with its whole
    path, as lists show it. A folder that matches takes everything below it along. Without globs all are chosen.
    """

    def __init__(self, globs: Sequence[str] = ()) -> None:
        self._globs = tuple(globs)
        self._patterns = [_compile(trim_glob(glob)) for glob in globs]
        self._unmatched = set(range(len(self._patterns)))
        self._folder_names = FolderNames(self._matches)

    def takes(self, path: bytes) -> bool:
        """Tell whether a member is chosen; `path` starts with the root's name."""
        if not self._patterns:
            return True
        text = decode_path(path)
        folder, _, name = text.rpartition("/")
        answers = (  # all are asked: `unmatched` is to be right
            self._matches(text, text.partition("/")[2], name),
            self._folder_names.has_fitting(folder),
        )
        return any(answers)

    @property
    def unmatched(self) -> list[str]:
        """The globs that have matched nothing so far."""
        return [self._globs[number] for number in sorted(self._unmatched)]

    def _matches(self, *texts: str) -> bool:
        found = [number for number, pattern in enumerate(self._patterns) if any(map(pattern.match, texts))]
        self._unmatched.difference_update(found)
        return bool(found)


def _compile(glob: str) -> re.Pattern[str]:
    return re.compile(translate_leading(glob) + _NOT_EMPTY)
