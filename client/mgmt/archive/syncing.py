"""Syncing while writing: the disk works at the same time as the packing, and not all at the end."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from mgmt_contract.parts import MIB

EARLY_SYNC_BYTES: Final = 64 * MIB
"""Written bytes that are worth a sync of their own."""
LEAD_MAX_BYTES: Final = 256 * MIB
"""Bytes that writing may be ahead of a slow disk: stopping a run waits no longer than the disk takes for them."""


class EarlySync:
    """Makes a growing file durable step by step, in a thread of its own that only large files start.

    An error of a sync is raised by the next call: the system reports a failed write only once.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._thread = ThreadPoolExecutor(1, "mgmt-sync")
        self._under_way: Future[None] | None = None
        self._lead_bytes = 0

    def note_written(self, size_bytes: int) -> None:
        """Count bytes in, and have them synced when there are enough; waits for a disk that is far behind.

        Raises:
            OSError: What an earlier sync met with.
        """
        self._lead_bytes += size_bytes
        if self._lead_bytes < EARLY_SYNC_BYTES:
            return
        if self._under_way is not None:
            if self._lead_bytes < LEAD_MAX_BYTES and not self._under_way.done():
                return
            self._under_way.result()
        self._under_way = self._thread.submit(os.fsync, self._descriptor)
        self._lead_bytes = 0

    def finish(self) -> None:
        """Sync the whole.

        Raises:
            OSError: What this or an earlier sync met with.
        """
        if self._under_way is not None:
            self._under_way.result()
        os.fsync(self._descriptor)

    def stop(self) -> None:
        """Wait for the sync under way: until then the descriptor must stay open."""
        self._thread.shutdown()
