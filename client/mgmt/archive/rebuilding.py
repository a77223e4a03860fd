"""Makes the index of an archive anew by reading it once, for one whose index was lost or never made."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from blake3 import blake3

from mgmt.archive.blocks import Readable, read_blocks
from mgmt.archive.checksums import BEGINNING
from mgmt.archive.index import IndexWriter
from mgmt.archive.summed import Summed
from mgmt.archive.tar_reading import TarReader
from mgmt.layout import frame_of


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
    hashed = blake3(BEGINNING)
    member_count = 0
    for found in reader.members():
        digest = reader.digest_content() if found.kind == "file" else None
        index.add(found._replace(digest=digest))
        hashed.update(frame_of(found.path, found.kind, found.mode, found.size_bytes, found.target))
        hashed.update(digest or b"")
        member_count += 1
    index.describe(
        tar_bytes=reader.offset,
        archive_size=counted.offset,
        crc64nvme=counted.crc64nvme,
        content_digest="blake3:" + hashed.hexdigest(),
        member_count=member_count,
    )


def _list_blocks(file: Readable, index: IndexWriter) -> Iterator[bytes]:
    for block in read_blocks(file):
        index.note_block(block.length)
        yield block.content
