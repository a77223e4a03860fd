"""Makes the index of an archive anew by reading it once, for one whose index was lost or never made."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from mgmt.archive.blocks import Readable, read_blocks
from mgmt.archive.checksums import ListDigest
from mgmt.archive.index import IndexWriter
from mgmt.archive.summed import Summed
from mgmt.archive.tar_reading import TarReader
from mgmt.layout import frame


def rebuild_index(file: Readable, index: IndexWriter, *, stop: threading.Event | None = None) -> None:
    """Read an archive of this format from its beginning to its end, and tell an index all that it holds.

    What the index then says of checksum, size and content digest was computed here: comparing it with a record tells
    whether the archive is the one that was recorded.

    Args:
        file: The archive.
        index: Is told all; it can be written afterwards.
        stop: Ends the reading soon after it was set.

    Raises:
        IntegrityError: archive-damaged, hostile-archive where it holds what no upload does, or other-format for an
            archive of another format or of another program.
        CancelledError: If `stop` was set.
    """
    counted = Summed(file, stop=stop)
    reader = TarReader(_list_blocks(counted, index))
    listed = ListDigest()
    for found in reader.members():
        digest = reader.digest_content() if found.kind == "file" else None
        index.add(found._replace(digest=digest))
        listed.add(frame(found), digest)
    index.describe(
        tar_bytes=reader.offset,
        archive_size=counted.offset,
        crc64nvme=counted.crc64nvme,
        content_digest=listed.text(),
        member_count=listed.member_count,
    )


def _list_blocks(file: Readable, index: IndexWriter) -> Iterator[memoryview]:
    for block in read_blocks(file):
        index.note_block(block.length)
        yield block.content
