"""Which files on the disk are ours, and where archives are made.

The one policy: a file is ours if the journal said so before the file got its name. An upload is written down before
its archive is packed, with an id that is part of the unfinished archive's name and of every placeholder, and with the
modification time that the archive will be given. When the archive is whole, its size and time are written down too.
Every other file is the user's: it is never removed, replaced, or taken for an archive to go on with.

An archive is made in the folder that was named, beside its source, or in the user's cache folder. Beside the source is
the rule. A write-protected or a full card takes no archive: then the cache folder does, if it has room for the largest
that the archive may become. Each archive has a folder of its own there, so that two cards called DCIM have one each.
Nothing is written to choose: a dry run chooses as the real one does.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from mgmt.archive import free_bytes, is_archive_at, is_open_archive, unwritable, why_unwritable
from mgmt.errors import LocalStateError, MgmtError, RefusedError
from mgmt.journal import Entry, Journal
from mgmt.layout import archive_file_name, placeholder, temporary_name
from mgmt.machine.files import is_same_file, open_regular, remove_empty_folder, remove_file
from mgmt.source import Source, look, real_folder
from mgmt.text import shown, size_in_words
from mgmt_contract.messages.uploads import Packing
from mgmt_contract.values import Value
from mgmt_contract.wire import to_json

_CACHE_FOLDER_HEX_DIGITS: Final = 16
_IsOurs = Callable[[int], bool]
"""Takes the descriptor of a file that was found where ours may be."""


def unfinished_path(archive_path: Path, operation_id: str) -> Path:
    """Say where an operation's archive lies while it is being packed."""
    return archive_path.with_name(temporary_name(archive_path.name, unfinished_token(operation_id)))


def unfinished_token(operation_id: str) -> str:
    """Take the random end of an operation's id to tell its unfinished archive from others."""
    return operation_id[-8:]


def placeholder_of(operation_id: str) -> bytes:
    """Make what a file of an operation holds that only takes a name, where the disk knows no other way."""
    return placeholder(unfinished_token(operation_id))


def cache_folder_name(source_path: str, fingerprint: str, plan: str, archive_name: str) -> str:
    """Name the folder, within the user's cache folder, that only the archive of this very content is made in."""
    what = b"\0".join(map(os.fsencode, (source_path, fingerprint, plan, archive_name)))
    return hashlib.sha256(what).hexdigest()[:_CACHE_FOLDER_HEX_DIGITS]


def promises_at(path: Path, journal: Journal) -> list[Entry]:
    """Return the uploads whose archives were promised here, and not written down as whole."""
    return [entry for entry in journal.begun_at(path) if entry.archive_size is None]


def is_promised(path: Path, journal: Journal) -> bool:
    """Tell whether an archive was promised here and is here, but was not written down as whole.

    A crashed run left it, or a running one has just given it its name.
    """
    return any(map(has_its_archive, promises_at(path, journal)))


def archives_in(folder: Path, journal: Journal) -> set[str]:
    """Return the paths of all archives of ours in a folder."""
    return {entry.archive_path for entry in journal.entries_in(folder) if has_its_archive(entry)}


def is_known_archive(path: str, journal: Journal) -> bool:
    """Tell whether a file is an archive of ours, whole or promised."""
    return any(map(has_its_archive, journal.entries_at(path)))


def remove_unfinished(archive_path: Path, operation_id: str) -> None:
    """Remove an operation's unfinished archive: no other file ever has its name.

    Raises:
        LocalStateError: If it cannot be removed.
    """
    _remove(unfinished_path(archive_path, operation_id), lambda _: True)


def remove_archive(path: Path, entries: Sequence[Entry]) -> bool:
    """Remove the archive of one of these uploads; tell whether nothing lies in its place any more.

    Raises:
        LocalStateError: If it cannot be removed.
    """
    return _remove(path, partial(_is_archive_of, entries))


def remove_elsewhere(entry: Entry, name: str, journal: Journal) -> list[str]:
    """Remove what an upload left in another folder for archives; say, in sentences, what cannot be removed.

    Where another process holds that place, all stays: it may be packing there. What cannot be removed is no reason to
    stop: its place is not needed. `name` is the source's.
    """
    path = Path(entry.archive_path)
    with suppress(RefusedError), journal.hold(entry.archive_path, name):
        is_whole = journal.find_archive(path) == entry
        told = remove_all(path, entry.operation_id, [entry] if is_whole else promises_at(path, journal))
        if path.parent.name == cache_folder_name(entry.source_path, entry.fingerprint, entry.plan, path.name):
            remove_empty_folder(path.parent)
        return told
    return []


