"""Memory for direct reads and writes."""

import ctypes
import sys
from pathlib import Path

import pytest

from mgmt.machine.memory import ALIGNMENT_BYTES, make_blocks
from mgmt_contract.parts import MIB

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which pages a process has")


@only_linux
def test_files_are_read_into_huge_pages_where_the_system_has_them():
    allowed = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not allowed.exists() or "[never]" in allowed.read_text():
        pytest.skip("this system has no huge pages")
    before = huge_bytes()
    blocks = make_blocks(3, 2 * MIB)
    for block in blocks:
        block[::ALIGNMENT_BYTES] = bytes(2 * MIB // ALIGNMENT_BYTES)
    assert huge_bytes() - before >= 3 * 2 * MIB


def huge_bytes() -> int:
    [line] = [line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if line.startswith("AnonHuge")]
    return int(line.split()[1]) * 1024


def test_blocks_are_aligned_and_apart():
    blocks = make_blocks(3, 3 * ALIGNMENT_BYTES)
    places = [ctypes.addressof(ctypes.c_char.from_buffer(block)) for block in blocks]
    assert not [place for place in places if place % ALIGNMENT_BYTES]
    for number, block in enumerate(blocks):
        block[:] = bytes([number]) * 3 * ALIGNMENT_BYTES
    assert [set(block) for block in blocks] == [{0}, {1}, {2}]
