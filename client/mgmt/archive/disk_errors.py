"""Turns the errors of a disk, while an archive's members are made, into mgmt's own."""

from __future__ import annotations

import errno
from types import TracebackType
from typing import Final

from mgmt.archive.names_here import not_here
from mgmt.errors import LocalStateError
from mgmt.machine.folders import MovedError
from mgmt.text import shown

_WHY: Final = {
    errno.EFBIG: "the disk takes no file as large as this one",
    errno.ENAMETOOLONG: "its name, or its link's target, is longer than the disk takes",
    errno.EILSEQ: "the disk takes no name of these bytes",
    errno.EINVAL: "the disk takes no such name",
}
_INVALID_NAME: Final = 123
"""Windows' ERROR_INVALID_NAME; most of its other errors are EINVAL in C too."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class DiskErrors:
    """A context that turns an OSError, met while a member is made, into an error with its path and what to do.

    Raises:
        LocalStateError: disk-full, extraction-moved, not-possible-here or not-writable.
    """

    def __init__(self, path: bytes) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if not isinstance(error, (OSError, UnicodeError)):
            return
        if isinstance(error, UnicodeError):  # Windows has no name for bytes that are no text
            raise not_here(self._path, _WHY[errno.EILSEQ]) from error
        if error.errno in _FULL:
            raise LocalStateError(
                f"The disk is full: there is no room for '{shown(self._path)}'. Free some space, then run the same "
                "command again.",
                code="disk-full",
            ) from error
        if isinstance(error, MovedError):
            raise LocalStateError(
                f"A folder was moved while '{shown(self._path)}' was unpacked into it. Leave the folder alone, then "
                "run the same command again.",
                code="extraction-moved",
            ) from error
        if error.errno in _WHY and getattr(error, "winerror", None) in (None, _INVALID_NAME):
            raise not_here(self._path, _WHY[error.errno]) from error
        raise LocalStateError(
            f"'{shown(self._path)}' cannot be written: {error.strerror or error}. See to its folder and its disk, or "
            "choose another folder, then run the same command again.",
            code="not-writable",
        ) from error
