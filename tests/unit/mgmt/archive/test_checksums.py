from __future__ import annotations

from awscrt import checksums as aws_checksums
from hypothesis import given
from hypothesis import strategies as st

from mgmt.archive.checksums import PartSums, crc64nvme, written
from mgmt_contract.messages.uploads import Part
from mgmt_contract.parts import part_count, part_span

PIECES = st.lists(st.binary(max_size=50), max_size=12)


@given(PIECES)
def test_pieces_give_the_checksum_that_aws_computes_for_the_whole(pieces):
    crc = 0
    for piece in pieces:
        crc = crc64nvme(memoryview(piece), crc)
    assert crc == aws_checksums.crc64nvme(b"".join(pieces))


@given(PIECES, st.one_of(st.none(), st.integers(1, 120)))
def test_parts_are_counted_off_wherever_pieces_end(pieces, part_size_bytes):
    told: list[Part] = []
    sums = PartSums(part_size_bytes, told.append)
    sums.add(pieces)
    sums.close()
    data = b"".join(pieces)
    size_bytes = part_size_bytes or max(1, len(data))
    expected = []
    for number in range(1, part_count(len(data), size_bytes) + 1):
        _, offset, length = part_span(number, len(data), size_bytes)
        crc = aws_checksums.crc64nvme(data[offset : offset + length])
        expected.append(Part(number, length, written(crc)))
    assert sums.parts == told == expected
    assert (sums.size_bytes, sums.crc64nvme) == (len(data), written(aws_checksums.crc64nvme(data)))


def test_a_part_is_told_of_with_its_last_byte():
    told: list[Part] = []
    sums = PartSums(4, told.append)
    sums.add([b"abc"])
    assert told == []
    sums.add([b"d"])
    assert [part.number for part in told] == [1]
