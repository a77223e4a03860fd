"""The use case behind `mgmt safe`: is all of this stored and proven? It reads, compares, looks, and erases nothing.

Each target goes through five steps: find the uploads of its name and have the service look at their objects; read every
file again from the medium; compare what was read with what the uploads hold; have the service look once more at those
that something rests on; find what has changed in the target meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Final, Literal, Protocol

from mgmt.errors import MgmtError, SourceError, UsageError
from mgmt.events import Begun, Expected, Finished, Notice, Progress
from mgmt.safe.comparing import UPLOADS_MAX, Comparing, FoundUpload, How, Listing, Uploads
from mgmt.safe.reading import Read, Target
from mgmt.safe.spool import FolderSum, Spool, Unsafe
from mgmt.session import Session
from mgmt.stored.indexes import open_index
from mgmt.stored.recorded import size_of
from mgmt.text import shown, size_in_words, spell_path
from mgmt_contract.messages.objects import LookResult
from mgmt_contract.records import OperationRecord, UploadRecord
from mgmt_contract.texts import holds_control_character
from mgmt_contract.values import Value


class SafeOptions(Value):
    """What targets are compared with, and how."""

    against: tuple[str, ...] = ()
    """Names, ids or prefixes of uploads; none is the uploads of the target's own name."""
    reads_back: bool = False
    """The stored bytes themselves are read and compared."""


CHANGED_SINCE: Final = "something in it was added, changed or removed after it was checked"


class Proof(Value):
    """An upload that a verdict rests on."""

    operation_id: str
    s3_object_key: str
    actor: str
    is_own: bool
    how: How
    size: int


class Verdict(Value):
    """The answer for one target; its lists are good only while its event is handled."""

    operation_id: str
    """Names the task in progress events."""
    target_path: str
    status: Literal["safe", "unsafe"]
    proofs: tuple[Proof, ...] = ()
    """The uploads that what is safe rests on."""
    read: Read | None = None
    """None where nothing was read, because no upload stands that could hold it."""
    why: Unsafe | None = None
    """What concerns the target as a whole."""
    found: tuple[FoundUpload, ...] = ()
    """All uploads that the target was compared with; an answer names one by its place here."""
    spool: Spool | None = field(default=None, repr=False)
    """The answers for each folder and file; None where nothing was read."""
    s3_object_key: str = ""
    is_taken_back: bool = False
    """Whether an earlier verdict of the same target was safe, and is no more."""

    @property
    def is_safe(self) -> bool:
        """Tell whether all of it is stored and proven."""
        return self.status == "safe"

    def unsafe(self) -> Iterator[Unsafe]:
        """Yield what is not safe, and why."""
        if self.why is not None:
            yield self.why
        if self.spool is not None:
            yield from self.spool.unsafe()

    def folders(self) -> Iterator[FolderSum]:
        """Yield what each folder right below the target came to, and the target without them."""
        return self.spool.folders() if self.spool is not None else iter(())

    def total(self) -> FolderSum | None:
        """Return what all of them came to; None where nothing was read."""
        return self.spool.total() if self.spool is not None else None

    def is_folder_safe(self, folder: FolderSum) -> bool:
        """Tell whether all in a folder is safe, as far as the target was read to its end."""
        return folder.unsafe_count == 0 and self.read is not None and self.read.failure is None


@dataclass
class Summary:
    """What a command's targets came to."""

    safe: list[str] = field(default_factory=list)
    unsafe: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """Those that an error kept from a verdict, each with its error in `errors`."""
    errors: list[MgmtError] = field(default_factory=list)


class Finder(Protocol):
    """Finds uploads in the team's history, newest first."""

    def by_name(self, name: str) -> Iterable[OperationRecord]:
        """Find those of a source's own name."""

    def meant_by(self, typed: str) -> Iterable[OperationRecord]:
        """Find those that a person means by a name, a key, a folder in the bucket, or an id."""


