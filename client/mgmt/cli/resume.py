"""`mgmt resume`: what this machine has not finished uploading is finished."""

from __future__ import annotations

import click

from mgmt.cli.history import choices_in_a_table, complete_name
from mgmt.cli.invocation import Invocation, shown_base
from mgmt.cli.upload import exit_code_of, find_cache_dir, parse_rate
from mgmt.errors import UsageError


@click.command()
@click.argument("names", nargs=-1, metavar="[ID|NAME...]", shell_complete=complete_name)
@click.option("--jobs", metavar="N", type=click.IntRange(1, 64), help="Transfers at a time, as for `mgmt upload`.")
@click.option("--limit-rate", metavar="RATE", help="Bytes per second at most, such as 500k or 2M.")
@click.pass_obj
def resume(invocation: Invocation, names: tuple[str, ...], jobs: int | None, limit_rate: str | None) -> int:
    """Finish the uploads of this machine that were interrupted or failed, from any folder.

    Without ID or NAME: all of them for the configured service, also those that an interrupted command had not
    come to; with one: that upload. Each is done with the options of its own command, as the same command would do
    it again: what was sent is not sent again. What you began on another machine goes on here where its source is
    in this folder under the same name, once that machine has been silent for its lease. What was not come to for
    30 days is forgotten. A download goes on when its own command is run again.

    \b
    Examples:
      mgmt resume
      mgmt resume 6h0w5d3vj
      mgmt --json resume --limit-rate 2M

    \b
    Exit codes: 0 done, or nothing is left, 2 usage, 3 some of several failed,
      4 source, 5 sign-in, 6 refused, 7 unavailable (run again), 8 integrity,
      9 local disk or state, 10 not configured, 130 interrupted.
    """
    if "" in names:
        raise UsageError("A name is empty; expected an ID or a name.", code="empty-name")
    rate = parse_rate(limit_rate)
    from mgmt.machine import stay_awake
    from mgmt.show.progress import TaskRenderer
    from mgmt.show.uploads import RESUMED, UploadView
    from mgmt.team.history import find_unfinished
    from mgmt.upload.results import Summary
    from mgmt.upload.resuming import Resuming

    summary = Summary()
    with stay_awake(), TaskRenderer(invocation.output, UploadView(invocation.output, RESUMED)) as renderer:
        try:
            with (
                invocation.session(renderer.emit, rate_limit_bytes_per_second=rate) as session,
                choices_in_a_table(invocation),
            ):
                resuming = Resuming(session, summary, shown_base(session.settings), find_cache_dir(), jobs)
                resuming.resume(names, lambda name: find_unfinished(session.api, name))
        except BaseException:
            renderer.summarize(summary.succeeded, len(summary.errors), summary.skipped, was_stopped=True)
            raise
        renderer.summarize(summary.succeeded, len(summary.errors), summary.skipped)
    return exit_code_of(summary.errors, summary.succeeded + summary.skipped + len(summary.errors))
