"""Batches in flight: carried by threads of their own while the next one is packed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Final

from mgmt.errors import CancelledError, LocalStateError, MgmtError
from mgmt.machine.interrupts import undisturbed
from mgmt.session import Session
from mgmt.upload.batch import Batch, is_large
from mgmt.upload.job import Job

BATCHES_IN_FLIGHT_MAX: Final = 2
"""One is sent while the other waits for the service's answers; more only fill the disk."""
_STOPPING_MAX_SECONDS: Final = 1.0
"""Who presses Ctrl-C waits no longer for what is in the middle of a call."""


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
        self._batches: dict[Future[None], Batch] = {}
        self._aboard: list[Batch] = []
        """All that are not let go of yet, the one being packed among them."""
        self._making_room: list[Future[None]] = []
        """Those that go before the rest of their batch can be packed."""
        self._error: BaseException | None = None

    def take(self, batch: Batch) -> None:
        """Pack a batch and have it carried; a large source alone, and to its end, as it needs all there is.

        Raises:
            MgmtError: What stops the run, be it this batch's or another's.
        """
        self._aboard.append(batch)
        if is_large(batch.jobs[0]):
            self._go_alone(batch)
            return
        try:
            self._pack(batch)
            self._wait_until(BATCHES_IN_FLIGHT_MAX - 1)
        except MgmtError:  # after an interrupt `abandon` does it, when nothing is under way any more
            self._let_all_go(batch)
            raise
        carried: Future[None] = Future()
        self._batches[carried] = batch  # first: wherever Ctrl-C comes, `abandon` knows what is under way
        self._threads.submit(_carry, batch, carried)

    def land(self) -> None:
        """Wait until nothing is in flight.

        Raises:
            MgmtError: What ended a batch early, after the others have ended.
        """
        while self._batches:
            self._collect()
        self._raise_error()

    def abandon(self) -> None:
        """Stop what is in flight; all of it stays resumable. Who presses Ctrl-C again ends no sooner, but as tidily."""
        with undisturbed():
            under_way = [*self._batches, *self._making_room]
            if under_way:
                self._stop.set()
            self._threads.shutdown(wait=False)
            wait(under_way, timeout=_STOPPING_MAX_SECONDS)
            with contextlib.ExitStack() as batches:
                for batch in reversed(self._aboard):
                    batches.callback(self._let_all_go, batch)

    def _pack(self, batch: Batch) -> None:
        """Pack a batch; where the disk has no room for all of it, the rest when what is packed has gone."""
        while True:
            try:
                batch.pack()
            except LocalStateError as error:
                if error.code != "disk-full" or not (self._batches or batch.is_begun):
                    raise
            else:
                return
            self.land()
            self._make_room(batch)

    def _make_room(self, batch: Batch) -> None:
        """Carry what is packed of a batch; by a thread, so that Ctrl-C is heard."""
        carried: Future[None] = Future()
        self._making_room = [carried]  # first, as in `take`
        self._threads.submit(_carry, batch, carried)
        while self._making_room:
            ended, _ = wait(self._making_room, timeout=1.0)
            for future in ended:
                self._making_room.remove(future)
                future.result()

    def _go_alone(self, batch: Batch) -> None:
        try:
            self.land()
            batch.pack()
            batch.carry()
        finally:
            self._let_all_go(batch)

    def _wait_until(self, most: int) -> None:
        while len(self._batches) > most:
            self._collect()
        self._raise_error()

    def _collect(self) -> None:
        """Let go of batches that have ended; wait a moment where none has."""
        ended, _ = wait(self._batches, timeout=1.0, return_when=FIRST_COMPLETED)  # bounded: lets Ctrl-C through
        for future in ended:
            self._let_all_go(self._batches.pop(future))
            self._error = self._error or future.exception()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _let_all_go(self, batch: Batch) -> None:
        with contextlib.ExitStack() as jobs:  # one that cannot be let go of as it should does not keep the others
            for job in reversed(batch.jobs):
                jobs.callback(self._let_go, job)
        self._aboard.remove(batch)


def _carry(batch: Batch, carried: Future[None]) -> None:
    try:
        batch.carry()
    except BaseException as error:  # noqa: BLE001  handed to the waiting thread, which raises it
        carried.set_exception(error)
    else:
        carried.set_result(None)
