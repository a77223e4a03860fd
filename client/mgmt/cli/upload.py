"""`mgmt upload`: its options, checked before anything is looked at, packed or sent, and the run."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgmt.cli import WholeNumber
from mgmt.cli.invocation import Invocation, current_directory, shown_base
from mgmt.errors import (
    EXIT_OK,
    EXIT_PARTLY_FAILED,
    CancelledError,
    LocalStateError,
    MgmtError,
    NotConfiguredError,
    StorageFullError,
    UnavailableError,
    UsageError,
    is_interrupt,
)
from mgmt.settings import check_value, find_own_folder
from mgmt.text import printable, shorten
from mgmt_contract.names import InvalidNameError, join_key, trim_prefix
from mgmt_contract.storage import EMBEDDED_CLASSES, STORAGE_CLASSES, InvalidTagError, check_tags

if TYPE_CHECKING:  # names for annotations only
    from mgmt.session import Session
    from mgmt.settings import Settings
    from mgmt.show import Output
    from mgmt.upload.job import UploadOptions

_ANY_NAME = "x"
_NAMED_MAX = 3
"""Targets that a line has room for."""
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""What a system answers of a path that leads to nothing; anything else may be there."""
_RATE_MAX_BYTES_PER_SECOND = 10**15
"""No line is as fast; more digits are a slip, and no number that Python can count with."""


def check_names(
    targets: tuple[str, ...], *, as_name: str | None, prefix: str | None, excludes: tuple[str, ...]
) -> None:
    """Refuse targets and names that have no meaning, alone or together.

    Raises:
        UsageError: With what was expected.
    """
    from mgmt.text import shown
    from mgmt.upload.looking import is_excluded

    if "" in targets:
        raise UsageError("A target's name is empty; expected a file or directory.", code="empty-name")
    if excludes:
        _check_globs(excludes)
    for target in targets:
        if target != "all" and is_excluded(os.path.abspath(target), excludes):  # noqa: PTH100  keeps a link's own name
            raise UsageError(
                f"'{shown(target)}' is a target and left out by --exclude at once. Drop one of the two; --exclude "
                "is for what lies in a folder.",
                code="target-excluded",
            )
    if prefix is not None:
        _require_key("--prefix", prefix, _ANY_NAME)
    if as_name is None:
        return
    if len(targets) != 1 or targets[0] == "all":
        raise UsageError("--as needs exactly one target.", code="as-needs-one-target")
    _require_key("--as", "", as_name)


def _check_globs(globs: tuple[str, ...]) -> None:
    from mgmt.source.globs import trim_glob  # most uploads exclude nothing

    if not all(map(trim_glob, globs)):
        raise UsageError("--exclude names nothing; expected --exclude GLOB.", code="empty-name")


def make_options(given: Mapping[str, Any], settings: Settings) -> UploadOptions:
    """Put together how the uploads are to be made, from options and settings.

    Raises:
        UsageError: If a value makes no sense; the sentence names the option or setting it came from.
        NotConfiguredError: If --move-completed has no folder.
    """
    from mgmt.upload.job import UploadOptions

    options = dict(given)
    prefix = _choose_prefix(options.pop("prefix"), settings)
    if options["as_name"] is not None:
        _require_key("--as", prefix, options["as_name"])  # together they may be too long
    named_dir = options.pop("completed_dir")
    completed_dir = choose_completed_dir(named_dir, settings) if options.pop("move_completed") else None
    archive_dir = options.pop("archive_dir") or choose_archive_dir(settings)
    tags = parse_tags(options.pop("tags"))
    return UploadOptions(
        prefix=prefix,
        tags=tags,
        archive_dir=archive_dir,
        cache_dir=find_cache_dir(),
        completed_dir=completed_dir,
        **options,
    )


class FolderType(click.Path):
    """A folder that an option names."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty name, such as a variable of a script that is not set: it would mean the folder here."""
        if value == "" and param is not None:
            option = param.opts[0]
            raise UsageError(f"{option} names no folder; expected {option} DIR.", code="empty-name")
        return super().convert(value, param, ctx)


def check_completed_dir(named: str | None, *, is_moving: bool) -> None:
    """Refuse a folder for completed originals that has no name, or that nothing would be moved to.

    Raises:
        UsageError: With what to add.
    """
    if named == "":
        raise UsageError("--completed-dir names no folder; expected --completed-dir DIR.", code="empty-name")
    if named is not None and not is_moving:
        raise UsageError(
            "--completed-dir alone moves nothing. Add --move-completed, or drop --completed-dir.",
            code="completed-dir-alone",
        )


