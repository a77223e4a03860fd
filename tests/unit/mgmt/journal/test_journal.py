import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mgmt.errors import LocalStateError, RefusedError
from mgmt.journal import ORDERS_KEPT_SECONDS, DownloadOrder, Entry, Journal, Order, name_of_run, new_operation_id
from mgmt_contract.messages.downloads import DownloadEnd
from mgmt_contract.messages.uploads import CleanUp, Content

CONTENT = Content(10, "AAAAAAAAAAA=", "blake3:" + "0" * 64, 5, 1)


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "state")
    yield journal
    journal.close()


def entry(**changes):
    first = Entry(new_operation_id(), "https://s", "/a/clip", "p/clip", "/a/clip.tar.gz", "f1", "auto isal")
    return replace(first, **changes)


def test_ids_are_of_version_7_unique_and_sorted_by_time():
    ids = [new_operation_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {uuid.UUID(each).version for each in ids} == {7}
    assert {uuid.UUID(each).variant for each in ids} == {uuid.RFC_4122}
    times = [uuid.UUID(each).int >> 80 for each in ids]
    assert times == sorted(times)


def test_what_was_written_down_is_found_again_by_another_run(journal, tmp_path):
    written = entry(content=CONTENT, archive_size=10, archive_mtime_ns=7)
    journal.put([written])
    with_names_that_are_no_text = entry(source_path=os.fsdecode(b"/a/\xff"), archive_path=os.fsdecode(b"/\xff.tar.gz"))
    journal.put([with_names_that_are_no_text])
    journal.close()
    again = Journal(tmp_path / "state")
    assert again.find("https://s", "/a/clip", "p/clip") == written
    assert again.find("https://s", os.fsdecode(b"/a/\xff"), "p/clip") == with_names_that_are_no_text
    assert again.find("https://other", "/a/clip", "p/clip") is None
    assert again.find("https://s", "/a/clip", "q/clip") is None
    again.close()


def modes_in(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(os.name == "nt", reason="a profile's folders are closed by their own lists")
def test_its_files_are_the_owners_alone_also_in_a_folder_that_is_open_to_all(tmp_path):
    """A folder that a person has made; the files tell of paths and names."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    before = os.umask(0)
    try:
        with closing(Journal(state)) as journal:
            assert journal.machine_id
            with journal.hold("x", "x"):
                journal.put([entry()])
            journal._file._database.execute("BEGIN IMMEDIATE")
            journal._file._database.execute("DELETE FROM uploads")
            found = modes_in(state)
            journal._file._database.execute("ROLLBACK")
    finally:
        os.umask(before)
    assert {"journal.sqlite", "journal.sqlite-journal", "machine-id", "uploads.lock"} <= found.keys()
    assert set(found.values()) == {0o600}, found
    assert stat.S_IMODE(state.stat().st_mode) == 0o777, "the folder is the person's"


@pytest.mark.skipif(os.name == "nt", reason="a profile's folders are closed by their own lists")
def test_a_journal_that_was_open_to_others_is_closed_to_them(journal, tmp_path):
    path = tmp_path / "state" / "journal.sqlite"
    journal.put([entry()])
    journal.close()
    path.chmod(0o644)
    with closing(Journal(tmp_path / "state")) as again:
        assert again.find("https://s", "/a/clip", "p/clip") is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_newest_of_several_is_found(journal):
    for fingerprint in ("f1", "f2"):
        journal.put([entry(fingerprint=fingerprint)])
    assert journal.find("https://s", "/a/clip", "p/clip").fingerprint == "f2"


def test_a_forgotten_upload_is_gone(journal):
    written = entry()
    journal.put([written])
    journal.forget([written.operation_id])
    assert journal.find("https://s", "/a/clip", "p/clip") is None


def test_an_entry_takes_the_place_of_another_or_changes_nothing(journal):
    first, second = entry(), entry(fingerprint="f2")
    journal.put([first])
    with pytest.raises(LocalStateError):
        journal.put([second, entry(archive_size="no number")], instead_of=[first.operation_id])
    assert journal.begun_at(Path("/a/clip.tar.gz")) == [first]
    journal.put([second], instead_of=[first.operation_id])
    assert journal.begun_at(Path("/a/clip.tar.gz")) == [second]


def test_an_archive_is_ours_only_with_the_size_and_time_written_down(journal, tmp_path):
    archive = tmp_path / "clip.tar.gz"
    assert journal.find_archive(archive) is None
    archive.write_bytes(b"0123456789")
    found = archive.stat()
    journal.put([entry(archive_path=str(archive), archive_size=10, archive_mtime_ns=found.st_mtime_ns)])
    assert journal.find_archive(archive) is not None
    os.utime(archive, ns=(0, found.st_mtime_ns + 1))
    assert journal.find_archive(archive) is None


def test_uploads_are_found_by_the_folder_of_their_archives(journal):
    inside, beside = entry(archive_path="/b/x.tar.gz"), entry(archive_path="/bb/y.tar.gz")
    journal.put([inside, beside])
    assert journal.entries_in(Path("/b")) == [inside]


def whole(mtime_ns=1, ended_as=None):
    return entry(archive_size=10, archive_mtime_ns=mtime_ns, content=CONTENT, ended_as=ended_as)


@pytest.mark.parametrize("ended_as", ["kept", "left", "failed"])
def test_one_entry_says_how_an_archive_was_left_however_often_that_was_said(journal, ended_as):
    """Each run that finds a kept archive ends with it under an id of its own; another archive is another matter."""
    former, again, other = whole(1, ended_as), whole(1, ended_as), whole(2, ended_as)
    journal.put([former, other])
    journal.finish("https://s", [], [again])
    assert journal.entries_in(Path("/a")) == [other, again]
    journal.put([former])
    assert journal.entries_in(Path("/a")) == [other, former]


@pytest.mark.parametrize("later", [None, "left", "failed"])
@pytest.mark.parametrize("former", [None, "kept", "left", "failed"])
def test_who_goes_on_with_an_archive_takes_the_place_of_those_that_have_ended_with_it(journal, former, later):
    """Except for an upload that was asked to keep it; another upload of it may also continue."""
    first, second = whole(1, former), whole(1, later)
    journal.put([first])
    journal.put([second])
    assert journal.entries_in(Path("/a")) == ([first, second] if former in (None, "kept") else [second])


def test_a_clean_up_is_kept_until_the_service_was_told(journal):
    written = entry()
    clean_up = CleanUp(written.operation_id, "completed", "deleted")
    journal.put([written])
    journal.finish("https://s", [clean_up])
    assert journal.find("https://s", "/a/clip", "p/clip") is None
    assert journal.unreported("https://s", 10) == [clean_up]
    assert journal.unreported("https://other", 10) == []
    journal.note_reported([clean_up])
    assert journal.unreported("https://s", 10) == []


def test_the_machine_keeps_its_id_when_the_journal_is_lost(journal, tmp_path):
    machine_id = journal.machine_id
    assert uuid.UUID(machine_id)
    journal.close()
    for file in (tmp_path / "state").glob("journal*"):
        file.unlink()
    again = Journal(tmp_path / "state")
    assert again.machine_id == machine_id
    again.close()


@pytest.mark.parametrize("left", ["", "\n", "half-a-uuid"])
def test_an_id_that_a_full_disk_has_cut_off_is_made_anew(journal, tmp_path, left):
    path = next(tmp_path.rglob("journal.sqlite")).with_name("machine-id")
    path.write_text(left)
    machine_id = journal.machine_id
    assert uuid.UUID(machine_id)
    assert journal.machine_id == machine_id == path.read_text()


def test_a_disk_without_hard_links_keeps_the_id_as_well(journal, monkeypatch):
    monkeypatch.setattr(os, "link", _no_links)
    assert journal.machine_id == journal.machine_id


def _no_links(*_, **__):
    raise OSError(95, "Operation not supported")


def test_first_runs_at_once_agree_on_journal_and_machine_id(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        ids = pool.map(_machine_id, [tmp_path / "new"] * 8)
    assert len(set(ids)) == 1


def test_two_processes_cannot_make_the_same_archive(journal, tmp_path):
    """A second process is refused while the first holds the archive, and not after it was killed."""
    archive = tmp_path / "clip.tar.gz"
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path / "state"), str(archive)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    try:
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(RefusedError, match="Another mgmt on this machine"), journal.hold(str(archive), "clip"):
            pass
        with journal.hold(str(tmp_path / "other.tar.gz"), "other"):
            pass
    finally:
        child.kill()
        child.communicate()
    with journal.hold(str(archive), "clip"):
        pass


def test_an_archives_lock_is_given_back_however_its_holder_ends(journal):
    with suppress(KeyboardInterrupt), journal.hold("/a/clip.tar.gz", "clip"):
        assert journal.held == {"/a/clip.tar.gz"}
        raise KeyboardInterrupt
    assert journal.held == set()


def test_a_journal_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LocalStateError, match="file"):
        Journal(tmp_path / "file")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "journal.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(LocalStateError, match="broken"):
        Journal(tmp_path / "broken")


def test_a_journal_of_a_newer_version_is_left_alone(journal, tmp_path):
    journal.close()
    database = sqlite3.connect(tmp_path / "state" / "journal.sqlite")
    database.execute("PRAGMA user_version=99")
    database.close()
    before = (tmp_path / "state" / "journal.sqlite").read_bytes()
    with pytest.raises(LocalStateError, match="newer mgmt"):
        Journal(tmp_path / "state")
    database = sqlite3.connect(tmp_path / "state" / "journal.sqlite")
    assert database.execute("PRAGMA user_version").fetchone() == (99,)
    database.close()
    assert len((tmp_path / "state" / "journal.sqlite").read_bytes()) == len(before)


def test_a_journal_that_another_process_has_locked_is_named_after_a_wait(journal, tmp_path, monkeypatch):
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **given: connect(path, **given | {"timeout": 0.05}))
    with closing(connect(tmp_path / "state" / "journal.sqlite")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LocalStateError, match="locked"):
            Journal(tmp_path / "state")
    Journal(tmp_path / "state").close()


def order(**changes):
    return replace(Order("https://s", "/a/clip", "p/clip", "{}", "run"), **changes)


def test_orders_are_kept_until_they_have_ended_the_later_in_place_of_the_same(journal):
    odd = os.fsdecode(b"/a/\xff")
    journal.take_orders([order(), order(source_path=odd), order(service="https://other")])
    journal.take_orders([order(options="later")])
    assert journal.orders("https://s") == [order(source_path=odd), order(options="later")]
    journal.end_orders("https://s", [(odd, "p/clip")])
    assert journal.orders("https://s") == [order(options="later")]
    begun = entry()
    journal.put([begun])
    journal.finish("https://s", [CleanUp(begun.operation_id, "completed", "deleted")])
    assert journal.orders("https://s") == []
    assert journal.orders("https://other") == [order(service="https://other")]


def download_order(**changes):
    return replace(DownloadOrder("https://s", "/a/out", "clip", "{}", "run", given_seconds=8e9), **changes)


def test_orders_of_downloads_are_kept_until_they_have_ended_each_by_folder_name_and_options(journal, monkeypatch):
    odd = os.fsdecode(b"/a/\xff")
    given = [download_order(), download_order(folder=odd), download_order(options="other")]
    journal.take_download_orders([*given, download_order(service="https://other")])
    journal.take_download_orders([download_order(upload_id="u")])
    assert journal.download_orders("https://s") == [*given[1:], download_order(upload_id="u")]
    journal.end_download_orders([download_order(folder=odd), download_order(run_id="later")])
    assert journal.download_orders("https://s") == [download_order(options="other")]
    assert journal.download_orders("https://other") == [download_order(service="https://other")]
    monkeypatch.setattr(time, "time", lambda: 9e9)
    journal.take_download_orders([download_order(given_seconds=None)])
    assert journal.download_orders("https://s") == [download_order(given_seconds=9e9)], "one that is given now"
    monkeypatch.setattr(time, "time", lambda: 9e9 + ORDERS_KEPT_SECONDS + 1)
    journal.take_download_orders([])
    assert journal.download_orders("https://s") == []


def test_services_with_something_left_are_known(journal):
    assert journal.services_left() == []
    journal.put([entry(), entry(operation_id="2", service="https://kept", ended_as="kept")])
    journal.take_orders([order(service="https://orders")])
    journal.take_download_orders([download_order(service="local ")])
    assert journal.services_left() == ["https://orders", "https://s", "local "]


def test_an_order_is_forgotten_after_a_month(journal, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    journal.take_orders([order()])
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0 + ORDERS_KEPT_SECONDS + 1)
    journal.take_orders([order(destination="p/other")])
    assert journal.orders("https://s") == [order(destination="p/other")]


def test_a_run_is_known_as_running_until_its_process_ends(journal, tmp_path):
    other = Journal(tmp_path / "state")
    with other.hold(name_of_run("run"), "run"):
        assert journal.is_running("run")
    assert not journal.is_running("run")
    other.close()


def test_unfinished_uploads_are_those_that_have_not_ended_or_left_an_archive_by_failing(journal):
    entries = [entry(operation_id=str(n), ended_as=how) for n, how in enumerate((None, "failed", "kept", "left"))]
    journal.put([*entries, entry(operation_id="9", service="https://other")])
    assert journal.unfinished("https://s") == entries[:2]


def test_a_failed_change_changes_nothing(journal):
    good, bad = entry(), replace(entry(), plan=None)
    with pytest.raises(LocalStateError):
        journal.put([good, bad])
    assert journal.find("https://s", "/a/clip", "p/clip") is None


def test_writers_in_two_threads_wait_for_each_other(tmp_path):
    journals = [Journal(tmp_path / "state") for _ in range(2)]

    def write(journal):
        for _ in range(30):
            journal.put([entry(source_path="/many")])

    threads = [threading.Thread(target=write, args=(each,)) for each in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(journals[0]._select("source_path = ?", (b"/many",)))) == 60
    for journal in journals:
        journal.close()


def test_closing_waits_for_a_change_of_another_thread(journal, tmp_path):
    """Ctrl-C closes the journal while batches may still be carried."""
    begun = threading.Event()
    journal._file._database.set_trace_callback(lambda _: begun.set())
    other = sqlite3.connect(tmp_path / "state" / "journal.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(2) as pool:
        change = pool.submit(journal.put, [entry()])
        assert begun.wait(20)
        closing = pool.submit(journal.close)
        other.execute("ROLLBACK")
        change.result()
        closing.result()
    other.close()
    with pytest.raises(LocalStateError, match="closed"):
        journal.put([entry()])


def test_ends_of_downloads_are_kept_for_their_service_until_they_are_reported(journal):
    first, second, other = (DownloadEnd(f"id-{number}", 7, "disk-full", "no room") for number in range(3))
    for service, end in (("here", first), ("here", second), ("there", other), ("here", second)):
        journal.keep_download_end(service, end)
    assert journal.unreported_downloads("here", 9) == [first, second]
    assert len(journal.unreported_downloads("here", 1)) == 1
    journal.note_downloads_reported([first.operation_id])
    assert (journal.unreported_downloads("here", 9), journal.unreported_downloads("there", 9)) == ([second], [other])


_HOLD = """
import sys
from pathlib import Path
from mgmt.journal import Journal
with Journal(Path(sys.argv[1])).hold(sys.argv[2], "clip"):
    print("held", flush=True)
    sys.stdin.read()
"""


def _machine_id(state_dir):
    journal = Journal(state_dir)
    try:
        return journal.machine_id
    finally:
        journal.close()


FIRST_VERSION = """
CREATE TABLE uploads (
    operation_id TEXT PRIMARY KEY, service TEXT NOT NULL, source_path BLOB NOT NULL, destination TEXT NOT NULL,
    archive_path BLOB NOT NULL, fingerprint TEXT NOT NULL, plan TEXT NOT NULL, archive_size INTEGER,
    archive_mtime_ns INTEGER, ended_as TEXT, content TEXT, began_at REAL NOT NULL
) STRICT;
CREATE INDEX uploads_by_source ON uploads (service, source_path, destination);
CREATE INDEX uploads_by_archive ON uploads (archive_path);
CREATE TABLE clean_ups (operation_id TEXT PRIMARY KEY, service TEXT NOT NULL, clean_up TEXT NOT NULL) STRICT;
INSERT INTO uploads VALUES
    ('id', 'https://s', X'2F612F63', 'p/c', X'2F612F632E', 'f', 'plan', NULL, NULL, NULL, NULL, 1);
INSERT INTO clean_ups VALUES
    ('old', 'https://s', '{"operation_id":"old","source_status":"completed","archive_status":"deleted"}');
PRAGMA user_version=1;
"""
"""As version 0.1.0 of mgmt made it."""


def test_a_journal_of_the_first_version_is_taken_over_with_all_that_is_in_it(tmp_path):
    (tmp_path / "state").mkdir()
    database = sqlite3.connect(tmp_path / "state" / "journal.sqlite")
    database.executescript(FIRST_VERSION)
    database.close()
    for _ in range(2):
        journal = Journal(tmp_path / "state")
        assert journal.find("https://s", "/a/c", "p/c").operation_id == "id"
        assert [each.operation_id for each in journal.unreported("https://s", 10)] == ["old"]
        assert journal.moves("https://s") == []
        journal.note_speed("https://s", 10.0)
        journal.note_optional_fields("https://s", ("a",))
        journal.close()


def test_the_last_speed_is_remembered_for_each_service(journal):
    assert journal.speed("https://s") is None
    journal.note_speed("https://s", 10.5)
    journal.note_speed("https://s", 20.5)
    journal.note_speed("https://other", 1.0)
    assert (journal.speed("https://s"), journal.speed("https://other")) == (20.5, 1.0)


def test_the_fields_that_a_service_takes_are_remembered_for_each_service(journal):
    assert journal.optional_fields("https://s") == ()
    journal.note_optional_fields("https://s", ("a", "b"))
    journal.note_optional_fields("https://other", ("c",))
    assert journal.optional_fields("https://s") == ("a", "b")
    journal.note_optional_fields("https://s", ())
    assert journal.optional_fields("https://s") == ()


def test_a_promised_move_is_found_until_its_upload_is_finished(journal):
    moving = entry(completed_path=os.fsdecode(b"/done/\xff"))
    journal.put([moving, entry()])
    assert journal.moves("https://s") == [moving]
    assert journal.moves("https://other") == []
    journal.finish("https://s", [CleanUp(moving.operation_id, "moved", "deleted")])
    assert journal.moves("https://s") == []
