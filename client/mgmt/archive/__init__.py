"""Packing: one standard `.tar.gz`, with the same bytes for the same source, checksums taken on the way."""

from mgmt.archive.codec import PlanName, current_codec
from mgmt.archive.envelope import is_ours
from mgmt.archive.existing import ArchiveSums, read_archive
from mgmt.archive.packing import PackedArchive, pack

__all__ = ["ArchiveSums", "PackedArchive", "PlanName", "current_codec", "is_ours", "pack", "read_archive"]
