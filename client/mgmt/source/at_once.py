"""Reads pieces of several files with two calls of the system: Linux' own asynchronous reads (io_submit, io_getevents).

To read 20,000 small files one after the other past the cache, three threads took 1 s and 0.5 processor seconds, much of
them to fall asleep, to wake up and to wait for Python's lock; by sixteen at once 0.4 s and 0.24 (November 2026).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple


class _Calls(NamedTuple):
    """The numbers of the system's calls, for which the C library has no functions."""

    setup: int
    destroy: int
    submit: int
    get_events: int


_CALLS: Final = {"x86_64": _Calls(206, 207, 209, 208), "aarch64": _Calls(0, 1, 2, 4)}
"""By processor, of programs of 64 bits: Linux' arch/x86/entry/syscalls and include/uapi/asm-generic/unistd.h."""
_REQUEST: Final = struct.Struct("=QIIHhiQQqQII")
"""The struct iocb of Linux' include/uapi/linux/aio_abi.h; its command 0 is to read."""
_EVENT: Final = struct.Struct("=QQqq")
"""The struct io_event of the same file: the request's own number first, its result third."""


def _find_calls() -> _Calls | None:
    if sys.platform == "linux" and sys.maxsize > 2**32:
        return _CALLS.get(os.uname().machine)
    return None


class Piece(NamedTuple):
    """A piece of an open file, and the memory for it."""

    descriptor: int
    view: memoryview
    offset: int


class AtOnce:
    """Reads pieces of files at once; not for several threads.

    Args:
        most: Pieces that may be read at once.

    Raises:
        OSError: Where the system does not let it.
    """

    def __init__(self, most: int) -> None:
        calls = _find_calls()
        if calls is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._calls = calls
        self._requests = ctypes.create_string_buffer(most * _REQUEST.size)
        first = ctypes.addressof(self._requests)
        self._pointers = (ctypes.c_void_p * most)(*range(first, first + most * _REQUEST.size, _REQUEST.size))
        self._events = ctypes.create_string_buffer(most * _EVENT.size)
        self._call: Any = ctypes.CDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        context = ctypes.c_ulong()
        if self._call(ctypes.c_long(calls.setup), ctypes.c_uint(most), ctypes.byref(context)) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._context = context

    def read(self, pieces: Sequence[Piece]) -> list[int | None]:
        """Read pieces.

        Returns:
            For each of them how many bytes came, or the number of its error as a negative one; None where it was not
            read, and is to be read alone.
        """
        results: list[int | None] = [None] * len(pieces)
        for number, (descriptor, view, offset) in enumerate(pieces):
            address = ctypes.addressof(ctypes.c_char.from_buffer(view))
            place = number * _REQUEST.size
            _REQUEST.pack_into(
                self._requests, place, number, 0, 0, 0, 0, descriptor, address, len(view), offset, 0, 0, 0
            )
        count = ctypes.c_long(len(pieces))
        waiting: int = self._call(ctypes.c_long(self._calls.submit), self._context, count, self._pointers)
        while waiting > 0:
            waiting -= self._take(waiting, results)
        return results

    def _take(self, count: int, results: list[int | None]) -> int:
        """Wait for so many pieces; return how many have come."""
        wanted = ctypes.c_long(count)
        call = ctypes.c_long(self._calls.get_events)
        got: int = self._call(call, self._context, wanted, wanted, self._events, None)
        if got < 0:
            if ctypes.get_errno() == errno.EINTR:
                return 0
            self.close()  # after it nothing is being read any more
            return count
        for place in range(0, got * _EVENT.size, _EVENT.size):
            number, _, result, _ = _EVENT.unpack_from(self._events, place)
            results[number] = result
        return got

    def close(self) -> None:
        """Let go of it; what is still being read is waited for."""
        context, self._context = self._context, ctypes.c_ulong()  # which no call takes
        self._call(ctypes.c_long(self._calls.destroy), context)
