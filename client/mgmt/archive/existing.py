"""Reading an archive that is on the disk already, to send it again from any point."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mgmt.archive.checksums import PartSums, WholeMD5
from mgmt.errors import INTERRUPTED, CancelledError, archive_unreadable
from mgmt_contract.messages import Part
from mgmt_contract.parts import MIB
from mgmt_contract.values import Value

_READ_SIZE_BYTES: Final = MIB


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
