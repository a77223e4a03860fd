"""Checks an archive that has arrived against its record: size, CRC64NVME, and the digest of what it holds."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mgmt.archive.blocks import Readable
from mgmt.archive.rules import Rules
from mgmt.archive.summed import Summed
from mgmt.archive.unpacking import Unpacked, read_through
from mgmt.stored.recorded import has_this_format, refuse_other_content
from mgmt_contract.parts import MIB
from mgmt_contract.records import UploadRecord


def check_archive(
    archive: Readable, upload: UploadRecord, on_bytes: Callable[[int], object], stop: threading.Event
) -> None:
    """Read an archive from its beginning to its end, and compare it with its record.

    Args:
        archive: The archive.
        upload: The record of its upload.
        on_bytes: Gets the number of bytes that were read so far.
        stop: Ends the reading soon after it was set.

    Raises:
        IntegrityError: content-differs, archive-damaged or hostile-archive.
        CancelledError: If `stop` was set.
    """
    summed = Summed(archive, stop=stop, on_bytes=on_bytes)
    # Limits are for what an archive makes on a disk; this makes nothing of it.
    rules = Rules(recorded_members=upload.member_count, recorded_bytes=upload.uncompressed_size, lifts_limits=True)
    check_end(summed, upload, read_through(summed, rules=rules) if has_this_format(upload) else None)


def check_end(archive: Summed, upload: UploadRecord, found: Unpacked | None) -> None:
    """Compare an archive that was read with its record; without what it holds where that is not known.

    Raises:
        IntegrityError: content-differs.
        CancelledError: If the reading was stopped.
    """
    while archive.read(MIB):  # what lies behind the end of the gzip data counts too
        pass
    refuse_other_content(
        upload,
        size=archive.offset,
        crc64nvme=archive.crc64nvme,
        content_digest=found.content_digest if found is not None and has_this_format(upload) else None,
    )
