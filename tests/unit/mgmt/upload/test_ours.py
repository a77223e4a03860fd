"""What an earlier run left and this one cannot have: said with a way out, and never guessed about."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mgmt.archive import pack, unfinished
from mgmt.archive.headers import GZIP_HEADER
from mgmt.errors import CancelledError, LocalStateError, RefusedError, SourceError
from mgmt.events import Notice, Progress, Renewed
from mgmt.journal import Entry, Journal
from mgmt.session import open_session
from mgmt.settings import Settings
from mgmt.upload import Batch, small, upload
from mgmt.upload.ending import Ending
from mgmt.upload.job import UploadOptions
from mgmt.upload.looking import Looking, make_job
from mgmt.upload.ours import (
    archives_in,
    placeholder_of,
    promises_at,
    remove_archive,
    remove_interrupted,
    unfinished_path,
)
from mgmt.upload.results import CleanUps, Summary
from support.paper_service import paper_service

SERVICE = "https://s.example"


def prepare(folder, journal):
    return make_job(os.fspath(folder / "work" / "clip"), UploadOptions(), journal, SERVICE, folder)


@pytest.fixture
def journal_of():
    opened = []

    def open_journal(folder):
        (folder / "work").mkdir()
        (folder / "work" / "clip").write_bytes(b"x" * 1000)
        opened.append(Journal(folder / "state"))
        return opened[-1]

    yield open_journal
    for journal in opened:
        journal.close()


def test_a_left_over_that_cannot_be_removed_is_named(somebody, journal_of):
    """A killed run's unfinished archive in a folder that may no longer be written: which one, and what to do."""
    journal = journal_of(somebody)
    job = prepare(somebody, journal)
    job.held.close()
    journal.put([job.entry(SERVICE)])
    unfinished_path(job.archive_path, job.operation_id).write_bytes(b"half an archive")
    job.archive_path.parent.chmod(0o555)
    try:
        with pytest.raises(LocalStateError, match="--archive-dir") as caught:
            prepare(somebody, journal)
    finally:
        job.archive_path.parent.chmod(0o755)
    assert str(unfinished_path(job.archive_path, job.operation_id)) in caught.value.message
    prepare(somebody, journal).held.close()
    assert sorted(path.name for path in job.archive_path.parent.iterdir()) == ["clip"]


def test_an_archive_that_cannot_be_read_concerns_its_own_target_only(somebody, journal_of):
    """It may have been kept on request: no message says to remove it, and neither does the dry run."""
    journal = journal_of(somebody)
    job = prepare(somebody, journal)
    job.held.close()
    job.archive = pack(job.source, job.archive_path)
    journal.put([job.entry(SERVICE, ended_as="kept")])
    job.archive_path.chmod(0o000)
    target = os.fspath(somebody / "work" / "clip")
    for is_dry_run in (False, True):
        with pytest.raises(SourceError, match=r"Make it readable .* --archive-dir") as caught:
            make_job(target, UploadOptions(), journal, SERVICE, somebody, is_dry_run=is_dry_run)
        assert (caught.value.code, caught.value.stops_everything) == ("archive-unreadable", False)
        assert f"{job.archive_path}, left by an earlier run, cannot be read" in caught.value.message
        assert "Permission denied" in caught.value.message
        assert "remove" not in caught.value.message
    job.archive_path.chmod(0o600)
    again = prepare(somebody, journal)
    again.held.close()
    assert again.adoption.was_kept


def test_what_stands_in_the_way_of_a_move_is_not_blamed_on_an_archive(somebody, journal_of):
    """A killed run was about to move the original, into a folder that may no longer be looked into."""
    journal = journal_of(somebody)
    job = prepare(somebody, journal)
    job.held.close()
    job.completed_path = somebody / "done" / "clip"
    journal.put([job.entry(SERVICE, is_moving=True)])
    job.completed_path.parent.mkdir()
    job.completed_path.write_bytes(placeholder_of(job.operation_id))
    job.completed_path.parent.chmod(0o000)
    try:
        with pytest.raises(LocalStateError, match="permissions") as caught:
            prepare(somebody, journal)
    finally:
        job.completed_path.parent.chmod(0o755)
    assert str(job.completed_path) in caught.value.message
    assert str(job.archive_path) not in caught.value.message
    prepare(somebody, journal).held.close()
    assert not job.completed_path.exists()


