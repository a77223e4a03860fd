"""Making a tree of many files durable, with as few waits for the disk as the system lets us."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from mgmt.machine.files import sync


class TreeSync:
    """Makes a tree of many files durable: at once, where the system can sync one whole disk, else file by file.

    Args:
        folder: Lies on that disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sync_disk = _find_syncfs()

    def sync_file(self, descriptor: int) -> None:
        """Make a file durable, now or when the tree is finished.

        Raises:
            OSError: What the disk met with.
        """
        if self._sync_disk is None:
            os.fsync(descriptor)

    @property
    def syncs_disk(self) -> bool:
        """Whether `finish` makes everything durable: files too that are still open."""
        return self._sync_disk is not None

    def finish(self) -> None:
        """Make all of the tree durable, on return.

        Raises:
            OSError: What the disk met with.
        """
        if self._sync_disk is not None or sys.platform == "darwin":  # where each file was handed to the disk, no more
            descriptor = os.open(self._folder, os.O_RDONLY)
            try:
                (self._sync_disk or sync)(descriptor)
            finally:
                os.close(descriptor)


def _find_syncfs() -> Callable[[int], None] | None:
    """Return Linux' syncfs: one call for 20,000 files, of which each fsync would wait for the disk alone."""
    if sys.platform != "linux":
        return None
    import ctypes  # only here, and it takes a while to load

    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return None

    def sync_disk(descriptor: int) -> None:
        if syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return sync_disk
