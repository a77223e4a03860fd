"""The upload use case, in seven verbs: look, pack, promise, ask, carry, confirm, clean.

`upload` looks at the targets and groups them into batches. A `Batch` goes through the other six verbs: small sources
are packed, started with one call, sent side by side and confirmed with one call; a large source is a batch of its own,
and is packed while it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from mgmt.archive import is_fallback
from mgmt.errors import (
    IntegrityError,
    LocalStateError,
    LoginRequiredError,
    MgmtError,
    NewerServiceError,
    NotConfiguredError,
    UnavailableError,
)
from mgmt.events import Notice, Progress, Renewed
from mgmt.machine.files import raise_limit, workers_max
from mgmt.service import error_in
from mgmt.session import Session
from mgmt.upload.ending import Ending
from mgmt.upload.job import Granted, Job, UploadOptions, say_unapplied
from mgmt.upload.looking import Looking, Sizing
from mgmt.upload.orders import Errand, Orders
from mgmt.upload.originals import EarlierMoves
from mgmt.upload.results import CleanUps, Summary
from mgmt.upload.schedule import Strategy, carry_beside, group
from mgmt.upload.sending import WHOLE_ARCHIVES_AT_A_TIME, sending_pool
from mgmt.upload.small import Small
from mgmt_contract.messages.uploads import CompleteItem, CompleteRequest, CompleteResult, StartRequest, StartResult

SEND_ROUNDS_MAX: Final = 5
"""How often bytes are sent again that the storage does not have, whatever it answered."""
COMPLETING_MAX_SECONDS: Final = 3600.0
"""How long S3 may take to join parts; minutes are usual for the largest objects."""
_RENEWABLE_CODES: Final = frozenset({"operation-differs", "operation-failed", "not-allowed"})
_OTHER_BYTES_CODES: Final = frozenset({"part-differs", "operation-differs", "content-differs"})


def upload(
    targets: Iterable[str], options: UploadOptions, session: Session, shown_base: Path, summary: Summary
) -> None:
    """Upload every target; a failure that concerns one target alone does not stop the others.

    Args:
        targets: Paths as the user named them.
        options: How to upload them.
        session: The wired organs.
        shown_base: Folder that paths in the team's records are relative to.
        summary: Filled in as uploads end, so that it also tells of a run that was stopped.

    Raises:
        MgmtError: For causes that stop everything: no sign-in, service or storage out of reach, disk full,
            not configured, interrupted. What was begun stays resumable.
    """
    do_errands([Errand(list(targets), options, shown_base)], session, summary)
    say_unapplied(options, summary.skipped, session.emit)


def do_errands(
    errands: Sequence[Errand], session: Session, summary: Summary, begin: Callable[[Job], None] = lambda _: None
) -> None:
    """Upload the targets of all errands, as `upload` does those of one; `begin` is told of each that can be begun."""
    if any(is_fallback(errand.options.plan) for errand in errands):
        message = "Packing is several times slower here, because isal is missing. `pip install isal` adds it."
        session.emit(Notice(message, "packing-is-slow"))
    raise_limit()
    most = workers_max()
    at_a_time = min(max((errand.options.jobs or 0 for errand in errands), default=0), most) or None
    orders = Orders(session)
    ending, clean_ups = Ending(session, summary, orders), CleanUps(session)
    earlier_moves = EarlierMoves(session, summary)
    earlier_moves.settle()
    with orders.keeping(errands):
        sizing = Sizing(session)
        looked = [
            replace(
                errand,
                targets=sizing.look(errand.targets, errand.options.excludes),
                options=replace(errand.options, jobs=at_a_time),
            )
            for errand in errands
        ]
        sizing.tell()
        jobs = (job for errand in looked for job in _look(errand, session, sizing, earlier_moves, ending, begin))
        try:
            with (
                sizing.counting(),
                sending_pool(at_a_time or min(WHOLE_ARCHIVES_AT_A_TIME, most)) as pool,
                carry_beside(session, ending.let_go) as in_flight,
                closing(group(jobs, session, ending.let_go)) as batches,
            ):
                for strategy, together in batches:
                    in_flight.take(Batch(together, strategy, session, ending, clean_ups, pool))
        finally:
            ending.say_left()
    earlier_moves.finish_unnamed()
    clean_ups.report()


def _look(
    errand: Errand,
    session: Session,
    sizing: Sizing,
    earlier_moves: EarlierMoves,
    ending: Ending,
    begin: Callable[[Job], None],
) -> Iterator[Job]:
    """Look at an errand's targets, and end those that need nothing more or cannot be uploaded."""

    def end(target: str, error: MgmtError | None) -> None:
        if error is not None:
            ending.end_unprepared(target, error)
        ending.orders.end(errand.place(target), error)

    looking = Looking(errand.options, session, errand.shown_base, errand.targets)
    for job in looking.jobs(sizing, earlier_moves, end):
        begin(job)
        yield job


