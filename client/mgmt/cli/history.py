"""`mgmt history` and `mgmt show`: the team's uploads, and everything about one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from mgmt.cli import WholeNumber
from mgmt.cli.invocation import Invocation
from mgmt.errors import EXIT_OK, LocalStateError, UsageError
from mgmt.text import printable, shorten
from mgmt_contract.messages.history import HISTORY_LIMIT_DEFAULT, HistoryRequest
from mgmt_contract.texts import holds_control_character, is_short

if TYPE_CHECKING:  # names for annotations only
    from mgmt.session import Contact
    from mgmt_contract.records import OperationRecord

_LEFT_HERE: Final = "`mgmt resume` finishes what this machine has begun, `mgmt cancel` gives it up."
_NOTHING: Final = "Nothing found."
_EMPTY: Final = "No uploads yet. Start with `mgmt upload FOLDER`."
_LAST_OF_DAY: Final = timedelta(days=1, milliseconds=-1)


def complete_name(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """Complete a name from what this machine has seen lately."""
    from mgmt.known_names import KnownNames
    from mgmt.settings import state_directory

    try:
        return KnownNames(state_directory(os.environ)).complete(begun)
    except LocalStateError:
        return []


@click.command()
@click.argument("name", required=False, shell_complete=complete_name)
@click.option("--mine", is_flag=True, help="Only your own uploads.")
@click.option("--by", "actor", metavar="PERSON", help="Only this person's uploads.")
@click.option("--status", type=click.Choice(["pending", "success", "failed"]), help="Only uploads in this state.")
@click.option(
    "--type",
    "operation_type",
    type=click.Choice(["upload", "download", "restore", "delete", "undelete"]),
    help="Only this kind.",
)
@click.option(
    "--since",
    metavar="WHEN",
    help=("Started at this time or later: 7d, 12h, 2026-11-01 (local time) or a whole ISO time."),
)
@click.option("--until", metavar="WHEN", help="Started before this time; a day alone is included.")
@click.option("--limit", metavar="N", type=WholeNumber(min=1), help="At most so many.  [default: 50]")
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
    from mgmt.show.history import HistoryView
    from mgmt.show.waiting import WaitingRenderer
    from mgmt.team.history import Found, read_name

    limit, as_csv = _take_limit(options), options.pop("as_csv")
    if as_csv and invocation.as_json:
        raise UsageError("--csv and --json cannot be used together.", code="csv-or-json")
    wanted = read_name(name) if name is not None else None
    filters = _make_filters(options)
    view = HistoryView(invocation.output)
    with WaitingRenderer(invocation.output) as renderer, invocation.contact(renderer.emit) as contact:
        pending: set[str] = set()

        def note(record: OperationRecord) -> None:
            invocation.know(_key_of(record))
            if record.status == "pending":
                pending.add(record.operation_id)

        found = Found(contact.api, filters, limit, wanted, note)
        if invocation.as_json:
            view.show_json(found)
        elif as_csv:
            view.show_csv(found)
        else:
            view.show_table(found, nothing=_NOTHING if wanted or filters != HistoryRequest() else _EMPTY)
            if pending and _are_left_here(invocation, contact, pending):
                invocation.output.aside(_LEFT_HERE)
    return EXIT_OK


def _are_left_here(invocation: Invocation, contact: Contact, pending: set[str]) -> bool:
    """Tell whether some of these operations are uploads that this machine has begun and no command is at."""
    from contextlib import closing

    from mgmt.journal import Journal
    from mgmt.settings import state_directory

    try:
        with closing(Journal(state_directory(invocation.environment))) as journal:
            service = invocation.journal_name or contact.service_url
            running = {each.source_path for each in journal.orders(service) if journal.is_running(each.run_id)}
            begun = {each.operation_id for each in journal.unfinished(service) if each.source_path not in running}
    except LocalStateError:  # whoever wants to resume is told
        return False
    return bool(pending & begun)


@click.command()
@click.argument("id_or_name", metavar="ID|NAME", shell_complete=complete_name)
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
    from mgmt.show.history import HistoryView
    from mgmt.show.waiting import WaitingRenderer
    from mgmt.team.history import find_upload

    output = invocation.output
    with (
        WaitingRenderer(output) as renderer,
        invocation.contact(renderer.emit) as contact,
        choices_in_a_table(invocation),
    ):
        shown = find_upload(contact.api, id_or_name)
    invocation.know(_key_of(shown.record))
    HistoryView(output).show(shown)
    return EXIT_OK


@contextmanager
def choices_in_a_table(invocation: Invocation) -> Iterator[None]:
    """Have the uploads that a name fits listed in a table, where a person is to choose one."""
    from mgmt.team.history import SeveralUploadsError

    try:
        yield
    except SeveralUploadsError as error:
        if error.is_told_by_short_ids and not invocation.as_json:
            from mgmt.show.history import choices_table

            error.message = f"{error.summary}:"
            error.details = choices_table(error.records, invocation.output.width)
        raise


def _key_of(record: OperationRecord) -> str | None:
    return getattr(record, "s3_object_key", None)


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
    if options["actor"] == "":  # such as a variable of a script that is not set
        raise UsageError("--by names nobody; expected --by PERSON.", code="empty-name")
    actor = (options["actor"] or "").encode(errors="replace").decode()  # bytes that are no text are just nobody's
    if not is_short(actor) or holds_control_character(actor):
        raise UsageError(
            f"--by '{shorten(printable(actor), 40)}': nobody has so long a name, or one with a control character. "
            "`mgmt history` shows who has uploaded.",
            code="bad-name",
        )
    return HistoryRequest(since=since, until=until, **options)


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