def check_targets(
    targets: Sequence[str], finder: Finder, options: SafeOptions, session: Session, summary: Summary
) -> None:
    """Give a verdict on every target; a failure that concerns one alone does not stop the others.

    Args:
        targets: Paths as the user named them.
        finder: Finds uploads.
        options: What targets are compared with, and how.
        session: The wired organs.
        summary: Filled in as verdicts are given.

    Raises:
        MgmtError: For causes that stop everything.
    """
    targets = list(dict.fromkeys(targets))
    session.emit(Expected(dict.fromkeys(targets)))
    run = _Run(finder, options, session)
    safe: list[tuple[Verdict, Target, Uploads]] = []
    for number, target in enumerate(targets, 1):
        try:
            verdict, looked_at, uploads = run.check(target, f"safe-{number}")
        except MgmtError as error:
            if error.stops_everything:
                raise
            summary.errors.append(error)
            summary.unchecked.append(shown(target))
            session.emit(Finished(Verdict("", spell_path(target), "unsafe"), error))
        else:
            if verdict.is_safe:
                safe.append((verdict, looked_at, uploads))
            else:
                summary.unsafe.append(verdict.target_path)
    # While later targets were checked, which may take hours, earlier ones may have changed.
    summary.safe = [each[0].target_path for each in safe if len(targets) == 1 or run.stands(*each)]
    summary.unsafe += [each[0].target_path for each in safe if each[0].target_path not in summary.safe]


class _Run:
    """What all targets of one command share."""

    def __init__(self, finder: Finder, options: SafeOptions, session: Session) -> None:
        self._finder = finder
        self._options = options
        self._session = session

    @cached_property
    def _own_id(self) -> str:
        return self._session.api.me().id

    @cached_property
    def _against(self) -> list[UploadRecord]:
        found: dict[str, UploadRecord] = {}
        for typed in self._options.against:
            records = self._take(self._finder.meant_by(typed), typed)
            if not records:
                raise SourceError(
                    f"No upload found for '{typed}'. `mgmt history` lists what is stored.", code="not-found"
                )
            found.update((record.operation_id, record) for record in records)
        return sorted(found.values(), key=lambda record: record.started_at, reverse=True)

    def check(self, given: str, operation_id: str) -> tuple[Verdict, Target, Uploads]:
        """Give the verdict on one target.

        Raises:
            MgmtError: If there is no such thing, or for causes that stop everything.
        """
        target = Target(given, self._session.stop)
        uploads = Uploads(self._session.api, self._own_first(self._find_uploads(target)))
        uploads.look()
        if not uploads.standing:
            verdict = _nothing_stands(operation_id, target, uploads)
            self._session.emit(Finished(verdict))
            return verdict, target, uploads
        own_id = self._own_id  # asked here: no answer is waited for after the last look at the target
        total_bytes = target.count_bytes()
        task = _Task(self._session, operation_id, spell_path(given), total_bytes)
        with Spool() as spool:
            read = target.read(spool, lambda done: task.note("reading", done, total_bytes))
            task.note("comparing", 0, None)
            open_listing = task.open_archive if self._options.reads_back else task.open_index
            comparing = Comparing(
                spool,
                uploads,
                target.entry.name,
                {target.root: read.digests.content_digest},
                open_listing,
                reads_back=self._options.reads_back,
            )
            used = comparing.run()
            problem_count = spool.problem_count
            read = target.look_again(spool, read)  # last of all: fetching may have taken hours
            if spool.problem_count != problem_count:
                used = comparing.decide()
            verdict = Verdict(
                operation_id,
                spell_path(given),
                "safe" if used and read.failure is None and next(spool.unsafe(), None) is None else "unsafe",
                proofs=tuple(_prove(uploads.all[number], own_id) for number in sorted(used)),
                read=read,
                found=tuple(uploads.all),
                spool=spool,
            )
            self._session.emit(Finished(verdict))
        return verdict, target, uploads

    def stands(self, verdict: Verdict, target: Target, uploads: Uploads) -> bool:
        """Look once more at a target that was safe, and at the uploads that it rests on; say it where one fell."""
        ids = {proof.operation_id for proof in verdict.proofs}
        numbers = [each.number for each in uploads.all if each.record.operation_id in ids]
        fallen = uploads.look_again(numbers)
        why: Unsafe | None = None
        if fallen:
            why = Unsafe(b"", fallen[0].loss or "unproven", None, fallen[0].number)
        elif not target.is_unchanged():
            why = Unsafe(b"", "changed", CHANGED_SINCE, None)
        if why is not None:
            late = Verdict(
                verdict.operation_id,
                verdict.target_path,
                "unsafe",
                why=why,
                found=tuple(uploads.all),
                is_taken_back=True,
            )
            self._session.emit(Finished(late))
        return why is None

    def _find_uploads(self, target: Target) -> list[UploadRecord]:
        if self._options.against:
            return self._against
        name = target.entry.name
        if not name:
            raise UsageError(
                f"'{shown(target.given)}' has no name of its own to find its uploads by. Name them with --against.",
                code="no-name",
            )
        # Half a character stands for a byte that is no text: no upload has such a name, and the service looks for none.
        if holds_control_character(name):
            return []
        return self._take(self._finder.by_name(name), name)

    def _own_first(self, found: list[UploadRecord]) -> list[UploadRecord]:
        """Have a verdict rest on nobody else's claim where one's own upload proves as much."""
        if len({each.actor_id for each in found}) < 2:
            return found
        return sorted(found, key=lambda each: each.actor_id != self._own_id)

    def _take(self, records: Iterable[OperationRecord], name: str) -> list[UploadRecord]:
        found = [each for each in islice(records, UPLOADS_MAX + 1) if isinstance(each, UploadRecord)]
        if len(found) > UPLOADS_MAX:
            message = f"More than {UPLOADS_MAX} uploads are called '{shown(name)}'. Only the newest are compared."
            self._session.emit(Notice(message, "uploads-cut"))
        return found[:UPLOADS_MAX]


