"""Which jobs go together, and when: a batch is carried by a thread of its own while the next one is packed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Final, Protocol

from mgmt.errors import CancelledError, LocalStateError, MgmtError
from mgmt.machine import undisturbed
from mgmt.session import Session
from mgmt.upload.job import Carrying, Granted, Job
from mgmt.upload.small import Small
from mgmt_contract.parts import MIB

BATCH_SIZE_MAX_BYTES: Final = 64 * MIB
"""Archives of one batch; as many as are in flight, and the one being packed, lie on the disk at a time."""
BATCHES_IN_FLIGHT_MAX: Final = 2
"""One is sent while the other waits for the service's answers; more only fill the disk."""
_STOPPING_MAX_SECONDS: Final = 1.0
"""After Ctrl-C, for threads in the middle of a call."""


class Strategy(Protocol):
    """How sources of one kind go: `Small` together, packed first; `Large` alone, packed while it is sent."""

    goes_alone: bool
    """Whether a job is a batch of its own, and nothing is packed before the service is asked."""

    def pack(self, session: Session, job: Job) -> None:
        """Pack before the service is asked, if at all."""

    def carry(self, session: Session, granted: Sequence[Granted], pool: ThreadPoolExecutor) -> Carrying:
        """Bring the bytes of each to the storage."""


class _Batch(Protocol):
    """What is to be known of jobs that go together, to pack and carry them at the right time."""

    jobs: Sequence[Job]
    strategy: Strategy

    @property
    def is_begun(self) -> bool: ...

    def pack(self) -> None: ...

    def carry(self) -> None: ...


def strategy_for(job: Job) -> Strategy:
    """Choose how a job goes: large is what may need parts."""
    if job.source.upper_bound_bytes <= job.whole_max_bytes:
        return Small()
    from mgmt.upload.large import Large

    return Large()


def group(
    jobs: Iterable[Job], session: Session, let_go: Callable[[Job], None]
) -> Generator[tuple[Strategy, list[Job]], None, None]:
    """Group jobs: a large one alone, small ones by the hundred. Closed early, it lets go of those that wait."""
    waiting: list[Job] = []
    size_bytes = 0
    try:
        for job in jobs:
            strategy = strategy_for(job)
            if strategy.goes_alone:
                yield strategy, [job]
                continue
            waiting.append(job)
            size_bytes += job.source.upper_bound_bytes
            if len(waiting) > session.api.limits.items_max or (len(waiting) > 1 and size_bytes > BATCH_SIZE_MAX_BYTES):
                full, waiting[:] = waiting[:-1], [job]
                size_bytes = job.source.upper_bound_bytes
                yield strategy, full
        full, waiting[:] = waiting[:], []
        if full:
            yield Small(), full
    finally:
        with undisturbed():
            for job in waiting:
                let_go(job)


@contextmanager
def carry_beside(session: Session, let_go: Callable[[Job], None]) -> Iterator[InFlight]:
    """Carry batches while the calling thread packs others; in the end every job is let go of, by that thread.

    When something stops the run, what is in flight is still brought to its end; but not after Ctrl-C.

    Raises:
        MgmtError: What stopped the run.
    """
    in_flight = InFlight(session, let_go)
    try:
        try:
            yield in_flight
        except CancelledError:
            raise
        except MgmtError:
            with contextlib.suppress(MgmtError):
                in_flight.land()
            raise
        in_flight.land()
    except BaseException:
        in_flight.abandon()
        raise


class InFlight:
    """Knows what is in flight; used by one thread."""

    def __init__(self, session: Session, let_go: Callable[[Job], None]) -> None:
        self._stop = session.stop
        self._let_go = let_go
        self._threads = ThreadPoolExecutor(BATCHES_IN_FLIGHT_MAX, "carry")
        self._carried: dict[Future[None], _Batch | None] = {}
        """What threads carry; no batch where the rest of it is still to be packed."""
        self._aboard: list[_Batch] = []
        """All that are not let go of yet, the one being packed among them."""
        self._error: BaseException | None = None

    def take(self, batch: _Batch) -> None:
        """Pack a batch and have it carried; a large source alone, and to its end, as it needs all there is.

        Raises:
            MgmtError: What stops the run, be it this batch's or another's.
        """
        self._aboard.append(batch)
        try:
            if batch.strategy.goes_alone:
                self.land()
                batch.pack()
                batch.carry()
            else:
                self._pack(batch)
                self.land(BATCHES_IN_FLIGHT_MAX - 1)
        except MgmtError:  # after an interrupt `abandon` does it, when nothing is under way any more
            self._let_all_go(batch)
            raise
        if batch.strategy.goes_alone:
            self._let_all_go(batch)
        else:
            self._carry(batch, is_whole=True)

    def land(self, most: int = 0) -> None:
        """Wait until no more than `most` batches are in flight.

        Raises:
            MgmtError: What ended a batch early, after the others have ended.
        """
        while len(self._carried) > most:
            ended, _ = wait(self._carried, timeout=1.0, return_when=FIRST_COMPLETED)  # bounded: lets Ctrl-C through
            for future in ended:
                batch = self._carried.pop(future)
                if batch is not None:
                    self._let_all_go(batch)
                self._error = self._error or future.exception()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Stop what is in flight; all of it stays resumable. A second Ctrl-C ends no sooner, but as tidily."""
        with undisturbed():
            if self._carried:
                self._stop.set()
            self._threads.shutdown(wait=False)
            wait(self._carried, timeout=_STOPPING_MAX_SECONDS)
            with contextlib.ExitStack() as batches:
                for batch in reversed(self._aboard):
                    batches.callback(self._let_all_go, batch)

    def _pack(self, batch: _Batch) -> None:
        """Pack a batch; where the disk has no room for all of it, the rest when what is packed has gone."""
        while True:
            try:
                batch.pack()
            except LocalStateError as error:
                if error.code != "disk-full" or not (self._carried or batch.is_begun):
                    raise
            else:
                return
            self.land()
            self._carry(batch, is_whole=False)  # by a thread, so that Ctrl-C is heard
            self.land()

    def _carry(self, batch: _Batch, *, is_whole: bool) -> None:
        carried: Future[None] = Future()
        self._carried[carried] = batch if is_whole else None  # first: `abandon` must know what is under way
        self._threads.submit(_carry, batch, carried)

    def _let_all_go(self, batch: _Batch) -> None:
        with contextlib.ExitStack() as jobs:  # one that cannot be let go of as it should does not keep the others
            for job in reversed(batch.jobs):
                jobs.callback(self._let_go, job)
        self._aboard.remove(batch)


def _carry(batch: _Batch, carried: Future[None]) -> None:
    try:
        batch.carry()
    except BaseException as error:  # noqa: BLE001  handed to the waiting thread, which raises it
        carried.set_exception(error)
    else:
        carried.set_result(None)
