"""The service's worker on a thread of this process, woken by its queue and by a schedule.

On AWS the queue outlives everything. Here it ends with the process, and the round with which the next process begins
finds what was in it.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mgmt_api.domain.work import Work

ROUND_SECONDS: Final = 60.0
"""How often the pending operations are gone through: it costs one query where nothing is pending."""
TRIES_MAX: Final = 5
TRY_AGAIN_AFTER_SECONDS: Final = 10.0
AWAITED_SECONDS: Final = 2.0
"""So long a call waits for the worker before it has the client ask again: small joins take a tenth of it."""
WORK_SECONDS: Final = 900.0
"""How long one piece of work may take, as on AWS."""
_STOP_SECONDS: Final = 30.0

_logger = logging.getLogger(__name__)


@dataclass(order=True)
class _Waiting:
    """A piece of work that waits for its time: compared by that, and then by its number."""

    due_at: float
    number: int
    work: Work = field(compare=False)
    tries: int = field(compare=False, default=0)


class LocalQueue:
    """Work that waits for the thread; may be used from several threads.

    Args:
        now: Tells the time in seconds; only differences count.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._is_taken = False
        """The thread is at work, and has not come back for more."""
        self._is_closed = False

    def send(self, work: Work, *, delay_seconds: float = 0) -> bool:
        """Hand work over, to be done at once or after a delay; return False, since it is not done yet."""
        self._put(work, delay_seconds, 0)
        return False

    def send_again(self, failed: _Waiting) -> None:
        """Hand over what has failed, to be tried again in a while."""
        self._put(failed.work, TRY_AGAIN_AFTER_SECONDS, failed.tries + 1)

    def _put(self, work: Work, delay_seconds: float, tries: int) -> None:
        with self._changed:
            heapq.heappush(self._waiting, _Waiting(self.now() + delay_seconds, next(self._numbers), work, tries))
            self._changed.notify_all()

    def take(self, until: float) -> _Waiting | None:
        """Wait for the next work that is due; None when the time has come or the queue was closed.

        It counts as being done until the next take.
        """
        with self._changed:
            self._is_taken = False
            self._changed.notify_all()
            while not self._is_closed:
                now = self.now()
                if self._waiting and self._waiting[0].due_at <= now:
                    self._is_taken = True
                    return heapq.heappop(self._waiting)
                if until <= now:
                    self._is_taken = True
                    return None
                next_at = min([until, *(each.due_at for each in self._waiting[:1])])
                self._changed.wait(next_at - now)
        return None

    def is_busy(self) -> bool:
        """Tell whether work is being done, or is due."""
        with self._changed:
            return self._is_taken or (bool(self._waiting) and self._waiting[0].due_at <= self.now())

    def wait_until_done(self, timeout_seconds: float) -> bool:
        """Wait until nothing is due any more; say whether that came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_closed or not self.is_busy(), timeout_seconds)

    def wake(self) -> None:
        """Have the waiting threads look at the clock again, which has jumped."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End the waiting; what still waits is dropped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._is_closed


class AwaitedQueue:
    """Hands work over and waits a moment for it, so that most joins are done within the call that asks for them.

    For the calls of clients; the worker itself would wait for itself.
    """

    def __init__(self, queue: LocalQueue, wait_seconds: float = AWAITED_SECONDS) -> None:
        self._queue = queue
        self._wait_seconds = wait_seconds

    def send(self, work: Work, *, delay_seconds: float = 0) -> bool:
        """Hand work over; return whether it was tried before the moment had passed."""
        self._queue.send(work, delay_seconds=delay_seconds)
        return delay_seconds == 0 and self._queue.wait_until_done(self._wait_seconds)


class WorkerThread:
    """Does the work of a queue, and a round every minute, until it is closed.

    Args:
        queue: Where the work comes from.
        do: Does one piece of work; raises where it has to be done again.
        after_each: Called after each piece, so that what was written is on the disk.
        round_seconds: The time from one round to the next; the first is made at once.
    """

    def __init__(
        self,
        queue: LocalQueue,
        do: Callable[[Work], None],
        *,
        after_each: Callable[[], object] = lambda: None,
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        self._queue = queue
        self._do = do
        self._after_each = after_each
        self._round_seconds = round_seconds
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def is_busy(self) -> bool:
        """Tell whether it is at work, or has work that is due."""
        return self._queue.is_busy()

    def finish(self) -> None:
        """Make a last round, and wait until it is done: nobody uses the backend any more."""
        from mgmt_api.domain.work import Work

        self._queue.send(Work("pending"))
        if not self._queue.wait_until_done(_STOP_SECONDS):
            _logger.warning("the worker's last round takes long; the next start makes it again")

    def close(self) -> None:
        """Finish the work that was begun, and take no more."""
        self._queue.close()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        from mgmt_api.domain.work import Work

        round_at = self._queue.now()
        while True:
            waiting = self._queue.take(round_at)
            if self._queue.is_closed:
                return
            if waiting is None:
                round_at = self._queue.now() + self._round_seconds
                waiting = _Waiting(0, 0, Work("pending"), tries=TRIES_MAX)  # the next round is soon enough
            self._try(waiting)

    def _try(self, waiting: _Waiting) -> None:
        """Do a piece of work; one that fails comes again a few times, and is then only told."""
        try:
            self._do(waiting.work)
            self._after_each()
        except Exception as error:
            if waiting.tries + 1 < TRIES_MAX:
                _logger.warning("work failed and is tried again: %s: %r", waiting.work, error)
                self._queue.send_again(waiting)
            else:
                _logger.exception("work failed: %s", waiting.work)
