"""Packing a source: members to tar, tar to deflate, deflate to the disk, and every checksum on the way."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from mgmt.archive.checksums import ContentDigest, PartSums, WholeMD5
from mgmt.archive.codec import LAST_BLOCK, Piece, checksum_crc32, current_codec, encode, plan_named
from mgmt.archive.headers import GZIP_HEADER, gzip_trailer, is_archive_at, is_open_archive
from mgmt.archive.stream import Pipeline, TarStream
from mgmt.archive.unfinished import UnfinishedArchive, disk_full, free_bytes, unwritable
from mgmt.errors import INTERRUPTED, CancelledError, SourceError
from mgmt.layout import BLOCK_SIZE_BYTES, Packable, Survey, frame, temporary_name
from mgmt.machine.files import remove_same
from mgmt.text import shown
from mgmt_contract.messages.uploads import Content, Packing, Part
from mgmt_contract.parts import MIB
from mgmt_contract.values import Value

if TYPE_CHECKING:  # a name for annotations: small archives have no index
    from mgmt.archive.index import IndexWriter

_WORKERS_MAX: Final = 8
"""More would wait for the one thread that reads and writes, and each costs a block of memory."""


class PackedArchive(Value):
    """A whole archive on the disk, and everything computed while it was written."""

    path: Path
    content: Content
    """As the service is told."""
    packing: Packing
    parts: tuple[Part, ...]
    mtime_ns: int
    """The time of the last write."""
    source_seal: str | None = None
    """The source's seal when this run packed it; None for an archive of an earlier run."""
    content_md5: str | None = None
    """Only of an archive that one PUT can carry."""

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.content.size

    def is_untouched(self) -> bool:
        """Tell whether the archive is still at its path: another file may have replaced it."""
        return is_archive_at(self.path, self.size, self.mtime_ns)

    def may_be_there(self) -> bool:
        """Tell whether the archive is at its path, or its disk fails and does not say: it may be back with it."""
        return self.is_untouched() or _is_out_of_sight(self.path)

    def is_open_as(self, descriptor: int) -> bool:
        """Tell whether an open file is this archive."""
        return is_open_archive(descriptor, self.size, self.mtime_ns)


def _is_out_of_sight(path: Path) -> bool:
    try:
        path.lstat()
    except OSError as error:
        return not isinstance(error, (FileNotFoundError, NotADirectoryError))
    return False


