"""Cancels downloads that have not ended: records that, and removes their unfinished files.

The files are found by the operation's id, which stands in the list of what has arrived.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from mgmt.download.left_over import LeftOver, find_left_over
from mgmt.download.orders import is_order_of, place_in
from mgmt.download.unfinished import identity_of, lock_path
from mgmt.errors import LocalStateError, RefusedError, SourceError
from mgmt.journal import DownloadOrder
from mgmt.layout import archive_file_name
from mgmt.machine.filling import remove_tree
from mgmt.machine.lock_files import hold_file
from mgmt.service import error_in
from mgmt.session import Session
from mgmt.text import read_path, shown
from mgmt_contract.messages.downloads import DownloadEnd, EndDownloadsRequest
from mgmt_contract.names import ARCHIVE_SUFFIX
from mgmt_contract.records import CANCELLED, DownloadRecord
from mgmt_contract.texts import may_be_cut
from mgmt_contract.values import Value

_MESSAGE: Final = "Given up with `mgmt cancel`."


class Unended(Value):
    """The downloads by one name that have not ended."""

    begun: tuple[DownloadRecord, ...]
    """Pending, or failed and left on this machine."""
    unbegun: tuple[DownloadOrder, ...]
    """Those that their commands had not come to."""


def give_up(session: Session, record: DownloadRecord, shown_base: Path) -> tuple[DownloadRecord, bool]:
    """Give a download up; return its record as it is now, and whether it was known here, or found.

    Args:
        session: The wired organs.
        record: The download.
        shown_base: Folder that the record's path is relative to, where the journal does not know it.

    Raises:
        RefusedError: If it has succeeded, another mgmt is at it, or the service refuses.
        SourceError: If it has failed, and left nothing here.
        LocalStateError: If something cannot be removed.
    """
    orders = _find_orders(session.journal.download_orders(session.service_url), record)
    places = {place_in(order, record): order for order in orders}
    place = _choose_place(list(places), record) if places else _place_in_record(record, shown_base)
    if record.status == "success":
        message = f"The download of {record.s3_object_key} has succeeded: there is nothing to give up."
        raise RefusedError(message, code="already-there", operation_id=record.operation_id)
    with ExitStack() as held:
        left = _hold_left(session, record, place, held) if place is not None else None
        if record.status != "pending" and left is None and not orders:
            raise SourceError(
                f"The download of {record.s3_object_key} has failed already. {tell_unknown_place(record)}",
                code="nothing-left",
                operation_id=record.operation_id,
            )
        ended = _record_end(session, record) if record.status == "pending" else record
        for path in left.paths if left is not None else ():
            _remove(path)
        session.journal.end_download_orders([places[place]] if place is not None and places else [])
    return ended, left is not None or bool(orders)


def _place_in_record(record: DownloadRecord, shown_base: Path) -> Path | None:
    """Return the place that a record names; None where its path was cut, as what is left may be another one's path."""
    return None if may_be_cut(record.target_path) else shown_base / read_path(record.target_path)


def _hold_left(session: Session, record: DownloadRecord, place: Path, held: ExitStack) -> LeftOver | None:
    """Lock a download's place, and find what is left there.

    Raises:
        RefusedError: If all of it has arrived there, or another mgmt is at it.
    """
    _hold(session, record, place, held)
    left = find_left_over(place.parent, record.operation_id)
    if left is not None and _is_published(left, place):
        raise RefusedError(
            f"All of {record.s3_object_key} has arrived as '{shown(os.fspath(place))}'. "
            "Run the same `mgmt download` again: it only records that.",
            code="already-there",
            operation_id=record.operation_id,
        )
    return left


def _choose_place(places: Sequence[Path], record: DownloadRecord) -> Path:
    """Choose the place with unfinished files: a record does not tell folders apart that share their last name."""
    return next((each for each in places if find_left_over(each.parent, record.operation_id) is not None), places[0])


