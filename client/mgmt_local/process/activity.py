"""The embedded backend's last use, and whether it may end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mgmt_local.process.alive import Holder


class Activity:
    """Counts requests and remembers the last; once closed, it admits no more.

    Closing and admitting exclude each other: a request is either answered or never begun.

    Args:
        idle_seconds: After how long without use it may be closed.
        may_answer: Asked before each request is admitted.
    """

    def __init__(self, idle_seconds: float, may_answer: Callable[[], bool] = lambda: True) -> None:
        self.idle_seconds = idle_seconds
        self._may_answer = may_answer
        self._condition = threading.Condition()
        self._running = 0
        self._holders: list[Holder] = []
        self._last = time.monotonic()
        self._closed = False

    @contextmanager
    def admit(self) -> Iterator[bool]:
        """Run a request; yields False where no more are admitted."""
        with self._condition:
            admitted = not self._closed and self._may_answer()
            self._running += admitted
        try:
            yield admitted
        finally:
            with self._condition:
                self._running -= admitted
                self._last = time.monotonic()
                self._condition.notify_all()

    @contextmanager
    def hold(self, holder: Holder) -> Iterator[None]:
        """Count as in use while the context lasts; unlike a request, it does not delay the backend's end."""
        with self._condition:
            self._holders.append(holder)
        try:
            yield
        finally:
            with self._condition:
                self._holders.remove(holder)
                self._last = time.monotonic()

    def holders(self) -> list[Holder]:
        """Name the commands that hold it, in the order in which they came."""
        with self._condition:
            return list(self._holders)

    def touch(self) -> None:
        """Note a use that is no request."""
        with self._condition:
            self._last = time.monotonic()

    def close_if_idle(self) -> bool:
        """Close if nothing has happened for long enough, and say whether that is so."""
        with self._condition:
            is_used = self._running or self._holders
            idle = not is_used and time.monotonic() - self._last >= self.idle_seconds
            self._closed = self._closed or idle
            return idle

    def close(self, timeout_seconds: float) -> None:
        """Admit no more requests and wait for the running ones."""
        with self._condition:
            self._closed = True
            self._condition.wait_for(lambda: not self._running, timeout_seconds)
