"""One folder at a time, while a tree is made, moved or removed: what `folders` is for reading, with writing.

Every name is an entry of the folder that was entered last, and no link is ever followed. Meant for trees that nobody
else writes to. A folder of ours is open to us alone while we are in it, and gets its mode back when it is left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import closing
from typing import Final, NamedTuple, Protocol

from mgmt.machine.files import insist
from mgmt.machine.folders import (
    ASKS_EFFECTIVE_IDS,
    NO_FOLLOW,
    OPEN_FOLDER_FLAGS,
    DescriptorFolder,
    MovedError,
    PathFolder,
    identity,
)

_COMMON_FLAGS: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | NO_FOLLOW
_CREATE_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | _COMMON_FLAGS
_REOPEN_FLAGS: Final = _COMMON_FLAGS | getattr(os, "O_NONBLOCK", 0)
_SEPARATOR: Final = os.sep.encode()
_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700

HAS_DESCRIPTORS: Final = {
    os.open,
    os.stat,
    os.mkdir,
    os.symlink,
    os.link,
    os.rename,
    os.unlink,
    os.rmdir,
    os.chmod,
    os.readlink,
    os.access,
} <= os.supports_dir_fd and {os.scandir, os.utime, os.chmod} <= os.supports_fd


class Look(NamedTuple):
    """A folder's mode and time; None leaves what it has."""

    mode: int | None
    mtime_ns: int | None


class Anchor(NamedTuple):
    """A folder that stays open while another one is entered."""

    descriptor: int = -1
    path: bytes = b""
    """Where there are no descriptors of folders."""


class Filling(Protocol):
    """The folder that is being filled."""

    def status(self, name: bytes) -> os.stat_result:
        """Look at an entry, not through it."""

    def names(self) -> Iterator[bytes]:
        """List the entries as they are now, in the order of their bytes."""

    def make_folder(self, name: bytes) -> None:
        """Make a folder with the permissions of any new one."""

    def create_file(self, name: bytes) -> int:
        """Make a file that only we may read, and open it; fails where the name is in use."""

    def open_file(self, name: bytes, flags: int) -> int:
        """Open an entry, without following it."""

    def open_at(self, anchor: Anchor, name: bytes) -> int:
        """Open a file of another folder for reading, without following it."""

    def make_symlink(self, name: bytes, target: bytes, mtime_ns: int) -> None:
        """Make a symlink, with its own time where the system can."""

    def link_target(self, name: bytes) -> bytes:
        """Read a symlink."""

    def make_link(self, source: Anchor, source_name: bytes, name: bytes) -> None:
        """Make a second name of a file."""

    def date(self, name: bytes, mtime_ns: int) -> None:
        """Set an entry's time by its name."""

    def move(self, name: bytes, target: Anchor, new_name: bytes) -> None:
        """Rename an entry into another folder; what has that name there is replaced."""

    def move_to_free(self, name: bytes, target: Anchor, new_name: bytes) -> None:
        """Rename a file or link into another folder, and fail where the name is in use there.

        Disks without hard links are looked at first: what comes to lie there in between is replaced.
        """

    def remove(self, name: bytes) -> None:
        """Remove anything but a folder."""

    def remove_folder(self, name: bytes) -> None:
        """Remove an empty folder."""

    def step_in(self, name: bytes, *, is_ours: bool = True) -> Look:
        """Go into a folder, and say how it was; one of ours may be filled from then on, whatever its mode.

        Raises:
            OSError: ENOENT, or ENOTDIR or ELOOP where it is no folder.
        """

    def step_out(self, look: Look) -> None:
        """Give the folder its look, and go back to the one that it was entered from."""

    def takes_names(self) -> bool:
        """Ask the system whether we may add entries to this folder, and take some away."""

    def anchor(self) -> Anchor:
        """Keep this folder open until `drop`."""

    def close(self) -> None:
        """Close everything that is open."""


def open_filling(path: str | os.PathLike[str]) -> Filling:
    """Stand in the folder at `path`; a symlink there is followed."""
    return _DescriptorFilling(os.fspath(path)) if HAS_DESCRIPTORS else _PathFilling(os.fspath(path))


def drop(anchor: Anchor) -> None:
    """Close a folder that was kept open."""
    if anchor.descriptor >= 0:
        os.close(anchor.descriptor)


