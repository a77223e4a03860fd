"""Shows what is about to be given up, and what became of each."""

from __future__ import annotations

from mgmt.journal import DownloadOrder
from mgmt.show import Output
from mgmt.show.history import choices_table
from mgmt.show.records import record_line
from mgmt.text import count_in_words, printable, spell_path
from mgmt.upload.cancelling import GivenUp, Targets
from mgmt_contract.wire import to_plain


class CancellingView:
    """Writes what `mgmt cancel` comes to."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def show_targets(self, targets: Targets) -> None:
        """List on stderr what is about to be given up: key, size, who and when; what was not begun by its path."""
        records = [*(each.record for each in targets.unwanted if each.record is not None), *targets.downloads]
        for line in choices_table(records, self._output.width) if records else ():
            self._output.whole(line)
        for each in targets.unwanted:
            if each.record is None:
                self._output.whole(f"{each.what}: nothing of it was sent")
        for order in targets.unbegun:
            self._output.whole(f"{describe_order(order)}: nothing of it was fetched")

    def ask(self, targets: Targets) -> str:
        """Word the question."""
        uploads, downloads = len(targets.unwanted), len(targets.downloads) + len(targets.unbegun)
        counted = [count_in_words(uploads, "upload", "uploads")] * (uploads > 0)
        counted += [count_in_words(downloads, "download", "downloads")] * (downloads > 0)
        gone = " or ".join(["sent"] * (uploads > 0) + ["fetched"] * (downloads > 0))
        return f"Give up {' and '.join(counted)}? What was {gone} is thrown away; sources stay as they are."

    def show(self, given_up: GivenUp) -> None:
        """Show what became of one upload."""
        output = self._output
        for notice in given_up.notices:
            if output.style.as_json:
                output.json({"type": "notice", **to_plain(notice)})
            else:
                output.note(notice.message)
        if given_up.error is not None:
            output.error(given_up.error)
        elif output.style.as_json:
            output.json(_json(given_up))
        else:
            output.sentence(printable(f"{given_up.what} is given up."), output.paint("✓", "green"))

    def summarize(self, succeeded: int, failed: int) -> None:
        """Write what all of them came to: for a program always, for a person where they are several."""
        if self._output.style.as_json:
            self._output.json({"type": "summary", "succeeded": succeeded, "failed": failed, "skipped": 0})
        elif succeeded + failed > 1:
            said = [f"{succeeded} given up"] + [f"{failed} failed"] * (failed > 0)
            self._output.aside(", ".join(said))


def describe_order(order: DownloadOrder) -> str:
    """Say which download was not begun."""
    return f"The download of {order.name} to {order.folder}"


def _json(given_up: GivenUp) -> dict[str, object]:
    if given_up.record is not None:
        return record_line(given_up.record)
    left, order = given_up.left, given_up.order
    if order is not None:
        return {"type": "not_fetched", "name": order.name, "folder": spell_path(order.folder)}
    return {
        "type": "not_sent",
        "operation_id": given_up.operation_id,
        "source_path": spell_path(left.source_path) if left is not None else None,
        "destination": left.order.destination if left is not None else None,
    }
