"""The members of a source in the archive's order: by the names' bytes, a folder before its content.

Some entries of a folder stay out of an archive: what is excluded, system files, special files, and folders with mgmt's
own data. The embedded backend's holds the token of this machine's user, and a journal changes while it is read. They
are recognised by content, because there are others than those in use now: `make try` has its own, and a folder can be
copied.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from functools import cached_property
from typing import Final, NamedTuple, NoReturn

from mgmt.errors import SourceError, path_too_long, source_changed, source_failure, source_unreadable
from mgmt.layout import MEMBER_PATHS_MAX_BYTES, TEMPORARY_SUFFIX, Member, is_temporary_name
from mgmt.machine.folders import ASKS_EFFECTIVE_IDS, OPEN_FILE_FLAGS, Folder, MovedError, open_folder
from mgmt.text import shown
from mgmt_contract.names import ARCHIVE_SUFFIX

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

_SYSTEM_FOLDER_NAME: Final = re.compile(rb"(?i)\.spotlight-v100|\.trashes|\.fseventsd|\$recycle\.bin")
"""Those of them that systems give to folders."""

SYSTEM_FILE: Final = "a system file"
"""The reason for skipping that needs no warning."""
_NAMED_LIKE_ONE: Final = "a folder with a system file's name"
OWN_ARCHIVE: Final = "an archive of mgmt's own"

_SPECIAL_KINDS: Final = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_MODE_MASK: Final = 0o755 if os.name == "nt" else 0o7777
"""Windows has no modes: Python says of its files and folders that everybody may write to them."""
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

    A glob is compared with an entry's name, with its path below the root, and with that path behind the root's name,
    its own or the archive's, as messages name it; a folder that is left out takes everything below it along. It is
    not reported as skipped: it was asked for.

    Args:
        globs: Each may begin with `./`, and may be what an entry is called, brackets included.
        own_name: The name of the root on the disk, which the archive may not call so.
    """

    def __init__(self, globs: Sequence[str], own_name: str = "") -> None:
        self._pattern = _compile(globs) if globs else None
        self._own_name = os.fsencode(own_name)

    def leave_out(self, name: bytes, path: bytes) -> bool:
        """Tell whether an entry is left out; `path` starts with the root's name."""
        if self._pattern is None:
            return False
        below_root = path.partition(b"/")[2]
        candidates = [name, below_root]
        if self._own_name and below_root:
            candidates += [path, self._own_name + b"/" + below_root]
        return any(self._pattern.match(_text(candidate)) for candidate in candidates)


def _compile(globs: Sequence[str]) -> re.Pattern[str]:
    from mgmt.source.globs import translate_whole, trim_glob  # most uploads exclude nothing

    return re.compile("|".join(translate_whole(trim_glob(glob)) for glob in globs))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


_SKIPPED_KEPT_MAX: Final = 1_000
_ARCHIVE_SUFFIX: Final = os.fsencode(ARCHIVE_SUFFIX)

IsOwnArchive = Callable[[str], bool]
"""Tells whether a path is an archive of mgmt's own; these come and go during uploads."""


def never_own(_: str) -> bool:
    """Say of every path that it is no archive of mgmt's own: for callers without a journal."""
    return False


_Identity = tuple[int, int, int, int]
"""What all names of one file have in common."""

OnFailure = Callable[[bytes, OSError], None]
"""Gets the path of an entry that cannot be read or has changed, and the system's error."""


class Skipped(NamedTuple):
    """An entry that is left out of the archive though it was not excluded."""

    path: str
    """The path from the root member on."""
    reason: str
    """Such as "a socket"."""


class SkippedList:
    """Counts entries that the user might miss and keeps the first thousand: memory must not grow with the source."""

    def __init__(self) -> None:
        self.missed_count = 0
        self.kept: list[Skipped] = []

    def add(self, path: bytes, reason: str) -> None:
        """Note one more."""
        self.missed_count += reason != SYSTEM_FILE
        if len(self.kept) < _SKIPPED_KEPT_MAX:
            self.kept.append(Skipped(shown(path), reason))


