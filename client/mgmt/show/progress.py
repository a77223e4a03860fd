"""Shows progress and results: bars on a terminal, plain lines in a file, JSON lines for a program."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Self

from mgmt.errors import MgmtError
from mgmt.events import (
    AlreadyThere,
    Begun,
    Event,
    Expected,
    Finished,
    Notice,
    Progress,
    Renewed,
    Repeated,
    Sized,
    Waiting,
)
from mgmt.show.output import Output
from mgmt.show.reports import describe_sizes, describe_success, describe_success_at_length
from mgmt.show.underway import Overall, Sent, Track, UnderWay
from mgmt.show.waiting import PLAIN_PROGRESS_SECONDS, WAITING_SECONDS
from mgmt.text import (
    clock_in_words,
    display_width,
    duration_in_words,
    fold,
    moment_in_words,
    printable,
    size_in_words,
    with_local_times,
)
from mgmt_contract.wire import to_plain

JSON_PROGRESS_SECONDS: Final = 1.0
UNSEEN_LINES: Final = 10
"""After so many uploads the failed ones are named again: their lines may have scrolled away."""
REPEATED_FAILURES_MAX: Final = 20


@dataclass
class _Sums:
    """The results of a command's uploads so far."""

    source_bytes: int = 0
    stored_bytes: int = 0
    moved_bytes: float = 0.0
    """Bytes of the sources that this run has sent."""
    lines: int = 0
    failed: int = 0
    first_failures: list[str] = field(default_factory=list)


