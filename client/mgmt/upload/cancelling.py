"""Cancelling: uploads that have not ended are given up, here and in the team's records; the sources stay as they are.

The service goes first: what it does not record as failed loses nothing here. After a crash between the two, `mgmt
cancel` again finds the record failed, and removes what is left here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from mgmt.errors import MgmtError, RefusedError, SourceError
from mgmt.events import Notice
from mgmt.journal import DownloadOrder
from mgmt.service import error_in
from mgmt.session import Session
from mgmt.text import shown
from mgmt.upload.left import Left, choose_named
from mgmt.upload.orders import order_of
from mgmt.upload.tidying import tidy_given_up
from mgmt_contract.messages.uploads import FailItem, FailRequest
from mgmt_contract.names import fold_key
from mgmt_contract.records import CANCELLED, DownloadRecord, OperationRecord, UploadRecord
from mgmt_contract.values import Value

Find = Callable[[str, Sequence[DownloadRecord]], OperationRecord]
"""Finds the operation that a name means, which may be one of these downloads."""

_NO_LEASE: Final = 0
"""Cancelling needs none: it is also done when the machine with the lease is lost."""
_MESSAGE: Final = "Given up with `mgmt cancel`."


class Unwanted(Value):
    """One upload that is to be given up."""

    record: UploadRecord | None
    """None where the service knows nothing of it."""
    left: Left | None
    """What the journal knows of it."""

    @property
    def operation_id(self) -> str | None:
        """Its id; None where it was not begun."""
        if self.record is not None:
            return self.record.operation_id
        return self.left.operation_id if self.left is not None else None

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells it from all others: one source may be on its way to several names."""
        if self.operation_id is not None or self.left is None:
            return (self.operation_id or "",)
        return self.left.source_path, self.left.order.destination

    @property
    def what(self) -> str:
        """Say which upload it is."""
        if self.record is not None:
            return f"The upload of {self.record.s3_object_key}"
        return f"The upload of {shown(self.left.source_path)}" if self.left is not None else ""


class Targets(Value):
    """The operations that names mean, each once, and what was wrong with the other names."""

    unwanted: list[Unwanted]
    downloads: list[DownloadRecord]
    errors: list[MgmtError]
    unbegun: Sequence[DownloadOrder] = ()
    """Downloads that their command had not come to."""

    @property
    def count(self) -> int:
        """How many operations are meant."""
        return len(self.unwanted) + len(self.downloads) + len(self.unbegun)


class GivenUp(Value):
    """What became of one upload: its record as it is now, if the service has one, or the error."""

    what: str
    """Such as the key of an upload, or the path of a source."""
    operation_id: str | None
    record: OperationRecord | None = None
    error: MgmtError | None = None
    left: Left | None = None
    """What the journal knew of an upload."""
    order: DownloadOrder | None = None
    """What it knew of a download that was not begun."""
    notices: Sequence[Notice] = ()
    """What stays here, and why."""


def find_unwanted(
    names: Mapping[str, Sequence[DownloadRecord]], find: Find, session: Session, left: Sequence[Left]
) -> Targets:
    """Find what names mean: what is left to do on this machine, else what the service knows.

    Args:
        names: The names, and the unfinished downloads that each fits.
        find: Finds what the service knows.
        session: The wired organs.
        left: Uploads that are left to do on this machine.

    Raises:
        MgmtError: For causes that stop everything, such as a name that fits several uploads.
    """
    found: dict[tuple[str, ...], Unwanted] = {}
    downloads: dict[str, DownloadRecord] = {}
    errors: list[MgmtError] = []
    for name, unfinished in names.items():
        try:
            unwanted = _find(name, unfinished, find, session, left)
        except MgmtError as error:
            if error.stops_everything:
                raise
            errors.append(error)
        else:
            if isinstance(unwanted, DownloadRecord):
                downloads[unwanted.operation_id] = unwanted
            else:
                found.setdefault(unwanted.identity, unwanted)
    return Targets(list(found.values()), list(downloads.values()), errors)


def give_up(session: Session, unwanted: Sequence[Unwanted]) -> Iterator[GivenUp]:
    """Give uploads up, and yield what became of each, in order.

    Raises:
        MgmtError: For causes that stop everything.
    """
    for each in unwanted:
        try:
            yield _give_up(session, each)
        except MgmtError as error:
            if error.stops_everything:
                raise
            error.operation_id = each.operation_id
            yield GivenUp(each.what, each.operation_id, error=error)


