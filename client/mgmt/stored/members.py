"""Reads single members out of a stored archive: of the archive it fetches the blocks that they lie in, and no more."""

from __future__ import annotations

from collections.abc import Iterator

from blake3 import blake3

from mgmt.archive.blocks import KnownBlocks, damaged
from mgmt.archive.index import Index, IndexedMember
from mgmt.errors import IntegrityError
from mgmt.stored.archive import StoredArchive
from mgmt.text import shown


def read_member(index: Index, archive: StoredArchive, member: IndexedMember) -> Iterator[memoryview]:
    """Yield the content of a file, and compare its digest with the index's in the end.

    Raises:
        IntegrityError: content-differs or archive-damaged: what was yielded is not what was uploaded; or index-damaged.
        MgmtError: As `StoredArchive.fetch`.
    """
    hashed = blake3()
    for piece in _cut_out(index, archive, member):
        hashed.update(piece)
        yield piece
    if hashed.digest() != member.digest:
        raise IntegrityError(
            f"'{shown(member.path)}' in {archive.upload.s3_object_key} is not what was uploaded: its digest is "
            f"{hashed.hexdigest()}, and {(member.digest or b'').hex() or 'none'} is recorded. Run the same command "
            "again; tell the admin if that does not help.",
            code="content-differs",
        )


def _cut_out(index: Index, archive: StoredArchive, member: IndexedMember) -> Iterator[memoryview]:
    if not member.size_bytes:
        return
    start = member.content_offset
    blocks, _ = index.find_range(start, start + member.size_bytes)
    skipped_bytes, left_bytes = start - blocks.start * index.facts.block_size_bytes, member.size_bytes
    for content in _read_blocks(index, archive, blocks):
        piece = content[skipped_bytes : skipped_bytes + left_bytes]
        skipped_bytes, left_bytes = 0, left_bytes - len(piece)
        yield piece
    if left_bytes:
        raise damaged(f"'{shown(member.path)}' is cut off")


def _read_blocks(index: Index, archive: StoredArchive, blocks: range) -> Iterator[memoryview]:
    """Yield the content of neighbouring blocks of the tar stream, in order; each is good until the next."""
    size_bytes = index.facts.block_size_bytes
    _, places = index.find_range(blocks.start * size_bytes, blocks.stop * size_bytes)
    with archive.stream(places.start, places.stop) as stream:
        known = KnownBlocks(stream)
        for number in blocks:
            yield known.read(*index.measure_block(number))
