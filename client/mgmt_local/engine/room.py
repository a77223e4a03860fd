"""The room on the disk on which the embedded backend keeps what is stored, and how much of it has to stay free.

Light: a command imports it and nothing of the engine.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from mgmt_contract.values import Value

OBJECTS_FOLDER: Final = "objects"
"""In the engine's data folder: all objects, versions and parts."""
KEPT_FREE_PERCENT: Final = 1
"""Below it the engine answers 500 to every PUT. It looks once a minute, and `weed mini` has no option for it.
Source: `weed volume -minFreeSpace` of SeaweedFS 4.48, whose default is the same; seen 2026-11."""
_GB: Final = 1_000_000_000
_MB: Final = 1_000_000


class Room(Value):
    """The size of a disk, and what of it is free for this user."""

    folder: Path
    """What lies on that disk."""
    free_bytes: int
    total_bytes: int

    @property
    def kept_free_bytes(self) -> int:
        """How much has to stay free."""
        return -(-self.total_bytes * KEPT_FREE_PERCENT // 100)

    def lacks_bytes(self, size_bytes: int = 0) -> int:
        """Say how much is to be freed before so much more can be stored; 0 where there is room for it."""
        return max(0, self.kept_free_bytes + size_bytes - self.free_bytes)

    def explain_lack(self, size_bytes: int = 0) -> str:
        """Say that there is no room for so much more, and how much to free; without a full stop."""
        more = f"{_in_words(size_bytes)} are to be stored now, and it" if size_bytes else "It"
        return (
            f"The embedded backend has no room: the disk on which it keeps what is stored ({self.folder}) has "
            f"{_in_words(self.free_bytes)} free of {_in_words(self.total_bytes)}. {more} stores nothing while less "
            f"than {KEPT_FREE_PERCENT} % ({_in_words(self.kept_free_bytes)}) is free. Free at least "
            f"{_in_words(self.lacks_bytes(size_bytes), rounds_up=True)} on that disk"
        )


def read_room(data_dir: Path) -> Room:
    """Look how much room the disk has on which an engine keeps, or would keep, its objects.

    Raises:
        OSError: If the disk does not say.
    """
    folder = data_dir / OBJECTS_FOLDER
    while not folder.exists() and folder != folder.parent:  # before the first start
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return Room(data_dir, usage.free, usage.total)


def _in_words(size_bytes: int, *, rounds_up: bool = False) -> str:
    """Write a size; with `rounds_up` never a smaller one than it is.

    `mgmt.text.size_in_words` rounds to the nearest: so much freed might not be enough.
    """
    if size_bytes >= _GB:
        tenths = -(-size_bytes * 10 // _GB) if rounds_up else size_bytes * 10 // _GB
        return f"{tenths / 10:,.1f} GB"
    return f"{-(-size_bytes // _MB) if rounds_up else size_bytes / _MB:.0f} MB"
