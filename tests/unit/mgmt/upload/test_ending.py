"""How an upload ends: what becomes of the archive, and what the person and the service are told."""

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest

from mgmt.archive import pack
from mgmt.errors import CancelledError, IntegrityError, RefusedError, UnavailableError
from mgmt.events import Finished, Notice
from mgmt.session import open_session
from mgmt.settings import Settings
from mgmt.upload import Batch, results
from mgmt.upload.ending import Ending
from mgmt.upload.job import UploadOptions
from mgmt.upload.looking import make_job
from mgmt.upload.ours import archives_in, unfinished_path
from mgmt.upload.results import CleanUps, Summary
from mgmt.upload.small import Small
from mgmt_contract.messages.history import RecordResult, RecordsResponse
from mgmt_contract.messages.uploads import Existing, Lease
from mgmt_contract.records import FileRecord, UploadRecord
from mgmt_contract.wire import to_plain
from support.scripted_server import Answer, json_answer, scripted_server

WAIT_SECONDS = 20
EXISTING = Existing("clip.tar.gz", 1000, "etag")
PORTAL = Answer(200, b"<html>Welcome", {"content-type": "text/html"})
"""An answer that no service gives, and that is not retried."""


@dataclass
class Desk:
    """One packed archive whose upload is about to end, and everything that is told of it."""

    job: object
    ending: Ending
    clean_ups: CleanUps
    session: object
    server: object
    events: list = field(default_factory=list)

    def record(self, status="success", **changes):
        content = self.job.content
        stored = FileRecord("clip.tar.gz", "clip.tar.gz", "s3", content.size, is_directory=False, status="completed")
        whole = UploadRecord(
            self.job.operation_id, "upload", "clip", datetime.now(UTC), status, "clip.tar.gz", None, "gzip",
            "clip.tar.gz", "bucket", "clip.tar.gz", self.job.source.file_record,
            FileRecord("clip.tar.gz", "clip.tar.gz", "local", content.size, is_directory=False, status="pending"),
            stored, crc64nvme=content.crc64nvme,
        )  # fmt: skip
        return replace(whole, **changes)

    def service_answers(self, record):
        result = RecordResult(record.operation_id, "record", record)
        self.server._answers = [json_answer(to_plain(RecordsResponse([result])))]

    def told(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@contextmanager
def desk(folder, **options):
    (folder / "work").mkdir()
    (folder / "work" / "clip").write_bytes(b"x" * 1000)
    events = []
    with (
        scripted_server(PORTAL) as server,
        open_session(
            Settings(api_url=server.url), token=lambda: "t", state_dir=folder / "state", emit=events.append,
            stop=threading.Event(),
        ) as session,
    ):  # fmt: skip
        target = os.fspath(folder / "work" / "clip")
        job = make_job(target, UploadOptions(**options), session.journal, session.service_url, folder)
        with job.held:
            job.archive = pack(job.source, job.archive_path)
            job.lease = Lease(1, 600)
            job.enter("asked")
            session.journal.put([job.entry(session.service_url)])
            yield Desk(job, Ending(session, Summary()), CleanUps(session), session, server, events)


def test_a_proven_upload_loses_its_archive(tmp_path):
    with desk(tmp_path) as at:
        at.ending.end_done([(at.job, at.record())])
        assert not at.job.archive_path.exists()
        [finished] = at.told(Finished)
        assert finished.record.source_file_record.status == "completed"
        assert finished.record.compressed_file_record.status == "deleted"
        assert at.ending.summary == Summary(succeeded=1)


def test_an_archive_that_cannot_be_deleted_is_named_and_the_upload_is_a_success(somebody):
    """The document's rule for deletion failures: a warning, and the operation goes on."""
    with desk(somebody) as at:
        folder = at.job.archive_path.parent
        folder.chmod(0o555)
        try:
            at.ending.end_done([(at.job, at.record())])
        finally:
            folder.chmod(0o755)
        assert at.job.archive_path.exists()
        [notice] = at.told(Notice)
        assert notice.code == "archive-not-deleted"
        assert str(at.job.archive_path) in notice.message
        [finished] = at.told(Finished)
        assert finished.record.compressed_file_record.status == "completed"
        assert at.ending.summary == Summary(succeeded=1)


@pytest.mark.parametrize(
    "changes", [{"crc64nvme": "AAAAAAAAAAA="}, {"crc64nvme": None}, {"s3_file_record": None}, {"status": "pending"}]
)
def test_an_archive_whose_object_is_not_proven_stays(tmp_path, changes):
    with desk(tmp_path) as at:
        at.ending.end_done([(at.job, at.record(**changes))])
        assert at.job.archive_path.exists()
        [error] = at.ending.summary.errors
        assert isinstance(error, IntegrityError)
        assert str(at.job.archive_path) in error.message
        assert at.ending.summary.succeeded == 0


def test_a_failure_that_turns_out_to_be_none_is_a_success(tmp_path):
    """The answer was lost, not the upload: the service, told of the failure, says that it had come through."""
    with desk(tmp_path) as at:
        at.service_answers(at.record())
        at.ending.end_failed(at.job, UnavailableError("the connection broke"))
        assert at.ending.summary == Summary(succeeded=1)
        assert not at.job.archive_path.exists()


@pytest.mark.parametrize("keep_archive", [False, True])
def test_a_failure_before_the_first_byte_leaves_nothing(tmp_path, keep_archive):
    """Also where the archive was to be kept: after success, that is. Left, it would stand in the next one's way."""
    with desk(tmp_path, keep_archive=keep_archive) as at:
        at.ending.end_failed(at.job, UnavailableError("no answer"))
        assert not at.job.archive_path.exists()
        assert at.session.journal.find_archive(at.job.archive_path) is None


def test_a_failure_after_the_first_byte_keeps_the_archive_and_knows_it_again(tmp_path):
    with desk(tmp_path) as at:
        at.job.enter("sending")
        at.ending.end_failed(at.job, UnavailableError("no answer"))
        assert at.job.archive_path.exists()
        assert at.session.journal.find_archive(at.job.archive_path).ended_as == "failed"
        assert str(at.job.archive_path) in at.told(Notice)[-1].message


def test_where_an_archive_stays_is_said_once(tmp_path):
    with desk(tmp_path) as at:
        at.ending.end_failed(at.job, IntegrityError(f"bytes disagree; see {at.job.archive_path}"))
        assert "archive-kept" not in [notice.code for notice in at.told(Notice)]


@pytest.mark.parametrize("how", ["failed", "kept", "done", "nothing sent"])
def test_what_somebody_put_in_the_archives_place_is_left_alone_and_never_taken_for_ours(tmp_path, how):
    """Otherwise the next run would take it for an archive of its own, and remove it."""
    with desk(tmp_path, keep_archive=how == "kept") as at:
        at.job.archive_path.write_bytes(b"theirs")
        if how == "failed":
            at.job.enter("sending")
        if how in ("failed", "nothing sent"):
            at.ending.end_failed(at.job, UnavailableError("no answer"))
        else:
            at.ending.end_done([(at.job, at.record())])
        assert at.job.archive_path.read_bytes() == b"theirs"
        assert at.session.journal.find_archive(at.job.archive_path) is None
        assert archives_in(at.job.archive_path.parent, at.session.journal) == set()


def test_a_failure_that_cannot_be_recorded_is_said(tmp_path):
    with desk(tmp_path) as at:
        at.ending.end_failed(at.job, IntegrityError("bytes disagree"))
        assert [notice.code for notice in at.told(Notice)] == ["failure-not-recorded", "archive-kept"]
        [finished] = at.told(Finished)
        assert (finished.record.status, finished.record.error_message) == ("failed", "bytes disagree")
        assert finished.record.source_file_record.status == "failed"


def test_a_clean_up_that_cannot_be_reported_waits_for_the_next_command(tmp_path, caplog):
    """The upload is safe: no reason to frighten anybody, and the journal remembers what is left to say."""
    caplog.set_level("INFO", "mgmt")
    with desk(tmp_path) as at:
        at.ending.end_done([(at.job, at.record())])
        at.clean_ups.report()
        assert at.told(Notice) == []
        assert "not reported yet" in caplog.text
        with at.clean_ups.reporting() as clean_ups:
            [left] = clean_ups
        assert (left.operation_id, left.archive_status) == (at.job.operation_id, "deleted")


@contextmanager
def silent_server():
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_service_that_is_gone_keeps_a_finished_upload_for_seconds_only(tmp_path, monkeypatch, is_silent):
    """Once it has answered it has a quarter of an hour for everything else; the report is for the next command."""
    monkeypatch.setattr(results, "CLEAN_UPS_MAX_SECONDS", 0.2)
    with desk(tmp_path) as at, silent_server() as silent_url:
        at.server._answers = [Answer(503)]
        if is_silent:
            at.session.api._base_url = silent_url
        at.session.patience.note_progress()
        at.ending.end_done([(at.job, at.record())])
        began = time.monotonic()
        at.clean_ups.report()
        assert time.monotonic() - began < WAIT_SECONDS
        assert len(at.session.journal.unreported(at.session.service_url, 10)) == 1


def test_an_interrupt_while_reporting_is_an_interrupt(tmp_path):
    with desk(tmp_path) as at:
        at.ending.end_done([(at.job, at.record())])
        at.session.stop.set()
        with pytest.raises(CancelledError):
            at.clean_ups.report()


def test_a_kept_archive_stays_and_is_remembered_as_kept(tmp_path):
    with desk(tmp_path, keep_archive=True) as at:
        at.ending.end_done([(at.job, at.record())])
        assert at.job.archive_path.exists()
        assert at.session.journal.find_archive(at.job.archive_path).ended_as == "kept"


def test_an_archive_to_be_kept_stays_also_where_its_content_is_there_already(tmp_path):
    with desk(tmp_path, keep_archive=True) as at:
        at.ending.end_already_there(at.job, EXISTING)
        assert at.session.journal.find_archive(at.job.archive_path).ended_as == "kept"
        assert at.ending.summary == Summary(skipped=1)


@pytest.mark.parametrize("end", ["done", "already there", "failed"])
def test_a_kept_archive_is_remembered_once_however_many_runs_find_it(tmp_path, end):
    with desk(tmp_path, keep_archive=True) as at:
        for _ in range(3):
            end_somehow(at, end if at.job.adoption.was_kept else "done")
            at.ending.let_go(at.job)
            at.job = prepare_again(at, tmp_path)
            assert at.job.adoption.was_kept
        at.ending.let_go(at.job)
        [entry] = at.session.journal.entries_in(at.job.archive_path.parent)
        assert entry.ended_as == "kept"


@pytest.mark.parametrize("end", ["failed", "let go"])
def test_an_unfinished_archive_that_cannot_be_removed_is_known_to_the_next_run(somebody, end):
    """Its folder may no longer be written while it is packed: without an entry it would lie there for ever."""
    with desk(somebody) as at:
        folder = at.job.archive_path.parent
        at.job.archive_path.unlink()
        at.job.archive = at.job.lease = None
        at.job.enter("prepared")
        at.session.journal.put([at.job.entry(at.session.service_url)])
        left = unfinished_path(at.job.archive_path, at.job.operation_id)
        left.write_bytes(b"half an archive")
        folder.chmod(0o555)
        if end == "failed":
            at.ending.end_failed(at.job, UnavailableError("the folder"))
        at.ending.let_go(at.job)
        folder.chmod(0o755)
        assert left.exists()
        prepare_again(at, somebody).held.close()
        assert [path.name for path in folder.iterdir()] == ["clip"]


@pytest.mark.parametrize("end", ["done", "already there"])
def test_an_archive_that_could_not_be_deleted_gives_way_to_the_next_one(somebody, end):
    """It was not kept on request: where the source has changed since, the next run removes it."""
    with desk(somebody) as at:
        folder = at.job.archive_path.parent
        folder.chmod(0o555)
        end_somehow(at, end)
        folder.chmod(0o755)
        assert at.job.archive_path.exists()
        at.ending.let_go(at.job)
        (folder / "clip").write_bytes(b"changed")
        prepare_again(at, somebody).held.close()
        assert not at.job.archive_path.exists()


def end_somehow(at, end):
    if end == "done":
        at.ending.end_done([(at.job, at.record())])
    elif end == "already there":
        at.ending.end_already_there(at.job, EXISTING)
    else:
        at.ending.end_failed(at.job, UnavailableError("the connection broke"))


def prepare_again(at, folder):
    target = os.fspath(folder / "work" / "clip")
    return make_job(target, UploadOptions(), at.session.journal, at.session.service_url, folder)


def test_letting_go_that_was_interrupted_keeps_others_away_until_it_is_done(tmp_path, monkeypatch):
    """Such as by a second Ctrl-C: what is still to be removed there would be the next run's."""
    with desk(tmp_path) as at:
        with monkeypatch.context() as patched:
            patched.setattr(at.session.journal, "put", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                at.ending.let_go(at.job)
        with pytest.raises(RefusedError, match="Another mgmt"):
            prepare_again(at, tmp_path)
        at.ending.let_go(at.job)
        with prepare_again(at, tmp_path).held as again:
            assert again is not None
        assert not at.job.archive_path.exists()


@pytest.mark.parametrize("end", ["done", "already there", "failed", "failed, but done"])
def test_who_comes_back_late_ends_nothing_that_was_let_go_of(tmp_path, end):
    """After Ctrl-C: the archive was named as kept, its place is free, and the next run goes on with it."""
    with desk(tmp_path) as at:
        at.job.enter("sending")
        if end == "failed, but done":
            at.service_answers(at.record())
        at.ending.let_go(at.job)
        with prepare_again(at, tmp_path).held:
            end_somehow(at, end)
            left = at.session.journal.find_archive(at.job.archive_path)
        assert (left.operation_id, left.ended_as) == (at.job.operation_id, None)
        assert at.told(Finished | Notice) == []
        assert at.ending.summary == Summary()
        assert at.session.journal.unreported(at.session.service_url, 10) == []


def test_a_job_is_let_go_of_only_when_its_ending_is_over(tmp_path, monkeypatch):
    """Otherwise it would end while the next run uses the same archive."""
    with desk(tmp_path) as at:
        finish = at.session.journal.finish
        letting_go = threading.Thread(target=at.ending.let_go, args=[at.job])

        def finish_slowly(*arguments):
            letting_go.start()
            letting_go.join(0.2)
            assert letting_go.is_alive()
            finish(*arguments)

        monkeypatch.setattr(at.session.journal, "finish", finish_slowly)
        at.ending.end_done([(at.job, at.record())])
        letting_go.join()
        assert at.ending.summary == Summary(succeeded=1)
        assert len(at.told(Finished)) == 1
        assert at.session.journal.find_archive(at.job.archive_path) is None


def test_telling_the_service_of_a_failure_keeps_nobody_from_letting_go(tmp_path, monkeypatch):
    """The call may take long; after a Ctrl-C during it everything is as the stopped run left it."""
    with desk(tmp_path) as at:
        at.job.enter("sending")
        fail = at.session.api.fail

        def fail_slowly(request):
            letting_go = threading.Thread(target=at.ending.let_go, args=[at.job])
            letting_go.start()
            letting_go.join(WAIT_SECONDS)
            assert not letting_go.is_alive()
            return fail(request)

        monkeypatch.setattr(at.session.api, "fail", fail_slowly)
        at.ending.end_failed(at.job, UnavailableError("the connection broke"))
        assert at.told(Finished) == at.told(Notice) == []
        assert at.session.journal.find_archive(at.job.archive_path).ended_as is None


def test_an_upload_that_was_let_go_of_is_not_begun_anew(tmp_path):
    with desk(tmp_path) as at, ThreadPoolExecutor(1) as pool:
        at.job.enter("sending")
        at.ending.let_go(at.job)
        assert Batch([at.job], Small(), at.session, at.ending, at.clean_ups, pool)._begin_anew([at.job]) == []
        assert at.session.journal.find_archive(at.job.archive_path).operation_id == at.job.operation_id


def test_what_is_no_unicode_can_be_recorded_as_a_failure(tmp_path):
    with desk(tmp_path) as at:
        at.ending.end_unprepared(os.fsdecode(b"\xff"), UnavailableError("no"))
        [finished] = at.told(Finished)
        assert finished.record.target_path == "\\xff"
        assert Path(finished.record.source_file_record.path).name == "\\xff"


@pytest.mark.parametrize("keep_archive", [False, True])
def test_an_operation_that_the_service_has_recorded_goes_on_under_its_id(tmp_path, keep_archive):
    """An interrupt before the first byte takes the archive; a new id would leave a failure in the team's history."""
    with desk(tmp_path, keep_archive=keep_archive) as at:
        at.ending.let_go(at.job)
        assert not at.job.archive_path.exists()
        again = prepare_again(at, tmp_path)
        with again.held:
            assert (again.operation_id, again.archive) == (at.job.operation_id, None)


def test_an_operation_that_the_service_was_never_asked_for_leaves_nothing(tmp_path):
    with desk(tmp_path) as at:
        at.job.lease = None
        at.job.enter("prepared")
        at.ending.let_go(at.job)
        assert not at.job.archive_path.exists()
        assert at.session.journal.find(at.session.service_url, os.fspath(at.job.source.path), "/clip") is None
