"""Shows uploads: what a result says in a line, and what all of them come to."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from mgmt.events import Finished
from mgmt.show import Output
from mgmt.show.underway import Kind, Stage, Transfer
from mgmt.text import (
    display_width,
    duration_in_words,
    moment_in_words,
    printable,
    shorten,
    size_in_words,
    speed_in_words,
)
from mgmt.upload.results import AlreadyThere
from mgmt_contract.records import UploadRecord
from mgmt_contract.wire import to_plain

UPLOADS: Final = Kind(
    stages={
        "packing": Stage("magenta"),
        "uploading": Stage("green", is_transfer=True),
        "confirming": Stage("cyan", is_measured=False),
    },
    plural="uploads",
    moved="sent",
    ended="uploaded",
    nothing="There is nothing to upload here.",
    after_failures="Fix the errors above and run the command again; finished uploads are skipped.",
    list_failures="`mgmt history --mine --status failed` lists what was recorded",
)
_KEY_WIDTH_MIN: Final = 32
_NAME_WIDTH_MIN: Final = 20
_GAP: Final = "  "


class UploadView:
    """Shows the uploads of a command that have ended."""

    kind = UPLOADS

    def __init__(self, output: Output) -> None:
        self._output = output
        self._source_bytes = 0
        self._stored_bytes = 0
        self._moved_bytes = 0.0
        """Bytes of the sources that this run has sent."""

    def show(self, finished: Finished, transfer: Transfer | None, *, is_alone: bool) -> None:
        """Show an upload, or that it was there already."""
        record = finished.record
        if isinstance(record, AlreadyThere):
            self._output.sentence(printable(describe_already_there(record)), self._output.paint("=", "green"))
            return
        self._source_bytes += record.uncompressed_size or 0
        self._stored_bytes += record.object_size or 0
        self._moved_bytes += (transfer.moved_fraction if transfer else 0) * (record.uncompressed_size or 0)
        self._show_success(record, transfer, is_alone=is_alone)
        if finished.moved_to is not None:
            self._output.sentence(f"  the original was moved to {printable(finished.moved_to)}")

    def _show_success(self, record: UploadRecord, transfer: Transfer | None, *, is_alone: bool) -> None:
        mark, width = self._output.paint("✓", "green"), self._output.width
        said = describe_success(record, transfer)
        if width is None or display_width(said) <= width - 2:
            self._output.line(f"{mark} {said}")
        elif not is_alone:
            self._output.line(f"{mark} {describe_success(record, transfer, width - 2)}")
        else:
            self._output.sentence(_whole_name_of(record), mark)
            self._output.sentence(f"  {_numbers_of(record, transfer)}")

    def json(self, finished: Finished) -> dict[str, object]:
        """Write a record, or what is there already."""
        from mgmt.show.records import record_line  # here only: most uploads are watched by a person

        record = finished.record
        if isinstance(record, AlreadyThere):
            return {"type": "already_there", **to_plain(record)}
        # A target that never became an upload has no operation, and so no id.
        return {**record_line(record), "operation_id": record.operation_id or None}

    def sums(self, elapsed_seconds: float) -> str:
        """Say bytes in, bytes stored, ratio, time and speed of all uploads together."""
        elapsed = duration_in_words(elapsed_seconds)
        if not self._stored_bytes:
            return f" in {elapsed}"
        said = f": {describe_sizes(self._source_bytes, self._stored_bytes)}"
        if 0 < self._moved_bytes < 0.995 * self._source_bytes:
            said = f"{said.removesuffix(',')}, {size_in_words(self._moved_bytes)} of it sent"
        return f"{said} in {elapsed}{speed_in_words(self._moved_bytes, elapsed_seconds)}"


def describe_already_there(there: AlreadyThere) -> str:
    """Describe content that is stored already: its key, the person that uploaded it, and when."""
    moment = f" on {moment_in_words(datetime.fromisoformat(there.finished_at))}" if there.finished_at else ""
    who = f", uploaded by {there.actor}{moment}" if there.actor else ""
    where = f"; the original was moved to {there.moved_to}" if there.moved_to else ""
    return f"{there.target_path} is already there as {there.s3_object_key}{who}{where}"


def describe_success(record: UploadRecord, transfer: Transfer | None, width: int | None = None) -> str:
    """Describe an upload's result in one line: key, size, ratio, time, speed.

    Args:
        record: The upload.
        transfer: Its measures in this run; the record's own times also count a pause before a resume.
        width: Columns of the terminal; less important parts are left out first.
    """
    whole = _whole_name_of(record)
    key = printable(record.s3_object_key)
    name, numbers, size = (
        printable(record.target_path),
        _numbers_of(record, transfer),
        size_in_words(record.object_size or 0),
    )
    if width is None:
        return f"{whole}  {numbers}"
    for label, said in [(whole, numbers), (key, numbers), (key, size)]:
        room = width - display_width(said) - len(_GAP)
        if display_width(label) <= room or (label == key and room >= _KEY_WIDTH_MIN):
            return f"{shorten(label, room)}{_GAP}{said}"
    room = width - display_width(size) - len(_GAP)
    fits = display_width(name) <= room or room >= _NAME_WIDTH_MIN
    return f"{shorten(name, room)}{_GAP}{size}" if fits else shorten(name, width)


def describe_sizes(source_bytes: int, stored_bytes: int) -> str:
    """Say how large a source is, and how much smaller packing has made it.

    >>> describe_sizes(200_000_000, 100_000_000), describe_sizes(49_800_000, 49_815_000)
    ('200 MB → 100 MB (50 % smaller)', '49.8 MB, no smaller,')
    """
    saved_percent = round(100 * (1 - stored_bytes / source_bytes)) if source_bytes else 0
    if saved_percent <= 0:
        return f"{size_in_words(source_bytes)}, no smaller,"
    return f"{size_in_words(source_bytes)} → {size_in_words(stored_bytes)} ({saved_percent} % smaller)"


def _whole_name_of(record: UploadRecord) -> str:
    return f"{printable(record.target_path)} → s3://{printable(record.s3_bucket)}/{printable(record.s3_object_key)}"


def _numbers_of(record: UploadRecord, transfer: Transfer | None) -> str:
    """Say the sizes, the time it took, and the speed: the source's bytes that were sent in that time.

    A small file has no speed: it goes with a hundred others, and shares their time.
    """
    said = describe_sizes(record.uncompressed_size or 0, record.object_size or 0)
    if transfer is None:
        return said.removesuffix(",")
    seconds = _wall_seconds(record, transfer)
    moved_bytes = transfer.moved_fraction * (record.uncompressed_size or 0)
    if 0 < transfer.moved_fraction < 1:
        said = f"{said.removesuffix(',')}, the last {size_in_words(moved_bytes)}"
    return f"{said} in {duration_in_words(seconds)}{speed_in_words(moved_bytes, seconds)}"


def _wall_seconds(record: UploadRecord, transfer: Transfer) -> float:
    """Say how long an upload took: as its record has it, unless that also counts an earlier run and the pause since."""
    if record.finished_at is None or not transfer.is_in_one_go:
        return transfer.seconds
    return min(transfer.seconds, (record.finished_at - record.started_at).total_seconds())
