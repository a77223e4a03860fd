"""`mgmt delete` and `mgmt undelete`: uploads are found, shown, and deleted or brought back once somebody has agreed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from mgmt.cli.history import choices_in_a_table, complete_name
from mgmt.cli.invocation import Invocation
from mgmt.cli.upload import exit_code_of
from mgmt.errors import UsageError

if TYPE_CHECKING:  # names for annotations only
    from mgmt.removal import Summary, Verb
    from mgmt.service import ServiceApi
    from mgmt.show.removal import RemovalView
    from mgmt_contract.records import OperationRecord

_NOTHING_DONE: Final = {"delete": "nothing was deleted", "undelete": "nothing was brought back"}
_IN_WORDS: Final = {"delete": "delete", "undelete": "bring back"}

_names = click.argument("names", nargs=-1, required=True, metavar="NAME|ID...", shell_complete=complete_name)
_yes = click.option("--yes", "is_agreed", is_flag=True, help="Do not ask; for scripts.")


@click.command()
@_names
@_yes
@click.pass_obj
def delete(invocation: Invocation, names: tuple[str, ...], *, is_agreed: bool) -> int:
    """Delete uploads; they can be brought back for some weeks.

    NAME and ID are what `mgmt show` takes; a NAME means its newest upload. What is to be deleted is shown first, and
    asked about. The name is free at once. Nothing is removed from the bucket before the date that is then named.
    Everybody deletes their own uploads, an admin anybody's.

    \b
    Examples:
      mgmt delete clip.mp4
      mgmt delete --yes 6h0w5d3vj 6h0w5d3vk

    \b
    Exit codes: 0 done (also if it was deleted before), 2 the name fits several
      keys, or it cannot ask, 3 some of several failed, 4 nothing stored,
      5 sign-in, 6 refused, 7 unavailable, 10 not configured, 130 not agreed.
    """
    return _run(invocation, "delete", names, is_agreed=is_agreed)


@click.command()
@_names
@_yes
@click.pass_obj
def undelete(invocation: Invocation, names: tuple[str, ...], *, is_agreed: bool) -> int:
    """Bring deleted uploads back.

    A NAME means its newest upload that is deleted. It is possible until the date that `mgmt delete` and `mgmt show`
    name. Where the name has another upload by then, the old one comes back as a version that was replaced.

    \b
    Examples:
      mgmt undelete clip.mp4
      mgmt undelete --yes 6h0w5d3vj

    \b
    Exit codes: 0 done (also if it is not deleted), 2 the name fits several
      keys, or it cannot ask, 3 some of several failed, 4 nothing found,
      5 sign-in, 6 refused or too late, 7 unavailable, 10 not configured,
      130 not agreed.
    """
    return _run(invocation, "undelete", names, is_agreed=is_agreed)


def _run(invocation: Invocation, verb: Verb, names: tuple[str, ...], *, is_agreed: bool) -> int:
    from mgmt.removal import Summary
    from mgmt.show.removal import RemovalView

    if "" in names:
        raise UsageError("A name is empty; expected a name or an ID.", code="empty-name")
    if not is_agreed:
        invocation.require_somebody_to_ask(
            f"whether to {_IN_WORDS[verb]} what you named",
            _NOTHING_DONE[verb],
            f"To {_IN_WORDS[verb]} without being asked, add --yes",
        )
    view, summary = RemovalView(invocation.output, verb), Summary()
    try:
        target_count = _remove(invocation, view, verb, names, summary, is_agreed=is_agreed)
    finally:  # also of what was stopped, a program reads what came of it
        view.summarize(summary)
    return exit_code_of(summary.errors, target_count)


def _remove(
    invocation: Invocation, view: RemovalView, verb: Verb, names: tuple[str, ...], summary: Summary, *, is_agreed: bool
) -> int:
    """Find what names mean, ask, and have it deleted or brought back; return how many targets there were."""
    from mgmt.removal import find_targets, remove, require_days
    from mgmt.show.waiting import WaitingRenderer

    output = invocation.output
    with WaitingRenderer(output) as renderer, invocation.contact(renderer.emit) as contact:
        days = require_days(contact.api.describe())
        with choices_in_a_table(invocation):
            targets = find_targets(names, lambda name: _find(contact.api, name, verb), verb)
        for error in targets.errors:
            output.error(error)
            summary.errors.append(error)
        changing = [each for each in targets.uploads if (each.deleted_at is None) == (verb == "delete")]
        if changing and not is_agreed:
            view.show_targets(changing)
            invocation.require_agreement(view.ask(len(changing), days), _NOTHING_DONE[verb])
        for removed in remove(contact.api, verb, targets.uploads):
            view.show(removed)
            invocation.know(removed.upload.s3_object_key)
            summary.count(removed)
    return len(targets.errors) + len(targets.uploads)


def _find(api: ServiceApi, name: str, verb: Verb) -> OperationRecord:
    from mgmt.team.history import find_upload

    return find_upload(api, name, "latest" if verb == "delete" else "deleted").record
