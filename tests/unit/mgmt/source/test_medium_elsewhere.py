"""Reading past the cache on macOS and Windows: which calls are made, in which order, and what their answers mean.

The systems' calls are replaced, and their numbers written out once more, as the systems' own headers have them.
"""

import ctypes
import errno
import mmap
import os
import sys
from types import SimpleNamespace

import pytest

from mgmt.source import medium

MS_INVALIDATE, F_NOCACHE, MNT_LOCAL, MNT_RDONLY = 2, 48, 0x1000, 0x1
GENERIC_READ, SHARE_ALL, NO_BUFFERING, FILE_REMOTE_PROTOCOL_INFO = 0x80000000, 1 | 2 | 4, 0x20000000, 13


@pytest.fixture
def clip(tmp_path):
    """An open file that does not end at the end of a page."""
    path = tmp_path / "clip"
    path.write_bytes(b"x" * 5000)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


# ---- macOS


class Darwin:
    """Darwin's C library, as far as it is asked, with the calls in order."""

    def __init__(self, flags, *, is_intel=False):
        self.flags = flags
        self.calls = []
        if is_intel:
            setattr(self, "fstatfs$INODE64", self._fill)
            self.fstatfs = self._fill_older
        else:
            self.fstatfs = self._fill

    def mmap(self, address, length, access, kind, descriptor, offset):
        self.calls.append(("mmap", length, offset))
        return 0x10000

    def msync(self, address, length, flags):
        self.calls.append(("msync", address.value, length.value, flags))
        return 0

    def munmap(self, address, length):
        self.calls.append(("munmap", address.value, length.value))
        return 0

    def _fill(self, descriptor, filled):
        self.calls.append(("fstatfs",))
        ctypes.c_uint32.from_buffer(filled, 64).value = self.flags
        return 0

    def _fill_older(self, descriptor, filled):
        """Fill the struct of before 64-bit inode numbers, which has the disk's own number there."""
        ctypes.c_uint32.from_buffer(filled, 64).value = MNT_LOCAL
        ctypes.c_uint64.from_buffer(filled, 80).value = self.flags
        return 0


def bypass_on_macos(monkeypatch, libc, descriptor):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(medium, "_libc", lambda: libc)
    monkeypatch.setattr(fcntl, "F_NOCACHE", F_NOCACHE, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda _, command, value: libc.calls.append(("fcntl", command, value)))
    return medium.bypass_cache(descriptor, os.fstat(descriptor))


@pytest.mark.parametrize("is_intel", [False, True])
@pytest.mark.parametrize(("flags", "is_sure"), [(MNT_LOCAL | MNT_RDONLY, True), (MNT_RDONLY, False)])
def test_on_macos_pages_are_thrown_out_before_the_cache_is_passed_by(monkeypatch, clip, is_intel, flags, is_sure):
    libc = Darwin(flags, is_intel=is_intel)
    assert bypass_on_macos(monkeypatch, libc, clip) is is_sure
    length = -(-5000 // mmap.PAGESIZE) * mmap.PAGESIZE
    assert libc.calls == [
        ("mmap", length, 0),
        ("msync", 0x10000, length, MS_INVALIDATE),
        ("munmap", 0x10000, length),
        ("fcntl", F_NOCACHE, 1),
        ("fstatfs",),
    ]


@pytest.mark.parametrize("call", ["msync", "fstatfs"])
def test_on_macos_a_call_that_fails_makes_nothing_sure(monkeypatch, clip, call):
    libc = Darwin(MNT_LOCAL)
    ctypes.set_errno(errno.EBUSY)
    setattr(libc, call, lambda *_: -1)
    assert bypass_on_macos(monkeypatch, libc, clip) is False


# ---- Windows


class Kernel:
    """Windows' kernel32, as far as it is asked."""

    def __init__(self, opened, remote, error):
        self.calls = []
        self._remote, self._error = remote, error

        def reopen(handle, access, sharing, flags):
            self.calls.append(("ReOpenFile", handle.value, access, sharing, flags))
            return opened

        self.ReOpenFile = reopen

    def __call__(self, name, *, use_last_error):
        assert (name, use_last_error) == ("kernel32", True)
        return self

    def GetFileInformationByHandleEx(self, handle, kind, filled, size):  # noqa: N802  Windows' own name
        self.calls.append(("GetFileInformationByHandleEx", handle.value, kind))
        return self._remote

    def get_last_error(self):
        return self._error


def bypass_on_windows(monkeypatch, kernel, descriptor, other):
    """Ask with a second opening of the file, which reads otherwise than the first one."""
    made = []

    def open_osfhandle(handle, flags):
        made.append((handle, flags))
        return os.dup(other)

    handles = SimpleNamespace(get_osfhandle=lambda each: 1000 + each, open_osfhandle=open_osfhandle)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "WinDLL", kernel, raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", kernel.get_last_error, raising=False)
    monkeypatch.setitem(sys.modules, "msvcrt", handles)
    return medium.bypass_cache(descriptor, os.fstat(descriptor)), made


@pytest.fixture
def other(tmp_path):
    path = tmp_path / "other"
    path.write_bytes(b"from the medium")
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    ("remote", "error", "is_sure"),
    [
        pytest.param(0, 87, True, id="invalid parameter, as NTFS says"),
        pytest.param(0, 50, True, id="not supported"),
        pytest.param(1, 0, False, id="of another machine"),
        pytest.param(0, 5, False, id="access denied, which tells nothing"),
    ],
)
def test_on_windows_the_file_is_opened_again_without_buffers(monkeypatch, clip, other, remote, error, is_sure):
    kernel = Kernel(0x5000, remote, error)
    assert bypass_on_windows(monkeypatch, kernel, clip, other) == (is_sure, [(0x5000, os.O_RDONLY)])
    assert kernel.calls == [
        ("ReOpenFile", 1000 + clip, GENERIC_READ, SHARE_ALL, NO_BUFFERING),
        ("GetFileInformationByHandleEx", 1000 + clip, FILE_REMOTE_PROTOCOL_INFO),
    ]
    assert os.read(clip, 100) == b"from the medium", "all that follows goes through the second opening"


@pytest.mark.parametrize("opened", [None, ctypes.c_void_p(-1).value], ids=["none", "INVALID_HANDLE_VALUE"])
def test_on_windows_a_file_that_cannot_be_opened_again_is_read_through_the_cache(monkeypatch, clip, other, opened):
    kernel = Kernel(opened, 0, 87)
    assert bypass_on_windows(monkeypatch, kernel, clip, other) == (False, [])
    assert os.read(clip, 4) == b"xxxx"