def pack(  # noqa: PLR0913  one verb; all but its two objects are settings with a default
    source: Packable,
    archive_path: str | Path,
    *,
    plan: str = "auto",
    workers: int | None = None,
    part_size_bytes: int | None = None,
    on_open: Callable[[Path], None] | None = None,
    on_part: Callable[[Part], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
    stop: threading.Event | None = None,
    token: str | None = None,
    mtime_ns: int | None = None,
    index: IndexWriter | None = None,
) -> PackedArchive:
    """Pack a source into a `.tar.gz` that appears at `archive_path` when it is whole, or not at all.

    The bytes depend on the source, the codec and the plan, and on nothing else, such as the number of workers or
    the time. Memory stays the same whatever the size. While packing, the bytes lie in a temporary file
    beside `archive_path`; it is gone when this returns or raises. An existing file is never replaced.

    Hooks are called one at a time, `on_open` in the calling thread and the others there or in one of packing's
    own; they hold packing up for as long as they take.

    Args:
        source: What was looked at; members are found anew and must be the same still.
        archive_path: In an existing folder that is not part of the source.
        plan: auto, store, fast or best.
        workers: Threads that compress; by default as many as there are processors, and for a small source none
            but the calling one.
        part_size_bytes: Size of every part but the last; one part by default.
        on_open: Gets the temporary file's path. A reader that opens it then can read all parts, also after the
            archive got its name (on Windows the reader must close it before).
        on_part: Gets each part as soon as its bytes can be read from the temporary file.
        on_progress: Gets the bytes of the source's files packed so far, about once per block.
        stop: Ends packing soon after it was set.
        token: Eight hexadecimal digits for the temporary file's name, by which the next run finds a crashed run's file.
        mtime_ns: The archive's modification time, for the same reason; a disk may round it. By default the time of
            writing.
        index: Is told all that the archive's index holds.

    Raises:
        SourceError: source-changed, source-unreadable, archive-exists or archive-inside-source.
        LocalStateError: disk-full, archive-too-large or archive-unwritable.
        CancelledError: If `stop` was set.
        UsageError: If there is no such plan.
    """
    final_path = Path(os.path.abspath(archive_path))  # noqa: PTH100  resolving would follow links
    chosen = plan_named(plan)
    _refuse_inside(source, final_path)
    with UnfinishedArchive(final_path, source.upper_bound_bytes, token) as unfinished:
        if on_open is not None:
            on_open(unfinished.path)
        run = _Run(source, unfinished, PartSums(part_size_bytes, on_part), on_progress, stop, index)
        run.pack(partial(encode, chosen), _processors_for(source) if workers is None else workers)
        unfinished.publish(mtime_ns)
    return PackedArchive(
        path=final_path,
        content=run.content(),
        packing=Packing(current_codec(plan), plan),
        parts=tuple(run.sums.parts),
        mtime_ns=unfinished.mtime_ns,
        source_seal=run.survey.seal,
        content_md5=run.md5.text(),
    )


def compute_content(source: Packable, *, plan: str = "auto", stop: threading.Event | None = None) -> Content:
    """Compute the result of packing a source; nothing is written.

    Args:
        source: What was looked at.
        plan: auto, store, fast or best.
        stop: Ends the work soon after it was set.

    Raises:
        SourceError: source-changed or source-unreadable.
        CancelledError: If `stop` was set.
        UsageError: If there is no such plan.
    """
    run = _Run(source, _Nowhere(), PartSums(None), None, stop)
    run.pack(partial(encode, plan_named(plan)), _processors_for(source))
    return run.content()


def estimate_size(source: Packable, *, plan: str, read_max_bytes: int, stop: threading.Event) -> int:
    """Estimate an archive's size: exact where all of the source is read, else from its beginning.

    Args:
        source: What was looked at.
        plan: auto, store, fast or best.
        read_max_bytes: About how much of it to read at most.
        stop: Ends the work soon after it was set.

    Raises:
        SourceError: source-changed or source-unreadable.
        CancelledError: If `stop` was set.
        UsageError: If there is no such plan.
    """
    enough = threading.Event()

    def note_progress(done_bytes: int) -> None:
        if done_bytes >= read_max_bytes or stop.is_set():
            enough.set()

    run = _Run(source, _Nowhere(), PartSums(None), note_progress, enough)
    try:
        run.pack(partial(encode, plan_named(plan)), _processors_for(source))
    except CancelledError:
        if stop.is_set():
            raise
        return run.sums.size_bytes * source.upper_bound_bytes // run.tar_bytes
    return run.sums.size_bytes


class _Sink(Protocol):
    """Where an archive's bytes go."""

    def write(self, pieces: Sequence[Piece]) -> None:
        """Take the next bytes."""


class _Nowhere:
    """Forgets what is written: only the checksums are wanted."""

    def write(self, pieces: Sequence[Piece]) -> None:
        """Forget the next bytes."""


class _Run:
    """One packing while it lasts: writes what the pipeline delivers, and watches over the source."""

    def __init__(
        self,
        source: Packable,
        sink: _Sink,
        sums: PartSums,
        on_progress: Callable[[int], None] | None,
        stop: threading.Event | None,
        index: IndexWriter | None = None,
    ) -> None:
        self.sums = sums
        self.md5 = WholeMD5(source.upper_bound_bytes)
        self.digest = ContentDigest(index.note_packed if index is not None else None)
        self.survey = Survey()
        self._source = source
        self._sink = sink
        self._on_progress = on_progress
        self._stop = stop
        self._index = index
        self._crc32 = 0
        self.tar_bytes = 0

    def pack(self, encode_block: Callable[[memoryview], Sequence[Piece]], workers: int) -> None:
        self._write([GZIP_HEADER])
        with Pipeline(encode=encode_block, digest=self.digest.add, deliver=self._deliver, workers=workers) as pipeline:
            self._add_members(TarStream(pipeline))
            pipeline.finish()
        self._write([LAST_BLOCK, gzip_trailer(self._crc32, self.tar_bytes)])
        self.sums.close()
        if self.survey.fingerprint != self._source.fingerprint:
            raise self._changed()
        if self._index is not None:
            self._index.describe(
                tar_bytes=self.tar_bytes,
                archive_size=self.sums.size_bytes,
                crc64nvme=self.sums.crc64nvme,
                content_digest=self.digest.text(),
                member_count=self.survey.member_count,
            )

    def content(self) -> Content:
        sums, survey = self.sums, self.survey
        return Content(
            sums.size_bytes, sums.crc64nvme, self.digest.text(), survey.uncompressed_size, survey.member_count
        )

    def _add_members(self, stream: TarStream) -> None:
        self._stream = stream
        with closing(self._source.members()) as members:
            for member in members:
                self._refuse_stopped()
                framed = frame(member)
                self.survey.add(member, framed)
                stream.add(member, framed)
        stream.close()

    def _deliver(self, block: memoryview, pieces: Sequence[Piece]) -> None:
        self._refuse_stopped()
        self._crc32 = checksum_crc32(block, self._crc32)
        self.tar_bytes += len(block)
        self._write(pieces)
        if self._index is not None:
            self._index.note_block(sum(map(len, pieces)))
        if self._on_progress is not None:
            self._on_progress(self._stream.content_bytes)

    def _write(self, pieces: Sequence[Piece]) -> None:
        self._sink.write(pieces)
        self.sums.add(pieces)
        self.md5.add(pieces)
        # The bound was promised to the service; a source that exceeds it is another source.
        if self.sums.size_bytes > self._source.upper_bound_bytes:
            raise self._changed()

    def _refuse_stopped(self) -> None:
        if self._stop is not None and self._stop.is_set():
            raise CancelledError("Packing was stopped. Nothing is lost; run the same command to start it again.")

    def _changed(self) -> SourceError:
        suspect = shown(self.survey.newest_path or os.fspath(self._source.path))
        return SourceError(
            f"'{shown(os.fspath(self._source.path))}' changed before it was packed; the latest change is "
            f"'{suspect}'. Wait until nothing writes there, then run the same command again.",
            code="source-changed",
        )


def _refuse_inside(source: Packable, final_path: Path) -> None:
    if not source.is_directory:
        return
    root = Path(os.path.realpath(source.path))
    folder = Path(os.path.realpath(final_path.parent))
    if folder == root or root in folder.parents:
        raise SourceError(
            f"The archive of '{shown(os.fspath(source.path))}' cannot be made inside that folder. Choose another "
            "one with --archive-dir.",
            code="archive-inside-source",
        )


def _processors_for(source: Packable) -> int:
    if source.upper_bound_bytes <= BLOCK_SIZE_BYTES:
        return 0  # in the calling thread: others would take longer to start than to work
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _WORKERS_MAX)


