"""What killed downloads have left in a folder, hidden beside the places that they were to get.

Each has a list, which names its operation and its upload; by that the other files are found.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from mgmt.download.unfinished import make_token
from mgmt.errors import TargetExistsError
from mgmt.layout import is_temporary_name, temporary_name, token_of, with_token
from mgmt.machine.files import open_regular
from mgmt.text import shown
from mgmt_contract.values import Value

_LINE_MAX_BYTES: Final = 2**20
"""More than any line that is looked for has; the list of a tree may have longer ones."""


class LeftOver(Value):
    """What a download has left in a folder."""

    operation_id: str
    upload_id: str
    target_path: str
    """As the download's record has it."""
    paths: tuple[Path, ...]
    """The list last: by it the others are found."""
    published: tuple[list[int], ...] = ()
    """Identities of what was checked, and got its name or was about to."""


def find_left_over(folder: Path, operation_id: str) -> LeftOver | None:
    """Find what an operation has left in a folder."""
    return next((each for each in _left_in(folder) if each.operation_id == operation_id), None)


def find_of_names(folder: Path, names: Iterable[str]) -> Iterator[LeftOver]:
    """Find what downloads to these file names have left in a folder."""
    of_names = {_without_token(temporary_name(name)) for name in names}
    return _left_in(folder, lambda name: _without_token(name) in of_names)


def refuse_left_by_others(paths: Iterable[Path]) -> None:
    """Refuse a place beside which another user's killed download has left files: they are private to that user.

    Args:
        paths: Where a download keeps what is not whole yet.

    Raises:
        TargetExistsError: With the file, its owner, and what to do.
    """
    if not hasattr(os, "geteuid"):  # a profile's own lists say on Windows who may do what
        return
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            owner_id = path.lstat().st_uid
            if owner_id == os.geteuid() or os.access(path, os.R_OK | os.W_OK):
                continue
            owner = _name_user(owner_id)
            raise TargetExistsError(
                f"'{shown(os.fspath(path))}' belongs to {owner}: a download of the same into this folder was begun "
                f"and has not ended, and only {owner} can go on with it. Have {owner} run `mgmt resume` or "
                "`mgmt cancel`, or delete the file if nobody needs it; or choose another folder with --to.",
                code="left-by-other",
            )


def _name_user(user_id: int) -> str:
    import pwd  # there is none on Windows

    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return f"user {user_id}"


def _left_in(folder: Path, is_wanted: Callable[[str], bool] = is_temporary_name) -> Iterator[LeftOver]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if is_temporary_name(entry.name) and is_wanted(entry.name))
    except OSError:
        return
    for name in names:
        left = _read(folder / name)
        if left is not None:
            yield left


def _read(path: Path) -> LeftOver | None:
    """Read a list; None of a file that is none."""
    lines = iter(_read_lines(path))
    head = next(lines, None)
    if head is None or not isinstance(head.get("upload_id"), str):
        return None
    left = list(lines)
    opened = [line for line in left if isinstance(line.get("operation_id"), str)]
    if not opened:
        return None
    published = tuple(line["published"] for line in left if isinstance(line.get("published"), list))
    paths = (*_others_of(path, head["upload_id"]), path)
    upload_id = head["upload_id"].partition(" ")[0]
    return LeftOver(opened[-1]["operation_id"], upload_id, str(opened[-1].get("target_path")), paths, published)


def _without_token(name: str) -> str:
    return with_token(name, "0" * len(token_of(name)))


def _others_of(path: Path, list_name: str) -> Iterator[Path]:
    """Name what a list speaks of; which kind of list it is, its name tells."""
    token = token_of(path.name)
    upload_id, _, choice = list_name.partition(" ")
    if token == make_token("ranges", list_name):
        names = [make_token("archive", list_name)]
    elif token == make_token("checkpoints", list_name):
        tree = f"chosen {choice}" if " " in list_name else "tree"
        names = [make_token("members", list_name), make_token(tree, upload_id)]
    else:
        names = []
    for name in names:
        yield path.with_name(with_token(path.name, name))


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read the lines of a list that may tell whose it is; none of a file that is no list."""
    try:
        with open_regular(path) as descriptor:
            if descriptor is None:
                return
            with open(descriptor, "rb", closefd=False) as file:
                while line := file.readline(_LINE_MAX_BYTES):
                    try:
                        value = json.loads(line) if line.startswith(b"{") and line.endswith(b"\n") else None
                    except (ValueError, RecursionError):
                        value = None
                    if isinstance(value, dict):
                        yield value
                    elif file.tell() == len(line):  # the first line is not a list's
                        return
    except OSError:
        return
