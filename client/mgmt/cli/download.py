"""`mgmt download`: its options, checked before anything is fetched, and the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from mgmt.cli import WholeNumber
from mgmt.cli.history import choices_in_a_table, complete_name
from mgmt.cli.invocation import Invocation, current_directory, shown_base
from mgmt.cli.upload import FolderType, check_folder, exit_code_of, parse_rate, saying_how_to_go_on
from mgmt.errors import MgmtError, UsageError
from mgmt.text import describe_unasked, printable
from mgmt_contract.restoring import DAYS_DEFAULT, DAYS_MAX
from mgmt_contract.values import Value

if TYPE_CHECKING:  # names for annotations only
    from mgmt.download.results import Summary
    from mgmt.session import Session
    from mgmt.show.progress import TaskRenderer
    from mgmt_contract.restoring import RestoreTier

_NOTHING_RESTORED: Final = "nothing was restored"


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME|ID...", shell_complete=complete_name)
@click.option("--to", "folder", type=FolderType(), metavar="DIR", help="Put it into this folder, which must be there.")
@click.option("--extract", "extracts", is_flag=True, help="Extract the archive, and do not keep it.")
@click.option("--version", "version_id", metavar="VERSION", help="Bring this version of NAME, also a replaced one.")
@click.option(
    "--only", multiple=True, metavar="GLOB", help="Bring only files that fit this pattern, extracted; may be repeated."
)
@click.option("--wait", "waits", is_flag=True, help="Wait until what is archived can be read, then download it.")
@click.option(
    "--tier",
    type=click.Choice(["Expedited", "Standard", "Bulk"], case_sensitive=False),
    default="Standard",
    show_default=True,
    help="How fast S3 restores what is archived; faster costs more.",
)
@click.option(
    "--days",
    metavar="N",
    type=WholeNumber(1, DAYS_MAX),
    default=DAYS_DEFAULT,
    show_default=True,
    help="For how many days the restored copy stays.",
)
@click.option("--yes", "is_agreed", is_flag=True, help="Do not ask before a restore, which costs money; for scripts.")
@click.option("--replace", "replaces", is_flag=True, help="Replace what exists under that name.")
@click.option("--no-limits", "lifts_limits", is_flag=True, help="Extract an archive of any count, size and ratio.")
@click.option("--jobs", metavar="N", type=WholeNumber(1, 64), help="Ranges at a time.  [default: 4]")
@click.option("--limit-rate", metavar="RATE", help="Bytes per second at most, such as 500k or 2M.")
@click.pass_obj
def download(invocation: Invocation, /, names: tuple[str, ...], **options: Any) -> int:
    """Download what the team has uploaded, checked against its record.

    NAME and ID are what `mgmt show` takes. Each archive is put into the current directory, or with --extract the
    file or folder that was uploaded. It gets its name only when all of it was checked. The same command again
    goes on with what was interrupted, as `mgmt resume` does in any folder.

    GLOB is a pattern such as "*.MOV"; quotes keep the shell away from it. It is compared with the names of files and
    folders, and with their paths; a folder brings all that is in it. Only the parts of the archive that hold these
    files are fetched. What is there already with the same content stays.

    An archive of more than 10 million files or 16 TiB, or one that grows far more than footage can, is not
    extracted: it may be made to fill disks. With --no-limits it is. What its record states still holds.

    VERSION is what `mgmt show` prints of an upload; its ID brings the same.

    What lies in an archived storage class has to be restored by S3 first, for the whole team. The price is said and
    asked about; a restore that is under way already is not asked for again. Without --wait run the command again
    when it is ready.

    \b
    Examples:
      mgmt download clip.mp4
      mgmt download --extract --to restored DCIM
      mgmt download --only "C0001*" DCIM
      mgmt download 6h0w5d3vj 6h0w5d3vk

    \b
    Exit codes: 0 done, 2 usage, 3 some of several failed, 4 no such upload,
      5 sign-in, 6 refused, 7 unavailable or being restored (run again),
      8 integrity, 9 local disk or state (also: the target exists),
      10 not configured, 130 interrupted, or not agreed.
    """
    here = current_directory()
    if "" in names:
        raise UsageError("A name is empty; expected a name or an ID.", code="empty-name")
    if options["lifts_limits"] and not (options["extracts"] or options["only"]):
        raise UsageError("--no-limits is for --extract and --only, which are not given.", code="nothing-to-extract")
    version_id = options.pop("version_id")
    if version_id is not None and len(set(names)) > 1:
        raise UsageError("--version is of one name; name one alone.", code="several-names")
    folder = options.pop("folder")
    check_folder(folder, "--to", "no-folder")
    rate = parse_rate(options.pop("limit_rate"))
    restoring = _Restoring(*(options.pop(name) for name in ("tier", "days", "waits", "is_agreed")))
    return _download(invocation, names, rate, version_id, restoring, folder=here / (folder or ""), **options)


class _Restoring(Value):
    """What is done about archived objects."""

    tier: RestoreTier
    days: int
    waits: bool
    is_agreed: bool


def _download(
    invocation: Invocation,
    names: tuple[str, ...],
    rate: int | None,
    version_id: str | None,
    restoring: _Restoring,
    **options: Any,
) -> int:
    from mgmt.download import DownloadOptions
    from mgmt.download import download as run_download
    from mgmt.download.results import Summary
    from mgmt.machine import stay_awake
    from mgmt.show.downloads import DownloadView
    from mgmt.show.progress import TaskRenderer
    from mgmt.team.history import find_stored
    from mgmt.team.versions import find_version

    summary, left, readable = Summary(), names, set[str]()
    with stay_awake():
        while left:
            renderer = TaskRenderer(invocation.output, DownloadView(invocation.output))
            try:
                with renderer, invocation.session(renderer.emit, rate_limit_bytes_per_second=rate) as session:

                    def find(name: str, session: Session = session) -> Any:
                        with choices_in_a_table(invocation):
                            if version_id is not None:
                                return find_version(session.api, name, version_id)
                            return find_stored(session.api, name, session.emit)

                    base = shown_base(session.settings)
                    wanted = DownloadOptions(**options, version_id=version_id)
                    with saying_how_to_go_on(invocation.output):
                        run_download(left, find, wanted, session, base, summary)
                # With the bars closed: a person may be asked.
                left = _have_restored(invocation, renderer, summary, restoring, readable) if summary.archived else ()
            except BaseException:
                renderer.summarize(summary.succeeded, len(summary.errors), 0, was_stopped=True)
                raise
    renderer.summarize(summary.succeeded, len(summary.errors), 0)
    return exit_code_of(summary.errors, summary.succeeded + len(summary.errors))


def _have_restored(
    invocation: Invocation, renderer: TaskRenderer, summary: Summary, restoring: _Restoring, readable: set[str]
) -> tuple[str, ...]:
    """Have what is archived restored, once somebody has agreed; return the names that are worth another try.

    `readable` has the names of which the service has said before that they can be read.
    """
    from mgmt.download.restoring import (
        RestoreOptions,
        ask_for_restores,
        describe_offer,
        still_restoring,
        wait_for_one,
    )
    from mgmt.download.results import not_begun
    from mgmt.events import Finished, Notice

    archived, summary.archived = summary.archived, {}
    options = RestoreOptions(restoring.tier, restoring.days)
    unasked = [each for each in archived.values() if not each.is_restoring]
    if unasked:
        offer = describe_offer(unasked, options)
        if restoring.is_agreed:
            renderer.emit(Notice(offer, "restore-price"))
        else:
            _agree(invocation, offer)
    errors: dict[str, MgmtError] = {}
    with invocation.contact(renderer.emit) as contact:
        restores = ask_for_restores(contact.api, archived, options, errors)
        if restoring.waits and restores:
            wait_for_one(restores, contact.patience, renderer.emit, errors)
    for name, restore in restores.items():
        if restore.is_over and name in readable:  # no third answer is to be expected
            errors[name] = archived[name]
        elif restore.is_over:
            readable.add(name)
        elif not restoring.waits:
            errors[name] = still_restoring(restore)
    for name, error in errors.items():
        summary.errors.append(error)
        renderer.emit(Finished(not_begun(name, error), error))
    return tuple(name for name in restores if name not in errors)


def _agree(invocation: Invocation, offer: str) -> None:
    """Ask whether it is worth the money."""
    if invocation.why_not_asked is not None:
        unasked = describe_unasked(
            "whether to spend that",
            invocation.why_not_asked,
            _NOTHING_RESTORED,
            "To restore without being asked, add --yes",
        )
        raise UsageError(f"{offer} {unasked}", code="nobody-to-ask")
    invocation.require_agreement(f"{printable(offer)} Restore?", _NOTHING_RESTORED)
