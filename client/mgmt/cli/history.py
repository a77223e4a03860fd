"""`mgmt history` and `mgmt show`."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import click

from mgmt.cli.invocation import Invocation
from mgmt.errors import EXIT_OK, LocalStateError, UsageError
from mgmt.text import shorten
from mgmt_contract.messages import HISTORY_LIMIT_DEFAULT, HistoryRequest

if TYPE_CHECKING:  # names for annotations only
    from mgmt.show.output import Output
    from mgmt.team.history import Found, SeveralUploadsError, Shown
    from mgmt_contract.records import OperationRecord

_LABEL_COLUMNS: Final = 13
_NARROW_COLUMNS: Final = 50
"""On a narrower terminal a value stands below its label."""
_NOTHING: Final = "Nothing found."
_EMPTY: Final = "No uploads yet. Start with `mgmt upload FOLDER`."
_LAST_OF_DAY: Final = timedelta(days=1, milliseconds=-1)


def _complete_name(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """Complete a name from what this machine has seen lately."""
    from mgmt.settings import state_directory
    from mgmt.team.known_names import KnownNames

    try:
        return KnownNames(state_directory(os.environ)).complete(begun)
    except LocalStateError:
        return []


@click.command()
@click.argument("name", required=False, shell_complete=_complete_name)
@click.option("--mine", is_flag=True, help="Only your own uploads.")
@click.option("--by", "actor", metavar="PERSON", help="Only this person's uploads.")
@click.option("--status", type=click.Choice(["pending", "success", "failed"]), help="Only uploads in this state.")
@click.option("--type", "operation_type", type=click.Choice(["upload"]), help="Only this kind of operation.")
@click.option(
    "--since",
    metavar="WHEN",
    help=("Started at this time or later: 7d, 12h, 2026-11-01 (local time) or a whole ISO time."),
)
@click.option("--until", metavar="WHEN", help="Started before this time; a day alone is included.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="At most so many.  [default: 50]")
@click.option("--all", "everything", is_flag=True, help="No limit.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values with a header, for spreadsheets.")
@click.pass_obj
def history(invocation: Invocation, /, name: str | None, **options: Any) -> int:
    """List the team's uploads, newest first.

    NAME is a source name or what --as gave instead, an archive name, or a whole key. FOLDER/ lists a folder in the
    bucket. The ID in the first column is what `mgmt show` takes.

    \b
    Examples:
      mgmt history
      mgmt history clip.mp4
      mgmt history shoots/day1/
      mgmt history --mine --since 7d --status failed
      mgmt history --all --csv > uploads.csv

    \b
    Exit codes: 0 done (also when nothing matches), 2 usage, 5 sign-in,
      7 unavailable, 10 not configured.
    """
    from mgmt.show.waiting import WaitingRenderer
    from mgmt.team.history import Found, read_name

    limit, as_csv = _take_limit(options), options.pop("as_csv")
    if as_csv and invocation.as_json:
        raise UsageError("--csv and --json cannot be used together.", code="csv-or-json")
    wanted = read_name(name) if name is not None else None
    filters = _make_filters(options)
    output = invocation.output
    with WaitingRenderer(output) as renderer, invocation.contact(renderer.emit) as contact:
        found = Found(contact.api, filters, limit, wanted, lambda record: invocation.know(_key_of(record)))
        if invocation.as_json:
            _print_json(output, found)
        elif as_csv:
            _print_csv(output, found)
        else:
            _print_table(output, found, nothing=_NOTHING if wanted or filters != HistoryRequest() else _EMPTY)
    return EXIT_OK


@click.command()
@click.argument("id_or_name", metavar="ID|NAME", shell_complete=_complete_name)
@click.pass_obj
def show(invocation: Invocation, id_or_name: str) -> int:
    """Show everything about one upload: stages, sizes, ratio, checksums, who, when, how long, earlier versions.

    \b
    Examples:
      mgmt show clip.mp4
      mgmt show 6h0w5d3vj
      mgmt show s3://footage/shoots/day1/clip.mp4.tar.gz

    \b
    Exit codes: 0 shown, 2 the name fits several keys, 4 nothing recorded,
      5 sign-in, 7 unavailable, 10 not configured.
    """
    from mgmt.show.waiting import WaitingRenderer
    from mgmt.team.history import SeveralUploadsError, find_upload

    output = invocation.output
    with WaitingRenderer(output) as renderer, invocation.contact(renderer.emit) as contact:
        try:
            shown = find_upload(contact.api, id_or_name)
        except SeveralUploadsError as error:
            if error.is_told_by_short_ids and not invocation.as_json:
                _show_as_table(error, output)
            raise
    invocation.know(_key_of(shown.record))
    if invocation.as_json:
        _print_shown_as_json(output, shown)
    else:
        _print_shown(output, shown)
    return EXIT_OK


def _key_of(record: OperationRecord) -> str | None:
    return getattr(record, "s3_object_key", None)


def _show_as_table(error: SeveralUploadsError, output: Output) -> None:
    """Have a person see the uploads in a table instead of in the sentence."""
    from mgmt.show.reports import HISTORY_COLUMNS, history_row
    from mgmt.show.tables import lay_out_table

    error.message = f"{error.summary}:"
    error.details = tuple(lay_out_table(HISTORY_COLUMNS, map(history_row, error.records), width=output.width))


def _take_limit(options: dict[str, Any]) -> int | None:
    """Take what limits the list out of the options; None is no limit."""
    limit: int | None = options.pop("limit")
    if not options.pop("everything"):
        return limit or HISTORY_LIMIT_DEFAULT
    if limit is not None:
        raise UsageError("--all and --limit cannot be used together.", code="limit-or-all")
    return None


def _make_filters(options: dict[str, Any]) -> HistoryRequest:
    now = datetime.now(UTC)
    since = parse_moment(options.pop("since"), now)
    until = parse_moment(options.pop("until"), now, is_end=True)
    if since is not None and until is not None and since > until:
        raise UsageError("--since is after --until. Swap them.", code="bad-time")
    return HistoryRequest(since=since, until=until, **options)


def _print_json(output: Output, found: Found) -> None:
    from mgmt_contract.wire import to_plain

    for record in found:
        more = {"replaced": True} if record.operation_id in found.replaced else {}
        output.json({"type": "record", **to_plain(record), **more})


def _print_csv(output: Output, found: Found) -> None:
    from mgmt.show.reports import CSV_FIELDS, csv_row
    from mgmt.show.tables import lay_out_csv

    with output.lines_end_with("\r\n"):
        for line in lay_out_csv(CSV_FIELDS, (csv_row(each, found.replaced) for each in found)):
            output.line(line)


def _print_table(output: Output, found: Found, *, nothing: str) -> None:
    from mgmt.show.reports import HISTORY_COLUMNS, history_row
    from mgmt.show.tables import lay_out_table
    from mgmt.text import count_in_words

    rows = (history_row(each, found.replaced) for each in found)
    first = next(rows, None)
    if first is None:
        output.aside(nothing)
        return
    for line in lay_out_table(HISTORY_COLUMNS, chain([first], rows), width=output.width, paint=output.paint):
        output.line(line)
    if found.is_cut or output.width is not None:
        more = "; there may be more: --limit N or --all" if found.is_cut else ""
        output.aside(f"{count_in_words(found.count, 'operation')}{more}")


def _print_shown(output: Output, shown: Shown) -> None:
    from mgmt.show.reports import COLOR_OF_STATUS, describe_record, describe_version
    from mgmt.text import fold, printable

    pairs = describe_record(shown.record, is_replaced=shown.replaced_by is not None)
    if shown.replaced_by is not None:
        pairs.append(("replaced by", describe_version(shown.replaced_by)))
    pairs += [("earlier", describe_version(each)) for each in shown.earlier]
    is_narrow = output.width is not None and output.width < _NARROW_COLUMNS
    indent = "  " if is_narrow else " " * (_LABEL_COLUMNS + 1)
    for label, value in pairs:
        text = fold(indent + printable(value), output.width, indent).removeprefix(indent)
        if label == "status":
            status = printable(shown.record.status)
            color = COLOR_OF_STATUS.get(status)  # none for one of tomorrow
            text = output.paint(status, color) + text.removeprefix(status) if color else text
        shown_label = output.paint(f"{label:<{_LABEL_COLUMNS}}", "dim")
        output.line(f"{shown_label}\n{indent}{text}" if is_narrow else f"{shown_label} {text}")


def _print_shown_as_json(output: Output, shown: Shown) -> None:
    from mgmt.show.reports import version_line
    from mgmt_contract.wire import to_plain

    by = shown.replaced_by
    more = {"replaced": True, "replaced_by": by.operation_id} if by is not None else {}
    output.json({"type": "record", **to_plain(shown.record), **more})
    for earlier in shown.earlier:
        output.json({"type": "version", **version_line(earlier)})


def parse_moment(text: str | None, now: datetime, *, is_end: bool = False) -> datetime | None:
    """Read a time as a person writes it: how long ago, a day, or a whole ISO time; local where no zone is given.

    Raises:
        UsageError: If it is no time.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)([mhdw])", text)
    if found:
        unit = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}[found[2]]
        try:
            return now - timedelta(**{unit: int(found[1])})
        except (OverflowError, ValueError) as error:  # Python reads no number of more than 4,300 digits
            raise UsageError(
                f"Can't read '{shorten(text, 40)}' as a time: it is too long ago.", code="bad-time"
            ) from error
    try:
        moment = datetime.fromisoformat(text)
        is_day = re.fullmatch(r"\d{4}-?\d\d-?\d\d", text) is not None
        return (moment + _LAST_OF_DAY if is_day and is_end else moment).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"Can't read '{shorten(text, 40)}' as a time; try 7d, 12h, 2026-11-01 or 2026-11-01T12:00Z.",
            code="bad-time",
        ) from error