def tell_unknown_place(record: DownloadRecord) -> str:
    """Say what to do about a download that this machine does not know: its record has no whole path."""
    return (
        f"Where it was put is not known here: its record says '{record.target_path}', seen from the folder that its "
        "`mgmt download` was run in. Run `mgmt cancel` there, or delete its `.NAME.mgmt-*.part` by hand."
    )


def find_unended(
    session: Session, name: str, read: Callable[[], Sequence[DownloadRecord]], *, is_upload_left: bool
) -> Unended:
    """Find the downloads by a name that have not ended.

    Args:
        session: The wired organs.
        name: The name, or the id of the upload that was downloaded.
        read: Asks the service for all downloads of that name, newest first. It is not asked where what this machine
            knows is enough: what was not begun can be given up without it.
        is_upload_left: The name means an upload that is left on this machine. Then downloads count that were begun.
    """
    orders = session.journal.download_orders(session.service_url)
    named = [] if is_upload_left else [each for each in orders if each.name == name]
    if (is_upload_left and not orders) or (named and all(each.upload_id is None for each in named)):
        return Unended((), tuple(named))
    records = read()
    newest: dict[tuple[str, str], DownloadRecord] = {}
    for record in records:
        # Two paths that were cut may be different ones, though what is left of them is the same.
        place = record.operation_id if may_be_cut(record.target_path) else record.target_path
        newest.setdefault((record.upload_id, place), record)
    failed = [each for each in newest.values() if each.status == "failed" and _find_orders(orders, each)]
    begun = [each for each in records if each.status == "pending" or each in failed]
    unbegun = [order for order in named if not any(is_order_of(order, each) for each in records)]
    return Unended(tuple(begun), tuple(unbegun))


def _find_orders(orders: Sequence[DownloadOrder], record: DownloadRecord) -> list[DownloadOrder]:
    return [each for each in orders if is_order_of(each, record)]


def forget(session: Session, order: DownloadOrder) -> None:
    """Remove the order of a download that was not begun.

    Raises:
        RefusedError: If its command is still running.
    """
    if session.journal.is_running(order.run_id):
        raise _make_running_error(order.folder, None)
    session.journal.end_download_orders([order])


def _make_running_error(place: str, operation_id: str | None) -> RefusedError:
    return RefusedError(
        f"Another mgmt is downloading to '{shown(place)}' right now. Stop it first, with Ctrl-C where it runs, then "
        "cancel.",
        code="busy-here",
        operation_id=operation_id,
    )


def _hold(session: Session, record: DownloadRecord, place: Path, held: ExitStack) -> None:
    name = record.s3_object_key.rpartition("/")[2]
    archive = place.with_name(archive_file_name(name.removesuffix(ARCHIVE_SUFFIX)))
    try:
        for each in dict.fromkeys((archive, place)):
            held.enter_context(session.journal.hold(os.fspath(each), each.name))
        held.enter_context(hold_file(lock_path(archive)))
    except (RefusedError, BlockingIOError) as error:
        raise _make_running_error(os.fspath(place), record.operation_id) from error


def _record_end(session: Session, record: DownloadRecord) -> DownloadRecord:
    end = DownloadEnd(record.operation_id, record.received_bytes or 0, CANCELLED, _MESSAGE)
    [result] = session.api.end_downloads(EndDownloadsRequest([end])).results
    error = error_in(result)
    if error is not None:
        error.operation_id = record.operation_id
        raise error
    if not isinstance(result.record, DownloadRecord):
        raise RefusedError(f"The service has no download {record.operation_id}.", code="no-such-operation")
    return result.record


def _is_published(left: LeftOver, place: Path) -> bool:
    try:
        return identity_of(place) in left.published
    except OSError:
        return False


def _remove(path: Path) -> None:
    try:
        remove_tree(path.parent, os.fsencode(path.name))
    except OSError as error:
        raise LocalStateError(
            f"'{shown(os.fspath(path))}', left by a download, cannot be deleted: {error.strerror or error}. Delete it "
            "by hand.",
            code="left-over",
        ) from error