def _prove(upload: FoundUpload, own_id: str) -> Proof:
    record = upload.record
    return Proof(
        record.operation_id,
        record.s3_object_key,
        record.actor,
        is_own=record.actor_id == own_id,
        how=upload.how or "index",
        size=upload.size,
    )


class _Task:
    """One target's progress, and the way to what its uploads hold."""

    def __init__(self, session: Session, operation_id: str, target_path: str, total_bytes: int) -> None:
        self._session = session
        self._operation_id = operation_id
        self._target_path = target_path
        self._lock = threading.Lock()
        session.emit(Begun(target_path, operation_id, total_bytes))

    def note(self, stage: str, done_bytes: int, total_bytes: int | None) -> None:
        """Show progress."""
        self._session.emit(Progress(self._operation_id, self._target_path, stage, done_bytes, total_bytes))

    def open_index(self, upload: UploadRecord, look: LookResult) -> AbstractContextManager[Listing]:
        """Open an upload's index; where it has none, its archive is read once."""
        return open_index(
            self._session, upload, target_path=self._target_path, seen=look, on_bytes=self._counting(upload)
        )

    def open_archive(self, upload: UploadRecord, look: LookResult) -> AbstractContextManager[Listing]:
        """Read an upload's archive whole, and open the index of what came."""
        message = f"{upload.s3_object_key} is read back whole: {size_in_words(size_of(upload))}."
        self._session.emit(Notice(message, "read-back"))
        return open_index(
            self._session,
            upload,
            target_path=self._target_path,
            seen=look,
            reads_archive=True,
            on_bytes=self._counting(upload),
        )

    def _counting(self, upload: UploadRecord) -> Callable[[int], None]:
        size, done_bytes = size_of(upload) or None, 0

        def count(more_bytes: int) -> None:
            nonlocal done_bytes
            with self._lock:
                done_bytes += more_bytes
                self.note("fetching", done_bytes, size)

        return count


def _nothing_stands(operation_id: str, target: Target, uploads: Uploads) -> Verdict:
    """Answer for a target without reading it: there is nothing that could hold it."""
    newest = max(uploads.all, key=lambda each: each.record.started_at, default=None)
    loss = newest.loss if newest is not None else None
    why = Unsafe(b"", loss or "not-stored", None, newest.number if newest is not None else None)
    return Verdict(operation_id, spell_path(target.given), "unsafe", why=why, found=tuple(uploads.all))
