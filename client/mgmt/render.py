"""The only module that prints: bars on a terminal, plain lines into a file, JSON lines for a program.

Results go to stdout, everything about how it goes to stderr. A closed pipe silences the output and never
the work.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self, TextIO

from mgmt.errors import MgmtError
from mgmt.events import AlreadyThere, Event, Finished, Notice, Progress, Trace
from mgmt.wording import count_in_words, duration_in_words, printable, ratio_in_words, size_in_words
from mgmt_contract.records import UploadRecord
from mgmt_contract.wire import to_plain

PLAIN_PROGRESS_SECONDS: Final = 30.0
JSON_PROGRESS_SECONDS: Final = 1.0
BARS_MAX: Final = 8
"""More at a time nobody reads."""


@dataclass(frozen=True)
class Style:
    """How a run may speak."""

    as_json: bool = False
    verbosity: int = 0
    """-1 quiet, 0 normal, 1 verbose."""
    colors: bool = False
    bars: bool = False


class Output:
    """The two streams of a run; writing is safe from any thread and survives a closed pipe."""

    def __init__(self, style: Style, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.style = style
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self._lock = threading.Lock()
        self._closed: set[int] = set()
        self._bars: Any = None

    @contextmanager
    def bars(self) -> Iterator[Any]:
        """Show rich's bars on stderr while the context lasts; lines are then written above them."""
        self._bars = make_bars(self)
        try:
            with self._bars:
                yield self._bars
        finally:
            self._bars = None

    def line(self, text: str) -> None:
        """Write a result line to stdout."""
        self._write(self.stdout, text)

    def aside(self, text: str) -> None:
        """Write a line about how it goes to stderr, unless quiet."""
        if self.style.verbosity >= 0:
            self._write(self.stderr, text)

    def json(self, value: Mapping[str, Any]) -> None:
        """Write a JSON line to stdout."""
        self.line(_json(value))

    def error(self, error: MgmtError) -> None:
        """Write an error to stderr, as a sentence or as a JSON line."""
        if self.style.as_json:
            value = {
                "type": "error",
                "exit_code": error.exit_code,
                "code": error.code,
                "message": error.message,
                "operation_id": error.operation_id,
            }
            self._write(self.stderr, _json(value))
        else:
            self._write(self.stderr, f"{self.paint('mgmt:', 'red')} {printable(error.message)}")

    def paint(self, text: str, color: str) -> str:
        """Colour a text where colours are wanted."""
        return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if self.style.colors else text

    def _write(self, stream: TextIO, text: str) -> None:
        with self._lock:
            if id(stream) in self._closed:
                return
            try:
                if self._bars is not None and stream.isatty():
                    self._bars.console.print(_as_is(text), soft_wrap=True)
                else:
                    stream.write(text + "\n")
                    stream.flush()
            except BrokenPipeError:
                self._closed.add(id(stream))


def _as_is(text: str) -> Any:
    """Give a line that may hold our own colours to rich, which would show their codes otherwise."""
    from rich.text import Text

    return Text.from_ansi(text)


_COLORS: Final = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace").decode()