def _find(
    name: str, unfinished: Sequence[DownloadRecord], find: Find, session: Session, left: Sequence[Left]
) -> Unwanted | DownloadRecord:
    here = choose_named(left, name, "mgmt cancel", unfinished)
    if here is not None:
        _refuse_running(session, here)  # before anybody is asked
    if here is not None and here.operation_id is None:
        return Unwanted(None, here)
    record: OperationRecord | None
    if here is not None and here.operation_id is not None:
        record = session.api.find_records([here.operation_id]).get(here.operation_id)
    else:
        record = find(name, unfinished)
    if isinstance(record, DownloadRecord):
        return record
    if record is not None and not isinstance(record, UploadRecord):
        raise SourceError(
            f"'{shown(name)}' is the id of a {record.operation_type}, which cannot be given up.",
            code="no-upload",
            operation_id=record.operation_id,
        )
    known = here or next((each for each in left if record and each.operation_id == record.operation_id), None)
    unwanted = Unwanted(record, known or _find_remains(session, record))
    _require_unfinished(unwanted)
    return unwanted


def _find_remains(session: Session, record: UploadRecord | None) -> Left | None:
    """Find what an earlier cancel could not remove, such as from a disk that failed."""
    remains = session.journal.remains(session.service_url) if record is not None else []
    entry = next((each for each in remains if record and each.operation_id == record.operation_id), None)
    return Left(order_of(entry, Path(entry.source_path).parent, None), entry) if entry is not None else None


def _require_unfinished(unwanted: Unwanted) -> None:
    """Refuse an upload that has ended, and of which nothing is left here.

    Raises:
        RefusedError: If it has succeeded.
        SourceError: If it has failed.
    """
    record = unwanted.record
    if record is None or record.status == "pending":
        return
    if record.status == "success":
        tidies = "" if unwanted.left is None else " `mgmt resume` tidies up here."
        raise RefusedError(
            f"The upload of {record.s3_object_key} has succeeded, so there is nothing to give up. `mgmt delete` "
            f"deletes it; it can be brought back for some weeks.{tidies}",
            code="already-stored",
            operation_id=record.operation_id,
        )
    if unwanted.left is None:
        raise SourceError(
            f"The upload of {record.s3_object_key} has failed already ({record.error_message}), and nothing of it is "
            "left on this machine.",
            code="nothing-left",
            operation_id=record.operation_id,
        )


def _give_up(session: Session, unwanted: Unwanted) -> GivenUp:
    left, journal = unwanted.left, session.journal
    with ExitStack() as held:
        if left is not None:
            _hold(session, left, held)
        record = _record_end(session, unwanted.record) if unwanted.record is not None else None
        told: list[Notice] = []
        if left is not None:
            if not left.is_remains:  # the order first: without its entry the upload would be begun anew by it
                journal.end_orders(session.service_url, [(left.source_path, left.order.destination)])
            told = tidy_given_up(left.entry, journal) if left.entry is not None else []
        return GivenUp(unwanted.what, unwanted.operation_id, record, left=left, notices=told)


def _hold(session: Session, left: Left, held: ExitStack) -> None:
    """Keep other runs of this machine away.

    Raises:
        RefusedError: If one is at it, is to come to it, or has gone on with it since it was looked for.
    """
    journal, name = session.journal, left.source_path
    _refuse_running(session, left)
    if left.entry is not None:
        try:
            held.enter_context(journal.hold(left.entry.archive_path, name))
            held.enter_context(journal.hold(f"{session.service_url} {fold_key(left.order.destination)}", name))
        except RefusedError as error:
            raise _make_running_error(name) from error
    newest = journal.find(session.service_url, name, left.order.destination)
    if newest is not None and newest.ended_as in (None, "failed") and newest.operation_id != left.operation_id:
        raise RefusedError(
            f"Another mgmt on this machine has gone on with '{shown(name)}' since. Run `mgmt cancel` again.",
            code="changed-meanwhile",
        )


def _refuse_running(session: Session, left: Left) -> None:
    if session.journal.is_running(left.order.run_id):
        raise _make_running_error(left.source_path)


def _make_running_error(source_path: str) -> RefusedError:
    return RefusedError(
        f"Another mgmt on this machine is uploading '{shown(source_path)}' right now. Stop it first, with Ctrl-C where "
        "it runs, then cancel.",
        code="busy-here",
    )


def _record_end(session: Session, record: UploadRecord) -> UploadRecord:
    """Have the service record that an upload was given up, and throw its parts away.

    Raises:
        RefusedError: If it has come through meanwhile, or the service refuses.
    """
    item = FailItem(record.operation_id, _NO_LEASE, CANCELLED, _MESSAGE)
    [result] = session.api.fail(FailRequest(session.journal.machine_id, [item])).results
    error = error_in(result)
    if error is not None:
        raise error
    ended = result.record
    if not isinstance(ended, UploadRecord):
        raise RefusedError(f"The service has no upload {record.operation_id}.", code="no-such-operation")
    if ended.status != "failed":
        raise RefusedError(
            f"All bytes of {ended.s3_object_key} had arrived, so the upload is recorded as {ended.status}. "
            "`mgmt delete` deletes it; `mgmt resume` tidies up here.",
            code="already-stored",
            operation_id=ended.operation_id,
        )
    return ended
