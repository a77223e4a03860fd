"""The one retry policy: full jitter between tries, and a budget of time without progress.

Counting tries gives up within a minute when a laptop changes its network; time without one byte of
progress is when a person would say "it does not work". Waiting ends at once when the command is stopped.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Final

from mgmt.errors import INTERRUPTED, CancelledError, UnavailableError

START_BUDGET_SECONDS: Final = 20.0
"""How long the service may be out of reach before the first answer."""
PROGRESS_BUDGET_SECONDS: Final = 15 * 60.0
"""Longest time without progress, after the first."""
_SHORTEST_TRY_SECONDS: Final = 1.0
_FIRST_DELAY_SECONDS: Final = 0.5
_STEP_SECONDS: Final = 1.0
_LONGEST_DELAY_SECONDS: Final = 30.0
_LONGEST_ASKED_DELAY_SECONDS: Final = 300.0
"""Longest pause that the other side can ask for."""


class Patience:
    """How long a command keeps trying; shared by all its requests, so that progress of one counts for all."""

    def __init__(
        self,
        stop: threading.Event,
        *,
        start_budget_seconds: float = START_BUDGET_SECONDS,
        budget_seconds: float = PROGRESS_BUDGET_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        on_wait: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.stop = stop
        self._start_budget_seconds = start_budget_seconds
        self._budget_seconds = budget_seconds
        self._monotonic = monotonic
        self._on_wait = on_wait
        self._answered = False
        self._failing_since: float | None = None
        self._ends_at: float | None = None

    def hurry(self, seconds: float) -> None:
        """Limit the remaining time from now on, also with progress: the rest is not worth more."""
        self._ends_at = self._monotonic() + seconds

    def note_progress(self) -> None:
        """Note progress: an answer came, or bytes were sent and taken."""
        self._answered = True
        self._failing_since = None

    def note_answer(self) -> None:
        """Note that the other side answers, though it refuses: the long patience applies."""
        self._answered = True

    def begin_try(self) -> float | None:
        """Note a try; return how many seconds it may take, or None where an answer came before.

        Before the first answer, and in a hurry, a try that hangs must not outlast the budget.
        """
        now = self._monotonic()
        if self._ends_at is not None:
            return max(_SHORTEST_TRY_SECONDS, self._ends_at - now)
        if self._answered:
            return None
        return max(_SHORTEST_TRY_SECONDS, self._note_failing(now) + self._start_budget_seconds - now)

    def now(self) -> float:
        """Tell the time that waiting is measured with, in seconds."""
        return self._monotonic()

    def check_silence(self, since: float, why: str) -> None:
        """Give up on one transfer that has not moved since then, though others may have.

        Raises:
            UnavailableError: If that is longer ago than the budget.
        """
        if self._monotonic() - since > self._budget_seconds:
            raise _out_of_patience(self._budget_seconds, why)

    def check_stopped(self) -> None:
        """Give up at once where the command was stopped.

        Raises:
            CancelledError: If it was.
        """
        if self.stop.is_set():
            raise CancelledError(INTERRUPTED)

    def wait(self, attempt: int, why: str, *, retry_after_seconds: float | None = None) -> None:
        """Wait before try number `attempt` + 1, or give up.

        The time since the first failure after the last progress counts: a long time without tries, such as
        packing, costs no patience.

        The other side may ask for a longer pause, of minutes at most; the budget stays the same.

        Raises:
            UnavailableError: If nothing has moved for the whole budget; `why` tells the last reason.
            CancelledError: If the command is stopped meanwhile.
        """
        self.check_stopped()
        now = self._monotonic()
        failing_since = self._note_failing(now)
        ceiling = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2 ** min(attempt, 10))
        asked = min(retry_after_seconds or 0, _LONGEST_ASKED_DELAY_SECONDS)
        delay = max(random.uniform(0, ceiling), asked)  # noqa: S311  jitter is no secret
        budget = self._budget_seconds if self._answered else self._start_budget_seconds
        left = failing_since + budget - now
        if self._ends_at is not None:
            left = min(left, self._ends_at - now)
        if left <= 0:
            raise _out_of_patience(budget, why)
        self._on_wait(why)
        self._pause(min(delay, left))
        self.check_stopped()

    def _pause(self, seconds: float) -> None:
        """Wait, in steps: Windows lets Ctrl-C through only between two."""
        while seconds > 0 and not self.stop.wait(min(seconds, _STEP_SECONDS)):
            seconds -= _STEP_SECONDS

    def _note_failing(self, now: float) -> float:
        """Return since when nothing has moved, from now on at the latest."""
        since = self._failing_since  # read once: another thread may note progress at any moment
        if since is None:
            since = self._failing_since = now
        return since


def _out_of_patience(budget_seconds: float, why: str) -> UnavailableError:
    return UnavailableError(
        f"No progress for {_in_words(budget_seconds)}: {why}. "
        "Nothing is lost; check the connection and run the same command again."
    )


def _in_words(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} s"