def compute_content_digest(
    source: Packable, *, on_progress: Callable[[int], None] | None = None, stop: threading.Event | None = None
) -> str:
    """Compute the digest that packing a source would give; nothing is written.

    Args:
        source: The source, as `look` returned it.
        on_progress: Gets the bytes of the source's files read so far, about once per block.
        stop: Ends reading soon after it was set.

    Raises:
        SourceError: source-changed or source-unreadable.
        CancelledError: If `stop` was set.
    """
    digest = ContentDigest()

    def deliver(_: memoryview, __: Sequence[Piece]) -> None:
        if stop is not None and stop.is_set():
            raise CancelledError(INTERRUPTED)
        if on_progress is not None:
            on_progress(stream.content_bytes)

    with Pipeline(encode=lambda _: (), digest=digest.add, deliver=deliver, workers=1) as pipeline:
        stream = TarStream(pipeline)
        with closing(source.members()) as members:
            for member in members:
                stream.add(member, frame(member))
        stream.close()
        pipeline.finish()
    return digest.text()


_READ_MAX_BYTES: Final = 256 * MIB
"""Bytes read of a source that may not fit: enough to distinguish footage, which does not shrink, from text."""
_ASK: Final = partial(os.access, effective_ids=os.access in os.supports_effective_ids)
"""Writing uses the effective user's rights, so the check does too."""


def refuse_without_room(source: Packable, archive_path: Path, *, plan: str, stop: threading.Event) -> None:
    """Raise the errors that packing would raise, as far as they can be known before.

    Where the archive may be too large for the free space, the source's beginning is packed, without writing it.

    Raises:
        LocalStateError: archive-unwritable or disk-full.
        SourceError: source-changed or source-unreadable.
        CancelledError: If `stop` was set.
    """
    folder = archive_path.parent
    why = why_unwritable(folder)
    if why is not None:
        raise unwritable(folder, why)
    available_bytes = free_bytes(folder)
    if available_bytes is None or available_bytes >= source.upper_bound_bytes:
        return
    if estimate_size(source, plan=plan, read_max_bytes=_READ_MAX_BYTES, stop=stop) > available_bytes:
        raise disk_full(archive_path, source.upper_bound_bytes - available_bytes)


def why_unwritable(folder: Path) -> str | None:
    """Say why no archive can be written to a folder; None where nothing is known against it."""
    if not _ASK(folder, os.W_OK | os.X_OK):
        try:
            return "Read-only file system" if _is_read_only(folder) else "Permission denied"
        except OSError as error:  # asked, such a disk says no more than No
            return error.strerror or str(error)
    return _try_writing(folder) if hasattr(os, "O_TEMPORARY") else None


def _try_writing(folder: Path) -> str | None:
    """Find out by an empty file that vanishes at once: Windows says of every folder that it can be written to."""
    probe = folder / temporary_name("probe")
    try:
        descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_TEMPORARY", 0))
        try:
            known = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        remove_same(probe, known)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _is_read_only(folder: Path) -> bool:
    return sys.platform != "win32" and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