class UploadRenderer:
    """Shows a command's uploads and their results."""

    def __init__(self, output: Output, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._style = output.style
        self._underway = UnderWay(clock)
        self._open_bars = ExitStack()
        self._has_bars = self._style.bars and not self._style.as_json and self._style.verbosity >= 0
        self._count: int | None = None
        self._sums = _Sums()
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
                case Expected() | Sized() | Repeated() | Begun() | Renewed():
                    self._note_work(event)
                case Progress():
                    self._show_progress(event)
                case Waiting():
                    self._underway.wait_for(event.what)
                    self._show_plain_progress()
                case Finished():
                    self._show_finished(event, self._end(event.record.operation_id))
                case AlreadyThere():
                    self._end(event.operation_id)
                    self._show_already_there(event)
                case Notice():
                    self._show_notice(event)

    def _note_work(self, event: Expected | Sized | Repeated | Begun | Renewed) -> None:
        """Note the targets and their sizes; this shows nothing by itself."""
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

    def summarize(self, succeeded: int, failed: int, skipped: int, *, was_stopped: bool = False) -> None:
        """Show the totals of several uploads; a single one has shown its own result."""
        self._open_bars.close()
        if self._style.as_json:
            self._output.json({"type": "summary", "succeeded": succeeded, "failed": failed, "skipped": skipped})
            return
        counts = ((succeeded, "uploaded"), (skipped, "already there"), (failed, "failed"))
        said = ", ".join(f"{count} {what}" for count, what in counts if count)
        if succeeded + failed + skipped > 1:
            self._repeat_failures()
            self._output.aside(f"{said}{self._describe_sums()}")
            if failed and not was_stopped:
                self._output.aside("Fix the errors above and run the command again; finished uploads are skipped.")
        elif not said and not was_stopped:
            self._output.aside("There is nothing to upload here.")

    def _end(self, operation_id: str) -> Sent | None:
        self._sums.lines += 1
        self._forget_shown(operation_id)
        return self._underway.end(operation_id)

    def _forget_shown(self, operation_id: str) -> None:
        self._last_shown = {key: at for key, at in self._last_shown.items() if key[0] != operation_id}

    def _describe_sums(self) -> str:
        """Say bytes in, bytes stored, ratio, time and speed of all uploads together."""
        overall = self._underway.overall()
        elapsed = duration_in_words(overall.elapsed_seconds)
        if not self._sums.stored_bytes:
            return f" in {elapsed}"
        said = f": {describe_sizes(self._sums.source_bytes, self._sums.stored_bytes)}"
        if 0 < self._sums.moved_bytes < 0.995 * self._sums.source_bytes:
            said = f"{said.removesuffix(',')}, {size_in_words(self._sums.moved_bytes)} of it sent"
        speed = self._sums.moved_bytes / overall.elapsed_seconds if overall.elapsed_seconds > 0 else 0
        return f"{said} in {elapsed}" + (f", {size_in_words(speed)}/s" if speed else "")

    def _repeat_failures(self) -> None:
        if not self._sums.failed or self._sums.lines <= UNSEEN_LINES:
            return
        self._output.aside("Failed:")
        for failure in self._sums.first_failures:
            self._output.aside(f"  {failure}")
        more = self._sums.failed - len(self._sums.first_failures)
        if more:
            self._output.aside(f"  and {more} more: `mgmt history --mine --status failed` lists what was recorded")

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
        """Write a regular progress line over all uploads, where there are no bars."""
        now = self._underway.now()
        if self._has_bars or self._style.as_json or now - self._last_plain_line < PLAIN_PROGRESS_SECONDS:
            return
        self._last_plain_line = now
        overall, waiting = self._underway.overall(), self._underway.waiting()
        if waiting is not None and waiting[1] >= WAITING_SECONDS:
            self._output.aside(f"waiting {clock_in_words(waiting[1])}: {printable(waiting[0])}")
        elif overall.count is not None:
            self._output.aside(_describe_overall(overall))
        else:
            for track in self._underway.tracks()[-1:]:
                self._output.aside(_describe_track(track, now))

    def _show_finished(self, event: Finished, sent: Sent | None) -> None:
        record = event.record
        if event.error is None:
            self._sums.source_bytes += record.uncompressed_size or 0
            self._sums.stored_bytes += record.s3_file_record.size if record.s3_file_record else 0
            self._sums.moved_bytes += (sent.moved_fraction if sent else 0) * (record.uncompressed_size or 0)
        if self._style.as_json:
            # A target that never became an upload has no operation, and so no id.
            self._output.json({"type": "record", **to_plain(record), "operation_id": record.operation_id or None})
        elif event.error is None and self._style.verbosity >= 0:
            self._show_success(event, sent)
            if event.moved_to is not None:
                self._output.sentence(f"  the original was moved to {printable(event.moved_to)}")
        if event.error is not None:
            self._sums.failed += 1
            if self._sums.failed <= REPEATED_FAILURES_MAX:
                self._sums.first_failures.append(_describe_failure(record.target_path, event.error))
            self._output.error(event.error)

    def _show_success(self, event: Finished, sent: Sent | None) -> None:
        mark = self._output.paint("✓", "green")
        width = self._output.width
        said = describe_success(event.record, sent)
        if width is None or display_width(said) <= width - 2:
            self._output.line(f"{mark} {said}")
        elif (self._count or 1) > 1:
            self._output.line(f"{mark} {describe_success(event.record, sent, width - 2)}")
        else:
            first, *others = describe_success_at_length(event.record, sent)
            self._output.line(f"{mark} {fold(first, width - 2, '  ')}")
            for line in others:
                self._output.line(fold(f"  {line}", width, "  "))

    def _show_already_there(self, event: AlreadyThere) -> None:
        if self._style.as_json:
            self._output.json({"type": "already_there", **to_plain(event)})
        elif self._style.verbosity >= 0:
            moment = f" on {moment_in_words(datetime.fromisoformat(event.finished_at))}" if event.finished_at else ""
            who = f", uploaded by {event.actor}{moment}" if event.actor else ""
            where = f"; the original was moved to {event.moved_to}" if event.moved_to else ""
            said = printable(f"{event.target_path} is already there as {event.s3_object_key}{who}{where}")
            self._output.sentence(said, self._output.paint("=", "green"))

    def _show_notice(self, event: Notice) -> None:
        if self._style.as_json:
            self._output.json({"type": "notice", **to_plain(event)})
        else:
            self._output.note(event.message)


def _describe_failure(target_path: str, error: MgmtError) -> str:
    said = error.message if target_path in error.message else f"{target_path}: {error.message}"
    return printable(with_local_times(said))


def _describe_track(track: Track, now: float) -> str:
    total = f" of {size_in_words(track.total_bytes)}" if track.total_bytes else ""
    moved = "" if track.stage == "confirming" else f", {size_in_words(track.done_bytes)}{total}"
    pace = _pace(track.speed.bytes_per_second(now), track.left_seconds(now))
    return f"{printable(track.name)}: {track.stage}{moved}{pace}"


def _describe_overall(overall: Overall) -> str:
    percent = f", {int(100 * overall.fraction)} %" if overall.fraction is not None and overall.is_all_known else ""
    done = f"{overall.ended_count} of {overall.count} done, {size_in_words(overall.sent_bytes)} sent{percent}"
    pace = _pace(overall.bytes_per_second, overall.left_seconds, "" if overall.is_all_known else "at least ")
    return done + pace


def _pace(bytes_per_second: float | None, left_seconds: float | None, bound: str = "") -> str:
    speed = f", {size_in_words(bytes_per_second)}/s" if bytes_per_second is not None else ""
    return speed + (f", {bound}{clock_in_words(left_seconds)} left" if left_seconds is not None else "")
