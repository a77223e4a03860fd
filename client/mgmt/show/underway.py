"""The running tasks of a command: progress, speed and time left of each and of all.

Knows no terminal and no kind of task: bars, plain lines and final results all take their figures from here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mgmt.events import Begun, Progress
from mgmt_contract.values import Value

SPEED_WINDOW_SECONDS: Final = 10.0
"""Seconds over which speed is measured: long enough to be steady, short enough to follow a change."""
SAMPLE_SECONDS: Final = 0.25
_UNFINISHED_MAX: Final = 0.99
"""Largest share shown before a task has ended."""


class Stage(Value):
    """One stage of a kind of task."""

    color: str = ""
    is_transfer: bool = False
    """Its bytes go over the network: they are the speed of all tasks together, and decide the time left."""
    is_measured: bool = True
    """False for a stage of unknown length, such as waiting for an answer; no other stage of its task runs beside it."""


class Kind(Value):
    """One kind of task: its stages, and the words that its progress and its sums are told with."""

    stages: Mapping[str, Stage]
    plural: str
    """Such as `uploads`."""
    moved: str
    """What became of bytes that were transferred, such as `sent`."""
    ended: str
    """What became of a task that succeeded, such as `uploaded`."""
    nothing: str
    """The sentence where there was no task."""
    after_failures: str
    """The sentence that says what to do when some failed."""
    list_failures: str
    """What lists failures that are not named again."""
    failed: str = "failed"
    """What became of a task that did not succeed."""


class Speed:
    """Bytes per second over the last seconds."""

    def __init__(self, at: float, count_bytes: int = 0) -> None:
        self._samples = deque([(at, count_bytes)])
        self._count_bytes = count_bytes
        self._noted_at = at

    def note(self, at: float, count_bytes: int) -> None:
        """Note the number of bytes until then."""
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
    """One stage of one task."""

    name: str
    stage: str
    kind: Stage
    began_at: float
    speed: Speed
    done_bytes: int = 0
    total_bytes: int | None = None

    @property
    def is_over(self) -> bool:
        """Tell whether this stage is complete; one that is not measured is until the task ends."""
        return self.kind.is_measured and self.total_bytes is not None and self.done_bytes >= self.total_bytes

    @property
    def fraction(self) -> float | None:
        """How much is done, from 0 to 1."""
        if not self.kind.is_measured or not self.total_bytes:
            return None
        return max(0.0, min(1.0, self.done_bytes / self.total_bytes))

    def left_seconds(self, at: float) -> float | None:
        """Guess how long the rest takes."""
        speed = self.speed.bytes_per_second(at)
        if speed is None or self.total_bytes is None or self.fraction is None:
            return None
        return max(0, self.total_bytes - self.done_bytes) / speed


class Overall(Value):
    """All tasks of a command together."""

    count: int | None
    """None where there is one task, or an unknown number."""
    ended_count: int
    transferred_bytes: int
    """Bytes transferred in this run only."""
    elapsed_seconds: float
    bytes_per_second: float | None
    """As they are transferred."""
    source_bytes: int
    """Bytes of all sources, as far as known."""
    done_bytes: float
    """Bytes of these that have ended, or were transferred by this run or an earlier one."""
    is_all_known: bool
    """Whether everything was looked at: until then sizes and times are minimums."""
    left_seconds: float | None
    under_way_count: float = 0.0
    """The tasks that have begun and not ended, each as far as it has come."""

    @property
    def fraction(self) -> float | None:
        """How much is done, from 0 to 1: of the bytes once all are known, else of the tasks.

        Of the bytes that are known so far, a download that learns one size after the other would always be nearly done.
        """
        if not self.source_bytes:
            return None
        most = 1.0 if self.ended_count == self.count else _UNFINISHED_MAX
        if self.count is not None and not self.is_all_known:
            return min(most, (self.ended_count + self.under_way_count) / self.count)
        return max(0.0, min(most, self.done_bytes / self.source_bytes))


class Transfer(Value):
    """Time and bytes of one task in this run."""

    seconds: float
    moved_fraction: float
    """How much of it was transferred in this run, from 0 to 1."""
    is_in_one_go: bool = True
    """Whether no earlier run, and no earlier beginning in this one, had transferred some of it."""


@dataclass
class _Task:
    began_at: float
    source_bytes: int = 0
    transferred_bytes: int = 0
    """By this run; of a packed source these are fewer than `moved_bytes`, which are the source's."""
    fraction: float = 0.0
    """Transferred by this run or an earlier one."""
    moved_fraction: float = 0.0
    """Transferred by this run."""
    is_in_one_go: bool = True
    tracks: dict[str, Track] = field(default_factory=dict)

    @property
    def done_bytes(self) -> float:
        return self.source_bytes * self.fraction

    @property
    def moved_bytes(self) -> float:
        return self.source_bytes * self.moved_fraction


