"""What `all` means: every entry of a folder but system files, mgmt's own archives and what is excluded."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from mgmt.archive import is_ours
from mgmt.events import Emit, Notice
from mgmt.layout import is_temporary_name
from mgmt.source import is_system_name, own_data_at
from mgmt.source.rules import Excludes, special_kind
from mgmt_contract.names import ARCHIVE_SUFFIX


def everything_in(
    folder: Path, known_archives: Collection[str], emit: Emit, excludes: Sequence[str] = ()
) -> Iterator[str]:
    """Name every entry to upload, sorted; what a person might miss is said.

    Args:
        folder: Where to look, not below.
        known_archives: Paths of archives that the journal knows as ours.
        emit: Told of sockets, pipes and devices, and of what mgmt has made or keeps for itself.
        excludes: Globs of entries to leave out.
    """
    for name in sorted(os.listdir(folder), key=os.fsencode):  # noqa: PTH208  names are what is wanted
        if is_excluded(name, excludes):
            continue
        reason = _reason_to_skip(folder / name, known_archives)
        if reason is None:
            yield name
        elif reason:
            emit(Notice(f"{name} is skipped: {reason}.", "skipped"))


def is_excluded(target: str, excludes: Sequence[str]) -> bool:
    """Tell whether a target itself is what is to be left out."""
    name = os.fsencode(Path(target).name)
    return Excludes(excludes).leave_out(name, name + b"/" + name)


def _reason_to_skip(path: Path, known_archives: Collection[str]) -> str | None:
    """Say why an entry is left out; empty where nobody would expect it to be uploaded."""
    if is_system_name(path.name) or is_temporary_name(path.name) or os.fspath(path) in known_archives:
        return ""
    if path.name.endswith(ARCHIVE_SUFFIX) and is_ours(path):
        return "an archive that mgmt has made (name it to upload it anyway)"
    try:
        status = path.stat()
        return own_data_at(os.fspath(path)) if stat.S_ISDIR(status.st_mode) else special_kind(status)
    except OSError:
        return None  # a dangling link or an unreadable entry fails by name, not in silence
