"""`mgmt history` and `mgmt show`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from mgmt.cli.invocation import Invocation
from mgmt.errors import EXIT_OK, UsageError


@click.command()
@click.argument("name", required=False)
@click.option("--mine", is_flag=True, help="Only your own.")
@click.option("--by", "actor", metavar="PERSON", help="Only this person's.")
@click.option("--status", type=click.Choice(["pending", "success", "failed"]), help="Only these.")
@click.option("--type", "operation_type", type=click.Choice(["upload"]), help="Only this kind of operation.")
@click.option("--since", metavar="WHEN", help="From then on: 7d, 12h, 2026-11-01 or a whole ISO time.")
@click.option("--until", metavar="WHEN", help="Up to then.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@click.option("--all", "everything", is_flag=True, help="No limit.")
@click.pass_obj
def history(invocation: Invocation, /, name: str | None, **options: Any) -> int:
    """List the team's uploads, newest first.

    NAME is a source name, an archive name or a whole key.

    \b
    Examples:
      mgmt history
      mgmt history clip.mp4
      mgmt history --mine --since 7d --status failed

    \b
    Exit codes: 0 done (also when nothing matches), 2 usage, 5 sign-in,
      7 unavailable, 10 not configured.
    """
    from mgmt.history import find_operations
    from mgmt_contract.messages import HistoryRequest
    from mgmt_contract.wire import to_plain

    limit = None if options.pop("everything") else options.pop("limit")
    options.pop("limit", None)
    now = datetime.now(UTC)
    since, until = _parse_moment(options.pop("since"), now), _parse_moment(options.pop("until"), now)
    filters = HistoryRequest(name=name, since=since, until=until, **options)
    output = invocation.output()
    with invocation.session(_ignore) as session:
        records = find_operations(session.api, filters, limit)
        if invocation.as_json:
            for record in records:
                output.json({"type": "record", **to_plain(record)})
        else:
            _print_table(output, list(records))
    return EXIT_OK


@click.command()
@click.argument("id_or_name", metavar="ID|NAME")
@click.pass_obj
def show(invocation: Invocation, id_or_name: str) -> int:
    """Show one upload, whole: stages, sizes, ratio, checksums, who, when, how long.

    \b
    Examples:
      mgmt show clip.mp4
      mgmt show 01a2041b-befb-730e-9a3c-9ad5ec9c722f

    \b
    Exit codes: 0 shown, 2 the name fits several keys, 4 nothing recorded,
      5 sign-in, 7 unavailable, 10 not configured.
    """
    from mgmt.history import find_upload
    from mgmt.render import describe_record
    from mgmt.wording import printable
    from mgmt_contract.wire import to_plain

    output = invocation.output()
    with invocation.session(_ignore) as session:
        record = find_upload(session.api, id_or_name)
    if invocation.as_json:
        output.json({"type": "record", **to_plain(record)})
        return EXIT_OK
    for label, value in describe_record(record):
        output.line(f"{output.paint(f'{label:<13}', 'dim')} {printable(value)}")
    return EXIT_OK


def _print_table(output: Any, records: list[Any]) -> None:
    from mgmt.render import make_table
    from mgmt.wording import moment_in_words, ratio_in_words, size_in_words

    if not records:
        output.aside("Nothing found.")
        return
    rows = []
    for record in records:
        s3_file = getattr(record, "s3_file_record", None)
        size = s3_file.size if s3_file else None
        ratio = ratio_in_words(size, getattr(record, "uncompressed_size", None))
        name = getattr(record, "s3_object_key", "") or record.target_path
        said_size = size_in_words(size) if size is not None else "-"
        rows.append((moment_in_words(record.started_at), record.actor, record.status, said_size, ratio, name))
    header, *lines = make_table(("WHEN", "WHO", "STATUS", "SIZE", "RATIO", "KEY"), rows)
    output.line(output.paint(header, "bold"))
    for line in lines:
        output.line(line)


def _parse_moment(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)([mhdw])", text)
    if found:
        unit = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}[found[2]]
        try:
            return now - timedelta(**{unit: int(found[1])})
        except OverflowError as error:
            raise UsageError(f"{text!r} is longer ago than time is counted.", code="bad-time") from error
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is no time; expected something like 7d, 12h, 2026-11-01 or 2026-11-01T12:00Z.",
            code="bad-time",
        ) from error


def _ignore(_: object) -> None:
    """These commands show their results only."""
