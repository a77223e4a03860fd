"""How many parts go at a time: as few as fill the line, so that an upload that is cut off has whole parts.

Parts that go side by side share the line, and are whole at about the same time: cut off before, all of them are lost.
On a fast line that costs a second; there all workers are needed, since a single stream rarely fills it. On a slow one
it costs minutes, and mostly one stream fills it: there parts go one after the other, and another stream joins only
where that was measured to be faster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from mgmt_contract.parts import MIB

FAST_BYTES_PER_SECOND: Final = 8 * MIB
"""From here on all workers go: four parts half done are worth four seconds at most."""
SLOW_BYTES_PER_SECOND: Final = 6 * MIB
"""Below, parts go one after the other again."""
BUFFERED_BYTES: Final = 3 * MIB
"""The first bytes only fill the system's buffers: at most 4 MiB with what accounts for them, on Linux as installed."""
MEASURED_MIN_BYTES: Final = 3 * MIB
"""Fewer tell no speed."""
GAIN_MIN: Final = 1.25
"""Another stream is worth it that makes the whole so much faster."""
PARTS_BETWEEN_TRIALS: Final = 8
"""After a stream that brought nothing: the line may have become another one."""
FEW_PARTS: Final = 6
"""Of so few, no two go side by side for a trial before half of them are whole."""
_STEP_SECONDS: Final = 1.0
_MOMENT_SECONDS: Final = 0.001


class Pace:
    """Lets parts go when it is their turn, the earliest first; for any thread.

    Args:
        workers: How many may go at a time at most.
        part_count: How many there are, as far as is known.
        now: Tells the time, in seconds.
        check_stopped: Raises where the command was stopped.
    """

    def __init__(
        self, workers: int, part_count: int, now: Callable[[], float], check_stopped: Callable[[], None]
    ) -> None:
        self._workers = workers
        self._now = now
        self._check_stopped = check_stopped
        self._changed = threading.Condition()
        self._waiting: set[int] = set()
        self._under_way = 0
        self.streams = 1
        """How many may go at a time now."""
        self._is_fast = False
        self._first_look_from: float | None = now()
        """None when it is over."""
        self._proven = 1
        """The number of streams that is worth it, as far as was measured."""
        self._proven_rate = 0.0
        self._parts_until_trial = part_count // 2 if part_count <= FEW_PARTS else 0
        self._measured_since: float | None = None
        self._measured_bytes = 0
        self._measured_parts = 0

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Wait for the turn of a part, and keep it for one try.

        Raises:
            CancelledError: If the command was stopped meanwhile.
        """
        with self._changed:
            self._waiting.add(number)
            try:
                while self._under_way >= self.streams or number != min(self._waiting):
                    self._changed.wait(_STEP_SECONDS)
                    self._check_stopped()
                self._under_way += 1
            finally:
                self._waiting.discard(number)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._measured_parts += 1  # one that went in vain brought no bytes
                if self._measured_parts >= self.streams and self._measured_bytes >= MEASURED_MIN_BYTES:
                    self._go_on_with(self._choose(self._rate()))
                self._under_way -= 1
                self._changed.notify_all()

    def note_bytes(self, size_bytes: int) -> None:
        """Note bytes that went out, or a negative number of those that went in vain."""
        with self._changed:
            if self._measured_since is None:
                self._measured_since = self._now()
            self._measured_bytes += size_bytes
            if self._first_look_from is not None:
                self._look(self._first_look_from)

    def _look(self, first_look_from: float) -> None:
        """Find out whether the line is a fast one, as soon as that can be told."""
        if self._measured_bytes < BUFFERED_BYTES:
            self._first_look_from = self._now()
        elif self._measured_bytes >= BUFFERED_BYTES + MEASURED_MIN_BYTES:
            self._first_look_from = None
            seconds = self._now() - first_look_from
            if self._measured_bytes - BUFFERED_BYTES >= FAST_BYTES_PER_SECOND * seconds:
                self._is_fast = True
                self._go_on_with(self._workers)

    def _rate(self) -> float:
        seconds = self._now() - (self._measured_since or 0.0)
        return self._measured_bytes / max(seconds, _MOMENT_SECONDS)

    def _choose(self, rate: float) -> int:
        was_fast, self._is_fast = (
            self._is_fast,
            rate >= (SLOW_BYTES_PER_SECOND if self._is_fast else FAST_BYTES_PER_SECOND),
        )
        if self._is_fast:
            return self._workers
        if was_fast:
            self._proven, self._parts_until_trial = 1, 0
            return 1
        if self.streams > self._proven and rate < GAIN_MIN * self._proven_rate:
            self._parts_until_trial = PARTS_BETWEEN_TRIALS
            return self._proven
        self._proven, self._proven_rate = self.streams, rate
        self._parts_until_trial -= self._measured_parts
        return min(self._proven + 1, self._workers) if self._parts_until_trial <= 0 else self._proven

    def _go_on_with(self, streams: int) -> None:
        self.streams = streams
        self._measured_since, self._measured_bytes, self._measured_parts = self._now(), 0, 0
        self._changed.notify_all()