class UnderWay:
    """Follows a command's tasks; may be told and asked from any thread.

    Tasks that have ended leave only their sums behind.
    """

    def __init__(self, kind: Kind, clock: Callable[[], float] = time.monotonic) -> None:
        self.kind = kind
        self._clock = clock
        self._lock = threading.Lock()
        self._began_at = clock()
        self._waiting_sizes: dict[str, int | None] = {}
        """By target, of those that are no tasks yet; None where it is not known."""
        self._tasks: dict[str, _Task] = {}
        self._ended: set[str] = set()
        self._count: int | None = None
        self._ended_count = 0
        self._ended_bytes = 0
        self._moved_bytes = 0.0
        self._moved_count = 0
        """Tasks that have ended and were transferred, at least in part, by this run."""
        self._transferred_bytes = 0
        self._speed: Speed | None = None
        self._pace = Pace()
        self._waiting: tuple[str, float] | None = None

    def now(self) -> float:
        """Tell the time that everything here is measured with, in seconds."""
        return self._clock()

    def expect(self, sizes: Mapping[str, int | None]) -> None:
        """Say which targets there are, and how large each is as far as that is known."""
        with self._lock:
            self._count = len(sizes)
            self._waiting_sizes = dict(sizes)

    def note_size(self, target: str, source_bytes: int) -> None:
        """Note the size of a target that is no task yet."""
        with self._lock:
            if target in self._waiting_sizes:
                self._waiting_sizes[target] = source_bytes

    def drop(self, target: str) -> None:
        """Leave out a target that is no task of its own."""
        with self._lock:
            self._waiting_sizes.pop(target, None)
            self._count = self._count - 1 if self._count else self._count

    def begin(self, event: Begun) -> None:
        """Make a task of a target; from now on its size is what was found when it was looked at."""
        with self._lock:
            self._waiting_sizes.pop(event.target, None)
            self._tasks[event.operation_id] = _Task(self._clock(), event.source_bytes)

    def note(self, event: Progress) -> bool:
        """Take notice of progress; tell whether it still matters: parts under way may move after a failure."""
        with self._lock:
            if event.operation_id in self._ended:
                return False
            self._waiting = None
            now, new_bytes = self._clock(), event.done_bytes - event.carried_over_bytes
            task = self._tasks.setdefault(event.operation_id, _Task(now))
            track = task.tracks.get(event.stage)
            if track is None:
                stage = self.kind.stages.get(event.stage, Stage())
                speed = Speed(now, 0 if stage.is_transfer else new_bytes)
                track = task.tracks[event.stage] = Track(event.target_path, event.stage, stage, now, speed)
            track.done_bytes, track.total_bytes = event.done_bytes, event.total_bytes
            track.speed.note(now, new_bytes)
            if track.kind.is_measured:
                task.source_bytes = task.source_bytes or track.total_bytes or 0
            else:
                task.tracks = {event.stage: track}
            if track.kind.is_transfer:
                task.is_in_one_go = task.is_in_one_go and not event.carried_over_bytes
                self._note_transfer(now, task, track, new_bytes)
            return True

    def _note_transfer(self, now: float, task: _Task, track: Track, new_bytes: int) -> None:
        self._transferred_bytes += new_bytes - task.transferred_bytes
        self._moved_bytes -= task.moved_bytes
        task.transferred_bytes = new_bytes
        task.fraction = track.fraction or 0.0
        task.moved_fraction = max(0.0, min(1.0, new_bytes / track.total_bytes)) if track.total_bytes else 0.0
        self._moved_bytes += task.moved_bytes
        self._speed = self._speed or Speed(now)
        self._speed.note(now, self._transferred_bytes)
        self._pace.note(now, self._moved_bytes, self._moved_count)

    def renew(self, former_id: str, operation_id: str) -> None:
        """Begin a task anew under another id: the bytes transferred before do not count, the time does."""
        with self._lock:
            self._ended.add(former_id)
            former = self._tasks.pop(former_id, None)
            if former is not None:
                self._transferred_bytes -= former.transferred_bytes
                self._moved_bytes -= former.moved_bytes
                is_in_one_go = former.is_in_one_go and not former.transferred_bytes
                self._tasks[operation_id] = _Task(former.began_at, former.source_bytes, is_in_one_go=is_in_one_go)

    def wait_for(self, what: str) -> None:
        """Note the reason of a wait; the next progress ends it."""
        with self._lock:
            self._waiting = (what, self._waiting[1] if self._waiting else self._clock())

    def waiting(self) -> tuple[str, float] | None:
        """Return the reason of the wait, and its seconds."""
        with self._lock:
            return (self._waiting[0], self._clock() - self._waiting[1]) if self._waiting else None

    def end(self, operation_id: str) -> Transfer | None:
        """Count a task as ended; return its measures, if it had begun."""
        with self._lock:
            self._waiting = None
            self._ended.add(operation_id)
            self._ended_count += 1
            task = self._tasks.pop(operation_id, None)
            if task is None:
                return None
            now = self._clock()
            self._ended_bytes += task.source_bytes
            if task.transferred_bytes:
                self._moved_count += 1
                self._pace.note(now, self._moved_bytes, self._moved_count)
            return Transfer(now - task.began_at, task.moved_fraction, task.is_in_one_go)

    def tracks(self) -> list[Track]:
        """Return the stages that are under way, in the order in which they began."""
        with self._lock:
            found = [track for task in self._tasks.values() for track in task.tracks.values()]
        return sorted((track for track in found if not track.is_over), key=lambda track: track.began_at)

    def overall(self) -> Overall:
        """Sum everything up."""
        with self._lock:
            now, tasks, waiting_sizes = self._clock(), self._tasks.values(), self._waiting_sizes.values()
            source_bytes = (
                sum(size or 0 for size in waiting_sizes) + self._ended_bytes + sum(task.source_bytes for task in tasks)
            )
            done_bytes = self._ended_bytes + sum(task.done_bytes for task in tasks)
            left_count = (self._count or 1) - self._ended_count
            return Overall(
                count=self._count if self._count is not None and self._count > 1 else None,
                ended_count=self._ended_count,
                transferred_bytes=self._transferred_bytes,
                elapsed_seconds=now - self._began_at,
                bytes_per_second=self._speed.bytes_per_second(now) if self._speed else None,
                source_bytes=source_bytes,
                done_bytes=done_bytes,
                is_all_known=None not in waiting_sizes,
                left_seconds=self._pace.left_seconds(now, source_bytes - done_bytes, left_count),
                under_way_count=sum(task.fraction for task in tasks),
            )


