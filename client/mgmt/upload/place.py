"""Where an archive is made: in the folder that was named, beside its source, or in the user's cache folder.

Beside the source is the rule. A write-protected or a full card takes no archive: then the cache folder does, if it has
room for the largest that the archive may become. Each archive has a folder of its own there, so that two cards called
DCIM have one each. Nothing is written here: a dry run chooses as the real one does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from mgmt.archive import free_bytes, unwritable, why_unwritable
from mgmt.journal import Entry, Journal
from mgmt.layout import archive_file_name
from mgmt.machine.files import remove_empty_folder
from mgmt.source import Source, real_folder
from mgmt.text import shown, size_in_words
from mgmt.upload.ours import cache_folder_name, is_known_archive, unfinished_path
from mgmt_contract.messages import Packing
from mgmt_contract.values import Value
from mgmt_contract.wire import to_json


class Place(Value):
    """Where an archive is made."""

    path: Path
    """The archive's own."""
    why_cached: str | None = None
    """Why it is made in the cache folder, in a sentence; None where it is not."""


def choose_place(
    source: Source, cache: Path | None, packing: Packing, journal: Journal, find_newest: Callable[[], Entry | None]
) -> Place:
    """Choose where the archive of a source is made if no folder was named for it.

    What lies whole in one of the two places, made of this very content, is gone on with there. Where neither has room,
    it is beside the source: the error then says what is wrong there.

    Args:
        source: What is to be packed.
        cache: The user's folder for archives that find no place beside their sources; None without one.
        packing: How it is to be packed.
        journal: Knows what earlier runs have left; the next one removes or uses that.
        find_newest: Returns the newest unfinished upload of this source to the same destination.
    """
    beside = Place(source.path.parent / archive_file_name(source.name))
    if cache is None or _is_inside(cache, source):
        return beside
    cached = _path_in(cache, source, packing)
    if journal.find_archive(cached) is not None:
        return Place(cached, f"The archive that an earlier run made of {_named(source)} is used: {_shown(cached)}.")
    why = _why_not_beside(source, beside.path, packing, journal)
    if why is None or not _has_room(cached, source, journal, find_newest()):
        return beside
    return Place(cached, f"{why} in {_shown(cache)}.")


def make_cache_folder(archive_path: Path) -> None:
    """Make the folder of an archive in the cache folder, and those above it; for the user alone.

    Raises:
        LocalStateError: If it cannot be made.
    """
    try:
        archive_path.parents[1].mkdir(mode=0o700, parents=True, exist_ok=True)
        archive_path.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise unwritable(archive_path.parents[1], error.strerror or str(error)) from error


def remove_cache_folder(archive_path: Path) -> None:
    """Remove the folder of an archive in the cache folder if nothing is in it any more; its place must be held."""
    remove_empty_folder(archive_path.parent)


def _path_in(cache: Path, source: Source, packing: Packing) -> Path:
    name = archive_file_name(source.name)
    return cache / cache_folder_name(os.fspath(source.path), source.fingerprint, to_json(packing), name) / name


def _is_inside(cache: Path, source: Source) -> bool:
    """Tell whether the cache folder would be packed as well, as with somebody's whole home."""
    return source.is_directory and cache.is_relative_to(real_folder(source.path))


def _why_not_beside(source: Source, path: Path, packing: Packing, journal: Journal) -> str | None:
    known = journal.find_archive(path)
    if known is not None and (known.fingerprint, known.plan) == (source.fingerprint, to_json(packing)):
        return None
    why = why_unwritable(path.parent)
    if why is not None:
        folder = _shown(path.parent)
        return f"{folder} cannot be written to ({why}): the archives of what lies in it are made"
    free = free_bytes(path.parent)
    if free is None or free + _left_bytes([path], journal) >= source.upper_bound_bytes:
        return None
    needed, there = size_in_words(source.upper_bound_bytes), size_in_words(free)
    return f"The archive of {_named(source)} may need {needed}, but only {there} are free beside it: it is made"


def _has_room(cached: Path, source: Source, journal: Journal, newest: Entry | None) -> bool:
    """Tell whether the cache folder, made or not, takes the largest that the archive may become."""
    folder = next(each for each in cached.parents if each.is_dir())
    if why_unwritable(folder) is not None:
        return False
    free = free_bytes(folder)
    earlier = Path(newest.archive_path) if newest is not None and newest.ended_as is None else cached
    # What an earlier run of another content left in the cache folder is removed before this one is packed.
    places = {cached, earlier} if earlier.is_relative_to(cached.parents[1]) else {cached}
    return free is None or free + _left_bytes(places, journal) >= source.upper_bound_bytes


def _left_bytes(paths: Iterable[Path], journal: Journal) -> int:
    """Count what earlier runs have left at the places of archives: it makes room when they are gone on with."""
    left = []
    for path in paths:
        left += [unfinished_path(path, entry.operation_id) for entry in journal.begun_at(path)]
        left += [path] if is_known_archive(os.fspath(path), journal) else []
    return sum(map(_size_bytes, left))


def _size_bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _named(source: Source) -> str:
    return shown(source.file_record.path)


def _shown(path: Path) -> str:
    return shown(os.fspath(path))
