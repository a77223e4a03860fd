"""`mgmt safe`: is all of this stored and proven, so that it may be erased?"""

from __future__ import annotations

import click

from mgmt.cli.history import complete_name
from mgmt.cli.invocation import Invocation, current_directory
from mgmt.cli.upload import exit_code_of
from mgmt.errors import EXIT_NO, UsageError


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(readable=False))
@click.option(
    "--against",
    multiple=True,
    metavar="NAME|ID|PREFIX/",
    shell_complete=complete_name,
    help="Compare with these uploads, not those of PATH's name; may be repeated.",
)
@click.option("--read-back", "reads_back", is_flag=True, help="Fetch the stored bytes and compare those.")
@click.pass_obj
def safe(invocation: Invocation, paths: tuple[str, ...], against: tuple[str, ...], *, reads_back: bool) -> int:
    """Answer whether all of a card or folder is stored and proven, so that it may be erased.

    Every file is read again from the medium, past the system's cache where the system lets it. It is safe if an
    upload of PATH's name, or of --against, lists the same path with the same digest, and if S3 states now that the
    object is there with the recorded size and checksum. Name the folder that was uploaded, not one inside it.

    SAFE TO ERASE is written only if all is. Nothing is ever erased by mgmt itself.

    \b
    Examples:
      mgmt safe /media/CARD_A
      mgmt safe DCIM --against camera-a      (it was uploaded with --as camera-a)
      mgmt safe DCIM --against shoots/day1/ --read-back

    \b
    Exit codes: 0 safe, 2 usage, 3 some of several could not be checked, 4 no such
      path or upload, 5 sign-in, 7 unavailable, 9 local disk or state, 10 not
      configured, 11 not safe, 130 interrupted.
    """
    current_directory()  # everything is named from here
    for name in (*paths, *against):
        if not name:
            raise UsageError("A path or name is empty; expected a file or folder, or an upload.", code="empty-name")
    from mgmt.machine import stay_awake
    from mgmt.safe import SafeOptions, Summary, check_targets
    from mgmt.show.progress import TaskRenderer
    from mgmt.show.safe import SafeView
    from mgmt.team.history import UploadFinder

    summary, view = Summary(), SafeView(invocation.output)
    with stay_awake(), TaskRenderer(invocation.output, view) as renderer:
        try:
            with invocation.session(renderer.emit) as session:
                options = SafeOptions(against, reads_back=reads_back)
                check_targets(paths, UploadFinder(session.api), options, session, summary)
        except BaseException:
            renderer.summarize(len(summary.safe), len(summary.unsafe) + len(summary.errors), 0, was_stopped=True)
            raise
        renderer.summarize(len(summary.safe), len(summary.unsafe) + len(summary.errors), 0)
    view.conclude(summary)
    return EXIT_NO if summary.unsafe else exit_code_of(summary.errors, len(summary.safe) + len(summary.errors))