@dataclass(eq=False)
class Batch:
    """Some jobs that go together; one that fails drops out, the others go on."""

    jobs: Sequence[Job]
    strategy: Strategy
    session: Session
    ending: Ending
    clean_ups: CleanUps
    pool: ThreadPoolExecutor
    _packed: list[Job] = field(default_factory=list)
    _renewing: list[Job] = field(default_factory=list)
    _stopping_error: MgmtError | None = None
    """What stops the run, once the jobs that it does not concern have come to their end."""

    @property
    def is_begun(self) -> bool:
        """Whether there is something to carry."""
        return bool(self._packed)

    def pack(self) -> None:
        """Promise and pack what is small; a large source is packed when it is carried.

        What is packed can be carried also where this raises; called again, it goes on with the others.

        Raises:
            MgmtError: For causes that stop everything.
        """
        # Those first that lie packed on the disk since an earlier run: when they have gone, there is room for others.
        waiting = sorted((job for job in self.jobs if not job.has_ended), key=lambda job: job.archive is None)
        self._promise(waiting)  # before packing, so that after a crash the next run knows what is ours
        self._packed = []
        try:
            for job in waiting:
                with self._surviving(job):
                    self.strategy.pack(self.session, job)
                    self._packed.append(job)
        except LocalStateError:  # such as a full disk: what is packed may still go
            self._promise(self._packed)
            raise
        self._promise(self._packed)

    def carry(self) -> None:
        """Ask for the packed jobs, carry their bytes, have them confirmed, and clean up.

        Raises:
            MgmtError: For causes that stop everything. What was begun stays resumable.
        """
        jobs = self._packed
        for number in range(SEND_ROUNDS_MAX):
            self._wait_if_turned_away(jobs, number)
            jobs = self._confirm(self._carry(self._ask(jobs)))
            if self._stopping_error is not None:
                raise self._stopping_error
            renewing, self._renewing = self._renewing, []
            jobs += self._begin_anew(renewing)
            if not jobs:
                return
        self._give_up(jobs)

    def _wait_if_turned_away(self, jobs: Sequence[Job], number: int) -> None:
        """Wait before another round, where the storage and the service have contradicted each other."""
        reasons = [job.turned_away for job in jobs if job.turned_away is not None]
        for job in jobs:
            job.turned_away = None
        if reasons:
            self.session.patience.wait(number, reasons[0])

    def _give_up(self, jobs: Sequence[Job]) -> None:
        """End jobs whose bytes the storage does not have after so many rounds.

        Raises:
            UnavailableError: If it did not say that it has them: nothing is wrong with them, so all stays resumable.
        """
        for job in jobs:
            if job.turned_away is None:
                message = (
                    f"{job.target_path}: the storage said {SEND_ROUNDS_MAX} times that it has stored the bytes, and "
                    "the service did not find them there. Tell the admin. The archive is kept at "
                    f"{job.archive_path}; the same command sends it again."
                )
                self.ending.end_failed(job, IntegrityError(message, code="parts-lost"))
        for job in jobs:
            if job.turned_away is not None:
                raise UnavailableError(
                    f"{job.target_path}: the storage did not take the bytes for {SEND_ROUNDS_MAX} fresh URLs in a row "
                    f"({job.turned_away}), and each time the service found that they are still to be sent. Tell the "
                    "admin; nothing is lost, and the same command goes on from here.",
                    code="storage-refuses",
                    operation_id=job.operation_id,
                )

    def _promise(self, jobs: Sequence[Job], *, instead_of: Iterable[str] = ()) -> None:
        """Write the jobs into the journal as they stand."""
        with self.ending.holding(jobs) as held:
            entries = [job.entry(self.session.service_url) for job in held]
            self.session.journal.put(entries, instead_of=instead_of)

    def _ask(self, jobs: Sequence[Job]) -> list[Granted]:
        """Ask the service to start all; end those that need nothing more, return those that have bytes to send."""
        granted: list[Granted] = []
        again: list[Job] = []
        renewing: list[Job] = []
        for job, result in zip(jobs, self._start(jobs), strict=True):
            if result.problem is not None and result.problem.code in _RENEWABLE_CODES and job.renewed_from is None:
                renewing.append(job)  # what was begun has ended, or was begun with other options
                continue
            self._take_answer(job, result)
            if result.outcome == "name_taken":
                with self._surviving(job):  # packed to the end, so that contents can be compared
                    Small().pack(self.session, job)
                    again.append(job)
            elif result.outcome in ("put", "multipart"):
                granted.append((job, result))
        if again:
            self._promise(again)
        again += self._begin_anew(renewing)
        return granted + self._ask(again) if again else granted

    def _take_answer(self, job: Job, result: StartResult) -> None:
        """Note what the service has recorded; end a job that needs nothing more."""
        error = error_in(result)
        if error is not None and error.stops_everything:  # what was recorded is gone on with by a later run
            self._stopping_error = self._stopping_error or error
            return
        if not isinstance(error, NewerServiceError):
            job.lease = result.lease
            if result.lease is None:
                job.enter("prepared")
        if error is not None:
            self.ending.end_failed(job, error)
        elif result.outcome == "already_there" and result.existing is not None:
            self.ending.end_already_there(job, result.existing)
        elif result.outcome == "done" and result.record is not None:
            self.ending.end_done([(job, result.record)])

    def _start(self, jobs: Sequence[Job]) -> Sequence[StartResult]:
        if not jobs:
            return []
        items = [job.start_item() for job in jobs]
        bucket, machine_id = self.session.settings.bucket, self.session.journal.machine_id
        with self.clean_ups.reporting() as clean_ups:
            request = StartRequest(machine_id, items, expected_bucket=bucket, clean_ups=clean_ups)
            for job in jobs:
                job.enter("asked")
                job.granted_at = self.session.patience.passed()
            try:
                return self.session.api.start(request).results
            except (LoginRequiredError, NotConfiguredError):  # surely not recorded
                for job in jobs:
                    if job.lease is None:
                        job.enter("prepared")
                raise

    def _carry(self, granted: Sequence[Granted]) -> list[Job]:
        """Carry every job's bytes; return the jobs whose bytes are all sent."""
        sent: list[Job] = []
        for job, finish in self.strategy.carry(self.session, granted, self.pool):
            try:
                with self._surviving(job):
                    finish()
                    sent.append(job)
            except MgmtError as error:
                self.session.patience.check_stopped()
                self._stopping_error = self._stopping_error or error
        return sent

    def _confirm(self, jobs: list[Job]) -> list[Job]:
        """Have the service compare what the storage holds; return the jobs of which bytes are missing."""
        incomplete: list[Job] = []
        deadline = self.session.patience.now() + COMPLETING_MAX_SECONDS
        while jobs:
            pairs = list(zip(jobs, self._complete(jobs), strict=True))
            self.ending.end_done([(job, r.record) for job, r in pairs if r.outcome == "done" and r.record is not None])
            for job, result in pairs:
                error = error_in(result)
                if error is not None:
                    self._fail_or_renew(job, error)
            incomplete += [job for job, result in pairs if result.outcome == "incomplete"]
            jobs = [job for job, result in pairs if result.outcome == "completing"]
            if jobs:
                asked = [result.retry_after_seconds for _, result in pairs if result.outcome == "completing"]
                pause_seconds = max(1 if seconds is None else seconds for seconds in asked)
                if self.session.patience.now() > deadline:
                    raise UnavailableError("The storage is still joining the parts. Run the same command again later.")
                # The service knows how long it takes: its pauses grow, so the tries need not.
                self.session.patience.wait(0, "the storage is joining parts", retry_after_seconds=pause_seconds)
        return incomplete

    def _complete(self, jobs: Sequence[Job]) -> list[CompleteResult]:
        items = []
        for job in jobs:
            assert job.lease is not None  # noqa: S101  all its bytes were sent under a lease
            assert job.content is not None  # noqa: S101  and out of a whole archive
            self.session.emit(Progress(job.operation_id, job.target_path, "confirming", 0, job.content.size))
            items.append(CompleteItem(job.operation_id, job.lease.epoch, job.content))
        with self.clean_ups.reporting() as clean_ups:
            request = CompleteRequest(self.session.journal.machine_id, items, clean_ups=clean_ups)
            return self.session.api.complete(request).results

    @contextmanager
    def _surviving(self, job: Job) -> Iterator[None]:
        """End the job, or begin it anew, if it fails for a reason of its own; go on behind it with the others."""
        try:
            yield
        except MgmtError as error:
            if error.stops_everything:
                raise
            self._fail_or_renew(job, error)

    def _fail_or_renew(self, job: Job, error: MgmtError) -> None:
        """Begin an upload anew, once, whose archive had to be packed again and came out with other bytes.

        Such as after `touch` of a folder: the content is the same, the parts that were sent are not.
        """
        if job.adoption.must_repeat_parts and job.renewed_from is None and error.code in _OTHER_BYTES_CODES:
            self._renewing.append(job)
        else:
            self.ending.end_failed(job, error)

    def _begin_anew(self, jobs: Sequence[Job]) -> list[Job]:
        """Go on with jobs under new ids."""
        with self.ending.holding(jobs) as held:
            given_up = {job.renew(): job for job in held}
            self._promise(held, instead_of=given_up)  # at once: by the old entry a packed archive is known to be ours
            for former_id, job in given_up.items():
                self.session.emit(Renewed(former_id, job.operation_id))
            return held
