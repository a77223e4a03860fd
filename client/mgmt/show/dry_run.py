"""Shows a dry run: lines for a person, JSON lines for a program."""

from __future__ import annotations

from dataclasses import fields

from mgmt.show import Output
from mgmt.text import count_in_words, duration_in_words, moment_in_words, printable, size_in_words
from mgmt.upload.dry_run import Plan, PlanSummary
from mgmt_contract.wire import to_plain


class PlanView:
    """Writes plans to stdout, and their sum to where sums go."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def show(self, plan: Plan) -> None:
        """Show one plan."""
        if self._output.style.as_json:
            self._output.json({"type": "plan", **_to_fields(plan)})
            return
        marks = {"upload": ("+", "green"), "replace": ("~", "magenta"), "already_there": ("=", "green")}
        mark, color = marks.get(plan.outcome, ("✗", "red"))
        self._output.sentence(printable(describe_plan(plan)), self._output.paint(mark, color))

    def summarize(self, summary: PlanSummary) -> None:
        """Show the totals."""
        if self._output.style.as_json:
            self._output.json(
                {
                    "type": "summary",
                    "succeeded": summary.uploads,
                    "failed": len(summary.errors),
                    "skipped": summary.already_there,
                    "is_dry_run": True,
                    "archive_size_max": summary.bytes_max,
                    "bytes_per_second": summary.bytes_per_second,
                    "estimated_seconds": summary.estimated_seconds,
                }
            )
            return
        for line in describe_summary(summary):
            self._output.aside(line)


def describe_plan(plan: Plan) -> str:
    """Describe a target's outcome in one line."""
    if plan.error is not None:
        return f"{plan.target_path} would fail with exit code {plan.error.exit_code}: {plan.error.message}"
    place = f"s3://{plan.s3_bucket}/{plan.s3_object_key}"
    move = f"; the original would move to {plan.moves_to}" if plan.moves_to else ""
    if plan.outcome == "already_there":
        return f"{plan.target_path} is already there as {place}{_describe_owner(plan)}: nothing would be sent{move}"
    said = f"{plan.target_path} → {place}  {size_in_words(plan.source_size)}"
    if plan.member_count > 1:
        said += f" in {count_in_words(plan.member_count, 'member')}"
    said += f", archive at most {size_in_words(plan.archive_size_max)}"
    if plan.estimated_seconds is not None:
        said += f", {_estimate_in_words(plan.estimated_seconds)}"
    if plan.outcome == "replace":
        said += f"; replaces other content{_describe_owner(plan)}, which stays recoverable"
    return said + move


def describe_summary(summary: PlanSummary) -> list[str]:
    """Describe the totals, and that nothing was sent or recorded."""
    counts = (
        (summary.uploads, "to upload"),
        (summary.already_there, "already there"),
        (len(summary.errors), "would fail"),
    )
    said = ", ".join(f"{count} {what}" for count, what in counts if count) or "There is nothing to upload here"
    if summary.uploads:
        said += f"; at most {size_in_words(summary.bytes_max)} to send, {_describe_time(summary)}"
    return [f"{said}.", "This was a dry run: nothing was packed, sent or recorded."]


def _describe_time(summary: PlanSummary) -> str:
    if summary.bytes_per_second is None or summary.estimated_seconds is None:
        return "no speed measured yet"
    origin = "the limit of" if summary.is_limited else "the last measured"
    speed = size_in_words(summary.bytes_per_second)
    return f"{_estimate_in_words(summary.estimated_seconds)} at {origin} {speed}/s"


def _estimate_in_words(seconds: float) -> str:
    return "less than a second" if seconds < 1 else f"about {duration_in_words(seconds)}"


def _describe_owner(plan: Plan) -> str:
    existing = plan.existing
    if existing is None or existing.actor is None:
        return ""
    when = f" on {moment_in_words(existing.finished_at)}" if existing.finished_at else ""
    return f", uploaded by {existing.actor}{when}"


def _to_fields(plan: Plan) -> dict[str, object]:
    """Write a plan's fields, with its error in the form of an error line."""
    told = {each.name: to_plain(getattr(plan, each.name)) for each in fields(plan) if each.name != "error"}
    error = plan.error
    return told | {
        "exit_code": error.exit_code if error else 0,
        "code": error.code if error else None,
        "message": error.message if error else None,
    }