class _DescriptorFilling(DescriptorFolder):
    def make_folder(self, name: bytes) -> None:
        os.mkdir(name, dir_fd=self._descriptor)

    def create_file(self, name: bytes) -> int:
        return os.open(name, _CREATE_FLAGS, _PRIVATE_FILE, dir_fd=self._descriptor)

    def open_file(self, name: bytes, flags: int) -> int:
        return os.open(name, flags | _REOPEN_FLAGS, dir_fd=self._descriptor)

    def open_at(self, anchor: Anchor, name: bytes) -> int:
        return os.open(name, os.O_RDONLY | _REOPEN_FLAGS, dir_fd=anchor.descriptor)

    def make_symlink(self, name: bytes, target: bytes, mtime_ns: int) -> None:
        os.symlink(target, name, dir_fd=self._descriptor)
        with contextlib.suppress(OSError, OverflowError):
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=self._descriptor, follow_symlinks=False)

    def make_link(self, source: Anchor, source_name: bytes, name: bytes) -> None:
        os.link(source_name, name, src_dir_fd=source.descriptor, dst_dir_fd=self._descriptor, follow_symlinks=False)

    def date(self, name: bytes, mtime_ns: int) -> None:
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=self._descriptor, follow_symlinks=False)

    def move(self, name: bytes, target: Anchor, new_name: bytes) -> None:
        os.rename(name, new_name, src_dir_fd=self._descriptor, dst_dir_fd=target.descriptor)

    def move_to_free(self, name: bytes, target: Anchor, new_name: bytes) -> None:
        here, there = self._descriptor, target.descriptor
        try:
            os.link(name, new_name, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:  # exFAT and some network disks have no hard links, and some systems none of symlinks
            with contextlib.suppress(FileNotFoundError):
                os.stat(new_name, dir_fd=there, follow_symlinks=False)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new_name) from None
            self.move(name, target, new_name)
        else:
            os.unlink(name, dir_fd=here)

    def remove(self, name: bytes) -> None:
        os.unlink(name, dir_fd=self._descriptor)

    def remove_folder(self, name: bytes) -> None:
        os.rmdir(name, dir_fd=self._descriptor)

    def step_in(self, name: bytes, *, is_ours: bool = True) -> Look:
        try:
            following = self._open_folder(name)
        except PermissionError:
            was = self.status(name)
            if not is_ours or not stat.S_ISDIR(was.st_mode):
                raise
            os.chmod(name, _PRIVATE_FOLDER, dir_fd=self._descriptor)
            following = self._open_folder(name)
        else:
            was = os.fstat(following)
        here, self._descriptor = self._descriptor, following
        self._came_from.append(identity(os.fstat(here)))
        os.close(here)
        if is_ours and stat.S_IMODE(was.st_mode) != _PRIVATE_FOLDER:
            os.chmod(following, _PRIVATE_FOLDER)
        return Look(stat.S_IMODE(was.st_mode), was.st_mtime_ns)

    def step_out(self, look: Look) -> None:
        # The way back is opened first: the mode may close it.
        parent = os.open(b"..", OPEN_FOLDER_FLAGS, dir_fd=self._descriptor)
        left, self._descriptor = self._descriptor, parent
        try:
            if identity(os.fstat(parent)) != self._came_from.pop():
                raise MovedError
            if look.mode is not None:
                os.chmod(left, look.mode)
            if look.mtime_ns is not None:
                with contextlib.suppress(OSError, OverflowError):  # a time that the disk does not know
                    os.utime(left, ns=(look.mtime_ns, look.mtime_ns))
        finally:
            os.close(left)

    def takes_names(self) -> bool:
        return os.access(b".", os.W_OK | os.X_OK, dir_fd=self._descriptor, effective_ids=ASKS_EFFECTIVE_IDS)

    def anchor(self) -> Anchor:
        return Anchor(os.dup(self._descriptor))

    def _open_folder(self, name: bytes) -> int:
        return os.open(name, OPEN_FOLDER_FLAGS | NO_FOLLOW, dir_fd=self._descriptor)


