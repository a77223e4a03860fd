"""CRC64NVME of an archive and of its parts, as S3 computes and writes it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

import anycrc  # type: ignore[import-untyped]  # it has no annotations

from mgmt_contract.messages import Part

_MODEL: Final = anycrc.Model("CRC64-NVME")


def crc64nvme(data: bytes | memoryview, before: int = 0) -> int:
    """Continue the checksum `before` over `data`."""
    return int(_MODEL.calc(data, before))


def written(crc: int) -> str:
    """Write a checksum as S3 does.

    >>> written(crc64nvme(b"123456789"))
    'rosUhgp5mIg='
    """
    return base64.b64encode(crc.to_bytes(8, "big")).decode("ascii")


class PartSums:
    """Counts bytes off into parts, and joins the parts' checksums to the whole's: each byte is read once."""

    def __init__(self, part_size_bytes: int | None, on_part: Callable[[Part], None] | None = None) -> None:
        self.size_bytes = 0
        self.parts: list[Part] = []
        self._part_size_bytes = part_size_bytes
        self._on_part = on_part
        self._whole_crc = 0
        self._part_crc = 0
        self._part_bytes = 0

    @property
    def crc64nvme(self) -> str:
        """Checksum of everything up to the last closed part."""
        return written(self._whole_crc)

    def add(self, piece: bytes | memoryview) -> None:
        """Count in the next bytes; parts that are complete with them are handed on."""
        view = memoryview(piece)
        while self._part_size_bytes and len(view) >= self._part_size_bytes - self._part_bytes:
            room = self._part_size_bytes - self._part_bytes
            self._count(view[:room])
            self._end_part()
            view = view[room:]
        self._count(view)

    def close(self) -> None:
        """Hand on what is left as the last part; nothing at all is one empty part."""
        if self._part_bytes or not self.parts:
            self._end_part()

    def _count(self, view: memoryview) -> None:
        self._part_crc = crc64nvme(view, self._part_crc)
        self._part_bytes += len(view)
        self.size_bytes += len(view)

    def _end_part(self) -> None:
        part = Part(len(self.parts) + 1, self._part_bytes, written(self._part_crc))
        self._whole_crc = int(_MODEL.combine(self._whole_crc, self._part_crc, self._part_bytes))
        self._part_crc = self._part_bytes = 0
        self.parts.append(part)
        if self._on_part is not None:
            self._on_part(part)
