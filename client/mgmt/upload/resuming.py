"""Resuming: everything that this machine was told to upload and has not brought to its end, from wherever it stands.

What is left is known from the journal: the orders of commands, and the uploads that were begun. Each is done as the
same command would do it again.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from mgmt.errors import LocalStateError, MgmtError, RefusedError, SourceError
from mgmt.events import Finished, Notice
from mgmt.journal import Entry, Order
from mgmt.layout import archive_file_name
from mgmt.service import error_of
from mgmt.session import Session
from mgmt.source import look
from mgmt.text import printable, shown
from mgmt.upload import do_errands
from mgmt.upload.ending import failed_record
from mgmt.upload.job import Job, UploadOptions
from mgmt.upload.orders import Errand, order_of, read_options, write_options
from mgmt.upload.results import Summary
from mgmt_contract.messages import Packing
from mgmt_contract.names import ARCHIVE_SUFFIX, fold_key
from mgmt_contract.records import CANCELLED, OperationRecord, UploadRecord
from mgmt_contract.values import Value
from mgmt_contract.wire import to_json

Find = Callable[[str], OperationRecord]
"""Finds the operation that a name means."""


class Left(Value):
    """One upload that is left to do."""

    order: Order
    entry: Entry | None = None
    """What is known of it, if it was begun."""

    @property
    def source_path(self) -> str:
        """The source's path."""
        return self.order.source_path

    @property
    def name(self) -> str:
        """What a person gives it up by."""
        return self.entry.operation_id if self.entry is not None else self.order.source_path


def find_left(session: Session, shown_base: Path, cache_dir: Path | None) -> list[Left]:
    """Find what is left to do for the session's service: the oldest first, and what was begun before what was not.

    Raises:
        LocalStateError: If the journal cannot be used.
    """
    journal, url = session.journal, session.service_url
    orders = {(each.source_path, each.destination): each for each in journal.orders(url)}
    begun = {(each.source_path, each.destination): each for each in journal.unfinished(url)}
    left = [Left(orders.get(place) or order_of(entry, shown_base, cache_dir), entry) for place, entry in begun.items()]
    return left + [Left(order) for place, order in orders.items() if place not in begun]


