"""Estimates the time left of a command's uploads from the last seconds."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

WINDOW_SECONDS: Final = 15.0
"""Long enough that batches of small files do not make the time left jump, short enough to follow a change."""
_SAMPLE_SECONDS: Final = 0.25
_EARLIEST_SECONDS: Final = 1.0
"""Earlier estimates are worth nothing."""
_SECONDS_PER_UPLOAD: Final = 0.02
"""Seconds of an upload beside its bytes (packing, asking, confirming), until they were measured."""
_SHARE_MAX: Final = 0.8
"""Of the time that went by, at most so much is put down to the number of uploads instead of to their bytes."""


class _Sample(NamedTuple):
    at: float
    moved_bytes: float
    ended_count: int


class Pace:
    """Bytes that were really moved, and uploads that have ended, over the last seconds.

    Both matter: thousands of small files take longer than their bytes say, and one large file behind them goes
    faster than they did.
    """

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._last: _Sample | None = None

    def note(self, at: float, moved_bytes: float, ended_count: int) -> None:
        """Note the bytes moved and uploads ended by this run until then; earlier ones do not count."""
        if self._last is not None and at - self._last.at >= WINDOW_SECONDS:  # a pause predicts nothing
            self._samples = deque([self._last._replace(at=at)])
        self._last = _Sample(at, moved_bytes, ended_count)
        if not self._samples or at - self._samples[-1].at >= _SAMPLE_SECONDS:
            self._samples.append(self._last)

    def left_seconds(self, at: float, left_bytes: float, left_count: int) -> float | None:
        """Guess how long so many bytes and uploads take; None where nothing moves or it is too early to tell."""
        if self._last is None or at - self._last.at >= WINDOW_SECONDS:
            return None
        while len(self._samples) > 1 and at - self._samples[1].at >= WINDOW_SECONDS:
            self._samples.popleft()
        seconds = at - self._samples[0].at
        moved_bytes = self._last.moved_bytes - self._samples[0].moved_bytes
        ended_count = self._last.ended_count - self._samples[0].ended_count
        if seconds < _EARLIEST_SECONDS or moved_bytes <= 0:
            return None
        per_upload = _SECONDS_PER_UPLOAD
        if ended_count:
            per_upload = min(per_upload, _SHARE_MAX * seconds / ended_count)
        bytes_per_second = moved_bytes / (seconds - ended_count * per_upload)
        return left_bytes / bytes_per_second + left_count * per_upload