class Walk:
    """Finds the members of one target, each time it is asked.

    Memory holds the names in the folders from the root to here, and one path per file with hard links of
    which not all were found yet. Links are never followed, except the target itself.
    """

    def __init__(self, path: str, root_name: str, excludes: Excludes, is_own_archive: IsOwnArchive = never_own) -> None:
        self._path = path
        self._is_own_archive = is_own_archive
        self._root = os.fsencode(root_name)
        self._excludes = excludes
        self._first_links: dict[_Identity, tuple[bytes, int]] = {}
        self.skipped = SkippedList()

    def members(self, *, asks_readable: bool = False, on_failure: OnFailure | None = None) -> Generator[Member]:
        """Yield the members.

        Args:
            asks_readable: The system is asked for each file whether it may be read.
            on_failure: Gets what is below the target and cannot be read or changes; the walk goes on without it.

        Raises:
            SourceError: If an entry cannot be read or changes; with `on_failure`, only if the target itself does, or a
                folder that the walk has to go back to.
        """
        status = _look_through(self._path, self._root)
        if not stat.S_ISDIR(status.st_mode):
            if asks_readable and not _is_readable(self._path):
                _refuse_unreadable(self._root)
            yield self._file(self._root, status, lambda: os.open(self._path, OPEN_FILE_FLAGS))
            return
        yield _folder(self._root, status)
        try:
            folder = open_folder(self._path)
        except OSError as error:
            raise source_failure(self._root, error) from error
        with closing(folder):
            yield from self._below(folder, asks_readable=asks_readable, on_failure=on_failure)

    def _below(self, folder: Folder, *, asks_readable: bool, on_failure: OnFailure | None) -> Generator[Member]:
        prefix = self._root + b"/"
        lengths = [len(prefix)]  # not the prefixes: those of a very deep tree would fill the memory
        levels = [_names(folder, self._root, None)]
        while levels:
            name = next(levels[-1], None)
            if name is None:
                levels.pop()
                lengths.pop()
                if levels:
                    _leave(folder, prefix)
                    prefix = prefix[: lengths[-1]]
                continue
            path = prefix + name
            try:
                member = self._find(folder, name, path, asks_readable=asks_readable)
                _refuse_long(member)
            except OSError as error:
                _report(path, error, on_failure)
                continue
            if member is None:
                continue
            yield member
            if member.kind == "directory" and _enter(folder, name, member, on_failure):
                prefix = path + b"/"
                lengths.append(len(prefix))
                levels.append(_names(folder, path, on_failure))

    def _find(self, folder: Folder, name: bytes, path: bytes, *, asks_readable: bool) -> Member | None:
        if self._excludes.leave_out(name, path):
            return None
        reason = reason_to_skip(name)
        status = folder.status(name)
        kind = stat.S_IFMT(status.st_mode)
        if reason == SYSTEM_FILE and kind == stat.S_IFDIR and not _SYSTEM_FOLDER_NAME.fullmatch(name):
            reason = _NAMED_LIKE_ONE  # no system makes it, so somebody may miss what is in it
        if reason is None and kind == stat.S_IFREG and self._is_ours(path):
            reason = OWN_ARCHIVE
        if reason is None and kind == stat.S_IFREG:
            if asks_readable and not folder.is_readable(name):
                _refuse_unreadable(path)
            return self._file(path, status, folder.opener(name))
        reason = reason or special_kind(status)
        if reason is None and kind == stat.S_IFDIR:
            reason = own_data_kind(lambda inside: _has(folder, name + b"/" + inside))
        if reason is None:
            is_link = kind == stat.S_IFLNK
            return _symlink(path, status, folder.link_target(name)) if is_link else _folder(path, status)
        self.skipped.add(path, reason)
        return None

    def _is_ours(self, path: bytes) -> bool:
        if not path.endswith(_ARCHIVE_SUFFIX):
            return False
        below = os.fsdecode(path[len(self._root) + 1 :])
        return self._is_own_archive(os.path.join(self._real_path, below))  # noqa: PTH118  as below

    @cached_property
    def _real_path(self) -> str:
        return os.path.realpath(self._path)

    def _file(self, path: bytes, status: os.stat_result, opener: Callable[[], int]) -> Member:
        first = self._first_link(path, status) if status.st_nlink > 1 else None
        mode, mtime_ns = _mode_of(status), status.st_mtime_ns
        if first is not None:
            return Member(path, "hardlink", mode, 0, mtime_ns, first, status, _cannot_open)
        return Member(path, "file", mode, status.st_size, mtime_ns, b"", status, opener)

    def _first_link(self, path: bytes, status: os.stat_result) -> bytes | None:
        """Return the path under which this file was found first; forget it after its last link."""
        # Disk and number alone would do, but some network mounts give two files one number.
        key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        first, missing = self._first_links.pop(key, (None, status.st_nlink))
        if missing > 1:
            self._first_links[key] = (path if first is None else first, missing - 1)
        return first


