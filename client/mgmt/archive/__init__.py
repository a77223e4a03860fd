"""Packing: one standard `.tar.gz`, with the same bytes for the same source, checksums taken on the way."""

from mgmt.archive.checksums import ArchiveSums, read_archive
from mgmt.archive.codec import PlanName, current_codec, is_fallback
from mgmt.archive.headers import is_archive_at, is_open_archive, is_ours
from mgmt.archive.packing import (
    PackedArchive,
    compute_content,
    compute_content_digest,
    pack,
    refuse_without_room,
    why_unwritable,
)
from mgmt.archive.unfinished import free_bytes, rename_without_replacing, sync_folder, unwritable

__all__ = [
    "ArchiveSums",
    "PackedArchive",
    "PlanName",
    "compute_content",
    "compute_content_digest",
    "current_codec",
    "free_bytes",
    "is_archive_at",
    "is_fallback",
    "is_open_archive",
    "is_ours",
    "pack",
    "read_archive",
    "refuse_without_room",
    "rename_without_replacing",
    "sync_folder",
    "unwritable",
    "why_unwritable",
]
