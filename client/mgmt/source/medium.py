"""Has an open file read from its medium, past the system's cache, and tells whether it surely is.

The system keeps what it has read or written. A file that was copied to a card a minute ago is read back from memory,
whether or not the card holds it. Each system has its own way around that. Of a network mount none is enough: the server
has a cache too.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from mgmt.machine.file_systems import BTRFS, DIRECT, HFS_PLUS, ISO_9660, NTFS, UDF, file_system_of
from mgmt.machine.memory import ALIGNMENT_BYTES

_ON_A_DISK: Final = DIRECT | {
    BTRFS,  # which reads compressed files through the cache in spite of O_DIRECT
    NTFS,
    HFS_PLUS,
    UDF,
    ISO_9660,
}
"""File systems whose only cache is the one with pages that can be dropped and counted."""
_LOOP_MAJOR: Final = 7
"""Devices that lie in a file, which has pages of its own."""

_WINDOW_BYTES: Final = 256 * 1024 * 1024
"""Mapped of a file at a time, so that the list of its pages stays small."""
_MAP_READABLE: Final = 1
_MAP_SHARED: Final = 1
_MAP_FAILED: Final = ctypes.c_void_p(-1).value


Kinds = dict[int, int]
"""The kind of each file system that was met in one reading, by its device: asked once, not once per small file."""


def bypass_cache(descriptor: int, status: os.stat_result, kinds: Kinds | None = None) -> bool:
    """Have all further reads of an open file come from its medium.

    Args:
        descriptor: Open for reading. From now on it may be read only by `ALIGNMENT_BYTES`.
        status: Of this file.
        kinds: What is known of file systems, when many files are read; gets what is found.

    Returns:
        True where they surely do; False where a cache may answer.
    """
    with contextlib.suppress(OSError):  # reading the file tells what is wrong with it
        if sys.platform == "darwin":
            return _bypass_on_macos(descriptor, status.st_size)
        if sys.platform == "win32":
            return _bypass_on_windows(descriptor)
        if sys.platform == "linux":
            return _bypass_on_linux(descriptor, status, {} if kinds is None else kinds)
    return False


def read_at(descriptor: int, view: memoryview, offset: int) -> int:
    """Read from an open file at an offset; only the end of the file makes it less than was asked for.

    Args:
        descriptor: Open for reading; several threads may read from it at once where the system can.
        view: Filled with what is read.
        offset: Like the view's length, a multiple of `ALIGNMENT_BYTES`.

    Raises:
        OSError: If it cannot be read.
    """
    filled = 0
    while filled < len(view):
        got = _read_once(descriptor, view[filled:], offset + filled)
        filled += got
        if not got or got % ALIGNMENT_BYTES:
            break
    return filled


def _read_once(descriptor: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        got_bytes: int = os.preadv(descriptor, [view], offset)
        return got_bytes
    # One thread at a time there: `Rereading` sees to it.
    import io

    os.lseek(descriptor, offset, os.SEEK_SET)
    with io.FileIO(descriptor, closefd=False) as file:
        return file.readinto(view) or 0


# ---- Linux

if sys.platform == "linux":
    import fcntl

    def _bypass_on_linux(descriptor: int, status: os.stat_result, kinds: Kinds) -> bool:
        """Read by O_DIRECT; where the file system does not, drop the file's pages first, and count what is left."""
        kind = kinds.get(status.st_dev)
        if kind is None:
            kind = kinds[status.st_dev] = file_system_of(descriptor)
        is_in_file = os.major(status.st_dev) == _LOOP_MAJOR
        # For files that are read through the cache in spite of O_DIRECT, such as with ext4's data=journal.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        is_direct = _set_direct(descriptor)
        if is_direct and kind in DIRECT:
            return not is_in_file
        is_dropped = drop_pages(descriptor, status.st_size)
        return is_dropped and kind in _ON_A_DISK and not is_in_file

    def _set_direct(descriptor: int) -> bool:
        try:
            # Without asking for the flags first: of those that can be set, files are opened with this other one alone.
            fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_DIRECT | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False
        return True

    def drop_pages(descriptor: int, size_bytes: int) -> bool:
        """Drop an open file's pages from Linux' cache; tell whether none is left."""
        for writes_first in (False, True):
            if writes_first:  # it costs a flush of the disk, and only few files have pages that are not written
                with contextlib.suppress(OSError):  # on a read-only disk
                    os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            if not count_pages(descriptor, size_bytes):
                return True
        return False

    def count_pages(descriptor: int, size_bytes: int) -> int:
        """Count the pages of an open file in Linux' cache; all of them where this user may not know."""
        counted = 0
        for offset in range(0, size_bytes, _WINDOW_BYTES):
            length = min(_WINDOW_BYTES, size_bytes - offset)
            pages = ctypes.create_string_buffer(-(-length // os.sysconf("SC_PAGE_SIZE")))
            with _mapped(descriptor, offset, length) as address:
                _check(_libc().mincore(address, ctypes.c_size_t(length), pages))
            counted += sum(page & 1 for page in pages.raw)
        return counted


def read_through_cache(descriptor: int) -> bool:
    """Give up O_DIRECT on a file whose file system takes the flag and then refuses to read; False on other systems."""
    if sys.platform == "linux":
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
    return sys.platform == "linux"


# ---- macOS (no such machine was at hand: its calls are replaced in the tests)

_MS_INVALIDATE: Final = 0x2
"""Of Darwin's sys/mman.h."""
_MNT_LOCAL: Final = 0x1000
_OFFSET_OF_FLAGS: Final = 64
"""Both of Darwin's sys/mount.h: the second in the struct statfs with 64-bit inode numbers."""


def _bypass_on_macos(descriptor: int, size_bytes: int) -> bool:
    """F_NOCACHE alone still reads the pages that are there: those are written and thrown out first."""
    if sys.platform == "darwin":
        import fcntl

        if size_bytes:
            length = -(-size_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
            with _mapped(descriptor, 0, length) as address:
                _check(_libc().msync(address, ctypes.c_size_t(length), _MS_INVALIDATE))
        fcntl.fcntl(descriptor, fcntl.F_NOCACHE, 1)
        filled = ctypes.create_string_buffer(4096)
        _check(_fstatfs_of_macos()(descriptor, filled))
        return bool(ctypes.c_uint32.from_buffer(filled, _OFFSET_OF_FLAGS).value & _MNT_LOCAL)
    return False


def _fstatfs_of_macos() -> Any:
    """Return the call that fills the struct with 64-bit inode numbers: on Intel, the plain name is an older one's."""
    libc = _libc()
    return getattr(libc, "fstatfs$INODE64", None) or libc.fstatfs


# ---- Windows (no such machine was at hand: its calls are replaced in the tests)

_GENERIC_READ: Final = 0x80000000
_SHARE_ALL: Final = 0x7
"""FILE_SHARE_READ, FILE_SHARE_WRITE and FILE_SHARE_DELETE."""
_NO_BUFFERING: Final = 0x20000000
"""FILE_FLAG_NO_BUFFERING."""
_REMOTE_PROTOCOL: Final = 13
"""FileRemoteProtocolInfo of FILE_INFO_BY_HANDLE_CLASS: only files of another machine have it."""
_NOT_REMOTE: Final = frozenset({1, 50, 87})
"""What is said of other files: ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED, ERROR_INVALID_PARAMETER."""


def _bypass_on_windows(descriptor: int) -> bool:
    """Open the same file once more without buffering, in the descriptor's place."""
    if sys.platform == "win32":
        import msvcrt

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.ReOpenFile.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(msvcrt.get_osfhandle(descriptor))
        opened = kernel.ReOpenFile(handle, _GENERIC_READ, _SHARE_ALL, _NO_BUFFERING)
        if opened in (None, _MAP_FAILED):
            return False
        again = msvcrt.open_osfhandle(opened, os.O_RDONLY)
        try:
            os.dup2(again, descriptor, inheritable=False)
        finally:
            os.close(again)
        handle = ctypes.c_void_p(msvcrt.get_osfhandle(descriptor))
        filled = ctypes.create_string_buffer(256)
        is_remote = kernel.GetFileInformationByHandleEx(handle, _REMOTE_PROTOCOL, filled, len(filled))
        return not is_remote and ctypes.get_last_error() in _NOT_REMOTE
    return False


# ---- the C library, where there are maps


@functools.cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    )
    return libc


@contextmanager
def _mapped(descriptor: int, offset: int, length: int) -> Iterator[ctypes.c_void_p]:
    found = _libc().mmap(None, length, _MAP_READABLE, _MAP_SHARED, descriptor, offset)
    if found == _MAP_FAILED:
        _check(-1)
    address = ctypes.c_void_p(found)
    try:
        yield address
    finally:
        _libc().munmap(address, ctypes.c_size_t(length))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