WINDOW_SECONDS: Final = 15.0
"""Long enough that batches of small files do not make the time left jump, short enough to follow a change."""
_SAMPLE_SECONDS: Final = 0.25
_EARLIEST_SECONDS: Final = 1.0
"""Earlier estimates are worth nothing."""
_SECONDS_PER_TASK: Final = 0.02
"""Seconds of a task beside its bytes (packing, asking, confirming), until they were measured."""
_SHARE_MAX: Final = 0.8
"""Of the time that went by, at most so much is put down to the number of tasks instead of to their bytes."""


class _Sample(NamedTuple):
    at: float
    moved_bytes: float
    ended_count: int


class Pace:
    """Bytes that were really transferred, and tasks that have ended, over the last seconds.

    Both matter: thousands of small files take longer than their bytes say, and one large file behind them goes
    faster than they did.
    """

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._last: _Sample | None = None

    def note(self, at: float, moved_bytes: float, ended_count: int) -> None:
        """Note the bytes moved and tasks ended by this run until then; earlier ones do not count."""
        if self._last is not None and at - self._last.at >= WINDOW_SECONDS:  # a pause predicts nothing
            self._samples = deque([self._last._replace(at=at)])
        self._last = _Sample(at, moved_bytes, ended_count)
        if not self._samples or at - self._samples[-1].at >= _SAMPLE_SECONDS:
            self._samples.append(self._last)

    def left_seconds(self, at: float, left_bytes: float, left_count: int) -> float | None:
        """Guess how long so many bytes and tasks take; None where nothing moves or it is too early to tell."""
        if self._last is None or at - self._last.at >= WINDOW_SECONDS:
            return None
        while len(self._samples) > 1 and at - self._samples[1].at >= WINDOW_SECONDS:
            self._samples.popleft()
        seconds = at - self._samples[0].at
        moved_bytes = self._last.moved_bytes - self._samples[0].moved_bytes
        ended_count = self._last.ended_count - self._samples[0].ended_count
        if seconds < _EARLIEST_SECONDS or moved_bytes <= 0:
            return None
        per_task = _SECONDS_PER_TASK
        if ended_count:
            per_task = min(per_task, _SHARE_MAX * seconds / ended_count)
        bytes_per_second = moved_bytes / (seconds - ended_count * per_task)
        return left_bytes / bytes_per_second + left_count * per_task
