"""What an upload would come to, found out without packing, sending or recording anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mgmt.archive import compute_content, compute_content_digest, refuse_without_room
from mgmt.errors import LocalStateError, MgmtError, RefusedError
from mgmt.events import Waiting
from mgmt.service import error_in
from mgmt.session import Session
from mgmt.text import spell_path
from mgmt.upload.job import Job, UploadOptions, say_unapplied
from mgmt.upload.looking import Looking
from mgmt.upload.originals import EarlierMoves, describe_object
from mgmt.upload.results import Summary
from mgmt.upload.schedule import strategy_for
from mgmt_contract.messages.uploads import Existing, PreviewRequest, PreviewResult
from mgmt_contract.sameness import Sameness, compare_content, explain_claimed
from mgmt_contract.values import Value

PlanOutcome = Literal["upload", "replace", "already_there", "fail"]


class Plan(Value):
    """What the same command without `--dry-run` would do with one target, by what is known now."""

    target_path: str
    outcome: PlanOutcome
    s3_bucket: str | None = None
    s3_object_key: str | None = None
    source_size: int = 0
    """Bytes of all files in it."""
    member_count: int = 0
    archive_size_max: int = 0
    """Bytes that the archive will not exceed; how well it compresses shows only when it is packed."""
    skipped_count: int = 0
    """Entries that stay out of the archive without having been excluded; system files are not counted."""
    existing: Existing | None = None
    moves_to: str | None = None
    """Where the original would go."""
    estimated_seconds: float | None = None
    """For sending it whole, as fast as it may and last did; None where that is not known, or nothing is sent."""
    error: MgmtError | None = None
    """What it would fail with."""


@dataclass
class PlanSummary:
    """What a command's plans come to."""

    bytes_per_second: float | None = None
    """As last measured to this service, or as fast as it may go at most."""
    is_limited: bool = False
    """Whether --limit-rate says how fast."""
    uploads: int = 0
    already_there: int = 0
    bytes_max: int = 0
    errors: list[MgmtError] = field(default_factory=list)

    def limit(self, bytes_per_second: int | None) -> None:
        """Hold the speed back to what is allowed."""
        if bytes_per_second is not None and bytes_per_second <= (self.bytes_per_second or bytes_per_second):
            self.bytes_per_second, self.is_limited = bytes_per_second, True

    def add(self, plan: Plan) -> None:
        """Count one more in."""
        if plan.error is not None:
            self.errors.append(plan.error)
        elif plan.outcome == "already_there":
            self.already_there += 1
        else:
            self.uploads += 1
            self.bytes_max += plan.archive_size_max

    @property
    def estimated_seconds(self) -> float | None:
        """About how long sending all of it would take; None without a speed."""
        return self.bytes_max / self.bytes_per_second if self.bytes_per_second else None


def plan_uploads(
    targets: Iterable[str],
    options: UploadOptions,
    session: Session,
    shown_base: Path,
    show: Callable[[Plan], None],
    rate_limit_bytes_per_second: int | None = None,
) -> PlanSummary:
    """Find out what uploading every target would come to.

    Where something of a possible size is stored under a name, the source is read for its content's digest:
    only that tells "already there" from other content.

    Args:
        targets: Paths as the user named them.
        options: How they would be uploaded.
        session: The wired organs.
        shown_base: Folder that paths in the team's records are relative to.
        show: Gets each plan, in the targets' order, as soon as it is known.
        rate_limit_bytes_per_second: How fast they may be sent at most.

    Raises:
        MgmtError: For causes that would stop everything.
    """
    every = list(targets)
    planner = _Planner(options, session, shown_base, every)
    planner.summary.limit(rate_limit_bytes_per_second)
    batch: list[Job | Plan] = []
    for target in every:
        found = planner.look(target)
        if found is not None:
            batch.append(found)
        if len(batch) >= session.api.limits.items_max:
            planner.finish(batch, show)
            batch = []
    planner.finish(batch, show)
    say_unapplied(options, planner.summary.already_there, session.emit)
    return planner.summary