def test_a_folder_for_originals_that_leads_to_a_closed_one_is_named(somebody, journal_of):
    journal = journal_of(somebody)
    (somebody / "closed").mkdir()
    (somebody / "closed").chmod(0o000)
    (somebody / "done").symlink_to(somebody / "closed" / "done")
    options, target = UploadOptions(completed_dir=somebody / "done"), os.fspath(somebody / "work" / "clip")
    try:
        for is_dry_run in (False, True):
            with pytest.raises(LocalStateError, match="--completed-dir") as caught:
                make_job(target, options, journal, SERVICE, somebody, is_dry_run=is_dry_run)
            assert caught.value.code == "completed-unusable"
    finally:
        (somebody / "closed").chmod(0o755)


def test_what_another_process_has_just_made_elsewhere_is_not_taken_for_a_left_over(tmp_path, journal_of):
    """A killed run had promised an archive there too; the one that lies there is alive, and not written down yet."""
    journal = journal_of(tmp_path)
    target, elsewhere = os.fspath(tmp_path / "work" / "clip"), {"archive_dir": tmp_path}
    killed = make_job(target, UploadOptions(**elsewhere), journal, SERVICE, tmp_path)
    killed.held.close()
    journal.put([killed.entry(SERVICE)])
    alive = make_job(target, UploadOptions(prefix="p", **elsewhere), journal, SERVICE, tmp_path)
    with alive.held:
        journal.put([alive.entry(SERVICE)])
        alive.archive = pack(alive.source, alive.archive_path, mtime_ns=alive.promised_mtime_ns)
        again = prepare(tmp_path, journal)
        again.held.close()
        assert alive.archive.is_untouched()
    assert (again.operation_id, again.archive) == (killed.operation_id, None)


def test_what_another_machine_has_packed_in_the_same_second_is_not_taken_for_ours(tmp_path, journal_of, monkeypatch):
    """Such as on a network disk: neither's journal knows of the other's archive."""
    monkeypatch.setattr("mgmt.upload.job.time.time", lambda: 1_800_000_000.0)
    chosen = iter([3, 4])
    monkeypatch.setattr("mgmt.upload.job.random.randrange", lambda _: next(chosen))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    target = os.fspath(tmp_path / "a" / "work" / "clip")
    journals = [journal_of(tmp_path / "a"), journal_of(tmp_path / "b")]
    theirs, ours = (make_job(target, UploadOptions(), each, SERVICE, tmp_path) for each in journals)
    with theirs.held, ours.held:
        journals[1].put([ours.entry(SERVICE)])
        archive = pack(theirs.source, theirs.archive_path, mtime_ns=theirs.promised_mtime_ns)
        assert theirs.archive_path == ours.archive_path
        remove_interrupted(ours.archive_path, ours.operation_id, journals[1])
        assert archive.is_untouched()


def test_what_cannot_be_removed_from_another_folder_is_named_and_stays(somebody, journal_of):
    """Its place is not needed any more: no command would help but one that writes there."""
    journal, events = journal_of(somebody), []
    target, archives = os.fspath(somebody / "work" / "clip"), somebody / "archives"
    archives.mkdir()
    job = make_job(target, UploadOptions(archive_dir=archives), journal, SERVICE, somebody)
    job.held.close()
    journal.put([job.entry(SERVICE)])
    unfinished_path(job.archive_path, job.operation_id).write_bytes(b"half an archive")
    archives.chmod(0o555)
    with open_session(
        Settings(api_url=SERVICE),
        token=lambda: "t",
        state_dir=somebody / "state",
        emit=events.append,
        stop=threading.Event(),
    ) as session:
        again = Looking(UploadOptions(), session, somebody, [target]).look(target)
        again.held.close()
    archives.chmod(0o755)
    assert (again.operation_id, again.archive_path.parent) == (job.operation_id, somebody / "work")
    [notice] = [event for event in events if isinstance(event, Notice)]
    assert notice.code == "archive-not-deleted"
    assert str(unfinished_path(job.archive_path, job.operation_id)) in notice.message


