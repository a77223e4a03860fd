"""`mgmt resume`: what this machine has not finished uploading or downloading is finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mgmt.cli import WholeNumber
from mgmt.cli.history import choices_in_a_table, complete_name
from mgmt.cli.invocation import LOCAL_NAME, Invocation, shown_base
from mgmt.cli.upload import exit_code_of, find_cache_dir, parse_rate
from mgmt.errors import UsageError

if TYPE_CHECKING:  # names for annotations only
    from mgmt.download.results import Summary as DownloadSummary
    from mgmt.session import Session
    from mgmt.upload.results import Summary
    from mgmt_contract.records import OperationRecord


@click.command()
@click.argument("names", nargs=-1, metavar="[ID|NAME...]", shell_complete=complete_name)
@click.option("--jobs", metavar="N", type=WholeNumber(1, 64), help="Transfers at a time, as for `mgmt upload`.")
@click.option("--limit-rate", metavar="RATE", help="Bytes per second at most, such as 500k or 2M.")
@click.pass_obj
def resume(invocation: Invocation, names: tuple[str, ...], jobs: int | None, limit_rate: str | None) -> int:
    """Finish the uploads and downloads of this machine that were interrupted, or have failed, from any folder.

    Without ID or NAME: all of them for the configured service, also those that an interrupted command had not
    come to; with one: that upload, or the download of that ID. Each is done with the options of its own command, as
    the same command would do it again: what was sent or fetched is not sent or fetched again. An upload that you began
    on another machine goes on here where its source is in this folder under the same name, once that machine has been
    silent for its lease. What was not come to for 30 days is forgotten.

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
    from mgmt.download.results import Summary as DownloadSummary
    from mgmt.machine import stay_awake
    from mgmt.show.progress import TaskRenderer
    from mgmt.show.resumed import ResumedView
    from mgmt.upload.results import Summary

    sent, fetched = Summary(), DownloadSummary()

    def summarize(*, was_stopped: bool) -> None:
        succeeded, failed = sent.succeeded + fetched.succeeded, len(sent.errors) + len(fetched.errors)
        renderer.summarize(succeeded, failed, sent.skipped, was_stopped=was_stopped)

    with stay_awake(), TaskRenderer(invocation.output, ResumedView(invocation.output)) as renderer:
        try:
            with (
                invocation.session(renderer.emit, rate_limit_bytes_per_second=rate) as session,
                choices_in_a_table(invocation),
            ):
                _resume(session, names, jobs, sent, fetched)
        except BaseException:
            summarize(was_stopped=True)
            raise
        summarize(was_stopped=False)
    errors = [*sent.errors, *fetched.errors]
    return exit_code_of(errors, sent.succeeded + sent.skipped + fetched.succeeded + len(errors))


def _resume(
    session: Session, names: tuple[str, ...], jobs: int | None, sent: Summary, fetched: DownloadSummary
) -> None:
    """Finish uploads, then downloads."""
    from mgmt.download.resuming import Resuming as ResumingDownloads
    from mgmt.team.history import find_stored, find_unfinished
    from mgmt.team.versions import find_version
    from mgmt.upload.resuming import Resuming

    def find_upload(name: str, version_id: str | None) -> OperationRecord:
        if version_id is not None:
            return find_version(session.api, name, version_id)
        return find_stored(session.api, name, session.emit)

    uploads = Resuming(session, sent, shown_base(session.settings), find_cache_dir(), jobs)
    downloads = ResumingDownloads(session, fetched, jobs)
    uploads.resume(names, lambda name: find_unfinished(session.api, name), downloads.take)
    downloads.resume(find_upload, is_named=bool(names))
    if not names:
        _name_other_services(session)


def _name_other_services(session: Session) -> None:
    """Say that something is left for services that were not meant now."""
    from mgmt.events import Notice

    for service in session.journal.services_left():
        if service == session.service_url:
            continue
        how = "`mgmt --local resume`" if service.startswith(LOCAL_NAME) else f"MGMT_API_URL={service} mgmt resume"
        session.emit(Notice(f"Something is left for another service of this machine too: {how}", "other-service"))
