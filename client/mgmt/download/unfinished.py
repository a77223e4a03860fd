"""An archive while it is fetched: its file beside the final place, and the list of its ranges that are on the disk.

Both names are those of unfinished archives, which `mgmt upload all` leaves out, and follow from the upload that is
fetched: so the next run finds them. A range is listed only after its bytes were synced, so each listed range is there.
One that is there and not listed is fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from mgmt.archive import sync_folder
from mgmt.errors import INTERRUPTED, CancelledError, LocalStateError, written_by_newer
from mgmt.layout import temporary_name
from mgmt.machine.direct import DirectWriter
from mgmt.machine.files import open_regular, remove_file, sync
from mgmt.stored.archive import RANGE_SIZE_BYTES
from mgmt.text import shown
from mgmt_contract.parts import MIB

_CACHED_WRITE_BYTES: Final = 256 * 1024
"""Of more at a time, Linux takes larger pages for its cache, which took three times as long (6.18, November 2026)."""
_LIST_FORMAT: Final = "mgmt ranges 1"
_TOKEN_HEX_DIGITS: Final = 8
_MODE: Final = 0o600
_WRITERS_MAX: Final = 2
"""Keep a disk busy: one GiB took 0.74 s, with one thread 0.94 s, and with four 0.81 s (ext4, November 2026)."""
_NEW_FILE_MODE: Final = 0o666
"""Less what the user's umask takes away: that of any new file."""
_FLAGS: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_LIST_MAX_BYTES: Final = 64 * MIB
"""The list of the largest object that S3 takes is a tenth of it."""


class Span(NamedTuple):
    """A range of the archive."""

    number: int
    offset: int
    length: int


class Opened(NamedTuple):
    """The id and the place under which the service knows a download: they must be the same when it is opened again."""

    operation_id: str
    target_path: str


