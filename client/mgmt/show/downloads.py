"""Shows downloads: what a result says in a line, and what all of them come to."""

from __future__ import annotations

from typing import Final

from mgmt.events import Finished
from mgmt.show import Output
from mgmt.show.records import record_line
from mgmt.show.underway import Kind, Stage, Transfer
from mgmt.text import duration_in_words, printable, size_in_words, speed_in_words
from mgmt_contract.records import DownloadRecord

DOWNLOADS: Final = Kind(
    stages={
        "fetching": Stage("green", is_transfer=True),
        "checking": Stage("cyan"),
        "extracting": Stage("green", is_transfer=True),
    },
    plural="downloads",
    moved="received",
    ended="downloaded",
    nothing="There is nothing to download.",
    after_failures="Fix the errors above and run the command again; what is fetched already is not fetched again.",
    list_failures="`mgmt history --mine --type download --status failed` lists what was recorded",
)


class DownloadView:
    """Shows the downloads of a command that have ended."""

    kind = DOWNLOADS

    def __init__(self, output: Output) -> None:
        self._output = output
        self._size_bytes = 0
        self._moved_bytes = 0.0

    def show(self, finished: Finished, transfer: Transfer | None, *, is_alone: bool) -> None:  # noqa: ARG002  the view's port
        """Show a download."""
        record: DownloadRecord = finished.record
        self._size_bytes += record.size
        self._moved_bytes += _count_moved(record, transfer) if transfer else 0
        self._output.sentence(printable(describe_download(record, transfer)), self._output.paint("✓", "green"))

    def json(self, finished: Finished) -> dict[str, object]:
        """Write a record."""
        record = finished.record
        # A name that never became a download has no operation, and so no id.
        return {**record_line(record), "operation_id": record.operation_id or None}

    def sums(self, elapsed_seconds: float) -> str:
        """Say bytes, time and speed of all downloads together."""
        elapsed = duration_in_words(elapsed_seconds)
        if not self._size_bytes:
            return f" in {elapsed}"
        speed = speed_in_words(self._moved_bytes, elapsed_seconds)
        return f": {size_in_words(self._size_bytes)} in {elapsed}{speed}"


def describe_download(record: DownloadRecord, transfer: Transfer | None) -> str:
    """Describe a download's result in one line: where from, where to, size, time, speed."""
    said = f"s3://{record.s3_bucket}/{record.s3_object_key} → {record.target_path}  {size_in_words(record.size)}"
    if _is_partial(record):
        said += f", of which {size_in_words(record.received_bytes or 0)} were fetched"
    if transfer is None:
        return said
    moved_bytes = _count_moved(record, transfer)
    if 0 < transfer.moved_fraction < 1 and not _is_partial(record):
        said += f", the last {size_in_words(moved_bytes)}"
    return f"{said} in {duration_in_words(transfer.seconds)}{speed_in_words(moved_bytes, transfer.seconds)}"


def _is_partial(record: DownloadRecord) -> bool:
    """Tell whether only some of the archive was fetched, for single files."""
    return record.received_bytes is not None and record.received_bytes < record.size


def _count_moved(record: DownloadRecord, transfer: Transfer) -> float:
    """Count the bytes that this run has fetched, as far as it is known."""
    if _is_partial(record):
        return float(record.received_bytes or 0)
    return transfer.moved_fraction * record.size
