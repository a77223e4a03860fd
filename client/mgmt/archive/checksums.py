"""CRC64NVME of an archive and of its parts, as S3 computes and writes it: while it is written, or from the disk."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import anycrc  # type: ignore[import-untyped]  # it has no annotations

from mgmt.errors import INTERRUPTED, CancelledError, archive_unreadable
from mgmt_contract.messages import Part
from mgmt_contract.parts import MIB, SINGLE_PUT_MAX_BYTES
from mgmt_contract.values import Value

_READ_SIZE_BYTES: Final = MIB
_MODEL: Final = anycrc.Model("CRC64-NVME")
_continue: Final[Callable[[bytes | memoryview, int], int]] = _MODEL.calc


def crc64nvme(data: bytes | memoryview, before: int = 0) -> int:
    """Continue the checksum `before` over `data`."""
    return _continue(data, before)


def written(crc: int) -> str:
    """Write a checksum as S3 does.

    >>> written(crc64nvme(b"123456789"))
    'rosUhgp5mIg='
    """
    return base64.b64encode(crc.to_bytes(8, "big")).decode("ascii")


class WholeMD5:
    """MD5 of an archive that one PUT can carry, as HTTP writes it; larger archives get none, at no cost."""

    def __init__(self, size_bound_bytes: int) -> None:
        is_wanted = size_bound_bytes <= SINGLE_PUT_MAX_BYTES
        self._hash = hashlib.md5(usedforsecurity=False) if is_wanted else None

    def add(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Count in the next bytes."""
        if self._hash is not None:
            for piece in pieces:
                self._hash.update(piece)

    def text(self) -> str | None:
        """Return the MD5 of everything that was added."""
        return None if self._hash is None else base64.b64encode(self._hash.digest()).decode("ascii")


class PartSums:
    """Counts bytes off into parts, and joins the parts' checksums to the whole's: each byte is read once."""

    def __init__(self, part_size_bytes: int | None, on_part: Callable[[Part], None] | None = None) -> None:
        self.parts: list[Part] = []
        self._part_size_bytes = part_size_bytes
        self._on_part = on_part
        self._ended_bytes = 0
        self._whole_crc = 0
        self._part_crc = 0
        self._part_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Bytes counted in so far."""
        return self._ended_bytes + self._part_bytes

    @property
    def crc64nvme(self) -> str:
        """Checksum of everything up to the last closed part."""
        return written(self._whole_crc)

    def add(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Count in the next bytes; parts that are complete with them are handed on."""
        for piece in pieces:
            if self._part_size_bytes and self._part_bytes + len(piece) >= self._part_size_bytes:
                self._add_across(memoryview(piece), self._part_size_bytes)
            else:
                self._count(piece)

    def close(self) -> None:
        """Hand on what is left as the last part; an empty archive is one empty part."""
        if self._part_bytes or not self.parts:
            self._end_part()

    def _add_across(self, view: memoryview, part_size_bytes: int) -> None:
        while self._part_bytes + len(view) >= part_size_bytes:
            room_bytes = part_size_bytes - self._part_bytes
            self._count(view[:room_bytes])
            self._end_part()
            view = view[room_bytes:]
        self._count(view)

    def _count(self, piece: bytes | memoryview) -> None:
        # Some thirty times per MiB of stored data: only the checksum may cost time here.
        self._part_crc = _continue(piece, self._part_crc)
        self._part_bytes += len(piece)

    def _end_part(self) -> None:
        part = Part(len(self.parts) + 1, self._part_bytes, written(self._part_crc))
        self._whole_crc = int(_MODEL.combine(self._whole_crc, self._part_crc, self._part_bytes))
        self._ended_bytes += self._part_bytes
        self._part_crc = self._part_bytes = 0
        self.parts.append(part)
        if self._on_part is not None:
            self._on_part(part)


class ArchiveSums(Value):
    """Size and checksums of an archive on the disk."""

    size: int
    crc64nvme: str
    parts: tuple[Part, ...]
    content_md5: str | None = None
    """Only of an archive that one PUT can carry."""


def read_archive(
    path: str | Path,
    part_size_bytes: int | None = None,
    *,
    on_part: Callable[[Part], None] | None = None,
    stop: threading.Event | None = None,
) -> ArchiveSums:
    """Compute the checksums of an existing archive and of its parts; one part without a part size.

    Args:
        path: The archive's.
        part_size_bytes: Size of every part but the last.
        on_part: Gets each part as soon as it was read.
        stop: Ends the reading soon after it was set.

    Raises:
        LocalStateError: archive-unreadable.
        CancelledError: If `stop` was set.
    """
    sums = PartSums(part_size_bytes, on_part)
    view = memoryview(bytearray(_READ_SIZE_BYTES))
    try:
        with Path(path).open("rb", buffering=0) as file:
            md5 = WholeMD5(os.fstat(file.fileno()).st_size)
            while count := file.readinto(view):
                if stop is not None and stop.is_set():
                    raise CancelledError(INTERRUPTED)
                sums.add([view[:count]])
                md5.add([view[:count]])
    except OSError as error:
        raise archive_unreadable(os.fspath(path), error.strerror or str(error)) from error
    sums.close()
    return ArchiveSums(sums.size_bytes, sums.crc64nvme, tuple(sums.parts), md5.text())
