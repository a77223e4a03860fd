"""`mgmt upload`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgmt.cli.invocation import Invocation, current_directory, shown_base
from mgmt.cli.upload_options import (
    check_archive_dir,
    check_completed_dir,
    check_names,
    make_options,
    parse_rate,
    parse_tags,
)
from mgmt.errors import EXIT_OK, EXIT_PARTLY_FAILED, MgmtError
from mgmt_contract.storage import STORAGE_CLASSES

if TYPE_CHECKING:  # names for annotations only
    from mgmt.session import Session
    from mgmt.upload.job import UploadOptions


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET... | all")
@click.option("--prefix", help="Folder in the bucket (instead of MGMT_OBJECT_PREFIX).")
@click.option("--as", "as_name", metavar="NAME", help="Store under this name: every camera folder is called DCIM.")
@click.option("--replace", is_flag=True, help="Replace other content under the same name; it stays recoverable.")
@click.option("--exclude", "excludes", multiple=True, metavar="GLOB", help=("Leave out what matches; may be repeated."))
@click.option(
    "--compression",
    "plan",
    type=click.Choice(["auto", "store", "fast", "best"]),
    default="auto",
    show_default=True,
    help="How hard to compress what compresses.",
)
@click.option("--keep-archive", is_flag=True, help="Keep the .tar.gz after success.")
@click.option("--archive-dir", type=click.Path(path_type=Path), metavar="DIR", help=("Make archives in this folder."))
@click.option("--move-completed", is_flag=True, help="Move originals to MGMT_COMPLETED_DIR after success.")
@click.option("--completed-dir", metavar="DIR", help="Move them to this folder instead; needs --move-completed.")
@click.option(
    "--jobs", metavar="N", type=click.IntRange(1, 64), help="Transfers at a time (4 parts, or 16 small archives)."
)
@click.option("--limit-rate", metavar="RATE", help="Bytes per second at most, such as 500k or 2M.")
@click.option(
    "--storage-class",
    type=click.Choice(STORAGE_CLASSES),
    metavar="CLASS",
    help="S3 storage class, such as STANDARD_IA.",
)
@click.option("--tag", "tags", multiple=True, metavar="K=V", help="Tag the object; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Show what would happen; send and record nothing.")
@click.pass_obj
def upload(invocation: Invocation, /, targets: tuple[str, ...], **options: Any) -> int:
    """Upload files or directories, or `all` entries of the current directory.

    Each TARGET is packed into TARGET.tar.gz beside it, sent, confirmed by the service, and the archive is
    deleted. Sources are never changed. The same command again goes on with what was interrupted.

    --move-completed renames each original into a folder of the same disk once its upload has succeeded. What
    is already there is not moved.

    \b
    Examples:
      mgmt upload clip.mp4
      mgmt upload --prefix shoots/day1 --as camera-a DCIM
      mgmt upload all            (a thing named all: ./all)
      mgmt upload --move-completed --completed-dir done all
      mgmt upload --dry-run all

    \b
    Exit codes: 0 done or already there, 2 usage, 3 some of several failed,
      4 source, 5 sign-in, 6 refused, 7 unavailable (run again), 8 integrity,
      9 local disk or state, 10 not configured, 130 interrupted.
    """
    current_directory()  # everything is named from here
    check_names(targets, as_name=options["as_name"], prefix=options["prefix"], excludes=options["excludes"])
    check_archive_dir(options["archive_dir"])
    check_completed_dir(options["completed_dir"], is_moving=options["move_completed"])
    parse_tags(options["tags"])
    rate = parse_rate(options.pop("limit_rate"))
    is_dry_run = options.pop("dry_run")
    run = _plan if is_dry_run else _upload
    return run(invocation, targets, options, rate)


def _upload(invocation: Invocation, targets: tuple[str, ...], options: dict[str, Any], rate: int | None) -> int:
    from mgmt.machine.awake import stay_awake
    from mgmt.show.progress import TaskRenderer
    from mgmt.show.uploads import UploadView
    from mgmt.upload import upload as run_upload
    from mgmt.upload.results import Summary

    summary = Summary()
    with stay_awake(), TaskRenderer(invocation.output, UploadView(invocation.output)) as renderer:
        try:
            with invocation.session(
                renderer.emit, options={"object_prefix": options["prefix"]}, rate_limit_bytes_per_second=rate
            ) as session:
                upload_options = make_options(options, session.settings)
                expanded = list(_expand(targets, upload_options, session))
                run_upload(expanded, upload_options, session, shown_base(session.settings), summary)
        except BaseException:
            renderer.summarize(summary.succeeded, len(summary.errors), summary.skipped, was_stopped=True)
            raise
        renderer.summarize(summary.succeeded, len(summary.errors), summary.skipped)
    return exit_code_of(summary.errors, summary.succeeded + summary.skipped + len(summary.errors))


def _plan(invocation: Invocation, targets: tuple[str, ...], options: dict[str, Any], rate: int | None) -> int:
    from mgmt.show.dry_run import PlanView
    from mgmt.show.progress import TaskRenderer
    from mgmt.show.uploads import UploadView
    from mgmt.upload.dry_run import plan_uploads

    output = invocation.output
    view = PlanView(output)
    with (
        TaskRenderer(output, UploadView(output)) as renderer,
        invocation.session(renderer.emit, options={"object_prefix": options["prefix"]}) as session,
    ):
        upload_options = make_options(options, session.settings)
        expanded = _expand(targets, upload_options, session)
        summary = plan_uploads(expanded, upload_options, session, shown_base(session.settings), view.show, rate)
    view.summarize(summary)
    return exit_code_of(summary.errors, summary.uploads + summary.already_there + len(summary.errors))


def exit_code_of(errors: Sequence[MgmtError], target_count: int) -> int:
    """Choose the exit code: the error's own for a single target, or where it stops everything; else 3."""
    if not errors:
        return EXIT_OK
    for error in errors:
        if error.stops_everything:
            return error.exit_code
    return errors[0].exit_code if target_count == 1 else EXIT_PARTLY_FAILED


