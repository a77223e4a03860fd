"""Rules for the entries of a folder that stay out of an archive, and their names in messages.

Folders with mgmt's own data are among them. The embedded backend's holds the token of this machine's user, and a
journal changes while it is read. They are recognised by content, because there are others than those in use now:
`make try` has its own, and a folder can be copied.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Sequence
from typing import Final

from mgmt.layout import TEMPORARY_SUFFIX, is_temporary_name

_SECRET_NAME: Final = b"token.json"
_BESIDE_A_SECRET: Final = (b"issuer-key.json", b"control.lock", b"records.sqlite")
_JOURNAL_NAME: Final = b"journal.sqlite"
_BESIDE_A_JOURNAL: Final = (b"machine-id", b"locks", b"log")
_OF_A_SIGN_IN: Final = (b"sign-in.json", b"sign-in.lock")


def own_data_kind(holds: Callable[[bytes], bool]) -> str | None:
    """Name mgmt's use of a folder; None where it is not mgmt's.

    Args:
        holds: Tells whether the folder has an entry of that name.
    """
    if holds(_SECRET_NAME) and any(map(holds, _BESIDE_A_SECRET)):
        return "the embedded backend's own data, with its token"
    if holds(_JOURNAL_NAME) and any(map(holds, _BESIDE_A_JOURNAL)):
        return "mgmt's own journal and logs"
    if all(map(holds, _OF_A_SIGN_IN)):
        return "mgmt's own sign-in, with its tokens"
    return None


def own_data_at(path: str) -> str | None:
    """Name mgmt's use of the folder at a path; None where it is not mgmt's."""
    return own_data_kind(lambda name: os.path.lexists(os.path.join(os.fsencode(path), name)))  # noqa: PTH118


_SYSTEM_NAME: Final = re.compile(
    rb"""(?isx) \.ds_store | \._.* | thumbs\.db | desktop\.ini
    | \.spotlight-v100 | \.trashes | \.fseventsd | \$recycle\.bin"""
)
"""Names that systems litter folders with, in capital or small letters: they write some in several ways."""

SYSTEM_FILE: Final = "a system file"
"""The reason for skipping that needs no warning."""
OWN_ARCHIVE: Final = "an archive of mgmt's own"

_SPECIAL_KINDS: Final = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_JUNCTION_TAG: Final = 0xA0000003
"""Windows' IO_REPARSE_TAG_MOUNT_POINT: looks like a folder and may lead back to where it stands."""


def is_system_name(name: str | bytes) -> bool:
    """Tell whether a name belongs to the files that systems litter folders with.

    >>> is_system_name(".DS_Store"), is_system_name("._clip.mov"), is_system_name("clip.mov")
    (True, True, False)
    """
    return _SYSTEM_NAME.fullmatch(os.fsencode(name)) is not None


def special_kind(status: os.stat_result) -> str | None:
    """Name an entry that is neither file, folder nor symlink; None for those three."""
    if getattr(status, "st_reparse_tag", 0) == _JUNCTION_TAG:
        return "a junction"
    kind = stat.S_IFMT(status.st_mode)
    if kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        return None
    return _SPECIAL_KINDS.get(kind, "a special file")


def reason_to_skip(name: bytes) -> str | None:
    """Say why an entry of that name is never wanted, if so."""
    if _SYSTEM_NAME.fullmatch(name):
        return SYSTEM_FILE
    if name.endswith(TEMPORARY_SUFFIX) and is_temporary_name(name):
        return "an unfinished archive of mgmt"
    return None


class Excludes:
    """Entries that the user excludes, by name.

    A glob is compared with an entry's name and with its path below the root; a folder that is left out
    takes everything below it along. It is not reported as skipped: it was asked for.
    """

    def __init__(self, globs: Sequence[str]) -> None:
        patterns = [fnmatch.translate(glob.rstrip("/")) for glob in globs]
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def leave_out(self, name: bytes, path: bytes) -> bool:
        """Tell whether an entry is left out; `path` starts with the root's name."""
        if self._pattern is None:
            return False
        below_root = path.partition(b"/")[2]
        return any(self._pattern.match(_text(candidate)) for candidate in (name, below_root))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
