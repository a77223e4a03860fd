"""What globs fit, of names and paths; of folders too, at a cost that grows with a path's length and not its square.

What is typed just as it is called fits too: brackets are part of many names.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

_END: Final = re.compile(r"\\[Zz]\Z")
"""How `fnmatch.translate` says that the text ends: Python 3.14 writes it in another way than those before."""
_HERE: Final = r"(?=/|\Z)"
_FROM_HERE: Final = re.compile(r"^(\./+)+")


def trim_glob(glob: str) -> str:
    """Take off what is no part of a name: `./` before it, as shells complete paths, and slashes behind it."""
    return _FROM_HERE.sub("", glob).rstrip("/")


def translate_whole(glob: str) -> str:
    """Translate a glob to a regular expression that matches a text if all of it fits, or is just that."""
    return _join(rf"{re.escape(spelled)}\Z|{fnmatch.translate(spelled)}" for spelled in _spell(glob))


def translate_leading(glob: str) -> str:
    """Translate a glob to a regular expression that matches a path if the glob fits it or a folder that it lies in."""
    return _join(
        f"{re.escape(spelled)}{_HERE}|{_END.sub('', fnmatch.translate(spelled))}{_HERE}" for spelled in _spell(glob)
    )


def _join(patterns: Iterable[str]) -> str:
    return f"(?:{'|'.join(patterns)})"


def _spell(glob: str) -> list[str]:
    """Spell a glob's accented letters in both ways, as one sign and as two: keyboards give one, some disks the other.

    One in brackets would be two signs to choose from, so such a glob is left as it is.
    """
    if glob.isascii() or "[" in glob:
        return [glob]
    return list(dict.fromkeys([glob, *(unicodedata.normalize(form, glob) for form in ("NFC", "NFD"))]))


class FolderNames:
    """Tells of one folder after the other whether a name on its path fits.

    Folders come in an archive's order, mostly, so a name that the folder before has too is not looked at again. In any
    other order the answers are the same.

    Args:
        fits: Looks at one name.
    """

    def __init__(self, fits: Callable[[str], bool]) -> None:
        self._fits = fits
        self._folder = ""
        self._is_found = False

    def has_fitting(self, folder: str) -> bool:
        """Tell whether one of a folder's names fits; all that are new are looked at, even behind one that fits."""
        if folder == self._folder:
            return self._is_found
        is_below = folder.startswith(self._folder + "/")
        names = folder[len(self._folder) + 1 :] if is_below else folder
        found = [self._fits(name) for name in set(names.split("/"))]
        self._is_found = any(found) or (is_below and self._is_found)
        self._folder = folder
        return self._is_found


class ExcludedTrees:
    """Entries that are left out by `walk.Excludes`, or lie in a folder that is: for paths that no walk has come to.

    Args:
        globs: As those of `Excludes`.
        root_names: The root's own name, and the archive's for it.
    """

    def __init__(self, globs: Sequence[str], root_names: Collection[str]) -> None:
        patterns = [translate_leading(trim_glob(glob)) for glob in globs]
        self._patterns = [re.compile(pattern) for pattern in patterns]
        # The root itself is left out by no glob.
        self._from_root = [
            (f"{name}/", re.compile(rf"{pattern}(?s:(?<=.{{{len(name) + 2}}}))"))
            for name in root_names
            for pattern in patterns
        ]
        self._folder_names = FolderNames(self._fits)

    def have(self, path: bytes) -> bool:
        """Tell whether an entry is left out; `path` is below the root, and empty for the root itself."""
        text = path.decode("utf-8", "surrogateescape")
        folder, slash, name = text.rpartition("/")
        return (
            self._fits(text)
            or self._fits(name)
            or any(pattern.match(root + text) for root, pattern in self._from_root)
            or (bool(slash) and self._folder_names.has_fitting(folder))
        )

    def _fits(self, text: str) -> bool:
        return any(pattern.match(text) for pattern in self._patterns)
