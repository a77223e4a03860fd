"""What is under way: how far every upload has come, how fast, and how long the rest will take.

Knows no terminal: bars, plain lines and the last word on an upload are all drawn from here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from mgmt.events import Progress, Stage
from mgmt_contract.values import Value

SPEED_WINDOW_SECONDS: Final = 10.0
"""Speed is what went out in so many last seconds: steady to read, and soon true after a change."""
SAMPLE_SECONDS: Final = 0.25
_FRACTION_MIN: Final = 0.02
"""Earlier than this a guess at the time left is worth nothing."""


class Speed:
    """Bytes per second over the last seconds."""

    def __init__(self, at: float, count_bytes: int = 0) -> None:
        self._samples = deque([(at, count_bytes)])
        self._count_bytes = count_bytes
        self._noted_at = at

    def note(self, at: float, count_bytes: int) -> None:
        """Note how many bytes have been counted by then."""
        self._count_bytes, self._noted_at = count_bytes, at
        if at - self._samples[-1][0] >= SAMPLE_SECONDS:
            self._samples.append((at, count_bytes))

    def bytes_per_second(self, at: float) -> float | None:
        """Say how fast it went until then; None where nothing moved or it is too early to tell."""
        if at - self._noted_at >= SPEED_WINDOW_SECONDS:
            return None
        while len(self._samples) > 1 and at - self._samples[1][0] >= SPEED_WINDOW_SECONDS:
            self._samples.popleft()
        since, before = self._samples[0]
        moved = self._count_bytes - before
        return moved / (at - since) if moved > 0 and at - since >= SAMPLE_SECONDS else None


@dataclass
class Track:
    """One stage of one upload."""

    operation_id: str
    name: str
    stage: Stage
    began_at: float
    speed: Speed
    done_bytes: int = 0
    total_bytes: int | None = None

    @property
    def is_over(self) -> bool:
        """Tell whether nothing of this stage is left; nobody knows how long confirming takes."""
        return self.stage != "confirming" and self.total_bytes is not None and self.done_bytes >= self.total_bytes

    @property
    def fraction(self) -> float | None:
        """How much is done, from 0 to 1."""
        if self.stage == "confirming" or not self.total_bytes:
            return None
        return max(0.0, min(1.0, self.done_bytes / self.total_bytes))

    def left_seconds(self, at: float) -> float | None:
        """Guess how long the rest takes."""
        speed = self.speed.bytes_per_second(at)
        if speed is None or self.total_bytes is None or self.fraction is None:
            return None
        return max(0, self.total_bytes - self.done_bytes) / speed


class Overall(Value):
    """All uploads of a command together."""

    count: int | None
    """None where there is one upload, or nobody has said how many there are."""
    ended_count: int
    sent_bytes: int
    """In this run: what an earlier one had sent does not count."""
    elapsed_seconds: float
    bytes_per_second: float | None
    fraction: float | None

    @property
    def left_seconds(self) -> float | None:
        """Guess how long the rest takes."""
        if self.fraction is None or self.fraction < _FRACTION_MIN:
            return None
        return self.elapsed_seconds * (1 - self.fraction) / self.fraction


class Sent(Value):
    """What one upload took in this run."""

    seconds: float
    bytes_per_second: float | None


@dataclass
class _Upload:
    began_at: float
    size_bytes: int = 0
    sent_bytes: int = 0
    fraction: float = 0.0
    sending_since: float | None = None
    sent_before_bytes: int = 0
    """Counted when `sending_since` was noted: how long they took is not known."""
    sent_until: float = 0.0
    tracks: dict[Stage, Track] = field(default_factory=dict)


class UnderWay:
    """Follows a command's uploads; may be told and asked from any thread.

    Uploads that have ended leave only their sums behind.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._began_at = clock()
        self._uploads: dict[str, _Upload] = {}
        self._ended: set[str] = set()
        self._count: int | None = None
        self._ended_count = 0
        self._ended_bytes = 0
        self._sent_bytes = 0
        self._speed = Speed(self._began_at)
        self._waiting: tuple[str, float] | None = None

    def now(self) -> float:
        """Tell the time that everything here is measured with, in seconds."""
        return self._clock()

    def expect(self, count: int) -> None:
        """Say how many uploads there will be."""
        with self._lock:
            self._count = count

    def note(self, event: Progress) -> bool:
        """Take notice of progress; tell whether it still matters: parts under way may move after a failure."""
        with self._lock:
            if event.operation_id in self._ended:
                return False
            self._waiting = None
            upload = self._uploads.setdefault(event.operation_id, _Upload(self._clock()))
            track = self._track(upload, event)
            track.done_bytes, track.total_bytes = event.done_bytes, event.total_bytes
            track.speed.note(self._clock(), event.done_bytes - event.carried_over_bytes)
            if event.stage == "packing":
                upload.size_bytes = event.total_bytes or 0
            elif event.stage == "uploading":
                self._note_sent(upload, track, event.done_bytes - event.carried_over_bytes)
            else:
                upload.tracks = {"confirming": track}
            return True

    def _track(self, upload: _Upload, event: Progress) -> Track:
        if event.stage not in upload.tracks:
            now = self._clock()
            counted_bytes = event.done_bytes - event.carried_over_bytes if event.stage == "packing" else 0
            speed = Speed(now, counted_bytes)
            upload.tracks[event.stage] = Track(event.operation_id, event.target_path, event.stage, now, speed)
        return upload.tracks[event.stage]

    def _note_sent(self, upload: _Upload, track: Track, sent_bytes: int) -> None:
        now = self._clock()
        self._sent_bytes += sent_bytes - upload.sent_bytes
        self._speed.note(now, self._sent_bytes)
        upload.sent_bytes = sent_bytes
        upload.fraction = track.fraction or 0.0
        upload.size_bytes = upload.size_bytes or track.total_bytes or 0
        if upload.sending_since is None:
            upload.sending_since, upload.sent_before_bytes = now, sent_bytes
        upload.sent_until = now

    def renew(self, former_id: str, operation_id: str) -> None:
        """Begin an upload anew under another id: what was sent was sent in vain, the time that went by counts."""
        with self._lock:
            self._ended.add(former_id)
            former = self._uploads.pop(former_id, None)
            if former is not None:
                self._sent_bytes -= former.sent_bytes
                self._uploads[operation_id] = _Upload(former.began_at, former.size_bytes)

    def wait_for(self, what: str) -> None:
        """Say what is waited for; whatever moves next ends the waiting, and only that."""
        with self._lock:
            self._waiting = (what, self._waiting[1] if self._waiting else self._clock())

    def waiting(self) -> tuple[str, float] | None:
        """Say what is waited for, and for how many seconds."""
        with self._lock:
            return (self._waiting[0], self._clock() - self._waiting[1]) if self._waiting else None

    def end(self, operation_id: str) -> Sent | None:
        """Count an upload as ended; say what it took, where anything of it was seen."""
        with self._lock:
            self._waiting = None
            self._ended.add(operation_id)
            self._ended_count += 1
            upload = self._uploads.pop(operation_id, None)
            if upload is None:
                return None
            self._ended_bytes += upload.size_bytes
            sending_seconds = upload.sent_until - (upload.sending_since or 0)
            moved_bytes = upload.sent_bytes - upload.sent_before_bytes
            speed = moved_bytes / sending_seconds if sending_seconds > 0 and moved_bytes > 0 else None
            return Sent(self._clock() - upload.began_at, speed)

    def tracks(self) -> list[Track]:
        """Return the stages that are under way, in the order in which they began."""
        with self._lock:
            found = [track for upload in self._uploads.values() for track in upload.tracks.values()]
        return sorted((track for track in found if not track.is_over), key=lambda track: track.began_at)

    def overall(self) -> Overall:
        """Sum everything up."""
        with self._lock:
            now = self._clock()
            count = self._count if self._count is not None and self._count > 1 else None
            speed = self._speed.bytes_per_second(now)
            elapsed = now - self._began_at
            return Overall(count, self._ended_count, self._sent_bytes, elapsed, speed, self._fraction())

    def _fraction(self) -> float | None:
        """How much of all is done; uploads not yet looked at count as the average of the others."""
        seen_count = self._ended_count + len(self._uploads)
        seen_bytes = self._ended_bytes + sum(upload.size_bytes for upload in self._uploads.values())
        if not seen_bytes:
            return None
        whole_bytes = seen_bytes * max(1.0, (self._count or 0) / seen_count)
        done_bytes = self._ended_bytes + sum(each.size_bytes * each.fraction for each in self._uploads.values())
        return done_bytes / whole_bytes
