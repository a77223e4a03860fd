"""Looking at a source: whether it exists and can be read, its members, and the largest size of its archive."""

from mgmt.source.rules import SYSTEM_FILE, Excludes, is_system_name, own_data_at
from mgmt.source.target import Source, count_bytes, file_size, look, place_of, real_folder
from mgmt.source.walk import Skipped

__all__ = [
    "SYSTEM_FILE",
    "Excludes",
    "Skipped",
    "Source",
    "count_bytes",
    "file_size",
    "is_system_name",
    "look",
    "own_data_at",
    "place_of",
    "real_folder",
]
