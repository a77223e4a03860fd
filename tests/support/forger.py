"""Makes bytes with a given CRC64, as a thief of a URL would."""

from __future__ import annotations

import base64
from typing import Final

from support.fakes import crc64nvme

_FREE_BYTES: Final = 8
_BITS: Final = 8 * _FREE_BYTES


def forge(body: bytes, checksum: str) -> bytes:
    """Change the last eight bytes of a body so that it gets a checksum.

    The checksum is linear over GF(2): flipping a bit of the body flips the same bits of the checksum, whatever else is
    in it. So the bits to flip are the solution of 64 linear equations.
    """
    now = _number(crc64nvme(body))
    rows: list[tuple[int, int]] = []
    for bit in range(_BITS):
        effect, flips = _number(crc64nvme(_flip(body, 1 << bit))) ^ now, 1 << bit
        for row_effect, row_flips in rows:
            if effect ^ row_effect < effect:
                effect, flips = effect ^ row_effect, flips ^ row_flips
        rows.append((effect, flips))
        rows.sort(reverse=True)
    wanted, solution = _number(checksum) ^ now, 0
    for row_effect, row_flips in rows:
        if wanted ^ row_effect < wanted:
            wanted, solution = wanted ^ row_effect, solution ^ row_flips
    assert wanted == 0
    return _flip(body, solution)


def _number(checksum: str) -> int:
    return int.from_bytes(base64.b64decode(checksum), "big")


def _flip(body: bytes, bits: int) -> bytes:
    end = int.from_bytes(body[-_FREE_BYTES:], "big") ^ bits
    return body[:-_FREE_BYTES] + end.to_bytes(_FREE_BYTES, "big")
