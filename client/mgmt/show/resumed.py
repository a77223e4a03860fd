"""Shows what a command resumes: uploads and downloads, each as its own command does."""

from __future__ import annotations

from typing import Any, Final

from mgmt.events import Finished
from mgmt.show import Output
from mgmt.show.downloads import DOWNLOADS, DownloadView
from mgmt.show.underway import Kind, Transfer
from mgmt.show.uploads import UPLOADS, UploadView
from mgmt.text import duration_in_words
from mgmt_contract.records import DownloadRecord

RESUMED: Final = Kind(
    stages={**UPLOADS.stages, **DOWNLOADS.stages},
    plural="uploads and downloads",
    moved="sent or received",
    ended="finished",
    nothing="There is nothing left to resume here.",
    after_failures="Fix the errors above and run `mgmt resume` again.",
    list_failures="`mgmt history --mine --status failed` lists what was recorded",
)


class ResumedView:
    """Shows the uploads and downloads of a command that have ended."""

    kind = RESUMED

    def __init__(self, output: Output) -> None:
        self._uploads, self._downloads = UploadView(output), DownloadView(output)
        self._shown: list[UploadView | DownloadView] = []

    def show(self, finished: Finished, transfer: Transfer | None, *, is_alone: bool) -> None:
        """Show an upload or a download."""
        view = self._view_of(finished.record)
        if view not in self._shown:
            self._shown.append(view)
        view.show(finished, transfer, is_alone=is_alone)

    def json(self, finished: Finished) -> dict[str, object]:
        """Write a record, or that an upload was there already."""
        return self._view_of(finished.record).json(finished)

    def sums(self, elapsed_seconds: float) -> str:
        """Say what all of one kind come to; of both, only how long they took."""
        if len(self._shown) == 1:
            return self._shown[0].sums(elapsed_seconds)
        return f" in {duration_in_words(elapsed_seconds)}"

    def _view_of(self, record: Any) -> UploadView | DownloadView:
        return self._downloads if isinstance(record, DownloadRecord) else self._uploads
