"""File systems of Linux: which kind a file lies on, and of which kinds reads and writes past the cache are known."""

from __future__ import annotations

import ctypes
import os
from typing import Final

# Their numbers: Linux' include/uapi/linux/magic.h and their own sources (read in November 2026).
DIRECT: Final = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # XFS
        0xF2F52010,  # F2FS
        0x4D44,  # FAT
        0x2011BAB0,  # exFAT
    }
)
"""Those on a disk of this machine, for which O_DIRECT means what it says."""
BTRFS: Final = 0x9123683E
NTFS: Final = 0x7366746E
"""The kernel's own."""
HFS_PLUS: Final = 0x482B
UDF: Final = 0x15013346
ISO_9660: Final = 0x9660


def file_system_of(descriptor: int) -> int:
    """Return the number of the kind of file system that an open file lies on.

    Raises:
        OSError: If the system does not say.
    """
    filled = ctypes.create_string_buffer(512)  # its first field, `f_type`, is wanted; the struct is smaller
    if ctypes.CDLL(None, use_errno=True).fstatfs(descriptor, filled) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return ctypes.c_long.from_buffer(filled).value
