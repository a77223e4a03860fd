"""Writes small files that belong to their user alone: settings and sign-ins."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Final

_FOREIGN_BITS: Final = 0o077
_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.05


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read: a crash leaves the old one or the new one, whole and on the disk.

    A linked file stays a link.

    Raises:
        OSError: If it cannot be written; the old one stays.
    """
    target = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{path.name}-")  # 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _rename(Path(temporary), target)
        _sync_folder(target.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def make_private_folder(path: Path) -> None:
    """Make a folder that only its owner can enter; one that is open to others is closed to them.

    Raises:
        OSError: If it cannot be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    close_to_others(path)


def close_to_others(path: Path) -> bool:
    """Take the rights of all others away from a file or folder; tell whether they had any.

    Raises:
        OSError: If that is not allowed.
    """
    if os.name == "nt":  # a profile's folders are closed by their own lists
        return False
    mode = path.stat().st_mode
    if not mode & _FOREIGN_BITS:
        return False
    path.chmod(mode & 0o7777 & ~_FOREIGN_BITS)
    return True


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk: after a power cut the old file would come back, with tokens that are spent."""
    if os.name == "nt":  # where folders cannot be synced
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(temporary: Path, target: Path) -> None:
    if os.name == "nt":  # where nobody can take the name while another process reads the old file
        for _ in range(_TRIES):
            try:
                temporary.replace(target)
            except PermissionError:
                time.sleep(_PAUSE_SECONDS)
            else:
                return
    temporary.replace(target)
