"""Reads an archive once, on and on, and takes its size and checksum on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mgmt.archive.blocks import Readable
from mgmt.archive.checksums import crc64nvme, written
from mgmt.errors import INTERRUPTED, CancelledError


class Summed:
    """An archive whose size and checksum are taken as it is read.

    Args:
        archive: Anything with `read`.
        offset: Where in the archive it begins.
        crc: Checksum of what lies before that.
        stop: Ends the reading soon after it was set.
        on_bytes: Gets the number of bytes from the archive's beginning to where it is read.
    """

    def __init__(
        self,
        archive: Readable,
        *,
        offset: int = 0,
        crc: int = 0,
        stop: threading.Event | None = None,
        on_bytes: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.offset = offset
        self.crc = crc
        self._archive = archive
        self._stop = stop
        self._on_bytes = on_bytes

    def read(self, most_bytes: int, /) -> bytes | memoryview:
        """Return the next bytes, none at the end.

        Raises:
            CancelledError: If `stop` was set.
        """
        if self._stop is not None and self._stop.is_set():
            raise CancelledError(INTERRUPTED)
        data = self._archive.read(most_bytes)
        self.crc = crc64nvme(data, self.crc)
        self.offset += len(data)
        self._on_bytes(self.offset)
        return data

    @property
    def crc64nvme(self) -> str:
        """Checksum of everything up to here, as S3 writes it."""
        return written(self.crc)
