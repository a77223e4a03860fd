"""Checks an archive that has arrived against its record: size, CRC64NVME, and the digest of what it holds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import BinaryIO, Final

from mgmt.archive.checksums import PartSums
from mgmt.archive.extraction import Extraction
from mgmt.archive.rules import Rules
from mgmt.archive.unpacking import Unpacked, read_through, unpack
from mgmt.errors import INTERRUPTED, CancelledError
from mgmt.stored.recorded import has_this_format, refuse_other_content
from mgmt_contract.parts import MIB
from mgmt_contract.records import UploadRecord

_RATIO_MAX: Final = 2_000
"""More than deflate reaches: nothing is written while an archive is only read."""


class Arrived:
    """An archive that is read once, to its end; size and checksum are taken on the way.

    Args:
        file: The archive.
        on_bytes: Gets the number of bytes that were read so far.
        stop: Ends the reading soon after it was set.
    """

    def __init__(self, file: BinaryIO, on_bytes: Callable[[int], object], stop: threading.Event) -> None:
        self._file = file
        self._on_bytes = on_bytes
        self._stop = stop
        self._sums = PartSums(None)

    def read(self, most_bytes: int, /) -> bytes:
        """Return the next bytes, none at the end.

        Raises:
            CancelledError: If `stop` was set.
        """
        if self._stop.is_set():
            raise CancelledError(INTERRUPTED)
        data = self._file.read(most_bytes)
        self._sums.add([data])
        self._on_bytes(self._sums.size_bytes)
        return data

    def check(self, record: UploadRecord, size: int, found: Unpacked | None) -> None:
        """Compare the whole with its record; without what it holds where that is not known.

        Raises:
            IntegrityError: content-differs.
        """
        while self.read(MIB):  # what lies behind the end of the gzip data counts too
            pass
        self._sums.close()
        refuse_other_content(
            record,
            size,
            size=self._sums.size_bytes,
            crc64nvme=self._sums.crc64nvme,
            content_digest=found.content_digest if found is not None and has_this_format(record) else None,
        )


def check_archive(arrived: Arrived, record: UploadRecord, size: int, stop: threading.Event) -> None:
    """Read an archive, and compare it with its record.

    Raises:
        IntegrityError: content-differs, archive-damaged or hostile-archive.
        CancelledError: If `stop` was set.
    """
    is_digested = has_this_format(record)
    arrived.check(record, size, read_through(arrived, rules=_rules_of(record), stop=stop) if is_digested else None)


def extract_archive(arrived: Arrived, record: UploadRecord, size: int, extraction: Extraction) -> None:
    """Extract an archive, and compare it with its record; nothing is published.

    Raises:
        IntegrityError: content-differs, archive-damaged or hostile-archive.
        LocalStateError: If this system or its disk cannot have a member.
        CancelledError: If the extraction was stopped.
    """
    arrived.check(record, size, unpack(arrived, extraction))


def _rules_of(record: UploadRecord) -> Rules:
    return Rules(recorded_members=record.member_count, recorded_bytes=record.uncompressed_size, ratio_max=_RATIO_MAX)
