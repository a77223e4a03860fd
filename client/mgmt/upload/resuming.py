"""Resuming: everything that this machine was told to upload and has not brought to its end, from wherever it stands.

What is left is known from the journal: the orders of commands, and the uploads that were begun. Each is done as the
same command would do it again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

from mgmt.errors import LocalStateError, MgmtError, RefusedError, SourceError, written_by_newer
from mgmt.events import Finished, Notice, Waiting
from mgmt.journal import Entry, Order
from mgmt.layout import archive_file_name
from mgmt.session import Session
from mgmt.source import look
from mgmt.text import read_path, shown, spell_path
from mgmt.upload import do_errands
from mgmt.upload.ending import failed_record
from mgmt.upload.job import Job, UploadOptions
from mgmt.upload.left import Left, choose_named, find_left
from mgmt.upload.orders import Errand, is_newer, order_of, read_options, write_options
from mgmt.upload.ours import has_its_archive, is_known_archive
from mgmt.upload.results import CleanUps, Summary
from mgmt.upload.tidying import has_its_source, tidy_remains, tidy_stored
from mgmt_contract.messages.uploads import Packing
from mgmt_contract.names import ARCHIVE_SUFFIX, fold_key
from mgmt_contract.records import CANCELLED, OperationRecord, UploadRecord
from mgmt_contract.texts import may_be_cut
from mgmt_contract.wire import to_json

Find = Callable[[str], OperationRecord]
"""Finds the operation that a name means."""


class _Round(NamedTuple):
    """Uploads that can be made at the same time."""

    taken: set[str]
    """Their sources and destinations."""
    errands: dict[str, tuple[list[str], tuple[UploadOptions, Path]]]
    """Their targets by the options of their orders, and what those say."""


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

    def resume(
        self, names: Sequence[str], find: Find, take_other: Callable[[OperationRecord], bool] = lambda _: False
    ) -> None:
        """Finish the uploads that names mean, or all of this machine's.

        Args:
            names: Names and ids; none for all.
            find: Finds the operation that a name means.
            take_other: Gets an operation that is no upload; tells whether somebody else goes on with it.

        Raises:
            MgmtError: For causes that stop everything. What was begun stays resumable.
        """
        left = find_left(self._session, self._shown_base, self._cache_dir)
        if names:
            chosen = list(self._choose(left, names, find, take_other))
        else:
            self._tidy_remains(left)
            chosen = [each for each in left if self._is_idle(each)]
        going = [each for each in self._without_ended(chosen) if self._is_there(each)]
        self._fingerprints = {
            (each.source_path, each.order.destination): each.entry.fingerprint for each in going if each.entry
        }
        rounds = self._group(going)
        for errands in rounds:
            do_errands(errands, self._session, self._summary, self._note_changed)
        if not rounds:
            CleanUps(self._session).report()

    def _choose(
        self, left: Sequence[Left], names: Sequence[str], find: Find, take_other: Callable[[OperationRecord], bool]
    ) -> Iterator[Left]:
        chosen: set[tuple[str, str]] = set()
        for name in dict.fromkeys(names):
            try:
                found = choose_named(left, name, "mgmt resume")
                if found is None:
                    record = find(name)
                    if not isinstance(record, UploadRecord) and take_other(record):
                        continue
                    found = self._find_by_record(record, left, name)
            except MgmtError as error:
                if error.stops_everything:
                    raise
                self._fail(name, error)
                continue
            place = found.source_path, found.order.destination
            if place not in chosen:  # two names may mean one upload
                chosen.add(place)
                yield found

    def _tidy_remains(self, left: Sequence[Left]) -> None:
        """Remove archives of uploads that are over, which earlier runs could not remove, as from a disk that failed.

        What another upload of the same source finds in its place it removes, or goes on with.
        """
        journal, places = self._session.journal, {(each.source_path, each.order.destination) for each in left}
        remains = [
            each
            for each in journal.remains(self._session.service_url)
            if (each.source_path, each.destination) not in places and has_its_archive(each)
        ]
        records = self._session.api.find_records([each.operation_id for each in remains])
        for entry in remains:
            record = records.get(entry.operation_id)
            is_over = record is None or record.status != "pending"
            if not is_over or (record is not None and record.actor_id != self._my_id):
                continue
            with suppress(RefusedError), journal.hold(entry.archive_path, entry.source_path):
                upload = record if isinstance(record, UploadRecord) else None
                for notice in tidy_remains(entry, upload, journal, self._session.stop):
                    self._session.emit(notice)

    def _find_by_record(self, record: OperationRecord, left: Sequence[Left], name: str) -> Left:
        """Find what an operation left here.

        Raises:
            SourceError: If there is nothing to resume.
        """
        if not isinstance(record, UploadRecord):
            again = " It goes on when the same `mgmt download` is run again." if record.status == "pending" else ""
            message = f"'{shown(name)}' is the id of a {record.operation_type}, not of an upload.{again}"
            raise SourceError(message, code="no-upload", operation_id=record.operation_id)
        here = next((each for each in left if each.operation_id == record.operation_id), None)
        if here is not None:
            return here
        if record.status == "success":
            message = f"{record.s3_object_key} is stored: there is nothing left to resume."
            raise SourceError(message, code="nothing-left", operation_id=record.operation_id)
        refusal = _refuse(record, self._my_id)
        if refusal is not None:
            raise refusal
        return self._take_over(record)

    def _take_over(self, record: UploadRecord) -> Left:
        """Go on with an upload of another machine, or one that the journal has lost, where its source is here.

        Raises:
            SourceError: If it is not.
        """
        if may_be_cut(record.target_path):  # another file may have what is left of it as its whole path
            raise SourceError(
                f"Nothing of the upload of {record.s3_object_key} is left on this machine, and its source's path is "
                "too long for a record, which has only the ends of it. Run `mgmt resume` on the machine that began it, "
                "or `mgmt upload` with the whole path.",
                code="not-here",
                operation_id=record.operation_id,
            )
        order, source_path = self._order_of(record), self._shown_base / read_path(record.target_path)
        # What every client records is a path below a folder; from another one nothing would be taken.
        is_below = ".." not in source_path.parts and source_path.is_relative_to(self._shown_base)
        if not is_below or not os.path.lexists(source_path):
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
        is_own_archive = partial(is_known_archive, journal=self._session.journal)
        source = look(source_path, name=name, excludes=record.excludes, is_own_archive=is_own_archive)
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
        source_path = self._shown_base / read_path(record.target_path)
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
        """Leave out what its owner or an admin has given up, what somebody else began, and what is stored already."""
        begun = [each.operation_id for each in chosen if each.operation_id is not None]
        records = self._session.api.find_records(begun)
        for left in chosen:
            record = records.get(left.operation_id or "")
            refusal = _refuse(record, self._my_id) if record is not None else None
            if refusal is not None:
                self._fail(left.source_path, refusal)
            elif not (isinstance(record, UploadRecord) and self._is_over(left, record)):
                yield left

    def _is_over(self, left: Left, record: UploadRecord) -> bool:
        """Tidy up after an upload that the service has found stored, and whose source is not here as it was.

        Where the source is as it was, the upload is gone on with as by its own command, and ends at once.
        """
        entry, journal = left.entry, self._session.journal
        if record.status != "success" or entry is None or has_its_source(entry, journal):
            return False
        if entry.completed_path is not None and not os.path.lexists(left.source_path):
            return False  # moved, or taken away: both are found out where moves are settled
        read = read_options(left.order, self._cache_dir, self._jobs)
        try:
            with (
                journal.hold(entry.archive_path, left.source_path),
                journal.hold(f"{self._session.service_url} {fold_key(entry.destination)}", left.source_path),
            ):
                self._session.emit(Waiting(f"comparing the archive of {shown(left.source_path)} with what is stored"))
                keeps = entry.ended_as == "kept" or (read is not None and read[0].keep_archive)
                told = tidy_stored(entry, record, journal, self._session.stop, keeps_archive=keeps)
        except RefusedError as error:
            self._fail(left.source_path, error)
            return True
        if os.path.lexists(left.source_path):
            place = shown(left.source_path)
            message = f"{place} has changed since it was stored. `mgmt upload --replace` stores it as it is now."
            told.append(Notice(message, "changed-since", record.operation_id))
        for notice in told:
            self._session.emit(notice)
        self._tell(Finished(record))
        return True

    def _is_there(self, left: Left) -> bool:
        """Leave out what has no source here; that is an error, as it stays unfinished."""
        path = left.source_path
        if os.path.lexists(path) or (left.entry is not None and left.entry.completed_path is not None):
            return True
        message = (
            f"'{shown(path)}' is not there, so its upload cannot go on. Plug its disk in, or put it back, and run "
            f"`mgmt resume` again; or give it up: `mgmt cancel {left.name}`."
        )
        operation_id = left.entry.operation_id if left.entry is not None else None
        self._fail(path, SourceError(message, code="source-missing", operation_id=operation_id))
        return False

    def _group(self, going: Sequence[Left]) -> list[list[Errand]]:
        """Put together what goes in the same way, in rounds: in each a source, and a destination, occurs once.

        Else two uploads of one source, or to one name, would keep each other away.
        """
        rounds: list[_Round] = []
        for left in going:
            read = self._read(left)
            if read is None:
                continue
            places = {left.source_path, fold_key(left.order.destination)}
            after = [number for number, each in enumerate(rounds) if not places.isdisjoint(each.taken)]
            if (number := after[-1] + 1 if after else 0) == len(rounds):
                rounds.append(_Round(set(), {}))
            one = rounds[number]
            one.taken.update(places)
            targets, _ = one.errands.setdefault(left.order.options, ([], read))
            targets.append(left.source_path)
        return [[Errand(targets, *read) for targets, read in one.errands.values()] for one in rounds]

    def _read(self, left: Left) -> tuple[UploadOptions, Path] | None:
        """Read how an upload is done, from its entry where its order is damaged; None, with an error, without one."""
        if is_newer(left.order):  # its entry alone would not say all that was asked for
            self._fail(left.source_path, written_by_newer(f"The journal's entry of '{shown(left.source_path)}'"))
            return None
        read = read_options(left.order, self._cache_dir, self._jobs)
        if read is None and left.entry is not None:
            order = order_of(left.entry, self._shown_base, self._cache_dir)
            read = read_options(order, self._cache_dir, self._jobs)
        if read is None:
            message = f"The journal's entry of '{shown(left.source_path)}' is damaged. Run its `mgmt upload` again."
            self._fail(left.source_path, LocalStateError(message, code="journal-damaged"))
        return read

    def _note_changed(self, job: Job) -> None:
        """Say of a source that has changed that nothing of what was sent counts."""
        fingerprint = self._fingerprints.get((os.fspath(job.source.path), job.destination))
        if fingerprint not in (None, job.source.fingerprint):
            message = f"{job.target_path} has changed since its upload began: it is uploaded as it is now."
            self._session.emit(Notice(message, "changed-since", job.operation_id))

    def _fail(self, target: str, error: MgmtError) -> None:
        self._tell(Finished(failed_record(spell_path(target), error), error))

    def _tell(self, event: Finished) -> None:
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
