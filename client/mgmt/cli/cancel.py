"""`mgmt cancel`: uploads that have not ended are found, shown, and given up once somebody has agreed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

import click

from mgmt.cli.history import choices_in_a_table, complete_name
from mgmt.cli.invocation import Invocation, shown_base
from mgmt.cli.upload import exit_code_of, find_cache_dir
from mgmt.errors import MgmtError, RefusedError, UsageError

if TYPE_CHECKING:  # names for annotations only
    from pathlib import Path

    from mgmt.session import Session
    from mgmt.upload.cancelling import GivenUp, Targets

_NOTHING_DONE: Final = "nothing was given up"


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME|ID...", shell_complete=complete_name)
@click.option("--yes", "is_agreed", is_flag=True, help="Do not ask; for scripts.")
@click.pass_obj
def cancel(invocation: Invocation, names: tuple[str, ...], *, is_agreed: bool) -> int:
    """Give up uploads that have not ended, or have failed and left an archive; and downloads of yours.

    NAME and ID are what `mgmt show` takes; NAME may also be the path of a source on this machine. A NAME that fits
    several that have not ended is not guessed: they are listed with their IDs. What is to be given up is shown
    first, and asked about.

    Of an upload, what was sent is thrown away, the archive on this machine is removed, the history says that it was
    cancelled, and its name is free at once. Its source stays as it is. Everybody cancels their own uploads, from
    any machine, and an admin anybody's.

    Of a download, what was fetched is removed where this machine knows of it; else run the command in the folder
    in which the download was begun.

    \b
    Examples:
      mgmt cancel clip.mp4
      mgmt cancel --yes 6h0w5d3vj

    \b
    Exit codes: 0 given up, 2 the name fits several, or it cannot ask,
      3 some of several failed, 4 nothing to give up, 5 sign-in,
      6 refused (such as stored already, or a running mgmt is at it),
      7 unavailable, 9 local disk or state, 10 not configured, 130 not agreed.
    """
    if "" in names:
        raise UsageError("A name is empty; expected a name or an ID.", code="empty-name")
    if not is_agreed:
        invocation.require_somebody_to_ask(
            "whether to give up what you named", _NOTHING_DONE, "To give up without being asked, add --yes"
        )
    from mgmt.events import Answered
    from mgmt.show.cancelling import CancellingView
    from mgmt.show.waiting import WaitingRenderer

    output = invocation.output
    view = CancellingView(output)
    errors: list[MgmtError] = []
    done = 0
    try:
        with WaitingRenderer(output) as renderer, invocation.session(renderer.emit) as session:
            base = shown_base(session.settings)
            with choices_in_a_table(invocation):
                targets = _find_targets(session, names, base)
            for error in targets.errors:
                output.error(error)
                errors.append(error)
            if targets.count and not is_agreed:
                renderer.emit(Answered())  # the service may not have been asked: no wait is told of below the question
                view.show_targets(targets)
                invocation.require_agreement(view.ask(targets), _NOTHING_DONE)
            for given_up in _give_up_all(session, targets, base):
                view.show(given_up)
                if given_up.error is not None:
                    errors.append(given_up.error)
                else:
                    done += 1
    finally:  # also of what was stopped, a program reads what came of it
        view.summarize(done, len(errors))
    return exit_code_of(errors, done + len(errors))


def _find_targets(session: Session, names: tuple[str, ...], base: Path) -> Targets:
    """Find what names mean: an upload that is left here, a download that was not begun, else what the service knows."""
    from mgmt.download.cancelling import find_unended
    from mgmt.team.history import find_own_downloads, find_unfinished
    from mgmt.upload.cancelling import find_unwanted
    from mgmt.upload.left import find_left

    left = find_left(session, base, find_cache_dir())
    unended = {
        name: find_unended(
            session,
            name,
            partial(find_own_downloads, session.api, name),
            is_upload_left=any(each.is_named(name) for each in left),
        )
        for name in names
    }
    others = {name: each.begun for name, each in unended.items() if each.begun or not each.unbegun}
    targets = find_unwanted(others, partial(find_unfinished, session.api), session, left)
    return replace(targets, unbegun=list(chain.from_iterable(each.unbegun for each in unended.values())))


def _give_up_all(session: Session, targets: Targets, base: Path) -> Iterator[GivenUp]:
    from mgmt.upload.cancelling import give_up

    yield from give_up(session, targets.unwanted)
    yield from _give_up_downloads(session, targets, base)
    yield from _forget_downloads(session, targets)


def _forget_downloads(session: Session, targets: Targets) -> Iterator[GivenUp]:
    """Give downloads up that were not begun."""
    from mgmt.download.cancelling import forget
    from mgmt.show.cancelling import describe_order
    from mgmt.upload.cancelling import GivenUp

    for order in targets.unbegun:
        try:
            forget(session, order)
        except RefusedError as error:
            yield GivenUp(describe_order(order), None, error=error)
        else:
            yield GivenUp(describe_order(order), None, order=order)


def _give_up_downloads(session: Session, targets: Targets, base: Path) -> Iterator[GivenUp]:
    """Give downloads up; what one of them has left is known only in the folder that it was to go to."""
    from mgmt.download.cancelling import give_up, tell_unknown_place
    from mgmt.events import Notice
    from mgmt.upload.cancelling import GivenUp

    for record in targets.downloads:
        what = f"The download of {record.s3_object_key}"
        try:
            ended, was_here = give_up(session, record, base)
        except MgmtError as error:
            if error.stops_everything:
                raise
            yield GivenUp(what, record.operation_id, error=error)
        else:
            not_here = Notice(tell_unknown_place(record), "not-here", record.operation_id)
            yield GivenUp(what, record.operation_id, ended, notices=() if was_here else (not_here,))