class UploadRenderer:
    """Shows a command's uploads as they go and what they came to."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._style = output.style
        self._began = time.monotonic()
        self._bars: Any = None
        self._open_bars = ExitStack()
        self._tasks: dict[tuple[str, str], Any] = {}
        self._last_shown: dict[str, float] = {}
        self._ended: set[str] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Open the bars, where there is a terminal."""
        if self._style.bars and not self._style.as_json and self._style.verbosity >= 0:
            self._bars = self._open_bars.enter_context(self._output.bars())
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bars."""
        self._open_bars.close()

    def emit(self, event: Event) -> None:
        """Show an event; may be called from any thread."""
        with self._lock:
            match event:
                case Progress():
                    self._show_progress(event)
                case Finished():
                    self._end(event.record.operation_id)
                    self._show_finished(event)
                case AlreadyThere():
                    self._end(event.operation_id)
                    self._show_already_there(event)
                case Notice():
                    self._show_notice(event)
                case Trace():
                    if self._style.verbosity > 0:
                        self._output.aside(self._output.paint(printable(event.message), "dim"))

    def summarize(self, succeeded: int, failed: int, skipped: int, *, was_stopped: bool = False) -> None:
        """Say what all of it came to; one upload has said so itself."""
        if self._style.as_json:
            self._output.json({"type": "summary", "succeeded": succeeded, "failed": failed, "skipped": skipped})
            return
        counts = ((succeeded, "uploaded"), (skipped, "already there"), (failed, "failed"))
        said = ", ".join(f"{count} {what}" for count, what in counts if count)
        if succeeded + failed + skipped > 1:
            self._output.aside(f"{said} in {duration_in_words(time.monotonic() - self._began)}")
        elif not said and not was_stopped:
            self._output.aside("There is nothing to upload here.")

    def _end(self, operation_id: str) -> None:
        """Show nothing more of an operation: parts that were under way may still move after a failure."""
        self._last_shown.pop(operation_id, None)
        self._ended.add(operation_id)
        self._drop_bars(operation_id)

    def _show_progress(self, event: Progress) -> None:
        if event.operation_id in self._ended:
            return
        if self._bars is not None:
            self._move_bar(event)
            return
        interval = JSON_PROGRESS_SECONDS if self._style.as_json else PLAIN_PROGRESS_SECONDS
        now = time.monotonic()
        if now - self._last_shown.setdefault(event.operation_id, now) < interval:
            return
        self._last_shown[event.operation_id] = now
        if self._style.as_json:
            self._output.json({"type": "progress", **to_plain(event)})
        else:
            total = f" of {size_in_words(event.total_bytes)}" if event.total_bytes else ""
            said = f"{printable(event.target_path)}: {event.stage}, {size_in_words(event.done_bytes)}{total}"
            self._output.aside(said)

    def _move_bar(self, event: Progress) -> None:
        key = (event.operation_id, event.stage)
        if event.stage == "confirming":
            self._drop_bars(event.operation_id)
        if key not in self._tasks:
            label = f"{event.stage:<10} {printable(event.target_path)}"
            is_visible = sum(task.visible for task in self._bars.tasks) < BARS_MAX
            self._tasks[key] = self._bars.add_task(label, total=event.total_bytes, visible=is_visible)
        total = event.total_bytes if event.stage != "confirming" else None  # nobody knows how long S3 takes
        self._bars.update(self._tasks[key], completed=event.done_bytes, total=total)
        if total is not None and event.done_bytes >= total:
            self._bars.update(self._tasks[key], visible=False)

    def _drop_bars(self, operation_id: str) -> None:
        for key in [key for key in self._tasks if key[0] == operation_id]:
            self._bars.remove_task(self._tasks.pop(key))

    def _show_finished(self, event: Finished) -> None:
        if self._style.as_json:
            self._output.json({"type": "record", **to_plain(event.record)})
        elif event.error is None and self._style.verbosity >= 0:
            self._output.line(f"{self._output.paint('✓', 'green')} {describe_success(event.record)}")
        if event.error is not None:
            self._output.error(event.error)

    def _show_already_there(self, event: AlreadyThere) -> None:
        if self._style.as_json:
            self._output.json({"type": "already_there", **to_plain(event)})
        elif self._style.verbosity >= 0:
            who = f", uploaded by {event.actor} at {event.finished_at}" if event.actor else ""
            said = f"{event.target_path} is already uploaded as {event.s3_object_key}{who}"
            self._output.line(f"{self._output.paint('=', 'green')} {printable(said)}")

    def _show_notice(self, event: Notice) -> None:
        if self._style.as_json:
            self._output.json({"type": "notice", **to_plain(event)})
        else:
            self._output.aside(f"{self._output.paint('note:', 'yellow')} {printable(event.message)}")


def make_bars(output: Output) -> Any:
    """Make rich's progress bars on stderr: label, bar, bytes, speed, time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(file=output.stderr, no_color=not output.style.colors),
        transient=True,
        expand=True,
    )


def describe_success(record: UploadRecord) -> str:
    """Say in one line what an upload came to: key, sizes, ratio, time, speed."""
    size = record.s3_file_record.size if record.s3_file_record else 0
    source = record.uncompressed_size
    said = f"{printable(record.target_path)} → s3://{record.s3_bucket}/{printable(record.s3_object_key)}  "
    said += size_in_words(size)
    if source:
        ratio = ratio_in_words(size, source)
        said += f" ({ratio} of {size_in_words(source)})" if ratio != "-" else f" (from {size_in_words(source)})"
    if record.finished_at is not None:
        seconds = (record.finished_at - record.started_at).total_seconds()
        said += f" in {duration_in_words(seconds)}"
        if seconds > 0:
            said += f", {size_in_words(size / seconds)}/s"
    return said


def make_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Align rows under a header; the last column is left as long as it is."""
    table = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip() for row in table]


def describe_record(record: UploadRecord) -> list[tuple[str, str]]:
    """Say everything about one upload, as pairs of label and value."""
    size = record.s3_file_record.size if record.s3_file_record else None
    pairs = [
        ("operation", record.operation_id),
        ("status", record.status + (f": {record.error_message}" if record.error_message else "")),
        ("source", _describe_file(record.source_file_record)),
        ("archive", _describe_file(record.compressed_file_record)),
        ("object", f"s3://{record.s3_bucket}/{record.s3_object_key}" if record.s3_object_key else "-"),
        ("content", _describe_content(record)),
        ("ratio", ratio_in_words(size, record.uncompressed_size)),
        ("crc64nvme", record.crc64nvme or "-"),
        ("digest", record.content_digest or "-"),
        ("etag", record.etag or "-"),
        ("version", record.version_id or "-"),
        ("codec", f"{record.codec or '-'}, plan {record.compression_plan or '-'}"),
        ("by", record.actor or "-"),
        ("started", record.started_at.astimezone().isoformat(sep=" ", timespec="seconds")),
    ]
    if record.finished_at is not None:
        seconds = (record.finished_at - record.started_at).total_seconds()
        finished = record.finished_at.astimezone().isoformat(sep=" ", timespec="seconds")
        pairs.append(("finished", f"{finished}, after {duration_in_words(seconds)}"))
    if record.storage_class:
        pairs.append(("storage class", record.storage_class))
    if record.tags:
        pairs.append(("tags", ", ".join(f"{key}={value}" for key, value in record.tags.items())))
    return pairs


def _describe_file(file: Any) -> str:
    if file is None:
        return "-"
    kind = "directory" if file.is_directory else size_in_words(file.size)
    return f"{file.path} ({kind}, {file.status})"


def _describe_content(record: UploadRecord) -> str:
    if record.uncompressed_size is None or record.member_count is None:
        return "-"
    return f"{size_in_words(record.uncompressed_size)} in {count_in_words(record.member_count, 'member')}"
