"""`mgmt upload`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgmt.cli.invocation import Invocation, current_directory, shown_base
from mgmt.errors import EXIT_OK, EXIT_PARTLY_FAILED, MgmtError, UsageError

if TYPE_CHECKING:  # names for annotations only
    from mgmt.jobs import UploadOptions
    from mgmt.session import Session


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET... | all")
@click.option("--prefix", help="Folder in the bucket (instead of MGMT_OBJECT_PREFIX).")
@click.option("--as", "as_name", metavar="NAME", help="Store under this name: every camera folder is called DCIM.")
@click.option("--replace", is_flag=True, help="Replace other content under the same name; it stays recoverable.")
@click.option("--exclude", "excludes", multiple=True, metavar="GLOB", help="Leave out what matches; may repeat.")
@click.option(
    "--compression",
    "plan",
    type=click.Choice(["auto", "store", "fast", "best"]),
    default="auto",
    show_default=True,
    help="How hard to compress what compresses.",
)
@click.option("--keep-archive", is_flag=True, help="Keep the .tar.gz after success.")
@click.option("--archive-dir", type=click.Path(file_okay=False, path_type=Path), help="Make archives there.")
@click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Transfers at a time.")
@click.option("--limit-rate", metavar="RATE", help="Bytes per second at most, such as 500k or 2M.")
@click.option("--storage-class", metavar="CLASS", help="S3 storage class, such as STANDARD_IA.")
@click.option("--tag", "tags", multiple=True, metavar="K=V", help="Tag the object; may repeat.")
@click.pass_obj
def upload(invocation: Invocation, /, targets: tuple[str, ...], **options: Any) -> int:
    """Upload files or directories, or `all` entries of the current directory.

    Each TARGET is packed into TARGET.tar.gz beside it, sent, confirmed by the service, and the archive is
    deleted. Sources are never changed. The same command again goes on with what was interrupted.

    \b
    Examples:
      mgmt upload clip.mp4
      mgmt upload --prefix shoots/day1 --as camera-a DCIM
      mgmt upload all            (a thing named all: ./all)

    \b
    Exit codes: 0 done or already there, 2 usage, 3 some of several failed,
      4 source, 5 sign-in, 6 refused, 7 unavailable (run again), 8 integrity,
      9 local disk or state, 10 not configured, 130 interrupted.
    """
    from mgmt.ending import Summary
    from mgmt.render import UploadRenderer
    from mgmt.upload import upload as run_upload
    from mgmt.wakefulness import stay_awake

    if "" in targets:
        raise UsageError("A target's name is empty; expected a file or directory.", code="empty-name")
    if options["as_name"] is not None and (len(targets) != 1 or targets[0] == "all"):
        raise UsageError("--as gives one name, so it goes with exactly one target.", code="as-needs-one-target")
    rate = _parse_rate(options.pop("limit_rate"))
    prefix = options.pop("prefix")
    summary = Summary()
    with stay_awake(), UploadRenderer(invocation.output()) as renderer:
        try:
            with invocation.session(
                renderer.emit, options={"object_prefix": prefix}, rate_limit_bytes_per_second=rate
            ) as session:
                in_force = session.settings.object_prefix if prefix is None else prefix
                upload_options = _make_options(options, prefix=in_force)
                expanded = _expand(targets, upload_options.archive_dir, session)
                run_upload(expanded, upload_options, session, shown_base(session.settings), summary)
        except BaseException:
            renderer.summarize(summary.succeeded, len(summary.errors), summary.skipped, was_stopped=True)
            raise
        renderer.summarize(summary.succeeded, len(summary.errors), summary.skipped)
    return exit_code_of(summary.errors, summary.succeeded + summary.skipped + len(summary.errors))


def exit_code_of(errors: Sequence[MgmtError], target_count: int) -> int:
    """Choose the exit code: the error's own for a single target, 3 where one or more of several failed."""
    if not errors:
        return EXIT_OK
    return errors[0].exit_code if target_count == 1 else EXIT_PARTLY_FAILED


def _make_options(options: dict[str, Any], *, prefix: str) -> UploadOptions:
    from mgmt.jobs import UploadOptions

    pairs = [_parse_tag(tag) for tag in options.pop("tags")]
    tags = dict(pairs)
    if len(tags) != len(pairs):
        raise UsageError("A --tag is given twice; expected each key once.", code="bad-tag")
    return UploadOptions(prefix=prefix, tags=tags, **options)


def _expand(targets: tuple[str, ...], archive_dir: Path | None, session: Session) -> Iterator[str]:
    """Name every target; `all` is every entry of the current directory."""
    from mgmt.targets import everything_in

    for target in targets:
        if target != "all":
            yield target
            continue
        here = current_directory()
        folders = {here, (archive_dir or here).absolute()}
        known = set().union(*(session.journal.archives_in(folder) for folder in folders))
        yield from (name for name in everything_in(here, known, session.emit) if here / name not in folders)


def _parse_tag(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator or not text.isprintable():
        raise UsageError(f"--tag {text!r}: expected KEY=VALUE.", code="bad-tag")
    return key, value


def _parse_rate(text: str | None) -> int | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)(?:i?[bB])?(?:/s)?", text)
    rate = float(found[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[found[2].lower()] if found else 0
    if rate < 1:
        raise UsageError(f"--limit-rate {text!r}: expected bytes per second, such as 500k or 2M.", code="bad-rate")
    return int(rate)
