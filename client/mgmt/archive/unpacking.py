"""Unpacks an archive while it arrives: of this format, of an earlier one, or of another program."""

from __future__ import annotations

from contextlib import closing

from mgmt.archive.blocks import Readable, read_blocks
from mgmt.archive.checksums import ListDigest
from mgmt.archive.extraction import Extraction
from mgmt.archive.index import IndexedMember
from mgmt.archive.inflating import inflate
from mgmt.archive.rules import Counted, Rules
from mgmt.archive.tar_reading import TarReader
from mgmt.layout import frame
from mgmt_contract.values import Value


class Unpacked(Value):
    """What unpacking an archive found: its content digest, members and bytes."""

    content_digest: str
    """To be compared with the archive's record before the extraction is published."""
    member_count: int
    uncompressed_size: int


def unpack(archive: Readable, extraction: Extraction) -> Unpacked:
    """Read an archive from its beginning to its end, and extract it; nothing is published.

    Args:
        archive: Any `.tar.gz`.
        extraction: Where its members are made.

    Raises:
        IntegrityError: hostile-archive, over-limit, archive-damaged or other-format.
        LocalStateError: If this system or its disk cannot have a member.
        CancelledError: If the extraction was stopped.
    """
    listed, size_bytes, rules = ListDigest(), 0, extraction.rules
    ratio_max = None if rules.lifts_limits else rules.ratio_max
    with closing(
        inflate(archive, ratio_max=ratio_max, recorded_bytes=rules.recorded_bytes, stop=extraction.stop)
    ) as pieces:
        reader = TarReader(pieces, header_max_bytes=rules.header_max_bytes)
        for member in reader.members():
            digest = b""
            if member.kind == "file":
                digest = _extract(reader, extraction, member)
            else:
                extraction.add(member)
            listed.add(frame(member), digest)
            size_bytes += member.size_bytes
    return Unpacked(listed.text(), listed.member_count, size_bytes)


def read_through(archive: Readable, *, rules: Rules) -> Unpacked:
    """Read an archive of this format from its beginning to its end, and make nothing of it.

    For archives whose every byte is compared with the recorded CRC64NVME, and their content with the recorded digest.
    Gzip's CRC-32 is not computed here as well. Of what may happen to an archive after it was packed, it finds nothing
    that these two do not; it is in the recorded bytes itself, and took a tenth of a download's processor time. What it
    alone can find is a packer that has counted wrong: then the content is right nevertheless, and such an archive can
    still be had. Whatever unpacks it, mgmt too, tells of it.

    Raises:
        IntegrityError: hostile-archive, archive-damaged or other-format.
    """
    listed, size_bytes = ListDigest(), 0
    counted = Counted(rules)
    blocks = read_blocks(archive, counts_crc32=False)
    reader = TarReader((block.content for block in blocks), header_max_bytes=rules.header_max_bytes)
    for member in reader.members():
        counted.add_member(member.size_bytes)
        digest = reader.digest_content() if member.kind == "file" else b""
        listed.add(frame(member), digest)
        size_bytes += member.size_bytes
    return Unpacked(listed.text(), listed.member_count, size_bytes)


def _extract(reader: TarReader, extraction: Extraction, member: IndexedMember) -> bytes:
    with extraction.begin_file(member) as file:
        for data in reader.content():
            file.write(data)
        digest = file.finish()
    assert digest is not None  # noqa: S101  nothing was left by an earlier run
    return digest
