"""`mgmt download`: its options, checked before anything is fetched, and the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mgmt.cli.history import complete_name
from mgmt.cli.invocation import Invocation, current_directory, shown_base
from mgmt.cli.upload import exit_code_of, parse_rate
from mgmt.errors import UsageError


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME|ID...", shell_complete=complete_name)
@click.option("--to", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Put it into this folder.")
@click.option("--extract", "extracts", is_flag=True, help="Extract the archive, and do not keep it.")
@click.option("--version", "version_id", metavar="VERSION", help="Bring this version of NAME, also a replaced one.")
@click.option("--only", multiple=True, metavar="GLOB", help="Bring only the files that fit, extracted; repeatable.")
@click.option("--replace", "replaces", is_flag=True, help="Replace what exists under that name.")
@click.option("--jobs", metavar="N", type=click.IntRange(1, 64), help="Ranges at a time.  [default: 4]")
@click.option("--limit-rate", metavar="RATE", help="Bytes per second at most, such as 500k or 2M.")
@click.pass_obj
def download(invocation: Invocation, /, names: tuple[str, ...], **options: Any) -> int:
    """Download what the team has uploaded, checked against its record.

    NAME and ID are what `mgmt show` takes. Each archive is put into the current directory, or with --extract the
    file or folder that was uploaded. It gets its name only when all of it was checked. The same command again
    goes on with what was interrupted.

    GLOB is compared with names and paths as --exclude of an upload does; a folder brings all that is in it. Only the
    parts of the archive that hold these files are fetched. What is there already with the same content stays.
    VERSION is what `mgmt show` prints of an upload; its ID brings the same.

    \b
    Examples:
      mgmt download clip.mp4
      mgmt download --extract --to restored DCIM
      mgmt download --only 'C0001*' DCIM
      mgmt download 6h0w5d3vj 6h0w5d3vk

    \b
    Exit codes: 0 done, 2 usage, 3 some of several failed, 4 no such upload,
      5 sign-in, 6 refused, 7 unavailable (run again), 8 integrity, 9 local disk
      or state (also: the target exists), 10 not configured, 130 interrupted.
    """
    here = current_directory()
    if "" in names:
        raise UsageError("A name is empty; expected a name or an ID.", code="empty-name")
    version_id = options.pop("version_id")
    if version_id is not None and len(set(names)) > 1:
        raise UsageError("--version is of one name; name one alone.", code="several-names")
    folder = options.pop("folder") or here
    if not folder.is_dir():
        raise UsageError(f"--to: there is no folder '{folder}'. Create it, or plug its disk in.", code="no-folder")
    rate = parse_rate(options.pop("limit_rate"))
    return _download(invocation, names, rate, version_id, folder=here / folder, **options)


def _download(
    invocation: Invocation, names: tuple[str, ...], rate: int | None, version_id: str | None, **options: Any
) -> int:
    from mgmt.download import DownloadOptions
    from mgmt.download import download as run_download
    from mgmt.download.results import Summary
    from mgmt.machine import stay_awake
    from mgmt.show.downloads import DownloadView
    from mgmt.show.progress import TaskRenderer
    from mgmt.team.history import find_stored
    from mgmt.team.versions import find_version

    summary = Summary()
    with stay_awake(), TaskRenderer(invocation.output, DownloadView(invocation.output)) as renderer:
        try:
            with invocation.session(renderer.emit, rate_limit_bytes_per_second=rate) as session:

                def find(name: str) -> Any:
                    if version_id is not None:
                        return find_version(session.api, name, version_id)
                    return find_stored(session.api, name)

                base = shown_base(session.settings)
                run_download(names, find, DownloadOptions(**options), session, base, summary)
        except BaseException:
            renderer.summarize(summary.succeeded, len(summary.errors), 0, was_stopped=True)
            raise
        renderer.summarize(summary.succeeded, len(summary.errors), 0)
    return exit_code_of(summary.errors, summary.succeeded + len(summary.errors))
