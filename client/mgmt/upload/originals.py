"""The folder of completed originals: whether a source can be moved there, and the move itself.

Only ever a rename. Copying to another disk would make a second original that nobody has proven, and remove
the first. Everything that can be known is checked before anything is packed.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from mgmt.archive import rename_without_replacing, sync_folder
from mgmt.errors import LocalStateError, MgmtError, SourceError, source_changed
from mgmt.machine.removal import is_same_file, open_regular, remove_file
from mgmt.source import Source
from mgmt.text import shown

_ASKS_EFFECTIVE_IDS: Final = os.access in os.supports_effective_ids


def find_place(source: Source, folder: Path, left_over: Path | None = None) -> Path | None:
    """Say where a source goes after success; None for a symlink, which stays.

    Args:
        source: What is to be uploaded.
        folder: Absolute; made when the first original is moved.
        left_over: A place that is taken only until a real run clears it.

    Raises:
        SourceError: If this source cannot be moved there.
        LocalStateError: If the folder cannot be used by any.
    """
    if source.path.is_symlink():
        return None
    _refuse_overlap(source, folder)
    _refuse_unusable(source, folder)
    place = folder / source.path.name
    if os.path.lexists(place) and place != left_over:
        raise _taken(place)
    return place


def clear_left_over(source: Source, place: Path, placeholder: bytes) -> None:
    """Free the place that a killed run had promised to move this very source to.

    It may have left a second name of the file, or a placeholder. Only for who keeps other processes away from the
    source's archive: one that is alive might be in the middle of that very move.

    Raises:
        LocalStateError: If it cannot be freed.
    """
    try:
        if is_left_over(source, place, placeholder):
            remove_file(place, lambda descriptor: _is_left_over(descriptor, source, place, placeholder))
    except OSError as error:
        raise LocalStateError(
            f"An earlier run was about to move '{shown(os.fspath(source.path))}' to '{shown(os.fspath(place))}', "
            f"and what it may have left there cannot be removed: {error.strerror or error}. Fix that folder's "
            "permissions, then run the same command again.",
            code="left-over",
        ) from error


def is_left_over(source: Source, place: Path, placeholder: bytes) -> bool:
    """Tell whether a place, promised to this very source, holds only what a killed run has left there.

    Raises:
        OSError: If it cannot be looked at.
    """
    try:
        with open_regular(place) as descriptor:
            return descriptor is not None and _is_left_over(descriptor, source, place, placeholder)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_left_over(descriptor: int, source: Source, place: Path, placeholder: bytes) -> bool:
    """Tell so of what was opened there: the original itself must lie in its own place, and that be no link."""
    if source.is_directory:
        return False
    if is_same_file(descriptor, source.path):
        return not _is_same_name(source.path, place)
    return os.read(descriptor, len(placeholder) + 1) == placeholder


def _is_same_name(path: Path, other: Path) -> bool:
    """Tell whether two paths lead to one name, as over a folder that has become a link to the other's since."""
    return path.stat().st_nlink == 1 or (path.name == other.name and path.parent.samefile(other.parent))


def move_original(source: Source, place: Path, placeholder: bytes) -> None:
    """Move a source to its place; nothing is ever replaced.

    Args:
        source: Compared with what is stored just now.
        place: Where `find_place` said.
        placeholder: What holds the place for a moment, on disks that know no other way.

    Raises:
        SourceError: If it stays, with the reason.
    """
    if source.path.is_symlink():
        raise source_changed(os.fspath(source.path))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _rename(source, place, placeholder)
    except FileExistsError as error:
        raise _taken(place) from error
    except OSError as error:
        raise SourceError(
            f"'{shown(os.fspath(source.path))}' cannot be moved to '{shown(os.fspath(place))}': "
            f"{error.strerror or error}. Move it by hand.",
            code="not-moved",
        ) from error
    with contextlib.suppress(OSError):  # it has moved: a power cut may at worst take that back
        sync_folder(place.parent)
        sync_folder(source.path.parent)


def _rename(source: Source, place: Path, placeholder: bytes) -> None:
    if not source.is_directory:
        rename_without_replacing(source.path, place, placeholder)
        return
    # No system offers everywhere what a second name is for a file. Looking first is enough for a folder: should
    # something come to lie there in between, renaming fails by itself, unless that is an empty folder.
    if os.path.lexists(place):
        raise FileExistsError
    source.path.rename(place)


def _refuse_overlap(source: Source, folder: Path) -> None:
    root, goal = Path(os.path.realpath(source.path)), Path(os.path.realpath(folder))
    if goal == root.parent:
        raise SourceError(
            f"'{shown(os.fspath(source.path))}' lies in the folder for completed originals already. Upload it "
            "without --move-completed, or name another folder with --completed-dir DIR.",
            code="completed-already",
        )
    if source.is_directory and goal.is_relative_to(root):
        raise SourceError(
            f"The folder for completed originals, '{shown(os.fspath(folder))}', lies in "
            f"'{shown(os.fspath(source.path))}', which was to be moved there. Name a folder outside with "
            "--completed-dir DIR.",
            code="completed-inside-source",
        )


def _refuse_unusable(source: Source, folder: Path) -> None:
    there = _nearest_existing(folder)
    is_folder = os.path.isdir(there)  # noqa: PTH112  False also where a link leads to what may not be looked at
    if not is_folder or not _is_writable(there):
        why = "may not be written to" if is_folder else "is no folder"
        raise LocalStateError(
            f"The folder for completed originals, '{shown(os.fspath(folder))}', cannot be used: "
            f"'{shown(os.fspath(there))}' {why}. Fix that, or name another one with --completed-dir DIR.",
            code="completed-unusable",
        )
    try:
        is_same_disk = there.stat().st_dev == source.path.stat().st_dev
    except OSError as error:
        raise source_changed(os.fspath(source.path)) from error
    if not is_same_disk:
        raise SourceError(
            f"'{shown(os.fspath(folder))}' lies on another disk than '{shown(os.fspath(source.path))}'. Originals "
            "are only renamed, never copied: name a folder on the same disk with --completed-dir DIR.",
            code="completed-elsewhere",
        )
    if not _is_writable(source.path.parent) or (source.is_directory and not _is_writable(source.path)):
        raise SourceError(
            f"'{shown(os.fspath(source.path))}' may not be moved: it or its folder is read-only for you. Fix "
            "that, or upload it without --move-completed.",
            code="source-unmovable",
        )


def _nearest_existing(path: Path) -> Path:
    while not os.path.lexists(path):
        path = path.parent
    return path


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=_ASKS_EFFECTIVE_IDS)


def _taken(place: Path) -> MgmtError:
    return SourceError(
        f"'{shown(os.fspath(place))}' exists already, and mgmt never overwrites a file. Rename one of them, or "
        "name another folder with --completed-dir DIR.",
        code="completed-exists",
    )
