"""Arithmetic of parts, and the limits of S3 that it keeps to.

Source of the limits: Amazon S3 User Guide, "Amazon S3 multipart upload limits", read 2026-11.
"""

from __future__ import annotations

from typing import NamedTuple

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

PART_SIZE_MIN_BYTES = 5 * MIB
"""Smallest part S3 takes, except for the last."""
PART_SIZE_MAX_BYTES = 5 * GIB
PART_COUNT_MAX = 10_000
ABANDONED_AFTER_DAYS = 30
"""How long a multipart upload may stay open until the storage's own rule removes it with its parts. S3 counts from its
start, not from its last part: long enough to finish a slow one."""
OBJECT_SIZE_MAX_BYTES = PART_COUNT_MAX * PART_SIZE_MAX_BYTES
"""48.8 TiB."""

SINGLE_PUT_MAX_BYTES = 16 * MIB
"""Our own limit: larger archives go in parts, so that a lost connection costs at most one part."""
PART_SIZE_DEFAULT_BYTES = 16 * MIB
INDEX_SIZE_MAX_BYTES = GIB
"""An index goes in one PUT. A member takes some 70 bytes of it, so this is enough for ten million; an archive of more
goes without, and is read once where its list is needed."""
SIGN_PARTS_MAX = 100
"""Part URLs per call: with a session token one URL takes 1.7 kB, and an answer may have 6 MB."""
ITEMS_MAX = 100
"""Items per call."""


class PartSpan(NamedTuple):
    """The position of one part in the archive."""

    number: int
    """1 to `PART_COUNT_MAX`."""
    offset: int
    """Bytes from the archive's start."""
    length: int
    """Bytes."""


def part_size_for(size_bound_bytes: int) -> int:
    """Choose the part size for an object of at most `size_bound_bytes`.

    The default, or the next whole MiB with which `PART_COUNT_MAX` parts suffice.

    Raises:
        ValueError: If no part size suffices (the object is larger than S3 takes), or the bound is negative.

    >>> part_size_for(100 * MIB) // MIB
    16
    >>> part_size_for(1024 * GIB) // MIB
    105
    """
    if not 0 <= size_bound_bytes <= OBJECT_SIZE_MAX_BYTES:
        raise ValueError(f"an object of {size_bound_bytes} bytes: S3 takes 0 to {OBJECT_SIZE_MAX_BYTES}")
    needed = -(-size_bound_bytes // PART_COUNT_MAX)
    return max(PART_SIZE_DEFAULT_BYTES, -(-needed // MIB) * MIB)


def part_count(size_bytes: int, part_size_bytes: int) -> int:
    """Count the parts of an object; an empty object has one, empty, part.

    >>> part_count(0, 10), part_count(10, 10), part_count(11, 10)
    (1, 1, 2)
    """
    return max(1, -(-size_bytes // part_size_bytes))


def part_span(number: int, size_bytes: int, part_size_bytes: int) -> PartSpan:
    """Say where part `number` of an object of `size_bytes` lies.

    Raises:
        ValueError: If the object has no such part.

    >>> part_span(2, 15, 10)
    PartSpan(number=2, offset=10, length=5)
    """
    if not 1 <= number <= part_count(size_bytes, part_size_bytes):
        raise ValueError(f"part {number} of {part_count(size_bytes, part_size_bytes)}")
    offset = (number - 1) * part_size_bytes
    return PartSpan(number, offset, min(part_size_bytes, size_bytes - offset))
