"""The upload use case: look at the targets, group them, and take every batch to its end.

While a batch of small sources is carried, the next one is packed.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from mgmt.archive import is_fallback
from mgmt.errors import MgmtError
from mgmt.events import Begun, Notice, Repeated, Sized
from mgmt.machine.descriptors import raise_limit, workers_max
from mgmt.machine.interrupts import undisturbed
from mgmt.session import Session
from mgmt.upload.batch import Batch, is_large
from mgmt.upload.ending import Ending, Summary
from mgmt.upload.job import Job, UploadOptions
from mgmt.upload.looking import Preparation
from mgmt.upload.schedule import carry_beside
from mgmt.upload.sending import WHOLE_ARCHIVES_AT_A_TIME, sending_pool
from mgmt.upload.sizing import Sizing
from mgmt.upload.unapplied import say_unapplied
from mgmt_contract.parts import MIB

_log: Final = logging.getLogger(__name__)
BATCH_SIZE_MAX_BYTES: Final = 64 * MIB
"""Archives of one batch; as many as are in flight, and the one being packed, lie on the disk at a time."""


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
    if is_fallback(options.plan):
        message = "Packing is several times slower here, because isal is missing. `pip install isal` adds it."
        session.emit(Notice(message, "packing-is-slow"))
    raise_limit()
    most = workers_max()
    options = replace(options, jobs=min(options.jobs, most) if options.jobs else None)
    ending = Ending(session, summary)
    ending.moves.settle()
    sizing = Sizing(session, options.excludes)
    looked_at = sizing.look(targets)
    preparation = Preparation(options, session, shown_base, looked_at)
    failing_first = sorted(looked_at, key=lambda target: preparation.find_outer(target) is None)
    grouping = _Grouping(preparation, options, session, ending, sizing)
    try:
        with (
            sizing.counting(),
            sending_pool(options.jobs or min(WHOLE_ARCHIVES_AT_A_TIME, most)) as pool,
            carry_beside(session, ending.let_go) as in_flight,
            closing(grouping.batches(failing_first)) as batches,
        ):
            for jobs in batches:
                in_flight.take(Batch(jobs, session, ending, pool))
    finally:
        ending.say_left()
        _note_speed(session)
    say_unapplied(options, summary.skipped, session.emit)
    ending.moves.finish_unnamed()
    ending.report_clean_ups()


def _note_speed(session: Session) -> None:
    """Remember how fast it went; where that cannot be, nothing is lost by it."""
    speed = session.carrier.measured_speed()
    if speed is None:
        return
    try:
        session.journal.note_speed(session.service_url, speed)
    except MgmtError as error:
        _log.info("The speed is not remembered: %s", error.message)


class _Grouping:
    """Turns one command's targets into batches of jobs."""

    def __init__(
        self, preparation: Preparation, options: UploadOptions, session: Session, ending: Ending, sizing: Sizing
    ) -> None:
        self._preparation = preparation
        self._options = options
        self._api = session.api
        self._emit = session.emit
        self._ending = ending
        self._sizing = sizing

    def batches(self, targets: Iterable[str]) -> Generator[list[Job], None, None]:
        """Look at the targets and group them; who closes this early lets go of what waits for its batch."""
        waiting: list[Job] = []
        try:
            yield from self._group(targets, waiting)
        finally:
            with undisturbed():
                for job in waiting:
                    self._ending.let_go(job)

    def _group(self, targets: Iterable[str], waiting: list[Job]) -> Iterator[list[Job]]:
        """A large one alone, small ones by the hundred."""
        waiting_bytes = 0
        for target in targets:
            job = self._prepare(target)
            if job is None:
                continue
            if is_large(job):
                yield [job]
                continue
            waiting.append(job)
            waiting_bytes += job.source.upper_bound_bytes
            if len(waiting) > self._api.limits.items_max or (len(waiting) > 1 and waiting_bytes > BATCH_SIZE_MAX_BYTES):
                *full, job = waiting
                waiting[:], waiting_bytes = [job], job.source.upper_bound_bytes
                yield full
        full = waiting.copy()
        waiting.clear()
        if full:
            yield full

    def _prepare(self, target: str) -> Job | None:
        is_first = self._sizing.note_begun(target)
        try:
            if self._was_moved(target):
                self._emit(Sized(target, 0))
                return None
            job = self._preparation.prepare(target)
        except MgmtError as error:
            if error.stops_everything:
                raise
            self._emit(Sized(target, 0))
            self._ending.end_unprepared(target, error)
            return None
        if job is not None:
            self._emit(Begun(target, job.operation_id, job.source.uncompressed_size))
        elif is_first:
            self._emit(Repeated(target))
        return job

    def _was_moved(self, target: str) -> bool:
        """Tell whether an earlier run has uploaded a target and moved it away; that is its end."""
        entry = self._ending.moves.take_settled(target)
        if entry is not None:
            self._ending.end_moved(entry)
            return True
        made = self._ending.moves.find_made(target, self._options)
        if made is not None:
            self._ending.end_made(target, made)
        return made is not None
