"""Deflate, block by block: which blocks are worth it, and how they are written.

A block is judged by eight small samples. If they hardly shrink, as in footage, the block is stored: that costs only
a memory copy, and the block never grows. The rest is deflated. A block ends on a byte boundary and refers to nothing
before it: blocks can be deflated at the same time and written one behind the other as the data of one gzip member, and
each can be inflated without the others.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

from mgmt.errors import UsageError
from mgmt.layout import FORMAT_VERSION, STORED_SIZE_MAX_BYTES

PlanName = Literal["auto", "store", "fast", "best"]
Piece = bytes | memoryview

LAST_BLOCK: Final = b"\x01\x00\x00\xff\xff"
"""An empty stored block with the final bit: ends the deflate data."""

RAW: Final = -15
"""Window of raw deflate data, as zlib takes it."""
_MEMORY_LEVEL: Final = 9
_SAMPLE_BYTES: Final = 8 * 1024
_SAMPLE_COUNT: Final = 8
_STORED_HEADER: Final = struct.Struct("<BHH")


class Deflater(NamedTuple):
    """A library that deflates; the two are called alike."""

    name: str
    version: str
    library: Any
    """A module with zlib's interface: `compressobj`, `compress`, `crc32`."""


ZLIB: Final = Deflater("zlib", zlib.ZLIB_RUNTIME_VERSION, zlib)


def _quickest() -> Deflater:
    try:
        import isal
        from isal import isal_zlib
    except ImportError:  # no wheel for this machine: several times slower, and as correct
        return ZLIB
    return Deflater("isal", isal.__version__, isal_zlib)


QUICKEST: Final = _quickest()


class Plan(NamedTuple):
    """How blocks are treated."""

    deflater: Deflater
    level: int
    worth_percent: int
    """Samples must shrink to this, or the block is stored; 0 stores all."""


def _plans(quick: Deflater) -> Mapping[str, Plan]:
    return {
        # isal 2 takes no more time than isal 1 and leaves less; zlib has nothing quicker than 1.
        "auto": Plan(quick, 2 if quick is not ZLIB else 1, 97),
        "store": Plan(quick, 0, 0),
        "fast": Plan(quick, 1, 80),
        # zlib 6 comes within 1 % of zlib 9 and is three times as fast.
        "best": Plan(ZLIB, 6, 97),
    }


PLANS: Final = _plans(QUICKEST)

checksum_crc32: Final[Callable[[Piece, int], int]] = QUICKEST.library.crc32
"""Continues a CRC-32 over a piece, as gzip's trailer wants it."""


def plan_named(name: str) -> Plan:
    """Find a plan.

    Raises:
        UsageError: If there is none of that name.
    """
    if name not in PLANS:
        raise UsageError(f"There is no compression {name!r}. Choose one of: {', '.join(get_args(PlanName))}.")
    return PLANS[name]


def is_fallback(plan: str) -> bool:
    """Tell whether a plan that is meant to be fast has only the standard library's zlib here."""
    return QUICKEST is ZLIB and plan in ("auto", "fast")


def current_codec(plan: str = "auto") -> str:
    """Name this installation's codec for a plan: the same text and the same source give the same bytes.

    The machine's kind is part of it, because isal writes other bytes on other processors.
    """
    deflater = plan_named(plan).deflater
    if plan == "store":
        return f"mgmt {FORMAT_VERSION}, stored"
    return f"mgmt {FORMAT_VERSION}, {deflater.name} {deflater.version}, {_machine()}"


def _machine() -> str:
    if hasattr(os, "uname"):
        machine: str = os.uname().machine
        return machine
    import platform  # loading it takes longer than packing a small file

    return platform.machine()


def encode(plan: Plan, block: memoryview) -> Sequence[Piece]:
    """Turn a block into deflate data that ends on a byte boundary and is no longer than its stored form.

    Called from several threads at once; depends on nothing but its arguments.
    """
    if _is_worth_it(plan, block):
        deflated = _deflate(plan, block)
        if sum(map(len, deflated)) < len(block):
            return deflated
    return store(block)


def store(block: memoryview) -> list[Piece]:
    """Write a block as stored deflate blocks: headers, and views of the very bytes."""
    pieces: list[Piece] = []
    for offset in range(0, len(block), STORED_SIZE_MAX_BYTES):
        piece = block[offset : offset + STORED_SIZE_MAX_BYTES]
        pieces += (_STORED_HEADER.pack(0, len(piece), len(piece) ^ 0xFFFF), piece)
    return pieces


def _is_worth_it(plan: Plan, block: memoryview) -> bool:
    if not plan.worth_percent:
        return False
    sample = _sample(block)
    # Level 1 tells noise from content well enough. One call, as each costs a change of threads.
    shrunk_bytes = len(plan.deflater.library.compress(sample, 1, RAW))
    return shrunk_bytes * 100 <= len(sample) * plan.worth_percent


def _sample(block: memoryview) -> Piece:
    """Take samples evenly from the block; of a small block everything."""
    if len(block) <= _SAMPLE_BYTES * _SAMPLE_COUNT:
        return block
    stride = (len(block) - _SAMPLE_BYTES) // (_SAMPLE_COUNT - 1)
    return b"".join(block[start : start + _SAMPLE_BYTES] for start in range(0, len(block), stride))


def _deflate(plan: Plan, block: memoryview) -> tuple[Piece, Piece]:
    library = plan.deflater.library
    deflating = library.compressobj(plan.level, library.DEFLATED, RAW, _MEMORY_LEVEL, library.Z_DEFAULT_STRATEGY)
    return deflating.compress(block), deflating.flush(library.Z_SYNC_FLUSH)
