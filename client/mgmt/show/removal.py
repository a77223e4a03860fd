"""Shows deletions and their ends: what is about to happen, what became of each upload, and how it comes back."""

from __future__ import annotations

from collections.abc import Sequence

from mgmt.removal import Removed, Summary, Verb
from mgmt.show import Output
from mgmt.show.history import choices_table
from mgmt.show.records import record_line
from mgmt.team.short_ids import short_id
from mgmt.text import count_in_words, moment_in_words, printable, size_in_words
from mgmt_contract.records import UploadRecord
from mgmt_contract.wire import format_time, to_plain

_DONE = {"delete": "deleted", "undelete": "brought back"}


class RemovalView:
    """Writes what a command that deletes, or brings back, comes to."""

    def __init__(self, output: Output, verb: Verb) -> None:
        self._output = output
        self._verb = verb

    def show_targets(self, uploads: Sequence[UploadRecord]) -> None:
        """List on stderr what is about to be deleted or brought back: key, size, who and when."""
        for line in choices_table(uploads, self._output.width):
            self._output.whole(line)

    def ask(self, count: int, recoverable_days: int) -> str:
        """Word the question."""
        what = count_in_words(count, "upload")
        if self._verb == "undelete":
            return f"Bring back {what}?"
        return self._output.with_commands(
            f"Delete {what}? For {count_in_words(recoverable_days, 'day')} `mgmt undelete` brings back what is deleted."
        )

    def show(self, removed: Removed) -> None:
        """Show what became of one upload."""
        output, result = self._output, removed.result
        if result is None or removed.error is not None:
            if removed.error is not None:
                output.error(removed.error)
        elif output.style.as_json:
            output.json(self._json(removed))
        elif result.outcome == "already":
            output.sentence(printable(self._tell_unchanged(removed.upload)), output.paint("=", "dim"))
        else:
            output.sentence(printable(self._tell(removed)), output.paint("✓", "green"))

    def summarize(self, summary: Summary) -> None:
        """Write what all of them came to: for a program always, for a person where they are several."""
        succeeded, unchanged, failed = summary.succeeded, summary.unchanged, len(summary.errors)
        if self._output.style.as_json:
            counts = {"succeeded": succeeded, "failed": failed, "skipped": unchanged}
            self._output.json({"type": "summary", **counts})
        elif succeeded + unchanged + failed > 1:
            said = [f"{succeeded} {_DONE[self._verb]}"]
            said += [f"{unchanged} unchanged"] * (unchanged > 0) + [f"{failed} failed"] * (failed > 0)
            self._output.aside(", ".join(said))

    def _json(self, removed: Removed) -> dict[str, object]:
        upload, result = removed.upload, removed.result
        if result is None or result.record is None:
            return {
                "type": "unchanged",
                "upload_id": upload.operation_id,
                "s3_object_key": upload.s3_object_key,
                "deleted_by": upload.deleted_by,
                "deleted_at": format_time(upload.deleted_at) if upload.deleted_at else None,
                "recoverable_until": format_time(upload.recoverable_until) if upload.recoverable_until else None,
            }
        return {
            **record_line(result.record),
            **({"newer": to_plain(result.newer)} if result.newer else {}),
        }

    def _tell(self, removed: Removed) -> str:
        upload = removed.upload
        size = size_in_words(upload.object_size or 0)
        place = f"s3://{upload.s3_bucket}/{upload.s3_object_key}"
        if self._verb == "delete":
            return f"{place} ({size}, uploaded by {upload.actor}) is deleted. {_tell_way_back(upload)}"
        return f"{place} ({size}, uploaded by {upload.actor}) is back{_tell_newer(removed)}."

    def _tell_unchanged(self, upload: UploadRecord) -> str:
        place = f"s3://{upload.s3_bucket}/{upload.s3_object_key}"
        if upload.deleted_at is None:
            return f"{place} is not deleted, so nothing was changed."
        who = f"{upload.deleted_by or 'somebody'} on {moment_in_words(upload.deleted_at)}"
        return f"{place} was deleted already by {who}. {_tell_way_back(upload)}"


def _tell_way_back(upload: UploadRecord) -> str:
    if upload.removed_at is not None:
        return "Its bytes are gone."
    until = moment_in_words(upload.recoverable_until)
    return f"Until {until} `mgmt undelete {short_id(upload)}` brings it back."


def _tell_newer(removed: Removed) -> str:
    """Say who has the name of an upload that is back."""
    newer = removed.result.newer if removed.result is not None else None
    if newer is None:
        return ""
    way = f"`mgmt download {short_id(removed.upload)}` fetches it"
    if newer.is_pending:
        return f", and {newer.actor} is uploading under its name now: it will be a version that was replaced, and {way}"
    return f", as a version that was replaced: {newer.actor} has uploaded under its name since, and {way}"