class Unfinished:
    """The two files of one archive that is being fetched; for any thread.

    Args:
        folder: Where the archive, or its tree, will be.
        archive_name: The archive's file name.
        upload_id: The upload that is fetched.
        size: The archive's size in bytes.

    Raises:
        OSError: What the disk met with; from every method too.
        LocalStateError: written-by-newer, where a newer mgmt has begun it.
    """

    def __init__(self, folder: Path, archive_name: str, upload_id: str, size: int) -> None:
        self.path, self._list_path = archive_paths(folder, archive_name, upload_id)
        self._head = {"format": _LIST_FORMAT, "upload_id": upload_id, "size": size, "range_bytes": RANGE_SIZE_BYTES}
        self.size = size
        self._is_done = bytearray(-(-size // RANGE_SIZE_BYTES))
        self._published: list[int] | None = None
        self.opened: Opened | None = None
        """The download that an earlier run has opened."""
        self._lock = threading.Lock()
        self._is_written = bytearray()
        """Which ranges are whole, on the disk or not."""
        self._writers = 1
        """How many threads write at a time: to wait for each other in the file system costs processor time."""
        self._writing = threading.Semaphore(self._writers)
        self._noting = threading.Lock()
        self._waiting: list[int] = []
        self._descriptor: int | None = None
        self._direct: DirectWriter | None = None
        self._list: FileIO | None = None
        self._read_list()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_published_as(self, place: Path) -> bool:
        """Tell whether an earlier run has checked this download and given it its name, and was killed after that."""
        if self._published is None:
            return False
        try:
            return self._published == identity_of(place)
        except FileNotFoundError:
            return False

    def open(self, opened: Opened) -> None:
        """Open the files that an earlier run has left, or make new ones."""
        is_known = self._list is None and self.opened is not None and self.path.exists()
        if not is_known:
            self._is_done = bytearray(len(self._is_done))
            self._remove_both()
        made = 0 if is_known else os.O_CREAT | os.O_EXCL
        self._list = FileIO(os.open(self._list_path, os.O_WRONLY | os.O_APPEND | made | _FLAGS, _MODE), "ab")
        self._descriptor = os.open(self.path, os.O_RDWR | made | _FLAGS, _MODE)
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            raise LocalStateError(f"'{shown(os.fspath(self.path))}' is no file. Remove it.", code="no-file")
        self._direct = DirectWriter(self.path, self._descriptor)
        self._writers = _WRITERS_MAX if self._direct.reserve(self.size) else 1
        self._writing = threading.Semaphore(self._writers)
        lines = [] if is_known else [self._head]
        # A line that a crash has cut is none any more: the beginning of 12 must not be taken for 1.
        self._append(b"#\n" * is_known + b"".join(map(write_line, [*lines, opened._asdict()])))
        sync(self._list.fileno())
        self._is_written = bytearray(self._is_done)
        self.opened = opened
        if not is_known:
            sync_folder(self.path.parent)

    @property
    def done_bytes(self) -> int:
        """Bytes that are on the disk."""
        return sum(span.length for span in self.present())

    def missing(self) -> Iterator[Span]:
        """Yield the ranges that are still to be fetched, in order."""
        return (span for span in self._spans() if not self._is_done[span.number])

    def present(self) -> Iterator[Span]:
        """Yield the ranges that are on the disk, in order."""
        return (span for span in self._spans() if self._is_done[span.number])

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write bytes of the archive to their place, past the system's cache where possible.

        Raises:
            CancelledError: If everything was closed meanwhile.
        """
        with self._writing:
            if self._descriptor is None or self._direct is None:
                raise CancelledError(INTERRUPTED)
            view = memoryview(data)
            while view:
                written_bytes = self._direct.write(offset, view) or self._write_cached(offset, view)
                view, offset = view[written_bytes:], offset + written_bytes

    def _write_cached(self, offset: int, data: memoryview) -> int:
        assert self._descriptor is not None  # noqa: S101  it was opened
        return _write_at(self._descriptor, data[:_CACHED_WRITE_BYTES], offset)

    def read(self, offset: int, buffer: memoryview) -> memoryview:
        """Read bytes of the archive that were written; fewer at its end.

        Raises:
            CancelledError: If everything was closed meanwhile.
        """
        with self._writing:
            if self._descriptor is None:
                raise CancelledError(INTERRUPTED)
            return buffer[: _read_at(self._descriptor, buffer, offset)]

    def is_written(self, offset: int) -> bool:
        """Tell whether the range that an offset lies in is whole."""
        return bool(self._is_written[offset // RANGE_SIZE_BYTES])

    def differs(self, offset: int, data: bytes | memoryview) -> bool:
        """Tell whether other bytes than these are at their place."""
        return self.read(offset, memoryview(bytearray(len(data)))) != data

    def note_whole(self, number: int) -> None:
        """Note that all of a range was written; the first thread syncs for the others."""
        with self._lock:
            self._waiting.append(number)
            self._is_written[number] = 1
        if self._noting.acquire(blocking=False):
            try:
                self._sync_waiting()
            finally:
                self._noting.release()

    def sync(self) -> None:
        """Sync everything that was written, and list it."""
        with self._noting:
            self._sync_waiting()

    def share(self) -> None:
        """Give the archive the permissions of any new file; until then only its owner could read it."""
        if self._descriptor is not None and sys.platform != "win32":
            umask = os.umask(0o077)  # there is no other way to ask for it
            os.umask(umask)
            os.fchmod(self._descriptor, _NEW_FILE_MODE & ~umask)

    def promise(self, part: Path) -> None:
        """List the identity of the checked file or tree before it gets its name: a later run need not check it.

        Args:
            part: Its path before it gets the name.
        """
        assert self._list is not None  # noqa: S101  it was opened
        self._append(write_line({"published": identity_of(part)}))
        sync(self._list.fileno())

    def close(self) -> None:
        """Close the files; what was written and not yet listed is fetched again."""
        with self._noting, contextlib.ExitStack() as writing, self._lock:
            for _ in range(self._writers):
                writing.enter_context(self._writing)
            if self._descriptor is not None:
                os.close(self._descriptor)
            if self._direct is not None:
                self._direct.close()
            if self._list is not None:
                self._list.close()
            self._descriptor = self._direct = self._list = None

    def discard(self) -> None:
        """Remove both files, if they are there."""
        self.close()
        self._remove_both()

    def _spans(self) -> Iterator[Span]:
        for number in range(len(self._is_done)):
            offset = number * RANGE_SIZE_BYTES
            yield Span(number, offset, min(RANGE_SIZE_BYTES, self.size - offset))

    def _sync_waiting(self) -> None:
        while True:
            with self._lock:
                numbers, self._waiting = self._waiting, []
                descriptor = self._descriptor
            if not numbers or descriptor is None:
                return
            sync(descriptor)  # closing waits until this is over
            self._append(b"".join(map(write_line, numbers)))
            for number in numbers:
                self._is_done[number] = 1

    def _append(self, data: bytes) -> None:
        assert self._list is not None  # noqa: S101  it was opened
        self._list.write(data)

    def _read_list(self) -> None:
        """Read the list of an earlier run; one of another upload, or damaged at its beginning, does not count."""
        with contextlib.suppress(FileNotFoundError), open_regular(self._list_path) as descriptor:
            if descriptor is None or os.fstat(descriptor).st_size > _LIST_MAX_BYTES:
                return
            with open(descriptor, "rb", closefd=False) as file:
                head = file.readline()
                refuse_newer(head, _LIST_FORMAT, self._list_path)
                if head == write_line(self._head):
                    for line in file:
                        self._read_line(line)

    def _read_line(self, line: bytes) -> None:
        try:
            value = json.loads(line) if line.endswith(b"\n") else None
        except (ValueError, RecursionError):  # cut by a crash
            return
        if type(value) is int and 0 <= value < len(self._is_done):
            self._is_done[value] = 1
        elif isinstance(value, dict) and isinstance(value.get("published"), list):
            self._published = value["published"]
        elif isinstance(value, dict) and all(isinstance(value.get(name), str) for name in Opened._fields):
            self.opened = Opened(value["operation_id"], value["target_path"])

    def _remove_both(self) -> None:
        remove_file(self.path, lambda _: True)
        # The list last: while it is there, the next run, or `mgmt cancel`, finds what is to be removed.
        remove_file(self._list_path, lambda _: True)


def _write_at(descriptor: int, data: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        written_bytes: int = os.pwrite(descriptor, data, offset)
        return written_bytes
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.write(descriptor, data)


def _read_at(descriptor: int, buffer: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        got_bytes: int = os.preadv(descriptor, [buffer], offset)
        return got_bytes
    os.lseek(descriptor, offset, os.SEEK_SET)
    with FileIO(descriptor, closefd=False) as file:
        return file.readinto(buffer) or 0


def make_token(what: str, upload_id: str) -> str:
    """Make the part of an unfinished file's name that depends on its upload and its purpose."""
    return hashlib.sha256(f"{what} {upload_id}".encode()).hexdigest()[:_TOKEN_HEX_DIGITS]


def archive_paths(folder: Path, archive_name: str, upload_id: str) -> tuple[Path, Path]:
    """Say where an archive that is not whole lies, and its list."""
    archive, ranges = (temporary_name(archive_name, make_token(what, upload_id)) for what in ("archive", "ranges"))
    return folder / archive, folder / ranges


def lock_path(archive_place: Path) -> Path:
    """Return the path of the lock file that all downloads of one name into one folder use."""
    return archive_place.with_name(temporary_name(archive_place.name, make_token("lock", archive_place.name)))


def refuse_newer(head: bytes, list_format: str, path: Path) -> None:
    """Refuse a list of a newer mgmt: taken for a damaged one, it would be removed with all that it tells of.

    Args:
        head: Its first line.
        list_format: The format that this mgmt writes: a name and, last, a number.
        path: Where it lies.

    Raises:
        LocalStateError: written-by-newer.
    """
    name, _, number = list_format.rpartition(" ")
    try:
        found_name, _, found_number = str(json.loads(head)["format"]).rpartition(" ")
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    if found_name == name and found_number.isdecimal() and int(found_number) > int(number):
        raise written_by_newer(f"What a download has left here ('{shown(os.fspath(path))}')")


def write_line(value: Any) -> bytes:
    """Write a line of a list."""
    return json.dumps(value, ensure_ascii=True).encode() + b"\n"


def identity_of(path: Path) -> list[int]:
    """Return the identity of a file or folder: it survives a rename, and no other one has it."""
    found = path.lstat()
    return [found.st_dev, found.st_ino, found.st_mtime_ns]
