"""Checks whether an archive can be written into its folder; writes nothing."""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path
from typing import Final

from mgmt.archive.packing import estimate_size
from mgmt.archive.unfinished import disk_full, free_bytes, unwritable
from mgmt.members import Packable
from mgmt_contract.parts import MIB

_READ_MAX_BYTES: Final = 256 * MIB
"""Bytes read of a source that may not fit: enough to distinguish footage, which does not shrink, from text."""
_ASK: Final = partial(os.access, effective_ids=os.access in os.supports_effective_ids)
"""Writing uses the effective user's rights, so the check does too."""


def refuse_without_room(source: Packable, archive_path: Path, *, plan: str, stop: threading.Event) -> None:
    """Raise the errors that packing would raise, as far as they can be known before.

    Where the archive may be too large for the free space, the source's beginning is packed, without writing it.

    Raises:
        LocalStateError: archive-unwritable or disk-full.
        SourceError: source-changed or source-unreadable.
        CancelledError: If `stop` was set.
    """
    folder = archive_path.parent
    if not _ASK(folder, os.W_OK | os.X_OK):
        raise unwritable(folder, "Read-only file system" if _is_read_only(folder) else "Permission denied")
    available_bytes = free_bytes(folder)
    if available_bytes is None or available_bytes >= source.upper_bound_bytes:
        return
    if estimate_size(source, plan=plan, read_max_bytes=_READ_MAX_BYTES, stop=stop) > available_bytes:
        raise disk_full(archive_path, source.upper_bound_bytes - available_bytes)


def _is_read_only(folder: Path) -> bool:
    return hasattr(os, "statvfs") and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