def _has(folder: Folder, name: bytes) -> bool:
    with suppress(OSError):  # a folder that cannot be entered is refused when it is
        folder.status(name)
        return True
    return False


def _mode_of(status: os.stat_result) -> int:
    return stat.S_IMODE(status.st_mode) & _MODE_MASK


def _folder(path: bytes, status: os.stat_result) -> Member:
    return Member(path, "directory", _mode_of(status), 0, status.st_mtime_ns, b"", status, _cannot_open)


def _symlink(path: bytes, status: os.stat_result, target: bytes) -> Member:
    if os.name == "nt":
        target = target.replace(b"\\", b"/")
    # A link's own mode means nothing and differs between systems; tar writes 0777.
    return Member(path, "symlink", 0o777, 0, status.st_mtime_ns, target, status, _cannot_open)


def _cannot_open() -> NoReturn:
    raise AssertionError("only files that carry data are opened")


def _is_readable(path: str) -> bool:
    return os.access(path, os.R_OK, effective_ids=ASKS_EFFECTIVE_IDS)


def _refuse_unreadable(path: bytes) -> NoReturn:
    raise source_unreadable(path, "permission denied")


def _look_through(path: str, shown_as: bytes) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116  the path may hold bytes that pathlib would not keep
    except OSError as error:
        raise source_failure(shown_as, error) from error


class _PathTooLongError(OSError):
    """Raised for a member that no archive can have, as its header would not be read."""

    def __init__(self) -> None:
        super().__init__(errno.ENAMETOOLONG, f"its path has more than {MEMBER_PATHS_MAX_BYTES:,} bytes")


def _refuse_long(member: Member | None) -> None:
    if member is not None and len(member.path) + len(member.target) > MEMBER_PATHS_MAX_BYTES:
        raise _PathTooLongError


def _report(path: bytes, error: OSError, on_failure: OnFailure | None) -> None:
    if on_failure is None:
        if isinstance(error, _PathTooLongError):
            raise path_too_long(path, MEMBER_PATHS_MAX_BYTES) from error
        raise source_failure(path, error) from error
    on_failure(path, error)


def _names(folder: Folder, path: bytes, on_failure: OnFailure | None) -> Iterator[bytes]:
    try:
        return folder.names()
    except OSError as error:
        _report(path, error, on_failure)
        return iter(())


def _enter(folder: Folder, name: bytes, member: Member, on_failure: OnFailure | None) -> bool:
    try:
        folder.enter(name, member.status)
    except OSError as error:
        if on_failure is None:
            raise _step_failure(member.path, error) from error
        on_failure(member.path, error)
        return False
    return True


def _leave(folder: Folder, path: bytes) -> None:
    try:
        folder.leave()
    except OSError as error:
        raise _step_failure(path.rstrip(b"/"), error) from error


def _step_failure(path: bytes, error: OSError) -> SourceError:
    return source_changed(path) if isinstance(error, MovedError) else source_failure(path, error)
