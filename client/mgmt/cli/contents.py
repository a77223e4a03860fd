"""`mgmt contents`: what is in an upload, and its index for other programs."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mgmt.cli.history import choices_in_a_table, complete_name
from mgmt.cli.invocation import Invocation, current_directory
from mgmt.errors import EXIT_OK, UsageError

if TYPE_CHECKING:  # names for annotations only
    from mgmt.show.contents import ContentsView
    from mgmt.team.contents import Contents


@click.command()
@click.argument("name", metavar="NAME|ID", shell_complete=complete_name)
@click.argument("glob", required=False, metavar="[GLOB]")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values with a header, for spreadsheets.")
@click.option(
    "--gzidx",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the index by which indexed_gzip and rapidgzip read single files of the archive.",
)
@click.option("--replace", "replaces", is_flag=True, help="With --gzidx: replace a file that exists.")
@click.pass_obj
def contents(
    invocation: Invocation, name: str, glob: str | None, *, as_csv: bool, gzidx: Path | None, replaces: bool
) -> int:
    """List what is in an upload: paths, sizes, times, digests.

    NAME and ID are what `mgmt show` takes. GLOB is a pattern such as "*.MOV"; quotes keep the shell away from it. It
    is compared with the names of files and folders, and with their paths; a folder that fits takes everything below
    it along. Of a large archive its index is read, and where there is none, the archive itself.

    \b
    Examples:
      mgmt contents DCIM
      mgmt contents DCIM "*.MOV"
      mgmt contents --csv 6h0w5d3vj > files.csv
      mgmt contents --gzidx DCIM.gzidx DCIM

    \b
    Exit codes: 0 listed, 2 usage, 4 no such upload, or nothing in it matches,
      5 sign-in, 6 refused, 7 unavailable, 8 integrity, 9 local disk or state
      (also: FILE exists), 10 not configured, 130 interrupted.
    """
    _check(invocation, name, glob, as_csv=as_csv, gzidx=gzidx, replaces=replaces)
    from mgmt.show.contents import ContentsView
    from mgmt.show.progress import TaskRenderer
    from mgmt.stored.recorded import require_stored
    from mgmt.team.contents import Contents, PointsFile, open_contents
    from mgmt.team.history import find_stored

    view = ContentsView(invocation.output)
    with ExitStack() as held:
        with TaskRenderer(invocation.output, view) as renderer:
            session = held.enter_context(invocation.session(renderer.emit))
            with choices_in_a_table(invocation):
                upload = require_stored(find_stored(session.api, name, renderer.emit), name)
            invocation.know(upload.s3_object_key)
            points = None
            if gzidx is not None:
                points = PointsFile(current_directory() / gzidx, upload, replaces=replaces)
                points.prepare()
            index = held.enter_context(open_contents(session, upload))
            listed = Contents(index, upload, glob)
        if points is not None and gzidx is not None:
            points.write(index)
            view.show_points(listed, gzidx)
        else:
            _show(invocation, view, listed, as_csv=as_csv)
    return EXIT_OK


def _check(
    invocation: Invocation, name: str, glob: str | None, *, as_csv: bool, gzidx: Path | None, replaces: bool
) -> None:
    if not name:
        raise UsageError("The name is empty; expected a name or an ID.", code="empty-name")
    if as_csv and invocation.as_json:
        raise UsageError("--csv and --json cannot be used together.", code="csv-or-json")
    if gzidx is not None and not gzidx.name:
        raise UsageError("--gzidx names no file; expected --gzidx FILE.", code="empty-name")
    if gzidx is not None and (as_csv or glob is not None):
        raise UsageError("--gzidx writes the index of the whole archive. Drop --csv and GLOB.", code="gzidx-alone")
    if gzidx is None and replaces:
        raise UsageError("--replace is for --gzidx FILE, which is not given.", code="nothing-to-replace")
    if gzidx is not None and not os.path.isdir((current_directory() / gzidx).parent):  # noqa: PTH112  is_dir raises where a disk fails
        raise UsageError(f"--gzidx: there is no folder '{gzidx.parent}'. Create it.", code="no-folder")


def _show(invocation: Invocation, view: ContentsView, listed: Contents, *, as_csv: bool) -> None:
    if invocation.as_json:
        view.show_json(listed)
    elif as_csv:
        view.show_csv(listed)
    else:
        view.show_table(listed)
