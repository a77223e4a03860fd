"""What killed downloads have left in a folder, hidden beside the places that they were to get.

Each has a list, which names its operation and its upload; by that the other files are found.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from mgmt.download.unfinished import lock_path, make_token
from mgmt.download.wanted import Wanted
from mgmt.errors import TargetExistsError
from mgmt.events import Notice
from mgmt.layout import is_temporary_name, temporary_name, token_of, with_token
from mgmt.machine.files import open_regular
from mgmt.machine.lock_files import hold_file
from mgmt.session import Session
from mgmt.text import read_path, show_path, shown, size_in_words
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
    """What has arrived first, and the list last: by it the others are found."""
    published: tuple[list[int], ...] = ()
    """Identities of what was checked, and got its name or was about to."""


def find_left_over(folder: Path, operation_id: str) -> LeftOver | None:
    """Find what an operation has left in a folder."""
    return next((each for each in _left_in(folder) if each.operation_id == operation_id), None)


def tell_unused(session: Session, folder: Path, shown_base: Path, ended: Iterable[Wanted]) -> None:
    """Name what is left beside places that have their archive or tree now, and that nothing will go on with.

    Such is the rest of an older version: the download that has ended took its place, also in the journal. It stays, as
    somebody may have wanted that version; unnoticed it would lie there for good.

    Args:
        session: The wired organs.
        folder: The folder of the command.
        shown_base: Folder that paths in the team's records are relative to.
        ended: The downloads that have succeeded.
    """
    hidden = {
        _without_token(temporary_name(name)): each for each in ended for name in (each.archive_name, each.tree_name)
    }
    fetched = {each.upload.operation_id for each in hidden.values()}
    for left in _left_in(folder, lambda name: _without_token(name) in hidden):
        wanted = hidden[_without_token(left.paths[-1].name)]
        if left.upload_id in fetched or _is_wanted(session, left) or _is_at_work(wanted):
            continue
        is_found = show_path(os.fspath(folder / Path(read_path(left.target_path)).name), shown_base) == left.target_path
        cancel = f"`mgmt cancel {left.operation_id}` removes it; or delete" if is_found else "Delete"
        session.emit(
            Notice(
                f"A download of another version of {wanted.upload.s3_object_key} was begun here and has not ended, and "
                f"`mgmt resume` does not go on with it: {_describe(left.paths[0])} is left of it. {cancel} it by hand.",
                "left-over",
                left.operation_id,
            )
        )


def _is_wanted(session: Session, left: LeftOver) -> bool:
    """Tell whether a command of this machine is to go on with it, for whichever service."""
    services = {session.service_url, *session.journal.services_left()}
    orders = (order for service in services for order in session.journal.download_orders(service))
    return any(order.upload_id == left.upload_id for order in orders)


def _is_at_work(wanted: Wanted) -> bool:
    """Tell whether a download to this place runs, here or on a machine that shares the folder."""
    try:
        with hold_file(lock_path(wanted.archive_place)):
            return False
    except BlockingIOError:
        return True


def _describe(path: Path) -> str:
    named = f"'{shown(os.fspath(path))}'"
    with contextlib.suppress(OSError):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode):
            return f"{named} ({size_in_words(found.st_size)})"
    return named


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
    if sys.platform != "win32":
        import pwd

        with contextlib.suppress(KeyError):
            return pwd.getpwuid(user_id).pw_name
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
        names = [make_token(tree, upload_id), make_token("members", list_name)]
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