class Resuming:
    """One run that resumes.

    Args:
        session: The wired organs.
        summary: Filled in as uploads end.
        shown_base: Folder that paths in the team's records are relative to, where the journal does not know it.
        cache_dir: Where archives are made that find no place beside their sources.
        jobs: Transfers at a time; None leaves it to what is transferred.
    """

    def __init__(
        self, session: Session, summary: Summary, shown_base: Path, cache_dir: Path | None, jobs: int | None
    ) -> None:
        self._session = session
        self._summary = summary
        self._shown_base = shown_base
        self._cache_dir = cache_dir
        self._jobs = jobs
        self._fingerprints: dict[tuple[str, str], str] = {}

    def resume(self, names: Sequence[str], find: Find) -> None:
        """Finish the uploads that names mean, or all of this machine's.

        Raises:
            MgmtError: For causes that stop everything. What was begun stays resumable.
        """
        left = find_left(self._session, self._shown_base, self._cache_dir)
        chosen = list(self._choose(left, names, find)) if names else [each for each in left if self._is_idle(each)]
        going = [each for each in self._without_ended(chosen) if self._is_there(each)]
        self._fingerprints = {
            (each.source_path, each.order.destination): each.entry.fingerprint for each in going if each.entry
        }
        errands = self._group(going)
        if errands:
            do_errands(errands, self._session, self._summary, self._note_changed)

    def _choose(self, left: Sequence[Left], names: Sequence[str], find: Find) -> Iterator[Left]:
        by_id = {each.entry.operation_id: each for each in left if each.entry is not None}
        for name in dict.fromkeys(names):
            try:
                found = by_id.get(name.lower())
                yield found or self._find_by_record(find(name), by_id, name)
            except MgmtError as error:
                if error.stops_everything:
                    raise
                self._fail(name, error)

    def _find_by_record(self, record: OperationRecord, by_id: dict[str, Left], name: str) -> Left:
        """Find what an operation left here.

        Raises:
            SourceError: If there is nothing to resume.
        """
        if not isinstance(record, UploadRecord):
            again = " It goes on when the same `mgmt download` is run again." if record.status == "pending" else ""
            message = f"'{name}' is the id of a {record.operation_type}, not of an upload.{again}"
            raise SourceError(message, code="no-upload", operation_id=record.operation_id)
        if record.status == "success":
            message = f"{record.s3_object_key} is stored: there is nothing left to resume."
            raise SourceError(message, code="nothing-left", operation_id=record.operation_id)
        left = by_id.get(record.operation_id)
        if left is not None:
            return left
        refusal = _refuse(record, self._my_id)
        if refusal is not None:
            raise refusal
        return self._take_over(record)

    def _take_over(self, record: UploadRecord) -> Left:
        """Go on with an upload of another machine, or one that the journal has lost, where its source is here.

        Raises:
            SourceError: If it is not.
        """
        order, source_path = self._order_of(record), self._shown_base / record.target_path
        if not os.path.lexists(source_path):
            raise SourceError(
                f"Nothing of the upload of {record.s3_object_key} is left on this machine, and its source, "
                f"{shown(record.target_path)}, is not in this folder. Change to the folder that has it, or run "
                "`mgmt resume` on the machine that began it.",
                code="not-here",
                operation_id=record.operation_id,
            )
        if record.status != "pending" or record.codec is None or record.compression_plan is None:
            return Left(order)
        name = order.destination.rpartition("/")[2]
        source = look(source_path, name=name, excludes=record.excludes)
        entry = Entry(
            operation_id=record.operation_id,
            service=order.service,
            source_path=order.source_path,
            destination=order.destination,
            archive_path=os.fspath(source.path.parent / archive_file_name(source.name)),
            fingerprint=source.fingerprint,
            plan=to_json(Packing(record.codec, record.compression_plan)),
            excludes=record.excludes,
        )
        self._session.journal.put([entry])
        return Left(order, entry)

    def _order_of(self, record: UploadRecord) -> Order:
        """Make the order that an upload of another machine came of, as far as its record tells."""
        root = self._session.api.describe().root_prefix
        key = record.s3_object_key.removeprefix(f"{root}/") if root else record.s3_object_key
        prefix, _, archive = key.rpartition("/")
        name = archive.removesuffix(ARCHIVE_SUFFIX)
        source_path = self._shown_base / record.target_path
        options = UploadOptions(
            prefix=prefix,
            as_name=name if name != source_path.name else None,
            replace=record.replaces is not None,
            excludes=record.excludes,
            plan=record.compression_plan or "auto",
            storage_class=record.storage_class,
            tags=record.tags,
        )
        errand = Errand([os.fspath(source_path)], options, self._shown_base)
        place = errand.place(errand.targets[0])
        return Order(self._session.service_url, *place, write_options(errand), record.operation_id)

    @cached_property
    def _my_id(self) -> str:
        return self._session.api.me().id

    def _is_idle(self, left: Left) -> bool:
        """Leave out what a running command of this machine is to do; that is said."""
        if not self._session.journal.is_running(left.order.run_id):
            return True
        message = f"{left.source_path} is left to another mgmt on this machine, which is running."
        self._session.emit(Notice(message, "busy-here", left.entry.operation_id if left.entry else None))
        return False

    def _without_ended(self, chosen: Sequence[Left]) -> Iterator[Left]:
        """Leave out what its owner or an admin has given up, and what somebody else began here."""
        begun = {each.entry.operation_id: each for each in chosen if each.entry is not None}
        refused: set[str] = set()
        if begun:
            for result in self._session.api.look_up(list(begun)).results:
                if result.problem is not None and result.problem.code != "no-such-operation":
                    raise error_of(result.problem)
                error = _refuse(result.record, self._my_id) if result.record is not None else None
                if error is not None:
                    refused.add(result.operation_id)
                    self._fail(begun[result.operation_id].source_path, error)
        return (each for each in chosen if each.entry is None or each.entry.operation_id not in refused)

    def _is_there(self, left: Left) -> bool:
        """Leave out what has no source here; that is an error, as it stays unfinished."""
        path = left.source_path
        if os.path.lexists(path) or (left.entry is not None and left.entry.completed_path is not None):
            return True
        message = (
            f"'{shown(path)}' is not there, so its upload cannot go on. Plug its disk in, or put it back, and run "
            f"`mgmt resume` again; or give it up: `mgmt cancel {shlex.quote(printable(left.name))}`."
        )
        operation_id = left.entry.operation_id if left.entry is not None else None
        self._fail(path, SourceError(message, code="source-missing", operation_id=operation_id))
        return False

    def _group(self, going: Sequence[Left]) -> list[Errand]:
        """Put together what goes in the same way; two sources for one key in two errands, one after the other."""
        errands: dict[tuple[str, int], Errand] = {}
        times: dict[tuple[str, str], int] = {}
        for left in going:
            order = left.order
            read = read_options(order, self._cache_dir, self._jobs)
            if read is None:
                order = order_of(left.entry, self._shown_base, self._cache_dir) if left.entry is not None else order
                read = read_options(order, self._cache_dir, self._jobs)
            if read is None:
                message = (
                    f"The journal's entry of '{shown(order.source_path)}' is damaged. Run its `mgmt upload` again."
                )
                self._fail(order.source_path, LocalStateError(message, code="journal-damaged"))
                continue
            name = order.options, fold_key(order.destination)
            times[name] = times.get(name, 0) + 1
            errand = errands.get((order.options, times[name])) or Errand([], *read)
            targets = [*errand.targets, order.source_path]
            errands[order.options, times[name]] = replace(errand, targets=targets)
        return list(errands.values())

    def _note_changed(self, job: Job) -> None:
        """Say of a source that has changed that nothing of what was sent counts."""
        fingerprint = self._fingerprints.get((os.fspath(job.source.path), job.destination))
        if fingerprint not in (None, job.source.fingerprint):
            message = f"{job.target_path} has changed since its upload began: it is uploaded as it is now."
            self._session.emit(Notice(message, "changed-since", job.operation_id))

    def _fail(self, target: str, error: MgmtError) -> None:
        event = Finished(failed_record(target, error), error)
        self._summary.count(event)
        self._session.emit(event)


def _refuse(record: OperationRecord, my_id: str) -> MgmtError | None:
    """Say why an upload is not gone on with."""
    if record.actor_id != my_id:
        return RefusedError(
            f"The upload of {record.target_path} was begun by {record.actor}, who alone may go on with it. Sign in as "
            f"that person, or upload it under your name with `mgmt upload`.",
            code="not-allowed",
            operation_id=record.operation_id,
        )
    if record.status == "failed" and record.error_code == CANCELLED:
        return RefusedError(
            f"The upload of {record.target_path} was given up ({record.error_message}). "
            f"`mgmt cancel {record.operation_id}` removes what is left of it here; `mgmt upload` begins it anew.",
            code="given-up",
            operation_id=record.operation_id,
        )
    return None