class _PathFilling(PathFolder):
    def make_folder(self, name: bytes) -> None:
        os.mkdir(self._at(name))

    def create_file(self, name: bytes) -> int:
        return os.open(self._at(name), _CREATE_FLAGS, _PRIVATE_FILE)

    def open_file(self, name: bytes, flags: int) -> int:
        return os.open(self._at(name), flags | _REOPEN_FLAGS)

    def open_at(self, anchor: Anchor, name: bytes) -> int:
        return os.open(os.path.join(anchor.path, name), os.O_RDONLY | _REOPEN_FLAGS)

    def make_symlink(self, name: bytes, target: bytes, mtime_ns: int) -> None:
        # Windows must be told whether it leads to a folder, and follows no link with slashes.
        is_folder = os.path.isdir(self._follow(target))
        os.symlink(target.replace(b"/", _SEPARATOR), self._at(name), target_is_directory=is_folder)
        if os.utime in os.supports_follow_symlinks:
            with contextlib.suppress(OSError, OverflowError):
                os.utime(self._at(name), ns=(mtime_ns, mtime_ns), follow_symlinks=False)

    def link_target(self, name: bytes) -> bytes:
        return super().link_target(name).replace(_SEPARATOR, b"/")

    def make_link(self, source: Anchor, source_name: bytes, name: bytes) -> None:
        os.link(os.path.join(source.path, source_name), self._at(name))

    def date(self, name: bytes, mtime_ns: int) -> None:
        os.utime(self._at(name), ns=(mtime_ns, mtime_ns))

    def move(self, name: bytes, target: Anchor, new_name: bytes) -> None:
        insist(lambda: os.replace(self._at(name), os.path.join(target.path, new_name)))

    def move_to_free(self, name: bytes, target: Anchor, new_name: bytes) -> None:
        # Windows, where that never replaces.
        insist(lambda: os.rename(self._at(name), os.path.join(target.path, new_name)))

    def remove(self, name: bytes) -> None:
        insist(lambda: os.unlink(self._at(name)))

    def remove_folder(self, name: bytes) -> None:
        insist(lambda: os.rmdir(self._at(name)))

    def step_in(self, name: bytes, *, is_ours: bool = True) -> Look:
        path = self._at(name)
        was = os.lstat(path)
        if not stat.S_ISDIR(was.st_mode) or getattr(was, "st_reparse_tag", False):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        if is_ours and stat.S_IMODE(was.st_mode) != _PRIVATE_FOLDER:
            os.chmod(path, _PRIVATE_FOLDER)
        self._path = path
        return Look(stat.S_IMODE(was.st_mode), was.st_mtime_ns)

    def step_out(self, look: Look) -> None:
        left = self._path
        self._path = os.path.dirname(left)
        if look.mode is not None and os.name != "nt":
            os.chmod(left, look.mode)
        if look.mtime_ns is not None:
            with contextlib.suppress(OSError, OverflowError):
                os.utime(left, ns=(look.mtime_ns, look.mtime_ns))

    def takes_names(self) -> bool:
        return os.access(self._path, os.W_OK | os.X_OK, effective_ids=ASKS_EFFECTIVE_IDS)

    def anchor(self) -> Anchor:
        return Anchor(path=self._path)

    def _follow(self, target: bytes) -> bytes:
        """Say where a link of this folder leads: a path without a limit of length must not have ".." in it."""
        path = self._path
        for part in target.split(b"/"):
            path = os.path.dirname(path) if part == b".." else os.path.join(path, part) if part != b"." else path
        return path


def remove_tree(parent: str | os.PathLike[str], name: bytes) -> None:
    """Remove a folder of ours with all that is in it, or a file of ours; links in it are removed, not followed.

    Args:
        parent: The folder that it lies in.
        name: A name that only we give, such as a temporary one with an operation's token.

    Raises:
        OSError: If something cannot be removed.
    """
    with closing(open_filling(parent)) as folder:
        if not _is_there(folder, name):
            return
        entered: list[bytes] = []
        waiting = [iter([name])]
        while waiting:
            entry = next(waiting[-1], None)
            if entry is None:
                waiting.pop()
                if entered:
                    folder.step_out(Look(None, None))
                    folder.remove_folder(entered.pop())
            elif stat.S_ISDIR(folder.status(entry).st_mode):
                folder.step_in(entry)
                entered.append(entry)
                waiting.append(folder.names())
            else:
                folder.remove(entry)


def _is_there(folder: Filling, name: bytes) -> bool:
    try:
        folder.status(name)
    except FileNotFoundError:
        return False
    return True
