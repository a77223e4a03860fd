"""The download use case: find all that is named; then for each prepare, open, fetch, check, publish.

A whole archive is fetched by ranges into an unfinished file; a tree is unpacked while its archive arrives; of single
members only their blocks are fetched. A later run continues each. Only what equals its record gets its final name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mgmt.archive.disk_errors import DiskErrors
from mgmt.download.chosen import ChosenMembers
from mgmt.download.extracted import ExtractedTree
from mgmt.download.left_over import refuse_left_by_others, tell_unused
from mgmt.download.orders import Orders
from mgmt.download.results import Summary, not_begun
from mgmt.download.wanted import DownloadOptions, Wanted
from mgmt.download.whole import WholeArchive
from mgmt.errors import MgmtError, TargetExistsError
from mgmt.events import Expected, Finished, Notice, Repeated
from mgmt.machine.files import raise_limit
from mgmt.session import Session
from mgmt.stored.opening import NotReadableError
from mgmt.stored.recorded import require_stored
from mgmt.text import shown
from mgmt_contract.records import DownloadRecord, OperationRecord, UploadRecord
from mgmt_contract.wire import format_time

__all__ = ["DownloadOptions", "download"]


def download(
    names: Sequence[str],
    find: Callable[[str], OperationRecord],
    options: DownloadOptions,
    session: Session,
    shown_base: Path,
    summary: Summary,
) -> None:
    """Download every named upload; a failure that concerns one alone does not stop the others.

    Args:
        names: What the user named.
        find: Finds the operation that a name means.
        options: How to download.
        session: The wired organs.
        shown_base: Folder that paths in the team's records are relative to.
        summary: Filled in as downloads end, so that it is right for a stopped run too. Archived objects are left in
            it to the caller, as restoring them costs money.

    Raises:
        MgmtError: For causes that stop everything. What was begun stays resumable.
    """
    raise_limit()
    session.patience.end_hurry()  # in which `mgmt resume` has reported uploads, or downloads to another folder
    names = list(dict.fromkeys(names))
    session.emit(Expected(dict.fromkeys(names)))
    run = _Run(find, options, session, shown_base, summary)
    with run.orders.keeping(names):
        for name in names:
            run.look(name, is_last=name == names[-1])
        for name in names:
            run.download(name)
        tell_unused(session, options.folder, shown_base, run.ended)


class _Run:
    """What all downloads of one command share."""

    def __init__(
        self,
        find: Callable[[str], OperationRecord],
        options: DownloadOptions,
        session: Session,
        shown_base: Path,
        summary: Summary,
    ) -> None:
        self.orders = Orders(session, options, shown_base)
        self._find = find
        self._options = options
        self._session = session
        self._shown_base = shown_base
        self._summary = summary
        self._meant: set[str] = set()
        """The uploads that names mean."""
        self._places: dict[Path, Wanted] = {}
        """Where they go, by paths of one spelling."""
        self._found: dict[str, Wanted | MgmtError] = {}
        """What names mean, or why they mean nothing that can be downloaded; none of a name that is dealt with."""
        self.ended: list[Wanted] = []
        """Those that have succeeded."""

    def look(self, name: str, *, is_last: bool) -> None:
        """Find what a name means, before any download begins, and refuse one whose place another one has.

        Its order ends with that: were it left until the other one has ended, and the command killed in between, then
        `mgmt resume` would know of this one alone, and put it into the other one's place.

        Raises:
            MgmtError: For causes that stop everything.
        """
        try:
            upload = require_stored(self._find(name), name)
        except MgmtError as error:
            if error.stops_everything:
                self.orders.end(name, error)
                raise
            self._found[name] = error
            return
        if upload.operation_id in self._meant:
            self._session.emit(Repeated(name))
            self.orders.end(name)
            return
        self._meant.add(upload.operation_id)
        self.orders.note_upload(name, upload.operation_id)
        try:
            wanted = Wanted(name, upload, self._options, self._session, self._shown_base, is_last=is_last)
        except MgmtError as error:
            self._found[name] = error
            return
        try:
            self._refuse_second(wanted)
        except TargetExistsError as error:
            self._fail(name, error)
        else:
            self._found[name] = wanted

    def download(self, name: str) -> None:
        """Download the upload that a name was found to mean, and report how that ended.

        Raises:
            MgmtError: For causes that stop everything.
        """
        wanted = self._found.pop(name, None)
        if wanted is None:
            return
        if isinstance(wanted, MgmtError):
            self._fail(name, wanted)
            return
        _note_deletion(wanted.upload, self._session)
        task = _choose_way(wanted)
        try:
            with wanted.holding(), DiskErrors(os.fsencode(wanted.place)):
                refuse_left_by_others(task.hidden_paths)
                record = task.run()
        except NotReadableError as error:
            self._summary.archived[name] = error
            self.orders.end(name)
        except MgmtError as error:
            self._fail(name, error, task.failed_record)
        else:
            self._summary.succeeded += 1
            self.orders.end_come(wanted)
            self.ended.append(wanted)
            self._session.emit(Finished(record))

    def _fail(self, name: str, error: MgmtError, record: DownloadRecord | None = None) -> None:
        """Report that a download has failed.

        Raises:
            MgmtError: This error, if it stops everything.
        """
        self.orders.end(name, error)
        if error.stops_everything:
            raise error
        self._summary.errors.append(error)
        self._session.emit(Finished(record if record is not None else not_begun(name, error), error))

    def _refuse_second(self, wanted: Wanted) -> None:
        """Refuse an upload that would take the place of another one of this very command, as --replace would let it.

        Raises:
            TargetExistsError: If it would.
        """
        if wanted.options.only and not wanted.options.replaces:
            return  # the files of both come to lie side by side
        place = wanted.place
        if wanted.options.replaces:  # else a disk that folds names says itself that there is one already
            place = place.with_name(place.name.casefold())
        first = self._places.setdefault(place, wanted)
        if first is not wanted:
            said = f"'{shown(os.fspath(first.place))}' is the place of '{shown(first.name)}' in this command"
            if first.place != wanted.place:
                said += ", and many disks do not tell capital letters from small ones"
            raise TargetExistsError(
                f"{said}, so '{shown(wanted.name)}' cannot go there too. Download it by a command of its own, to "
                "another folder with --to.",
                code="place-taken",
            )


def _choose_way(wanted: Wanted) -> WholeArchive | ExtractedTree | ChosenMembers:
    if wanted.options.only:
        return ChosenMembers(wanted)
    return ExtractedTree(wanted) if wanted.options.extracts else WholeArchive(wanted)


def _note_deletion(upload: UploadRecord, session: Session) -> None:
    """Say of an upload that is deleted, and was named by its id, until when it can be fetched."""
    if upload.deleted_at is None or upload.recoverable_until is None:
        return
    message = (
        f"{upload.s3_object_key} was deleted by {upload.deleted_by or 'somebody'} and can be fetched until "
        f"{format_time(upload.recoverable_until)}. `mgmt undelete {upload.operation_id}` brings it back under its name."
    )
    session.emit(Notice(message, "deleted", upload.operation_id))
