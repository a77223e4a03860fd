"""Unpacks an archive of this format while it arrives, with checkpoints from which a later run continues.

Each whole member is noted, and from time to time a checkpoint says from which byte of the archive on it is read again.
Files of an earlier run are read again and compared by digest before they are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from mgmt.archive.blocks import BlockStart, read_placed_blocks
from mgmt.archive.checksums import ListDigest
from mgmt.archive.extracted_file import ExtractedFile
from mgmt.archive.extraction import Extraction, LeftDifferentError
from mgmt.archive.index import IndexedMember
from mgmt.archive.summed import Summed
from mgmt.archive.tar_reading import TarReader, end_of
from mgmt.archive.unpacking import Unpacked
from mgmt.layout import frame


class Mark(NamedTuple):
    """A byte of the archive, and the checksum of all bytes before it."""

    offset: int
    crc: int


class Checkpoint(NamedTuple):
    """How far an archive is unpacked, and from where on it is read again."""

    member_count: int
    """Members that are whole, from the first on."""
    mark: Mark
    """From here on the archive is fetched again; not behind `place`."""
    place: BlockStart
    """The block that is read first."""
    partial: IndexedMember | None
    """The file that follows, of which a part is there; its digest is that of this part."""
    partial_bytes: int


class Checkpoints(Protocol):
    """Keeps the whole members and the latest checkpoint of an unpacking."""

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint that an earlier run has left."""

    def members(self) -> Iterator[IndexedMember]:
        """Read the members that are whole at the checkpoint."""

    def note(self, member: IndexedMember) -> None:
        """Note a member that is whole, with its digest."""

    def is_due(self, offset: int) -> bool:
        """Tell whether a checkpoint is worth its cost, now that the archive was read up to here."""

    def save(self, checkpoint: Checkpoint, sync: Callable[[], None]) -> None:
        """Note a checkpoint, at once or later, after `sync` has made durable what it names."""


def unpack_resumably(archive: Summed, extraction: Extraction, checkpoints: Checkpoints) -> Unpacked:
    """Extract an archive from its beginning or from the latest checkpoint to its end; nothing is published.

    Args:
        archive: An archive of this format, from the checkpoint's mark on.
        extraction: Where its members are made; its rules say that it resumes.
        checkpoints: Those of an earlier run; this one adds its own.

    Raises:
        LeftDifferentError: If the members of an earlier run are not there as it left them.
        IntegrityError: hostile-archive, archive-damaged or other-format.
        LocalStateError: If this system or its disk cannot have a member.
        CancelledError: If the extraction was stopped.
    """
    return _Unpacking(archive, extraction, checkpoints).run()


class _Unpacking:
    def __init__(self, archive: Summed, extraction: Extraction, checkpoints: Checkpoints) -> None:
        self._archive = archive
        self._extraction = extraction
        self._checkpoints = checkpoints
        self._listed = ListDigest()
        self._size_bytes = self._next_offset = 0
        self._marked = _Marked(archive)
        self._mark = self._marked.mark_before(archive.offset)
        self._place = BlockStart()

    def run(self) -> Unpacked:
        checkpoint, most = self._checkpoints.checkpoint, self._extraction.rules.header_max_bytes
        if checkpoint is None:
            reader = TarReader(self._pieces(None), header_max_bytes=most)
        else:
            self._take_over()
            reader = TarReader(self._pieces(checkpoint.place), checkpoint.place.tar_offset, header_max_bytes=most)
            if checkpoint.partial is not None:
                self._go_on_in(reader, checkpoint.partial, checkpoint.partial_bytes)
            reader.skip_to(self._next_offset)
        for member in reader.members():
            if member.kind == "file":
                with self._extraction.begin_file(member) as file:
                    self._fill(reader, member, file)
            else:
                self._extraction.add(member)
                self._count(member)
            if self._checkpoints.is_due(self._archive.offset):
                self._save(None, None)
        return Unpacked(self._listed.text(), self._listed.member_count, self._size_bytes)

    def _take_over(self) -> None:
        """Prove what an earlier run has left, and count it in."""
        for member in self._checkpoints.members():
            if member.kind == "file":
                with self._extraction.begin_file(member) as file:
                    if not file.is_whole or file.finish() is None:
                        raise LeftDifferentError
            else:
                self._extraction.add(member)
            self._count(member, is_noted=True)

    def _go_on_in(self, reader: TarReader, partial: IndexedMember, done_bytes: int) -> None:
        member = partial._replace(digest=None)
        with self._extraction.go_on_in_file(member, done_bytes, partial.digest or b"") as file:
            reader.go_on_in(member, done_bytes)
            self._fill(reader, member, file)

    def _fill(self, reader: TarReader, member: IndexedMember, file: ExtractedFile) -> None:
        for data in reader.content():
            file.write(data)
            if self._checkpoints.is_due(self._archive.offset) and not file.is_whole:
                self._save(member, file)
        self._count(member._replace(digest=file.finish()))

    def _count(self, member: IndexedMember, *, is_noted: bool = False) -> None:
        self._listed.add(frame(member), member.digest)
        self._size_bytes += member.size_bytes
        self._next_offset = end_of(member)
        if not is_noted:
            self._checkpoints.note(member)

    def _save(self, member: IndexedMember | None, file: ExtractedFile | None) -> None:
        partial = member._replace(digest=file.digest) if member is not None and file is not None else None
        done_bytes = file.done_bytes if file is not None else 0
        checkpoint = Checkpoint(self._listed.member_count, self._mark, self._place, partial, done_bytes)
        self._checkpoints.save(checkpoint, self._extraction.begin_sync(file))

    def _pieces(self, start: BlockStart | None) -> Iterator[memoryview]:
        if start is not None:
            self._skip(start.archive_offset - self._archive.offset)
        for place, block in read_placed_blocks(self._marked, start):
            self._place, self._mark = place, self._marked.mark_before(place.archive_offset)
            yield block.content

    def _skip(self, size_bytes: int) -> None:
        while size_bytes:
            size_bytes -= len(self._marked.read(size_bytes)) or size_bytes


class _Marked:
    """An archive that is read, with the marks from which the latest of it can be read again."""

    def __init__(self, archive: Summed) -> None:
        self._archive = archive
        self._marks = deque([Mark(archive.offset, archive.crc)])

    def read(self, most_bytes: int, /) -> bytes | memoryview:
        data = self._archive.read(most_bytes)
        self._marks.append(Mark(self._archive.offset, self._archive.crc))
        return data

    def mark_before(self, offset: int) -> Mark:
        """Return the last mark up to there, and forget the ones before it."""
        while len(self._marks) > 1 and self._marks[1].offset <= offset:
            self._marks.popleft()
        return self._marks[0]