def _expand(targets: tuple[str, ...], options: UploadOptions, session: Session) -> Iterator[str]:
    """Name every target; `all` is every entry of the current directory but the folders mgmt itself uses."""
    from mgmt.events import Notice
    from mgmt.source import real_folder
    from mgmt.upload.looking import everything_in
    from mgmt.upload.ours import archives_in

    for target in targets:
        if target != "all":
            yield target
            continue
        here = current_directory()
        folder = real_folder(here)
        known = archives_in(folder, session.journal)
        of_ours = _folders_of_ours(options, session)
        for name in everything_in(folder, known, session.emit, options.excludes):
            if here / name in of_ours:
                session.emit(Notice(f"{name} is left out: {of_ours[here / name]}.", "skipped"))
            elif not _holds_completed(here / name, options, session):
                yield name


def _folders_of_ours(options: UploadOptions, session: Session) -> dict[Path, str]:
    """Name the folders that mgmt itself uses, each with what is in it."""
    completed = "originals that are uploaded already are in it"
    used = (
        (session.settings.completed_dir, f"{completed} (MGMT_COMPLETED_DIR)"),
        (options.completed_dir, f"{completed} (--move-completed)"),
        (options.archive_dir, "archives are made in it (--archive-dir)"),
    )
    return {path: why for folder, why in used if folder is not None for path in _both_paths(folder)}


def _both_paths(folder: Path) -> set[Path]:
    """Write a folder's path as it was named, and as it is where that name is a link."""
    from mgmt.source import real_folder

    return {Path(os.path.abspath(folder)), real_folder(folder)}  # noqa: PTH100  links stay links


def _holds_completed(entry: Path, options: UploadOptions, session: Session) -> bool:
    """Tell whether an entry could not be moved because the folder for completed originals lies in it; that is said."""
    completed_dir = options.completed_dir
    if completed_dir is None or not any(entry in path.parents for path in _both_paths(completed_dir)):
        return False
    from mgmt.events import Notice

    message = f"{entry.name} is skipped: the folder for completed originals, {completed_dir}, lies in it."
    session.emit(Notice(message, "skipped"))
    return True