def choose_completed_dir(named: str | None, settings: Settings) -> Path:
    """Choose where originals go after success: the folder that the command names, or the configured one.

    Raises:
        UsageError: If the named folder makes no sense.
        NotConfiguredError: If none is named and none is configured.
    """
    if named is not None:
        check_value("completed_dir", named, "--completed-dir")
        return Path(os.path.abspath(Path(named).expanduser()))  # noqa: PTH100  resolving would follow links
    if settings.completed_dir is None:
        raise NotConfiguredError(
            "--move-completed has no folder to move originals to. Name one with --completed-dir DIR, or configure "
            "MGMT_COMPLETED_DIR with `mgmt config`.",
            code="no-completed-dir",
        )
    return Path(os.path.abspath(settings.completed_dir))  # noqa: PTH100  as above


def choose_archive_dir(settings: Settings) -> Path | None:
    """Return the configured folder for archives, if there is one.

    Raises:
        UsageError: If it is not there.
    """
    origin = f"MGMT_ARCHIVE_DIR (from {settings.origins.get('archive_dir')})"
    check_folder(settings.archive_dir, origin, "no-archive-dir")
    return settings.archive_dir


def find_cache_dir() -> Path | None:
    """Find the user's folder for archives that find no place beside their sources; None without a home."""
    from mgmt.source import real_folder

    folder = find_own_folder("cache")
    return real_folder(folder / "archives") if folder is not None else None


def check_folder(folder: Path | None, origin: str, code: str) -> None:
    """Refuse a folder that is not there: made anew, it might fill a disk that is not meant.

    Args:
        folder: As it was named, if it was.
        origin: The option or setting that names it.
        code: Of the usage error.

    Raises:
        UsageError: If it is not there, or no folder.
        LocalStateError: If its disk does not say.
    """
    if folder is None:
        return
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            message = f"{origin}: '{printable(str(folder))}' cannot be looked at: {error.strerror or error}. Fix that."
            raise LocalStateError(message, code="folder-unusable") from error
        message = f"{origin}: there is no folder '{printable(str(folder))}'. Create it, or plug its disk in."
        raise UsageError(message, code=code) from error
    if not is_folder:
        raise UsageError(f"{origin}: '{printable(str(folder))}' is a file; expected a folder.", code=code)


def check_embedded_class(storage_class: str | None) -> None:
    """Refuse a storage class that the embedded backend does not have, before anything is packed.

    Raises:
        UsageError: With those that it has.
    """
    if storage_class is not None and storage_class not in EMBEDDED_CLASSES:
        raise UsageError(
            f"The embedded backend has no storage class {storage_class}: all that it stores is {EMBEDDED_CLASSES[0]}, "
            "on this machine's disk. Leave out --storage-class, or upload to a service in AWS (without --local).",
            code="no-such-class",
        )


def parse_tags(texts: tuple[str, ...]) -> dict[str, str]:
    """Read `KEY=VALUE` pairs.

    Raises:
        UsageError: If one is none, a key is given twice, or S3 would not take them.
    """
    pairs = [_parse_tag(text) for text in texts]
    tags = dict(pairs)
    if len(tags) != len(pairs):
        raise UsageError("A --tag is given twice; expected each key once.", code="bad-tag")
    try:
        check_tags(tags)
    except InvalidTagError as error:
        raise UsageError(f"--tag: {error}.", code="bad-tag") from error
    return tags


