"""Reading an archive that is on the disk already, to send it again from any point."""

from __future__ import annotations

import os
from pathlib import Path

from mgmt.archive.checksums import PartSums
from mgmt.errors import LocalStateError
from mgmt.layout import BLOCK_SIZE_BYTES
from mgmt.members import shown
from mgmt_contract.messages import Part
from mgmt_contract.values import Value


class ArchiveSums(Value):
    """Size and checksums of an archive as it lies on the disk."""

    size: int
    crc64nvme: str
    parts: tuple[Part, ...]


def read_archive(path: str | Path, part_size_bytes: int | None = None) -> ArchiveSums:
    """Compute the checksums of an existing archive and of its parts; one part without a part size.

    Raises:
        LocalStateError: archive-unreadable.
    """
    sums = PartSums(part_size_bytes)
    view = memoryview(bytearray(BLOCK_SIZE_BYTES))
    try:
        with Path(path).open("rb", buffering=0) as file:
            while count := file.readinto(view):
                sums.add([view[:count]])
    except OSError as error:
        raise LocalStateError(
            f"The archive '{shown(os.fspath(path))}' cannot be read: {error.strerror or error}. It was expected to be "
            "there since it was packed; run the same command again to pack it anew.",
            code="archive-unreadable",
        ) from error
    sums.close()
    return ArchiveSums(sums.size_bytes, sums.crc64nvme, tuple(sums.parts))