def remove_interrupted(archive_path: Path, operation_id: str, journal: Journal) -> bool:
    """Remove what a packing that was stopped has left; tell if nothing is left. The place must be held."""
    promises = promises_at(archive_path, journal) if is_promised(archive_path, journal) else []
    return not remove_all(archive_path, operation_id, promises)


def clear_move(source: Source, place: Path, mark: bytes) -> None:
    """Free the place to which a crashed run was moving this very source. The source's archive must be held.

    Raises:
        LocalStateError: If it cannot be freed.
    """
    try:
        if is_left_by_move(source, place, mark):
            remove_file(place, partial(_is_left_by_move, source, place, mark))
    except OSError as error:
        raise LocalStateError(
            f"An earlier run was about to move '{shown(os.fspath(source.path))}' to '{shown(os.fspath(place))}', "
            f"and what it may have left there cannot be removed: {error.strerror or error}. Fix that folder's "
            "permissions, then run the same command again.",
            code="left-over",
        ) from error


def is_left_by_move(source: Source, place: Path, mark: bytes) -> bool:
    """Tell whether the place to which a source was to be moved has only a second name of it, or a placeholder.

    The source must still be in its old place, and no link; `mark` is what a placeholder holds.

    Raises:
        OSError: If it cannot be looked at.
    """
    try:
        with open_regular(place) as descriptor:
            return descriptor is not None and _is_left_by_move(source, place, mark, descriptor)
    except (FileNotFoundError, NotADirectoryError):
        return False


def has_moved(entry: Entry) -> bool:
    """Tell whether an upload's original, promised to be moved, is in its new place and not in its old one.

    What lies there otherwise, such as a file put there since, is not what was uploaded.
    """
    place = Path(entry.completed_path or "")
    # pathlib's own tests raise where a disk fails
    if os.path.lexists(entry.source_path) or os.path.islink(place) or not os.path.exists(place):  # noqa: PTH110, PTH114
        return False
    name = entry.destination.rpartition("/")[2]
    try:
        return look(place, name=name, excludes=entry.excludes).fingerprint == entry.fingerprint
    except MgmtError:
        return False


def has_its_archive(entry: Entry) -> bool:
    """Tell whether what lies at an upload's place is its archive."""
    if entry.archive_size is not None:  # size and time are enough where it may not be read
        return is_archive_at(entry.archive_path, entry.archive_size, entry.archive_mtime_ns)
    try:
        with open_regular(entry.archive_path) as descriptor:
            return descriptor is not None and _is_archive_of([entry], descriptor)
    except OSError:
        return False


def _is_archive_of(entries: Iterable[Entry], descriptor: int) -> bool:
    """Tell whether an open file is the archive of one of these uploads, or a placeholder for it."""
    return any(
        is_open_archive(descriptor, entry.archive_size, entry.archive_mtime_ns)
        or (entry.archive_size is None and _holds(descriptor, placeholder_of(entry.operation_id)))
        for entry in entries
    )


def _holds(descriptor: int, content: bytes) -> bool:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, len(content) + 1) == content


def _is_left_by_move(source: Source, place: Path, mark: bytes, descriptor: int) -> bool:
    if source.is_directory:
        return False
    if is_same_file(descriptor, source.path):
        return not _is_same_name(source.path, place)
    return _holds(descriptor, mark)


def _is_same_name(path: Path, other: Path) -> bool:
    """Tell whether two paths lead to one name, such as over a folder that has become a link to the other's."""
    return path.stat().st_nlink == 1 or (path.name == other.name and path.parent.samefile(other.parent))


def remove_all(archive_path: Path, operation_id: str, entries: Sequence[Entry]) -> list[str]:
    """Remove an operation's unfinished archive and the archive itself; say what cannot be removed."""
    removals: list[tuple[Path, _IsOurs]] = [(unfinished_path(archive_path, operation_id), lambda _: True)]
    removals += [(archive_path, partial(_is_archive_of, entries))] if entries else []
    told = []
    for path, is_ours in removals:
        try:
            remove_file(path, is_ours)
        except OSError as error:
            told.append(
                f"{path}, left by an earlier run, is no longer needed but could not be deleted "
                f"({error.strerror or error}). Delete it by hand."
            )
    return told


def _remove(path: str | Path, is_ours: _IsOurs) -> bool:
    try:
        return remove_file(path, is_ours)
    except OSError as error:
        raise LocalStateError(
            f"{path}, left by an earlier run, cannot be deleted: {error.strerror or error}. Make the folder "
            "writable, or use --archive-dir DIR.",
            code="left-over",
        ) from error


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
    folder = next(each for each in cached.parents if os.path.isdir(each))  # noqa: PTH112  is_dir raises where a disk fails
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
