"""The download use case, in six verbs: find, prepare, open, fetch, check, publish.

An archive is fetched by ranges into an unfinished file beside its final place, where a later run goes on with it. Only
what was read again whole, and equals its record, gets a name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mgmt.archive.extraction import Extraction
from mgmt.archive.names_here import refuse_for_system
from mgmt.archive.publishing import prepare, publish
from mgmt.archive.rules import Rules
from mgmt.archive.telling import Telling
from mgmt.download.checking import Arrived, check_archive, extract_archive
from mgmt.download.fetching import Fetching, Source
from mgmt.download.results import REPORT_MAX_SECONDS, Summary, not_begun
from mgmt.download.unfinished import Goal, Unfinished, make_token
from mgmt.errors import IntegrityError, MgmtError, RefusedError, SourceError
from mgmt.events import Begun, Expected, Finished, Notice, Progress, Repeated
from mgmt.journal import new_operation_id
from mgmt.layout import archive_file_name, placeholder, temporary_name
from mgmt.machine.files import raise_limit
from mgmt.session import Session
from mgmt.stored.opening import ask_to_open, is_over, report_end, take_request
from mgmt.stored.ranges import RANGES_AT_A_TIME
from mgmt.text import show_path, shown
from mgmt_contract.messages import DownloadResult, SignedRequest
from mgmt_contract.names import ARCHIVE_SUFFIX
from mgmt_contract.records import DownloadRecord, OperationRecord, UploadRecord
from mgmt_contract.values import Value


class DownloadOptions(Value):
    """How to download."""

    folder: Path
    """Where archives, or their trees, are put."""
    extracts: bool = False
    replaces: bool = False
    jobs: int | None = None


def download(
    names: Sequence[str],
    find: Callable[[str], OperationRecord],
    options: DownloadOptions,
    session: Session,
    shown_base: Path,
    summary: Summary,
) -> None:
    """Download every named upload; a failure that concerns one alone does not stop the others.

    Args:
        names: What the user named.
        find: Finds the operation that a name means.
        options: How to download.
        session: The wired organs.
        shown_base: Folder that paths in the team's records are relative to.
        summary: Filled in as downloads end, so that it also tells of a run that was stopped.

    Raises:
        MgmtError: For causes that stop everything. What was begun stays resumable.
    """
    raise_limit()
    names = list(dict.fromkeys(names))
    session.emit(Expected(dict.fromkeys(names)))
    fetched: set[str] = set()
    for name in names:
        task: _Download | None = None
        try:
            upload = _require_upload(find(name), name)
            if upload.operation_id in fetched:
                session.emit(Repeated(name))
                continue
            fetched.add(upload.operation_id)
            task = _Download(name, upload, options, session, shown_base)
            record = task.run(is_last=name == names[-1])
        except MgmtError as error:
            if error.stops_everything:
                raise
            summary.errors.append(error)
            failed = task.failed_record if task is not None else None
            session.emit(Finished(failed if failed is not None else not_begun(name, error), error))
        else:
            summary.succeeded += 1
            session.emit(Finished(record))


class _Download:
    """One upload's way back."""

    def __init__(
        self, name: str, upload: UploadRecord, options: DownloadOptions, session: Session, shown_base: Path
    ) -> None:
        self._name = name
        self._upload = upload
        self._options = options
        self._session = session
        self._size = upload.s3_file_record.size if upload.s3_file_record is not None else 0
        archive_name, tree_name = _local_names(upload)
        self._archive_name = archive_name
        self._archive_place = options.folder / archive_name
        self._place = options.folder / tree_name if options.extracts else self._archive_place
        self._target_path = show_path(os.fspath(self._place), shown_base)
        self._tree_token = make_token("tree", upload.operation_id)
        self._record: DownloadRecord | None = None
        self._received_bytes = 0
        self.failed_record: DownloadRecord | None = None
        """The record of a download that was begun and has failed."""

    def run(self, *, is_last: bool) -> DownloadRecord:
        """Download it.

        Raises:
            MgmtError: If it failed; where `failed_record` is set, the team knows.
        """
        with self._holding(), Telling(os.fsencode(self._place)):
            options, upload = self._options, self._upload
            with Unfinished(options.folder, self._archive_name, upload.operation_id, self._size) as unfinished:
                try:
                    if not unfinished.is_published_as(self._place):
                        self._prepare(unfinished)
                        self._fetch(unfinished)
                        self._check_and_publish(unfinished)
                except MgmtError as error:
                    self._give_up(unfinished, error)
                    raise
                if is_last:
                    self._session.patience.hurry(REPORT_MAX_SECONDS)
                record = report_end(
                    self._session, self._record or self._earlier_record(unfinished), self._received_bytes, None
                )
                unfinished.discard()
                return record

    @contextmanager
    def _holding(self) -> Iterator[None]:
        with ExitStack() as held:
            for place in dict.fromkeys((self._archive_place, self._place)):
                try:
                    held.enter_context(self._session.journal.hold(os.fspath(place), place.name))
                except RefusedError as error:
                    raise RefusedError(
                        f"Another mgmt on this machine is at work on '{shown(os.fspath(place))}' right now. Wait for "
                        "it to end, or choose another folder with --to.",
                        code="busy-here",
                    ) from error
            yield

    def _prepare(self, unfinished: Unfinished) -> None:
        """Look at the places before anything is fetched.

        Raises:
            LocalStateError: target-exists or disk-full.
        """
        replaces, extracts = self._options.replaces, self._options.extracts
        rules = Rules(recorded_bytes=self._size, replaces=replaces or extracts, resumes=True)
        prepare(self._archive_place, os.fsencode(unfinished.path.name), self._placeholder, rules)
        if extracts:
            part = temporary_name(self._place.name, self._tree_token)
            prepare(self._place, os.fsencode(part), placeholder(self._tree_token), self._tree_rules)

    def _fetch(self, unfinished: Unfinished) -> None:
        goal, request = self._open(unfinished)
        unfinished.open(goal)
        self._session.emit(Begun(self._name, goal.operation_id, self._size))
        source = Source(goal.operation_id, self._target_path, self._size)
        self._received_bytes = unfinished.done_bytes
        fetching = Fetching(self._session, source, unfinished, request, lambda: self._sign(goal))
        try:
            fetching.run(self._options.jobs or RANGES_AT_A_TIME)
        finally:
            self._received_bytes += fetching.received_bytes

    def _open(self, unfinished: Unfinished) -> tuple[Goal, SignedRequest]:
        """Open the download: the one that an earlier run has begun, or else a new one."""
        earlier = unfinished.goal
        if earlier is not None and earlier.target_path == self._target_path:
            result = self._ask(earlier)
            if not is_over(result):
                return earlier, self._take(result)
        goal = Goal(new_operation_id(), self._target_path)
        return goal, self._sign(goal)

    def _sign(self, goal: Goal) -> SignedRequest:
        return self._take(self._ask(goal))

    def _ask(self, goal: Goal) -> DownloadResult:
        return ask_to_open(self._session, goal.operation_id, self._upload, goal.target_path)

    def _take(self, result: DownloadResult) -> SignedRequest:
        request = take_request(self._upload, result)
        self._record = result.record or self._record
        return request

    def _check_and_publish(self, unfinished: Unfinished) -> None:
        if self._options.extracts:
            self._extract(unfinished)
            unfinished.promise(self._place)
            return
        with unfinished.reading() as file:
            arrived = Arrived(file, lambda done: self._note("checking", done, self._size), self._session.stop)
            check_archive(arrived, self._upload, self._size, self._session.stop)
        unfinished.promise(unfinished.path)
        unfinished.close()
        part = os.fsencode(unfinished.path.name)
        publish(self._place, part, self._placeholder, replaces=self._options.replaces)

    def _extract(self, unfinished: Unfinished) -> None:
        stop = self._session.stop
        with (
            unfinished.reading() as file,
            Extraction(self._place, token=self._tree_token, rules=self._tree_rules, stop=stop) as extraction,
        ):
            arrived = Arrived(file, lambda done: self._note("extracting", done, self._size), stop)
            extract_archive(arrived, self._upload, self._size, extraction)
            extraction.publish()
        if extraction.left_out.count:
            first = extraction.left_out.kept[0]
            message = (
                f"{self._target_path}: {extraction.left_out.count} symlinks were left out, because they lead out of it "
                f"or cannot be made here, such as '{first.path}' to '{first.target}'."
            )
            self._session.emit(Notice(message, "links-left-out", self._record.operation_id if self._record else None))

    def _give_up(self, unfinished: Unfinished, error: MgmtError) -> None:
        """Record a failure that running again does not go on from; what is fetched stays where it is good."""
        if isinstance(error, IntegrityError) or error.code == "object-gone":
            unfinished.discard()
        if not error.stops_everything and self._record is not None:
            self.failed_record = report_end(self._session, self._record, self._received_bytes, error)

    def _earlier_record(self, unfinished: Unfinished) -> DownloadRecord:
        """Describe a download whose end an earlier run could not report."""
        assert unfinished.goal is not None  # noqa: S101  it was opened before anything was published
        upload, self._received_bytes = self._upload, self._size
        return DownloadRecord(
            operation_id=unfinished.goal.operation_id,
            operation_type="download",
            target_path=self._target_path,
            started_at=upload.started_at,
            status="pending",
            result_path=None,
            error_message=None,
            upload_id=upload.operation_id,
            s3_bucket=upload.s3_bucket,
            s3_object_key=upload.s3_object_key,
            version_id=upload.version_id,
            size=self._size,
        )

    def _note(self, stage: str, done_bytes: int, total_bytes: int) -> None:
        assert self._record is not None  # noqa: S101  it was opened
        operation_id = self._record.operation_id
        self._session.emit(Progress(operation_id, self._target_path, stage, done_bytes, total_bytes))

    @property
    def _placeholder(self) -> bytes:
        return placeholder(make_token("archive", self._upload.operation_id))

    @property
    def _tree_rules(self) -> Rules:
        upload = self._upload
        return Rules(
            recorded_members=upload.member_count,
            recorded_bytes=upload.uncompressed_size,
            replaces=self._options.replaces,
        )


def _require_upload(record: OperationRecord, name: str) -> UploadRecord:
    if not isinstance(record, UploadRecord):
        raise SourceError(
            f"'{name}' is the id of a {record.operation_type}, not of an upload. `mgmt history` lists what is stored.",
            code="no-upload",
        )
    if record.status != "success" or record.s3_file_record is None or not record.s3_file_record.size:
        raise SourceError(
            f"The upload of {record.target_path} has stored nothing: it is {record.status}. `mgmt history` lists what "
            "is stored.",
            code="not-stored",
        )
    return record


def _local_names(upload: UploadRecord) -> tuple[str, str]:
    """Name the archive's file and the tree in it: by the key, so by the name that it was uploaded under."""
    tree_name = upload.s3_object_key.rpartition("/")[2].removesuffix(ARCHIVE_SUFFIX)
    if tree_name in ("", ".", "..") or "\0" in tree_name or os.sep in tree_name:
        raise SourceError(f"No file here can have the name of the key {upload.s3_object_key}.", code="no-name")
    archive_name = archive_file_name(tree_name)
    for name in (archive_name, tree_name):
        refuse_for_system(os.fsencode(name), [os.fsencode(name)])
    return archive_name, tree_name
