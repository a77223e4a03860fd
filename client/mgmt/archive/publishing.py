"""Gives an extracted tree its final name, and clears what an earlier run has left in its place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mgmt.archive.merging import merge, on_other_disk, refuse_changed_since, refuse_other_kind
from mgmt.archive.rules import Rules
from mgmt.archive.unfinished import free_bytes, rename_without_replacing, sync_folder
from mgmt.errors import LocalStateError, TargetExistsError
from mgmt.machine.files import insist, remove_file, remove_same
from mgmt.machine.filling import remove_tree
from mgmt.machine.folders import files_below
from mgmt.text import shown, size_in_words


def prepare(place: Path, part: bytes, placeholder: bytes, rules: Rules) -> None:
    """Look at the place before anything is made, and clear what a killed run has left.

    Raises:
        LocalStateError: disk-full.
        TargetExistsError: If something is there.
        OSError: What the disk met with.
    """
    _recover(place, place.with_name(os.fsdecode(part)), placeholder)
    if os.path.lexists(place):
        if not (rules.replaces or (rules.merges and place.is_dir())):
            raise _taken(place)
        if rules.makes_folder is not None:
            _refuse_other_kind(place, is_folder=rules.makes_folder)
        refuse_changed_since(place, place.lstat(), rules.replaces_before_ns)
    if not rules.resumes:
        remove_tree(place.parent, part)
    free = free_bytes(place.parent)
    missing_bytes = (rules.recorded_bytes or 0) - _there_bytes(place.parent, part, rules) - (free or 0)
    if free is not None and missing_bytes > 0:
        raise LocalStateError(
            f"There is too little room for '{shown(os.fspath(place))}': {size_in_words(missing_bytes)} are missing. "
            "Free that much, or choose a folder on another disk.",
            code="disk-full",
        )


def publish(place: Path, part: bytes, placeholder: bytes, rules: Rules) -> None:
    """Give a tree (or a single file) its name; its content must be durable.

    Raises:
        TargetExistsError: If something is there.
        OSError: What the disk met with.
    """
    source = place.with_name(os.fsdecode(part))
    is_folder = stat.S_ISDIR(source.lstat().st_mode)
    if (rules.replaces or rules.merges) and os.path.lexists(place):
        _refuse_other_kind(place, is_folder=is_folder)
        is_merged = stat.S_ISDIR(place.lstat().st_mode)
        if not (is_merged or rules.replaces):
            raise _taken(place)
        if is_merged:
            name, before_ns = os.fsencode(place.name), rules.replaces_before_ns
            merge(place.parent, part, name, replaces=rules.replaces, replaces_before_ns=before_ns)
        else:
            refuse_changed_since(place, place.lstat(), rules.replaces_before_ns)
            insist(lambda: source.replace(place))
    else:
        try:
            rename_without_replacing(source, place, placeholder)
        except FileExistsError as error:
            raise _taken(place) from error
    sync_folder(place.parent)


def _refuse_other_kind(place: Path, *, is_folder: bool) -> None:
    """Refuse a folder where a file is to come, or the other way round, and one that nothing can be moved into."""
    status = place.lstat()
    if stat.S_ISDIR(status.st_mode) != is_folder:
        raise refuse_other_kind(place, status.st_mode)
    if is_folder and status.st_dev != place.parent.stat().st_dev:
        raise on_other_disk(place)


def _recover(place: Path, part: Path, placeholder: bytes) -> None:
    """Free the place where a run was killed in the middle of giving a file its name."""
    try:
        found = part.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISREG(found.st_mode):
        remove_same(place, found)
        remove_file(place, lambda descriptor: os.read(descriptor, len(placeholder) + 1) == placeholder)


def _there_bytes(folder: Path, part: bytes, rules: Rules) -> int:
    """Count the bytes that an earlier run has left, which need no more room."""
    if not rules.resumes:
        return 0
    top = os.path.join(os.fsencode(folder), part)  # noqa: PTH118  bytes
    if not os.path.isdir(top):  # noqa: PTH112  bytes
        return os.lstat(top).st_size if os.path.lexists(top) else 0
    return sum(status.st_size for _, status in files_below(os.fsdecode(top)))


def _taken(place: Path) -> TargetExistsError:
    return TargetExistsError(
        f"'{shown(os.fspath(place))}' exists already. Choose another folder, or replace it with --replace."
    )
