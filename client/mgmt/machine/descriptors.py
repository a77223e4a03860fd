"""The limit of open files and connections of this process, and the number of transfers that it allows."""

from __future__ import annotations

import contextlib
import sys
from typing import Final

if sys.platform != "win32":
    import resource

WANTED: Final = 4096
"""More than any command needs; some systems refuse to raise the limit much higher (macOS: 10,240)."""
_KEPT_FREE: Final = 40
"""For streams, journal, log, a folder and an archive under way, and connections to the service."""
_PER_WORKER: Final = 2
"""A connection to the storage, and the archive that goes over it."""


def raise_limit() -> None:
    """Raise the limit of open files as far as the system allows and mgmt needs."""
    if sys.platform == "win32":
        return  # the C library's limit does not count what the system itself opens
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def workers_max() -> int:
    """Say how many transfers can go on at a time with the files that may be open."""
    if sys.platform == "win32":
        return WANTED
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED if soft == resource.RLIM_INFINITY else max(1, (soft - _KEPT_FREE) // _PER_WORKER)
