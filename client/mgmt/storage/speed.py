"""The speed of sending to the storage, measured while sending."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from mgmt_contract.parts import MIB

MEASURED_MIN_BYTES: Final = MIB
"""Fewer bytes measure the round trip and not the line."""


class SpeedGauge:
    """Counts the bytes that were stored and the time in which any were on their way; from any thread.

    Pauses in which nothing is sent, such as packing or waiting for the service, do not count.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._under_way = 0
        self._since = 0.0
        self._busy_seconds = 0.0
        self._stored_bytes = 0

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Count the time until the context is left, once for all that is sent at the same time."""
        with self._lock:
            if self._under_way == 0:
                self._since = self._monotonic()
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                if self._under_way == 0:
                    self._busy_seconds += self._monotonic() - self._since

    def add(self, stored_bytes: int) -> None:
        """Count bytes that the storage has taken."""
        with self._lock:
            self._stored_bytes += stored_bytes

    def bytes_per_second(self) -> float | None:
        """Say how fast it went; None where too little was sent to tell."""
        with self._lock:
            if self._stored_bytes < MEASURED_MIN_BYTES or self._busy_seconds <= 0:
                return None
            return self._stored_bytes / self._busy_seconds