class _Planner:
    """One command's plans."""

    def __init__(self, options: UploadOptions, session: Session, shown_base: Path, targets: Sequence[str]) -> None:
        self._options = options
        self._session = session
        self._looking = Looking(options, session, shown_base, targets, is_dry_run=True)
        self._earlier_moves = EarlierMoves(session, Summary())
        self._earlier_moves.settle(is_dry_run=True)
        self.summary = PlanSummary(session.journal.speed(session.service_url))

    def look(self, target: str) -> Job | Plan | None:
        """Look at a target; a plan already where it would fail, None where it came before."""
        try:
            moved = self._earlier_moves.take(target, self._options)
            return self._looking.look(target) if moved is None else self._plan_moved(target, moved.operation_id)
        except MgmtError as error:
            if error.stops_everything:
                raise
            return Plan(spell_path(target), "fail", error=error)

    def _plan_moved(self, target: str, operation_id: str) -> Plan:
        """Plan for a target that an earlier run has uploaded and moved: the real one only tells that end."""
        record = self._earlier_moves.look_up(operation_id)
        if record is None:
            return Plan(spell_path(target), "already_there")
        bucket, key = record.s3_bucket, record.s3_object_key
        return Plan(record.target_path, "already_there", bucket, key, existing=describe_object(record))

    def finish(self, batch: Sequence[Job | Plan], show: Callable[[Plan], None]) -> None:
        """Ask the service about the jobs among these, and show all in order."""
        jobs = [each for each in batch if isinstance(each, Job)]
        answers = iter(self._ask(jobs))
        for each in batch:
            plan = next(answers) if isinstance(each, Job) else each
            self.summary.add(plan)
            show(plan)

    def _ask(self, jobs: Sequence[Job]) -> Iterable[Plan]:
        if not jobs:
            return
        items, bucket = [job.start_item() for job in jobs], self._session.settings.bucket
        request = PreviewRequest(self._session.journal.machine_id, items, expected_bucket=bucket)
        response = self._session.api.preview(request)
        for job, result in zip(jobs, response.results, strict=True):
            yield self._make_plan(job, result, response.service.bucket)

    def _make_plan(self, job: Job, result: PreviewResult, bucket: str) -> Plan:
        outcome, error = self._judge(job, result)
        is_sent = outcome in ("upload", "replace")
        # Where this very upload has stored what is there, its end is still to come, and the move with it.
        is_ours = result.existing is not None and result.existing.operation_id == job.operation_id
        is_moved = is_sent or (is_ours and outcome == "already_there")
        speed = self.summary.bytes_per_second
        return Plan(
            target_path=job.target_path,
            outcome=outcome,
            s3_bucket=bucket,
            s3_object_key=result.s3_object_key,
            source_size=job.source.uncompressed_size,
            member_count=job.source.member_count,
            archive_size_max=job.source.upper_bound_bytes,
            skipped_count=job.source.missed_count,
            existing=result.existing,
            moves_to=spell_path(os.fspath(job.completed_path)) if is_moved and job.completed_path else None,
            estimated_seconds=job.source.upper_bound_bytes / speed if is_sent and speed else None,
            error=error,
        )

    def _judge(self, job: Job, result: PreviewResult) -> tuple[PlanOutcome, MgmtError | None]:
        problem = error_in(result)
        sameness: Sameness = "other"
        if problem is None or not strategy_for(job).goes_alone:  # small ones are packed before the service is asked
            try:
                self._refuse_without_room(job)
                if result.existing and not problem:
                    sameness = self._compare(job, result.existing)
            except MgmtError as error:
                if error.stops_everything and not isinstance(error, LocalStateError):
                    raise
                return "fail", error
        if problem is not None:
            return "fail", problem
        if result.existing is None:
            return "upload", None
        if sameness == "same":
            return "already_there", None
        return ("replace", None) if self._options.replace else ("fail", _make_refusal(result.existing, sameness))

    def _refuse_without_room(self, job: Job) -> None:
        """Raise what packing would where archives are made; one that lies there already is not made again."""
        if job.why_cached is not None:
            return  # chosen because it has room
        if not os.path.lexists(job.archive_path):
            refuse_without_room(job.source, job.archive_path, plan=job.options.plan, stop=self._session.stop)

    def _compare(self, job: Job, existing: Existing) -> Sameness:
        """Compare the source with what is stored; one that cannot become as large need not be read."""
        if existing.content_digest is None or existing.size > job.source.upper_bound_bytes:
            return "other"
        self._session.emit(Waiting(f"comparing {job.target_path} with what is stored"))
        digest = compute_content_digest(job.source, stop=self._session.stop)
        if digest != existing.content_digest:
            return "other"
        if existing.is_own:
            return "same"
        content = compute_content(job.source, plan=job.options.plan, stop=self._session.stop)
        return compare_content(existing, content)


def _make_refusal(existing: Existing, sameness: Sameness) -> MgmtError:
    if sameness == "claimed":
        owner = existing.actor or "somebody outside this service"
        return RefusedError(explain_claimed(existing, owner), code="claimed-same")
    owner = f", by {existing.actor}" if existing.actor else ""
    return RefusedError(
        f"Other content is stored under {existing.s3_object_key}{owner}. Upload under another name with --as, or "
        "replace it with --replace.",
        code="name-taken",
    )
