"""The archive while it is written: a temporary file beside its final path."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, NoReturn, Self

from mgmt.archive.codec import Piece
from mgmt.archive.headers import is_ours
from mgmt.errors import LocalStateError, MgmtError, SourceError
from mgmt.layout import placeholder, temporary_name
from mgmt.machine.files import insist, is_same_file, remove_same, sync
from mgmt.text import shown
from mgmt_contract.parts import MIB

EARLY_SYNC_BYTES: Final = 64 * MIB
"""Written bytes that are worth a sync of their own."""
LEAD_MAX_BYTES: Final = 256 * MIB
"""Bytes that writing may be ahead of a slow disk: stopping a run waits no longer than the disk takes for them."""
_FLAGS: Final = (
    os.O_RDWR
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
)
_MODE: Final = 0o600
"""Its content may have been readable by its owner only."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_VECTOR_MAX: Final = 512
"""Pieces per call; systems take at least 1,024 (IOV_MAX), macOS and Linux alike."""


class UnfinishedArchive:
    """A file that becomes `final_path` when it is whole, or vanishes.

    Leaving the context removes the temporary file, whatever happened, as far as its folder still lets us. Only
    `publish` gives it its name, and it never takes a name that is in use.
    """

    def __init__(self, final_path: Path, size_bound_bytes: int, token: str | None = None) -> None:
        self._final_path = final_path
        self._placeholder = placeholder(token or "")
        self._size_bound_bytes = size_bound_bytes
        self.mtime_ns = 0
        """The modification time once it is published: with its size this identifies the file."""
        self.path = final_path.with_name(temporary_name(final_path.name, token))
        if os.path.lexists(final_path):
            raise _taken(final_path)
        try:
            self._descriptor = os.open(self.path, _FLAGS, _MODE)
        except OSError as error:
            self._refuse(error)
        self._opened = os.fstat(self._descriptor)
        self._sync = EarlySync(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A disk that fails here has failed before: that error is the one to report.
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(OSError):
            remove_same(self.path, self._opened)

    def write(self, pieces: Sequence[Piece]) -> None:
        """Append pieces; on return they can be read from the file.

        Raises:
            LocalStateError: disk-full, archive-too-large or archive-unwritable.
        """
        try:
            self._sync.note_written(_write(self._descriptor, pieces))
        except OSError as error:
            self._refuse(error)

    def publish(self, mtime_ns: int | None = None) -> None:
        """Make the file durable and give it its name, and `mtime_ns` as its modification time.

        Raises:
            SourceError: archive-exists, if another file has that name by now; it is left alone.
            LocalStateError: If the disk refuses.
        """
        try:
            if mtime_ns is not None:
                self._date(mtime_ns)
            # Content before the name: after a power cut, a file of this name is whole.
            self._sync.finish()
            # Closed before renaming: Windows renames no open file.
            self._close()
            self.mtime_ns = self.path.lstat().st_mtime_ns
            rename_without_replacing(self.path, self._final_path, self._placeholder)
            self._sync_name()
        except FileExistsError as error:
            raise _taken(self._final_path) from error
        except OSError as error:
            self._refuse(error)

    def _date(self, mtime_ns: int) -> None:
        # A disk that does not allow setting times keeps its own.
        with contextlib.suppress(OSError):
            os.utime(self._descriptor if os.utime in os.supports_fd else self.path, ns=(mtime_ns, mtime_ns))

    def _sync_name(self) -> None:
        """Make the name durable: without this a power cut may still take it back."""
        try:
            sync_folder(self._final_path.parent)
        except BaseException:  # such as Ctrl-C: no entry would name the archive any more
            with contextlib.suppress(OSError):
                remove_same(self._final_path, self._opened)
            raise

    def _close(self) -> None:
        if self._descriptor >= 0:
            self._sync.stop()
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)  # released also where this fails; it may be another file's by now

    def _refuse(self, error: OSError) -> NoReturn:
        if error.errno in _FULL:
            raise self._disk_full() from error
        if error.errno == errno.EFBIG:
            raise self._too_large() from error
        raise unwritable(self._final_path.parent, error.strerror or str(error)) from error

    def _disk_full(self) -> MgmtError:
        folder = self._final_path.parent
        missing_bytes = self._size_bound_bytes - _size_bytes(self.path) - (free_bytes(folder) or 0)
        return disk_full(self._final_path, missing_bytes)

    def _too_large(self) -> MgmtError:
        return LocalStateError(
            f"The file system of '{shown(os.fspath(self._final_path.parent))}' takes no file as large as this "
            f"archive, up to {_sized(self._size_bound_bytes)}. Choose a folder elsewhere with --archive-dir.",
            code="archive-too-large",
        )


def unwritable(folder: Path, why: str) -> LocalStateError:
    """Say that no archive can be written to a folder."""
    return LocalStateError(
        f"The archive cannot be written to '{shown(os.fspath(folder))}': {why}. Make the folder writable, "
        "or choose another one with --archive-dir.",
        code="archive-unwritable",
    )


