"""A file of an extraction while its content arrives."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from blake3 import blake3

from mgmt.archive.disk_errors import DiskErrors
from mgmt.archive.index import IndexedMember
from mgmt.archive.names_here import PERMISSIONS
from mgmt.archive.tree_sync import TreeSync
from mgmt.archive.unfinished import EARLY_SYNC_BYTES, EarlySync
from mgmt.errors import IntegrityError
from mgmt.layout import NANOSECONDS
from mgmt.machine.filling import Filling
from mgmt.text import shown
from mgmt_contract.parts import KIB, MIB

_READ_SIZE_BYTES: Final = MIB
_WRITE_SIZE_BYTES: Final = 256 * KIB
"""For 1 MiB and more Linux looks for memory in large pieces: where that was short, a write took up to ten times as long
(ext4, Linux 6.18, measured 2026-11)."""


class ExtractedFile:
    """Takes a file's content from its beginning on, and proves it.

    Where an earlier run has left a part, that is read again, and only what follows `done_bytes` is taken.

    Args:
        folder: Where it lies; the extraction stands there until this is finished.
        name: Its name there.
        member: What it will be.
        sync: Makes it durable.
        note: Gets the bytes by which the file has grown.
    """

    def __init__(
        self,
        folder: Filling,
        name: bytes,
        member: IndexedMember,
        *,
        sync: TreeSync,
        note: Callable[[int], None],
    ) -> None:
        self.done_bytes = 0
        """Bytes that are there."""
        self._folder = folder
        self._name = name
        self._member = member
        self._sync = sync
        self._note = note
        self._hash = blake3()
        self._descriptor = -1
        self._early: EarlySync | None = None
        self._was_adopted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are there."""
        return self.done_bytes == self._member.size_bytes

    @property
    def is_closed(self) -> bool:
        """Whether it needs nothing more."""
        return self._descriptor < 0

    def begin(self, descriptor: int) -> None:
        """Fill a new file."""
        self._descriptor = descriptor
        if self._member.size_bytes >= EARLY_SYNC_BYTES:
            self._early = EarlySync(descriptor)

    def adopt(self, refuse_stopped: Callable[[], None]) -> None:
        """Continue the file that an earlier run has left under this name, as far as its bytes can be used."""
        found = self._folder.status(self._name)
        size_bytes = self._member.size_bytes
        if self._member.digest is not None and stat.S_ISREG(found.st_mode) and found.st_size <= size_bytes:
            with contextlib.suppress(PermissionError):
                self.begin(self._open(is_whole=found.st_size == size_bytes))
                self._read(refuse_stopped)
                self._was_adopted = self.done_bytes > 0
                if not self.is_whole or self._hash.digest() == self._member.digest:
                    return
        self._begin_anew()

    def adopt_part(self, size_bytes: int, digest: bytes, refuse_stopped: Callable[[], None]) -> bool:
        """Go on with the first bytes that an earlier run has written; False where they are not there any more.

        Args:
            size_bytes: How many; what follows them is cut off.
            digest: BLAKE3 of these bytes.
            refuse_stopped: Ends the reading soon after the extraction was stopped.
        """
        found = self._folder.status(self._name)
        if not stat.S_ISREG(found.st_mode) or found.st_size < size_bytes:
            return False
        self.begin(self._open(is_whole=False))
        os.ftruncate(self._descriptor, size_bytes)
        self._read(refuse_stopped)
        return self.digest == digest

    @property
    def digest(self) -> bytes:
        """Digest of the bytes that are there."""
        return self._hash.digest()

    def begin_sync(self) -> Callable[[], None]:
        """Return what makes durable, in any thread and also after the file was closed, all that is there now."""
        descriptor = os.dup(self._descriptor)

        def sync() -> None:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

        return sync

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            IntegrityError: If there are more than the file has.
            LocalStateError: If the disk refuses.
        """
        if self.done_bytes + len(data) > self._member.size_bytes:
            raise self._differs()
        self._hash.update(data)
        with DiskErrors(self._member.path):
            written_bytes = 0
            while written_bytes < len(data):
                is_small = len(data) <= _WRITE_SIZE_BYTES
                piece = data if is_small else memoryview(data)[written_bytes : written_bytes + _WRITE_SIZE_BYTES]
                written_bytes += os.write(self._descriptor, piece)
            if self._early is not None:
                self._early.note_written(written_bytes)
        self.done_bytes += written_bytes
        self._note(written_bytes)

    def finish(self) -> bytes | None:
        """Prove the file, give it its mode and time, and close it.

        Returns:
            Its digest; None where what an earlier run has left was wrong: the file is empty then, and all of it must be
            brought again, and be finished again.

        Raises:
            IntegrityError: file-differs.
            LocalStateError: If the disk refuses.
        """
        digest = self._hash.digest()
        is_right = self.is_whole and self._member.digest in (None, digest)
        with DiskErrors(self._member.path):
            if not is_right and self._was_adopted and self.is_whole:
                self._begin_anew()
                return None
            if not is_right:
                raise self._differs()
            self._end()
        return digest

    def close(self) -> None:
        """Let go of the file, finished or not."""
        if self._early is not None:
            self._early.stop()
            self._early = None
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _end(self) -> None:
        mtime_ns = self._member.mtime_seconds * NANOSECONDS
        if sys.platform != "win32":  # which has but a mark that keeps a file from being removed
            os.fchmod(self._descriptor, self._member.mode & PERMISSIONS)
        if os.utime in os.supports_fd:
            _date(lambda: os.utime(self._descriptor, ns=(mtime_ns, mtime_ns)))
        if self._early is not None:
            self._early.finish()
        else:
            self._sync.sync_file(self._descriptor)
        self.close()
        if os.utime not in os.supports_fd:
            _date(lambda: self._folder.date(self._name, mtime_ns))

    def _open(self, *, is_whole: bool) -> int:
        try:
            return self._folder.open_file(self._name, os.O_RDWR)
        except PermissionError:
            if not is_whole:
                raise
            return self._folder.open_file(self._name, os.O_RDONLY)  # it has its final mode already

    def _read(self, refuse_stopped: Callable[[], None]) -> None:
        while data := os.read(self._descriptor, _READ_SIZE_BYTES):
            refuse_stopped()
            self._hash.update(data)
            self.done_bytes += len(data)
            self._note(len(data))

    def _begin_anew(self) -> None:
        self.close()
        self._folder.remove(self._name)
        self._note(-self.done_bytes)
        self.done_bytes, self._was_adopted = 0, False
        self._hash = blake3()
        self.begin(self._folder.create_file(self._name))

    def _differs(self) -> IntegrityError:
        return IntegrityError(
            f"'{shown(self._member.path)}' does not have the content that was packed. Run the same command again; if "
            "that does not help, what is stored was changed.",
            code="file-differs",
        )


def _date(set_time: Callable[[], None]) -> None:
    with contextlib.suppress(OSError, OverflowError):  # a time that the disk does not know
        set_time()
