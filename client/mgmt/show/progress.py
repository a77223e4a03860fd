"""Shows the tasks of a command while they run: bars on a terminal, plain lines in a file, JSON lines for a program.

What came of a task, and what all of them came to, is for the view of its kind to say.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, Protocol, Self

from mgmt.errors import MgmtError
from mgmt.events import Begun, Event, Expected, Finished, Notice, Progress, Renewed, Repeated, Sized, Waiting
from mgmt.show import PLAIN_PROGRESS_SECONDS, WAITING_SECONDS, Output
from mgmt.show.underway import Kind, Overall, Track, Transfer, UnderWay
from mgmt.text import clock_in_words, printable, size_in_words, with_local_times
from mgmt_contract.wire import to_plain

JSON_PROGRESS_SECONDS: Final = 1.0
UNSEEN_LINES: Final = 10
"""After so many tasks the failed ones are named again: their lines may have scrolled away."""
REPEATED_FAILURES_MAX: Final = 20


class TaskView(Protocol):
    """One kind of task, and how its results are shown."""

    kind: Kind

    def show(self, finished: Finished, transfer: Transfer | None, *, is_alone: bool) -> None:
        """Show a person the result of a task that has not failed, and add it to the sums."""

    def json(self, finished: Finished) -> dict[str, object]:
        """Return the JSON line of a result."""

    def sums(self, elapsed_seconds: float) -> str:
        """Say what all results come to, behind their numbers."""


class TaskRenderer:
    """Shows a command's tasks and their results."""

    def __init__(self, output: Output, view: TaskView, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._style = output.style
        self._view = view
        self._underway = UnderWay(view.kind, clock)
        self._open_bars = ExitStack()
        self._has_bars = self._style.bars and not self._style.as_json and self._style.verbosity >= 0
        self._count = 1
        self._ended_count = 0
        self._failed_count = 0
        self._first_failures: list[str] = []
        self._last_shown: dict[tuple[str, str], float] = {}
        self._last_plain_line = clock()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Open the bars, where there is a terminal."""
        if self._has_bars:
            self._open_bars.enter_context(self._output.bars(self._underway))
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bars."""
        self._open_bars.close()

    def emit(self, event: Event) -> None:
        """Show an event; may be called from any thread."""
        with self._lock:
            match event:
                case Expected():
                    self._count = len(event.sizes)
                    self._underway.expect(event.sizes)
                case Sized():
                    self._underway.note_size(event.target, event.source_bytes)
                case Repeated():
                    self._underway.drop(event.target)
                case Begun():
                    self._underway.begin(event)
                case Renewed():
                    self._forget_shown(event.former_id)
                    self._underway.renew(event.former_id, event.operation_id)
                case Progress():
                    self._show_progress(event)
                case Waiting():
                    self._underway.wait_for(event.what)
                    self._show_plain_progress()
                case Finished():
                    self._show_end(event)
                case Notice():
                    self._show_notice(event)

    def summarize(self, succeeded: int, failed: int, skipped: int, *, was_stopped: bool = False) -> None:
        """Show the totals of several tasks; a single one has shown its own result."""
        self._open_bars.close()
        if self._style.as_json:
            self._output.json({"type": "summary", "succeeded": succeeded, "failed": failed, "skipped": skipped})
            return
        kind = self._view.kind
        counts = ((succeeded, kind.ended), (skipped, "already there"), (failed, kind.failed))
        said = ", ".join(f"{count} {what}" for count, what in counts if count)
        if succeeded + failed + skipped > 1:
            self._repeat_failures()
            self._output.aside(f"{said}{self._view.sums(self._underway.overall().elapsed_seconds)}")
            if failed and not was_stopped:
                self._output.aside(kind.after_failures)
        elif not said and not was_stopped:
            self._output.aside(kind.nothing)

    def _show_end(self, finished: Finished) -> None:
        record, error = finished.record, finished.error
        self._ended_count += 1
        self._forget_shown(record.operation_id)
        transfer = self._underway.end(record.operation_id)
        if self._style.as_json:
            self._output.json(self._view.json(finished))
        elif error is None and self._style.verbosity >= 0:
            self._view.show(finished, transfer, is_alone=self._count <= 1)
        if error is not None:
            self._failed_count += 1
            if self._failed_count <= REPEATED_FAILURES_MAX:
                self._first_failures.append(_describe_failure(record.target_path, error))
            self._output.error(error)

    def _show_notice(self, event: Notice) -> None:
        if self._style.as_json:
            self._output.json({"type": "notice", **to_plain(event)})
        else:
            self._output.note(event.message)

    def _forget_shown(self, operation_id: str) -> None:
        self._last_shown = {key: at for key, at in self._last_shown.items() if key[0] != operation_id}

    def _repeat_failures(self) -> None:
        if not self._failed_count or self._ended_count <= UNSEEN_LINES:
            return
        self._output.aside("Failed:")
        for failure in self._first_failures:
            self._output.aside(f"  {failure}")
        more = self._failed_count - len(self._first_failures)
        if more:
            self._output.aside(f"  and {more} more: {self._view.kind.list_failures}")

    def _show_progress(self, event: Progress) -> None:
        if not self._underway.note(event):
            return
        if not self._style.as_json:
            self._show_plain_progress()
            return
        key, now = (event.operation_id, event.stage), self._underway.now()
        if now - self._last_shown.setdefault(key, now) >= JSON_PROGRESS_SECONDS:
            self._last_shown[key] = now
            self._output.json({"type": "progress", **to_plain(event)})

    def _show_plain_progress(self) -> None:
        """Write a regular progress line over all tasks, where there are no bars."""
        now = self._underway.now()
        if self._has_bars or self._style.as_json or now - self._last_plain_line < PLAIN_PROGRESS_SECONDS:
            return
        self._last_plain_line = now
        overall, waiting = self._underway.overall(), self._underway.waiting()
        if waiting is not None and waiting[1] >= WAITING_SECONDS:
            self._output.aside(f"waiting {clock_in_words(waiting[1])}: {printable(waiting[0])}")
        elif overall.count is not None:
            self._output.aside(_describe_overall(overall, self._view.kind.moved))
        else:
            for track in self._underway.tracks()[-1:]:
                self._output.aside(_describe_track(track, now))


def _describe_failure(target_path: str, error: MgmtError) -> str:
    message = error.message.removesuffix(":") + "." if error.details else error.message
    said = message if target_path in message else f"{target_path}: {message}"
    return printable(with_local_times(said))


def _describe_track(track: Track, now: float) -> str:
    total = f" of {size_in_words(track.total_bytes)}" if track.total_bytes else ""
    moved = "" if not track.kind.is_measured else f", {size_in_words(track.done_bytes)}{total}"
    pace = _pace(track.speed.bytes_per_second(now), track.left_seconds(now))
    return f"{printable(track.name)}: {track.stage}{moved}{pace}"


def _describe_overall(overall: Overall, moved: str) -> str:
    percent = f", {int(100 * overall.fraction)} %" if overall.fraction is not None and overall.is_all_known else ""
    done = f"{overall.ended_count} of {overall.count} done, {size_in_words(overall.transferred_bytes)} {moved}{percent}"
    pace = _pace(overall.bytes_per_second, overall.left_seconds, "" if overall.is_all_known else "at least ")
    return done + pace


def _pace(bytes_per_second: float | None, left_seconds: float | None, bound: str = "") -> str:
    speed = f", {size_in_words(bytes_per_second)}/s" if bytes_per_second is not None else ""
    return speed + (f", {bound}{clock_in_words(left_seconds)} left" if left_seconds is not None else "")