def parse_rate(text: str | None) -> int | None:
    """Read bytes per second, such as 500k.

    Raises:
        UsageError: If that is no rate.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)(?:i?[bB])?(?:/s)?", text)
    rate = float(found[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[found[2].lower()] if found else 0
    if not 1 <= rate <= _RATE_MAX_BYTES_PER_SECOND:
        raise UsageError(
            f"--limit-rate {shorten(text, 40)!r}: expected bytes per second, such as 500k or 2M.", code="bad-rate"
        )
    return int(rate)


def _choose_prefix(given: str | None, settings: Settings) -> str:
    if given is not None:
        return trim_prefix(given)
    origin = settings.origins.get("object_prefix")
    _require_key(f"MGMT_OBJECT_PREFIX (from {origin})", settings.object_prefix, _ANY_NAME)
    return trim_prefix(settings.object_prefix)


def _require_key(origin: str, prefix: str, name: str) -> None:
    try:
        join_key("", prefix, name)
    except InvalidNameError as error:
        raise UsageError(f"{origin} cannot be used: {error}.", code="invalid-name") from error


def _parse_tag(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise UsageError(f"--tag {text!r}: expected KEY=VALUE.", code="bad-tag")
    return key, value


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET... | all")
@click.option("--prefix", help="Folder in the bucket (instead of MGMT_OBJECT_PREFIX).")
@click.option("--as", "as_name", metavar="NAME", help="Store under this name: every camera folder is called DCIM.")
@click.option("--replace", is_flag=True, help="Replace other content under the same name; it stays recoverable.")
@click.option(
    "--exclude",
    "excludes",
    multiple=True,
    metavar="GLOB",
    help='Leave out what fits this pattern, such as "*.tmp"; may be repeated.',
)
@click.option(
    "--compression",
    "plan",
    type=click.Choice(["auto", "store", "fast", "best"]),
    default="auto",
    show_default=True,
    help="How hard to compress what compresses.",
)
@click.option("--keep-archive", is_flag=True, help="Keep the .tar.gz after success.")
@click.option(
    "--archive-dir",
    type=FolderType(),
    metavar="DIR",
    help="Make archives in this folder (instead of MGMT_ARCHIVE_DIR, or beside each TARGET).",
)
@click.option("--move-completed", is_flag=True, help="Move originals to MGMT_COMPLETED_DIR after success.")
@click.option("--completed-dir", metavar="DIR", help="Move them to this folder instead; needs --move-completed.")
@click.option(
    "--jobs", metavar="N", type=WholeNumber(1, 64), help="Transfers at a time (up to 4 parts, or 16 small archives)."
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
    deleted. Sources are never changed. The same command again goes on with what was interrupted. Where the
    folder of TARGET cannot be written to or is too full, the archive is made in your cache folder, and that is
    said.

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
    check_folder(options["archive_dir"], "--archive-dir", "no-archive-dir")
    check_completed_dir(options["completed_dir"], is_moving=options["move_completed"])
    if invocation.use_local:
        check_embedded_class(options["storage_class"])
    parse_tags(options["tags"])
    rate = parse_rate(options.pop("limit_rate"))
    is_dry_run = options.pop("dry_run")
    run = _plan if is_dry_run else _upload
    return run(invocation, targets, options, rate)


def _upload(invocation: Invocation, targets: tuple[str, ...], options: dict[str, Any], rate: int | None) -> int:
    from mgmt.machine import stay_awake
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
                with saying_how_to_go_on(invocation.output):
                    run_upload(expanded, upload_options, session, shown_base(session.settings), summary)
        except BaseException:
            renderer.summarize(summary.succeeded, len(summary.errors), summary.skipped, was_stopped=True)
            raise
        renderer.summarize(summary.succeeded, len(summary.errors), summary.skipped)
    # Where originals are moved, they are elsewhere by now.
    if summary.succeeded and not summary.errors and upload_options.completed_dir is None:
        _say_how_to_check(invocation.output, targets, upload_options.as_name)
    return exit_code_of(summary.errors, summary.succeeded + summary.skipped + len(summary.errors))


@contextmanager
def saying_how_to_go_on(output: Output) -> Iterator[None]:
    """Name `mgmt resume` where uploads are stopped by what the same command may overcome later."""
    try:
        yield
    except BaseException as error:
        can_go_on = isinstance(error, (CancelledError, StorageFullError, UnavailableError)) or is_interrupt(error)
        if can_go_on and not output.style.as_json:
            output.aside("`mgmt resume` goes on with all of it, in any folder.")
        raise


def _say_how_to_check(output: Output, targets: tuple[str, ...], as_name: str | None) -> None:
    """Name a person the command that tells whether what was uploaded may be erased."""
    import shlex

    if output.style.as_json or not output.stderr.isatty():
        return
    if "all" in targets:
        named = ["./*"]
    else:
        named = [shlex.quote(printable(target)) for target in targets] if len(targets) <= _NAMED_MAX else ["TARGET..."]
    if as_name is not None:
        named += ["--against", shlex.quote(printable(as_name))]
    output.aside(f"`mgmt safe {' '.join(named)}` tells whether all of it is stored, so that it may be erased.")


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
        (session.settings.archive_dir, "archives are made in it (MGMT_ARCHIVE_DIR)"),
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
