"""An archive is read block by block: each block alone, and every change of a byte is noticed."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from pathlib import Path

import pytest

from mgmt.archive import codec, pack
from mgmt.archive.blocks import KnownBlocks, read_blocks
from mgmt.archive.codec import LAST_BLOCK, PLANS, RAW, ZLIB, Plan, encode
from mgmt.archive.headers import GZIP_HEADER
from mgmt.errors import IntegrityError
from mgmt.layout import BLOCK_SIZE_BYTES
from mgmt.source import look
from support.trees import awkward_tree, noise, text

MARK = b"\x00\x00\xff\xff"


def write(path: Path, *contents: bytes) -> Path:
    path.mkdir()
    for number, content in enumerate(contents):
        (path / f"{number}").write_bytes(content)
    return path


def blocks_of(file):
    """Return all blocks of an archive; each as it was before the next one was read."""
    return [(bytes(block.content), block.length) for block in read_blocks(file)]


TREES = {
    "one small file": [b"x"],
    "nothing": [],
    "stored and deflated": [noise(3 * BLOCK_SIZE_BYTES), text(3 * BLOCK_SIZE_BYTES), noise(1000)],
    "full of marks": [MARK * (BLOCK_SIZE_BYTES // 2), noise(500_000) + MARK * 1000 + noise(500_000), MARK * 9],
    "ends with text": [noise(BLOCK_SIZE_BYTES), text(BLOCK_SIZE_BYTES // 2)],
    "zeros": [bytes(5 * BLOCK_SIZE_BYTES)],
    "a whole number of blocks": [noise(BLOCK_SIZE_BYTES - 1024 - 512 - 512)],
}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("contents", TREES.values(), ids=TREES)
def test_blocks_are_found_where_they_were_written_and_each_is_read_alone(tmp_path, contents, plan):
    packed = pack(look(write(tmp_path / "P", *contents)), tmp_path / "P.tar.gz", plan=plan)
    data = packed.path.read_bytes()
    tar = gzip.decompress(data)
    offset, whole = len(GZIP_HEADER), b""
    for block in read_blocks(io.BytesIO(data)):
        alone = data[offset : offset + block.length] + LAST_BLOCK
        assert zlib.decompress(alone, RAW) == block.content
        offset += block.length
        whole += block.content
    assert whole == tar
    assert offset == len(data) - 13


@pytest.mark.parametrize("sizes", [[13], [7, 1000], [BLOCK_SIZE_BYTES, 3]])
def test_it_does_not_matter_how_the_bytes_arrive(tmp_path, sizes):
    packed = pack(look(awkward_tree(tmp_path / "P")), tmp_path / "P.tar.gz")
    data = packed.path.read_bytes()

    class Dripping(io.BytesIO):
        """Returns views of the same memory over and over, as an archive that arrives does."""

        memory, turn = bytearray(BLOCK_SIZE_BYTES), 0

        def read(self, most_bytes: int = -1, /) -> memoryview:
            self.turn += 1
            count = self.readinto(memoryview(self.memory)[: min(most_bytes, sizes[self.turn % len(sizes)])])
            return memoryview(self.memory)[:count]

    assert blocks_of(Dripping(data)) == blocks_of(io.BytesIO(data))


def test_a_deflater_that_stores_within_its_blocks_is_understood(monkeypatch):
    """Zlib writes stored blocks of its own where content does not shrink: they are no block of ours."""
    plan = Plan(ZLIB, 1, 100)
    content = noise(400_000) + text(BLOCK_SIZE_BYTES - 400_000)
    encoded = b"".join(encode(plan, memoryview(content)))
    assert encoded[0] & 7 == 0
    assert len(encoded) < len(content)
    crc32 = codec.checksum_crc32(content * 2, 0)
    data = GZIP_HEADER + encoded * 2 + codec.LAST_BLOCK + crc32.to_bytes(4, "little")
    data += (2 * BLOCK_SIZE_BYTES).to_bytes(4, "little")
    assert blocks_of(io.BytesIO(data)) == [(content, len(encoded))] * 2


def test_a_changed_added_or_missing_byte_is_noticed_wherever_it_is(tmp_path):
    packed = pack(look(write(tmp_path / "P", noise(300_000), text(300_000), noise(300_000))), tmp_path / "P.tar.gz")
    data = packed.path.read_bytes()
    blocks = blocks_of(io.BytesIO(data))
    for place in [*range(40), *range(40, len(data) - 40, len(data) // 120), *range(len(data) - 40, len(data))]:
        for changed in (data[:place], data[:place] + b"\x00" + data[place:]):
            with pytest.raises(IntegrityError):
                list(read_blocks(io.BytesIO(changed)))
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        with contextlib.suppress(IntegrityError):  # a few bits that fill a byte up mean nothing
            assert blocks_of(io.BytesIO(flipped)) == blocks
    with pytest.raises(IntegrityError):
        list(read_blocks(io.BytesIO(data + b"\x00")))


def test_without_gzips_checksum_all_else_of_the_end_is_still_compared(tmp_path):
    packed = pack(look(write(tmp_path / "P", noise(300_000))), tmp_path / "P.tar.gz")
    data = packed.path.read_bytes()
    passed = set()
    for place in range(-13, 0):
        changed = bytearray(data)
        changed[place] ^= 1
        with contextlib.suppress(IntegrityError):
            list(read_blocks(io.BytesIO(changed), counts_crc32=False))
            passed.add(place)
        with pytest.raises(IntegrityError):
            list(read_blocks(io.BytesIO(changed)))
    assert passed == set(range(-8, -4))
    for other in (data[:-1], data[:-8], data + b"\x00"):
        with pytest.raises(IntegrityError):
            list(read_blocks(io.BytesIO(other), counts_crc32=False))


@pytest.mark.parametrize(
    "data", [b"", gzip.compress(b"other", mtime=0), GZIP_HEADER.replace(b"mgmt 3", b"mgmt 2") + bytes(20)], ids=repr
)
def test_another_format_is_named(data):
    with pytest.raises(IntegrityError) as caught:
        list(read_blocks(io.BytesIO(data)))
    assert caught.value.code == "other-format"


def test_a_block_that_inflates_to_more_than_a_block_is_refused():
    bomb = b"".join(encode(PLANS["best"], memoryview(bytes(10 * BLOCK_SIZE_BYTES))))
    with pytest.raises(IntegrityError, match="too long"):
        KnownBlocks(io.BytesIO(bomb)).read(len(bomb), BLOCK_SIZE_BYTES)
    with pytest.raises(IntegrityError, match="too long"):
        list(read_blocks(io.BytesIO(GZIP_HEADER + bomb + bytes(20))))


@pytest.mark.parametrize("most_bytes", [BLOCK_SIZE_BYTES, 70_000, 11])
def test_blocks_of_known_length_are_read_one_by_one_and_another_length_is_refused(tmp_path, most_bytes):
    contents = noise(BLOCK_SIZE_BYTES + 100_000), text(BLOCK_SIZE_BYTES)
    data = pack(look(write(tmp_path / "P", *contents)), tmp_path / "P.tar.gz").path.read_bytes()
    blocks = blocks_of(io.BytesIO(data))

    class Dripping(io.BytesIO):
        def read(self, size_bytes: int = -1, /) -> bytes:
            return super().read(min(size_bytes, most_bytes))

    known = KnownBlocks(Dripping(data[len(GZIP_HEADER) :]))
    assert [bytes(known.read(length, len(content))) for content, length in blocks] == [content for content, _ in blocks]
    with pytest.raises(IntegrityError, match="not as long as the index says"):
        KnownBlocks(Dripping(data[len(GZIP_HEADER) :])).read(blocks[0][1] - 1, BLOCK_SIZE_BYTES)