def disk_full(archive_path: Path, missing_bytes: int) -> LocalStateError:
    """Say that an archive may need so much more than is free."""
    return LocalStateError(
        f"The disk of '{shown(os.fspath(archive_path.parent))}' is full: the archive {shown(archive_path.name)} may "
        f"need {_sized(missing_bytes)} more than is free. Free that much, or choose a folder on another disk with "
        "--archive-dir.",
        code="disk-full",
    )


def _write(descriptor: int, pieces: Sequence[Piece]) -> int:
    total_bytes = sum(map(len, pieces))
    waiting = list(pieces)
    while waiting:
        if hasattr(os, "writev"):
            written_bytes = os.writev(descriptor, waiting[:_VECTOR_MAX])
        else:
            written_bytes = os.write(descriptor, waiting[0])
        waiting = _without(waiting, written_bytes)
    return total_bytes


def _without(pieces: list[Piece], written_bytes: int) -> list[Piece]:
    """Drop what was written from the front; a disk that is nearly full takes a part only."""
    for index, piece in enumerate(pieces):
        if written_bytes < len(piece):
            return [memoryview(piece)[written_bytes:], *pieces[index + 1 :]]
        written_bytes -= len(piece)
    return []


def rename_without_replacing(source: Path, target: Path, placeholder: bytes) -> None:
    """Give a file or folder a new name in one step, failing if the name is in use.

    Args:
        source: A regular file or a folder.
        target: On the same disk.
        placeholder: Content of a file that takes the name first, on disks without hard links: by it the next run
            recognises a file that a crashed run made.
    """
    if os.name == "nt":
        insist(lambda: source.rename(target))  # Windows never replaces
        return
    if stat.S_ISDIR(source.lstat().st_mode):
        # No system offers everywhere what a second name is for a file. Looking first is enough for a folder: should
        # something come to lie there in between, renaming fails by itself, unless that is an empty folder.
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(target))
        source.rename(target)
        return
    try:
        # A second name for the same file: the one call of POSIX that never replaces.
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        # exFAT and some network disks have no hard links.
        _take_name(source, target, placeholder)
    else:
        _take_away(source, or_else=target)


def _take_name(source: Path, target: Path, placeholder: bytes) -> None:
    """Take the name with a small file, which fails if there is one, and put the source in its place."""
    descriptor = os.open(target, _FLAGS, _MODE)
    try:
        try:
            os.write(descriptor, placeholder)
            if not is_same_file(descriptor, target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(target))
            source.replace(target)
        except OSError:
            with contextlib.suppress(OSError):
                remove_same(target, os.fstat(descriptor))
            raise
    finally:
        os.close(descriptor)


def _take_away(name: Path, *, or_else: Path) -> None:
    """Remove one of a file's two names; the other one where that fails, so that it does not keep both.

    The first name may belong to another file by now, such as a new version of an original: that stays.
    """
    known = os.lstat(or_else)
    try:
        remove_same(name, known)
    except OSError:
        with contextlib.suppress(OSError):
            remove_same(or_else, known)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, as far as its disk lets us."""
    if os.name == "nt":
        return  # folders cannot be opened there
    # Some network disks refuse to, and keep names in an order of their own anyway; and a folder that may be
    # written but not listed cannot be opened.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)


def _taken(path: Path) -> SourceError:
    if is_ours(path):  # a run that is at work on it still needs it
        return SourceError(
            f"'{shown(os.fspath(path))}' was made by another mgmt meanwhile, as in a folder that two machines upload "
            "from, and it is left alone. Wait until that upload has ended, then run the same command again; or use "
            "--archive-dir DIR.",
            code="archive-exists",
        )
    return SourceError(
        f"'{shown(os.fspath(path))}' exists already, and mgmt never overwrites a file. Rename or remove it, or "
        "put the archive elsewhere with --archive-dir.",
        code="archive-exists",
    )


def _size_bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def free_bytes(folder: Path) -> int | None:
    """Say how much a folder's disk has room for; None where it does not say, as some network disks."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _sized(size_bytes: int) -> str:
    return f"{max(1, -(-size_bytes // MIB)):,} MiB"


class EarlySync:
    """Makes a growing file durable step by step while it is written, in a thread that only large files start.

    An error of a sync is raised by the next call: the system reports a failed write only once.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._thread = ThreadPoolExecutor(1, "mgmt-sync")
        self._under_way: Future[None] | None = None
        self._lead_bytes = 0

    def note_written(self, size_bytes: int) -> None:
        """Count bytes in, and have them synced when there are enough; waits for a disk that is far behind.

        Raises:
            OSError: What an earlier sync met with.
        """
        self._lead_bytes += size_bytes
        if self._lead_bytes < EARLY_SYNC_BYTES:
            return
        if self._under_way is not None:
            if self._lead_bytes < LEAD_MAX_BYTES and not self._under_way.done():
                return
            self._under_way.result()
        self._under_way = self._thread.submit(os.fsync, self._descriptor)
        self._lead_bytes = 0

    def finish(self) -> None:
        """Sync the whole.

        Raises:
            OSError: What this or an earlier sync met with.
        """
        if self._under_way is not None:
            self._under_way.result()
        sync(self._descriptor)

    def stop(self) -> None:
        """Wait for the sync under way: until then the descriptor must stay open."""
        self._thread.shutdown()