def test_a_disk_that_may_only_be_read_leaves_nothing_where_nothing_was(tmp_path, journal_of, monkeypatch):
    """Such a disk refuses to remove even what is not there."""
    journal = journal_of(tmp_path)
    target = os.fspath(tmp_path / "work" / "clip")
    job = make_job(target, UploadOptions(archive_dir=tmp_path), journal, SERVICE, tmp_path)
    job.held.close()
    journal.put([job.entry(SERVICE)])

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        again = prepare(tmp_path, journal)
        again.held.close()
    assert not again.left_elsewhere


@pytest.fixture
def promise(tmp_path, journal_of):
    """A path where an archive was promised, to be written at that time."""
    path, journal = tmp_path / "x.tar.gz", journal_of(tmp_path)
    journal.put([Entry("id", SERVICE, "/x", "/x", os.fspath(path), "f", "plan", archive_mtime_ns=10**9)])
    return path, journal


@pytest.mark.parametrize("mtime_ns", [10**9, 10**9 + 1])
@pytest.mark.parametrize(("content", "may_be_ours"), [(b"", False), (GZIP_HEADER, True), (b"somebody's", False)])
def test_a_promise_alone_hides_nobodys_file(promise, content, may_be_ours, mtime_ns):
    """Only what bears its time and begins as ours do is left out of `all` for it."""
    path, journal = promise
    assert archives_in(path.parent, journal) == set()
    path.write_bytes(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    assert archives_in(path.parent, journal) == ({str(path)} if may_be_ours and mtime_ns == 10**9 else set())


def test_a_placeholder_is_known_by_what_it_holds(promise):
    """On disks without hard links it holds the archive's name for a moment; whatever time that disk gives it."""
    path, journal = promise
    path.write_bytes(placeholder_of("id"))
    assert archives_in(path.parent, journal) == {str(path)}
    path.write_bytes(placeholder_of("another"))
    assert archives_in(path.parent, journal) == set()


@pytest.mark.parametrize("whose", ["id-00000001", "id-00000002"])
def test_a_placeholder_of_any_upload_that_was_promised_the_place_is_removed(tmp_path, journal_of, whose):
    """Such as to another prefix: each may have been killed there."""
    path, journal = tmp_path / "x.tar.gz", journal_of(tmp_path)
    for number in (1, 2):
        promised = Entry(f"id-0000000{number}", SERVICE, "/x", f"{number}/x", os.fspath(path), "f", "plan")
        journal.put([replace(promised, archive_mtime_ns=10**9)])
    path.write_bytes(placeholder_of(whose))
    assert remove_archive(path, promises_at(path, journal))
    assert not path.exists()


def test_who_failed_to_begin_holds_nothing(tmp_path, journal_of):
    """A refusal lets go of the archive's place: the next command may have it at once."""
    journal = journal_of(tmp_path)
    job = prepare(tmp_path, journal)
    with pytest.raises(RefusedError, match="Another mgmt"):
        prepare(tmp_path, journal)
    job.held.close()
    prepare(tmp_path, journal).held.close()


def test_an_archive_that_has_vanished_is_written_down_as_not_there(tmp_path, journal_of):
    journal = journal_of(tmp_path)
    job = prepare(tmp_path, journal)
    with job.held:
        job.archive = pack(job.source, job.archive_path)
        assert job.entry(SERVICE).content == job.content
        Path(job.archive_path).unlink()
        gone = job.entry(SERVICE)
    assert (gone.content, gone.archive_size, gone.archive_mtime_ns) == (None, None, job.promised_mtime_ns)


def test_an_interrupt_while_several_are_packed_leaves_none_of_their_archives(tmp_path):
    """The first is whole when the second is stopped, and nothing was sent: it is cheap to make again."""
    targets = [tmp_path / "work" / name for name in ("a", "b")]
    (tmp_path / "work").mkdir()
    for target in targets:
        target.write_bytes(bytes(3_000_000))  # some blocks: packing goes on after its first progress
    stop = threading.Event()

    def stop_in_the_second(event):
        if isinstance(event, Progress) and event.target_path.endswith("b"):
            stop.set()

    with (
        paper_service() as service,
        open_session(
            Settings(api_url=service.url),
            token=lambda: "t",
            state_dir=tmp_path / "state",
            emit=stop_in_the_second,
            stop=stop,
        ) as session,
        pytest.raises(CancelledError),
    ):
        upload(map(os.fspath, targets), UploadOptions(), session, tmp_path, Summary())
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["a", "b"]


def test_an_interrupt_while_an_archives_name_is_made_durable_takes_it_back(tmp_path, journal_of, monkeypatch):
    """It is not in the journal yet, and would be taken for a file of somebody else."""
    job = prepare(tmp_path, journal_of(tmp_path))

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(unfinished, "sync_folder", interrupt)
    with job.held, pytest.raises(KeyboardInterrupt):
        pack(job.source, job.archive_path)
    assert not job.archive_path.exists()


def test_a_folder_that_may_be_written_and_not_listed_takes_an_archive(somebody, journal_of):
    job = prepare(somebody, journal_of(somebody))
    folder = job.archive_path.parent
    folder.chmod(0o300)
    try:
        with job.held:
            assert pack(job.source, job.archive_path).is_untouched()
    finally:
        folder.chmod(0o755)


def test_a_state_folder_that_takes_no_lock_is_a_matter_of_the_state_folder(somebody, journal_of):
    journal = journal_of(somebody)
    locks = somebody / "state" / "locks"
    locks.mkdir(exist_ok=True)
    locks.chmod(0o500)
    try:
        with pytest.raises(LocalStateError, match="MGMT_STATE_DIR"):
            prepare(somebody, journal)
    finally:
        locks.chmod(0o700)


def archive_beside_another_source(folder, journal, ended_as):
    """Two sources of one name, one folder for archives, and in it what the upload of the first has left."""
    (folder / "other").mkdir()
    (folder / "other" / "clip").write_bytes(b"y" * 1000)
    options = UploadOptions(archive_dir=folder)
    first = make_job(os.fspath(folder / "work" / "clip"), options, journal, SERVICE, folder)
    with first.held:
        first.archive = pack(first.source, first.archive_path)
        journal.put([first.entry(SERVICE, ended_as=ended_as)])
    return first, options


def test_an_archive_that_no_upload_needs_gives_way_to_that_of_another_source(tmp_path, journal_of):
    journal = journal_of(tmp_path)
    left, options = archive_beside_another_source(tmp_path, journal, "left")
    make_job(os.fspath(tmp_path / "other" / "clip"), options, journal, SERVICE, tmp_path).held.close()
    assert not left.archive_path.exists()


def test_the_archive_of_another_source_stays_for_the_upload_that_goes_on_with_it(tmp_path, journal_of):
    """The first has failed, and was told that its archive is kept."""
    journal = journal_of(tmp_path)
    first, options = archive_beside_another_source(tmp_path, journal, "failed")
    target = os.fspath(tmp_path / "other" / "clip")
    for is_dry_run in (False, True):
        with pytest.raises(SourceError, match="work/clip") as caught:
            make_job(target, options, journal, SERVICE, tmp_path, is_dry_run=is_dry_run)
        assert caught.value.code == "archive-exists"
    assert first.archive.is_untouched()


def interrupt(*_, **__):
    raise KeyboardInterrupt


def interrupt_after(function):
    def act(*arguments, **named):
        function(*arguments, **named)
        raise KeyboardInterrupt

    return act


@pytest.mark.parametrize(
    ("where", "name", "act"),
    [
        (unfinished, "EarlySync", interrupt),  # the file is there, and nothing will close it yet
        (small, "pack_job", interrupt_after(small.pack_job)),  # the archive is whole, and its job does not know
    ],
)
def test_an_interrupt_between_two_steps_leaves_neither_archive_nor_lock_nor_promise(
    tmp_path, monkeypatch, where, name, act
):
    """Whenever Ctrl-C comes: what was cheap to make is gone, and the next command finds nothing in its way."""
    (tmp_path / "work").mkdir()
    targets = [tmp_path / "work" / name for name in ("a", "b")]
    for target in targets:
        target.write_bytes(b"x" * 1000)
    with (
        paper_service() as service,
        open_session(
            Settings(api_url=service.url),
            token=lambda: "t",
            state_dir=tmp_path / "state",
            emit=lambda _: None,
            stop=threading.Event(),
        ) as session,
    ):
        monkeypatch.setattr(where, name, act)
        with pytest.raises(KeyboardInterrupt):
            upload(map(os.fspath, targets), UploadOptions(), session, tmp_path, Summary())
        assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["a", "b"]
        assert session.journal.held == set()
        for target in targets:
            assert session.journal.find(session.service_url, os.fspath(target), f"/{target.name}") is None


@contextmanager
def packed_batch(folder, events):
    """One packed upload, about to be begun anew, and the journal that knows it."""
    (folder / "work").mkdir()
    target = folder / "work" / "clip"
    target.write_bytes(b"x" * 1000)
    settings, stop = Settings(api_url="http://127.0.0.1:9"), threading.Event()
    with (
        open_session(settings, token=lambda: "t", state_dir=folder / "state", emit=events.append, stop=stop) as session,
        ThreadPoolExecutor(1) as pool,
    ):
        job = make_job(os.fspath(target), UploadOptions(), session.journal, session.service_url, folder)
        with job.held:
            job.archive = pack(job.source, job.archive_path)
            session.journal.put([job.entry(session.service_url)])
            yield (
                Batch([job], small.Small(), session, Ending(session, Summary()), CleanUps(session), pool),
                session.journal,
            )


def test_the_archive_of_a_run_killed_while_it_begins_anew_is_recognised(tmp_path, monkeypatch):
    """Under its new id or its former one, between whichever changes of the journal it was."""
    with packed_batch(tmp_path, []) as (of_one, journal):
        monkeypatch.setattr(journal._file, "change", interrupt_after(journal._file.change))
        with pytest.raises(KeyboardInterrupt):
            of_one._begin_anew(of_one.jobs)
        assert journal.find_archive(of_one.jobs[0].archive_path) is not None


def test_an_upload_that_was_begun_anew_is_known_and_shown_by_its_new_id_alone(tmp_path):
    events = []
    with packed_batch(tmp_path, events) as (of_one, journal):
        [job] = of_one.jobs
        former_id = job.operation_id
        assert of_one._begin_anew([job]) == [job]
        assert [entry.operation_id for entry in journal.begun_at(job.archive_path)] == [job.operation_id]
        assert events == [Renewed(former_id, job.operation_id)]


def test_an_interrupt_while_targets_are_looked_at_leaves_no_lock(tmp_path):
    """Those that wait for their batch are let go of too."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a").write_bytes(b"x" * 1000)

    def targets():
        yield os.fspath(tmp_path / "work" / "a")
        raise KeyboardInterrupt

    settings = Settings(api_url="http://127.0.0.1:9")
    with open_session(
        settings, token=lambda: "t", state_dir=tmp_path / "state", emit=lambda _: None, stop=threading.Event()
    ) as session:
        with pytest.raises(KeyboardInterrupt) as caught:
            upload(targets(), UploadOptions(), session, tmp_path, Summary())
        assert session.journal.held == set()
    assert caught.tb  # until here it holds all that was in hand, as it does when the process ends
