"""Downloads a whole archive: fetched by ranges into an unfinished file, checked while it arrives, and then named."""

from __future__ import annotations

import os
from pathlib import Path

from mgmt.archive.blocks import Readable
from mgmt.archive.publishing import prepare, publish
from mgmt.archive.rules import Rules
from mgmt.download.checking import check_archive
from mgmt.download.fetching import Fetching
from mgmt.download.refetching import Refetching
from mgmt.download.unfinished import Opened, Unfinished, archive_paths
from mgmt.download.wanted import Wanted
from mgmt.errors import IntegrityError, MgmtError
from mgmt.events import Begun
from mgmt.journal import new_operation_id
from mgmt.layout import placeholder
from mgmt.stored.opening import ask_to_open, is_over, report_end, take_request
from mgmt.stored.ranges import RANGES_AT_A_TIME, Ranges
from mgmt_contract.messages.downloads import DownloadResult
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.records import DownloadRecord


class WholeArchive:
    """The download of one whole archive."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._record: DownloadRecord | None = None
        options = wanted.options
        self._rules = Rules(
            recorded_bytes=wanted.size,
            replaces=options.replaces,
            replaces_before_ns=options.replaces_before_ns,
            resumes=True,
            makes_folder=False,
        )
        self._received_bytes = self._checked_bytes = 0
        self.failed_record: DownloadRecord | None = None
        """The record of a download that was begun and has failed."""

    @property
    def hidden_paths(self) -> tuple[Path, ...]:
        """Where it keeps what is not whole yet."""
        wanted = self._wanted
        return archive_paths(wanted.options.folder, wanted.archive_name, wanted.upload.operation_id)

    def run(self) -> DownloadRecord:
        """Download it.

        Raises:
            MgmtError: If it failed; where `failed_record` is set, the team knows.
        """
        wanted = self._wanted
        folder, upload_id = wanted.options.folder, wanted.upload.operation_id
        with Unfinished(folder, wanted.archive_name, upload_id, wanted.size) as unfinished:
            try:
                if not unfinished.is_published_as(wanted.place):
                    self._prepare(unfinished)
                    self._fetch_and_check(unfinished)
                    self._publish(unfinished)
            except MgmtError as error:
                self._give_up(unfinished, error)
                raise
            wanted.hurry_report()
            record = report_end(
                wanted.session, self._record or self._earlier_record(unfinished), self._received_bytes, None
            )
            unfinished.discard()
            return record

    def _prepare(self, unfinished: Unfinished) -> None:
        """Look at the place before anything is fetched.

        Raises:
            LocalStateError: target-exists or disk-full.
        """
        prepare(self._wanted.place, os.fsencode(unfinished.path.name), self._placeholder, self._rules)

    def _fetch_and_check(self, unfinished: Unfinished) -> None:
        wanted = self._wanted
        opened, request = self._open(unfinished)
        wanted.session.emit(Begun(wanted.name, opened.operation_id, wanted.size))
        self._received_bytes = unfinished.done_bytes
        refetching = Refetching(wanted)
        while True:
            try:
                self._fetch_once(unfinished, opened, request)
            except IntegrityError as error:
                if not refetching.begin(error, opened.operation_id):
                    raise
                found = error.with_traceback(None)  # its frames hold the memory that the bytes came into
            else:
                return
            unfinished.open(opened)
            request = self._sign(opened)
            ranges = Ranges(wanted.session, wanted.target_path, wanted.size, request, lambda: self._sign(opened))
            is_other = refetching.compare(unfinished, ranges.fetch, self._checked_bytes, opened.operation_id)
            self._received_bytes += refetching.fetched_bytes
            if not is_other:
                raise found

    def _fetch_once(self, unfinished: Unfinished, opened: Opened, request: SignedRequest) -> None:
        wanted = self._wanted
        fetching = Fetching(wanted, opened.operation_id, unfinished, request, lambda: self._sign(opened))

        def note_checked(done_bytes: int) -> None:
            self._checked_bytes = done_bytes
            if fetching.is_over:
                wanted.note(opened.operation_id, "checking", done_bytes)

        def check(archive: Readable) -> None:
            check_archive(archive, wanted.upload, note_checked, wanted.session.stop)

        try:
            fetching.run(wanted.options.jobs or RANGES_AT_A_TIME, check)
        finally:
            self._received_bytes += fetching.received_bytes

    def _open(self, unfinished: Unfinished) -> tuple[Opened, SignedRequest]:
        """Open the download of an earlier run, or else a new one.

        The id of a new one is on the disk before the service is asked: after a crash the next run continues it.
        """
        earlier, target_path = unfinished.opened, self._wanted.target_path
        if earlier is not None and earlier.target_path == target_path:
            result = self._ask(earlier)
            if not is_over(result):
                request = self._take(result)
                unfinished.open(earlier)
                return earlier, request
        opened = Opened(new_operation_id(), target_path)
        unfinished.open(opened)
        try:
            return opened, self._sign(opened)
        except MgmtError as error:
            if earlier is None and not error.stops_everything:
                unfinished.discard()  # refused: nothing was recorded, and nothing is left
            raise

    def _sign(self, opened: Opened) -> SignedRequest:
        return self._take(self._ask(opened))

    def _ask(self, opened: Opened) -> DownloadResult:
        return ask_to_open(self._wanted.session, opened.operation_id, self._wanted.upload, opened.target_path)

    def _take(self, result: DownloadResult) -> SignedRequest:
        request = take_request(self._wanted.upload, result)
        self._record = result.record or self._record
        return request

    def _publish(self, unfinished: Unfinished) -> None:
        wanted = self._wanted
        unfinished.share()
        unfinished.promise(unfinished.path)
        unfinished.close()
        publish(wanted.place, os.fsencode(unfinished.path.name), self._placeholder, self._rules)

    def _give_up(self, unfinished: Unfinished, error: MgmtError) -> None:
        """Record a failure that another run cannot continue; fetched bytes stay where they are good."""
        if isinstance(error, IntegrityError) or error.code == "object-gone":
            unfinished.discard()
        if not error.stops_everything and self._record is not None:
            self.failed_record = report_end(self._wanted.session, self._record, self._received_bytes, error)

    def _earlier_record(self, unfinished: Unfinished) -> DownloadRecord:
        assert unfinished.opened is not None  # noqa: S101  it was opened before anything was published
        self._received_bytes = self._wanted.size
        return self._wanted.earlier_record(unfinished.opened.operation_id)

    @property
    def _placeholder(self) -> bytes:
        return placeholder(self._wanted.token("archive"))
