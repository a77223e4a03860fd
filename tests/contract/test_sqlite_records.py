"""What only SQLite has to show: a file that survives its writer, belongs to one person, and has a version."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mgmt_api.domain.entities import HistoryQuery, Name
from mgmt_api.ports import RecordsFullError, RecordsUnavailableError
from mgmt_local import records
from mgmt_local.errors import LocalBackendError
from mgmt_local.records import SCHEMA_VERSION, SQLiteRecordStore
from support.operations import START, make_delete, make_id, make_operation

WRITER = """
import itertools, sys
from pathlib import Path
from mgmt_api.domain.entities import Name
from mgmt_contract.messages.uploads import Part
from mgmt_local.records import SQLiteRecordStore
from support.operations import make_operation

store = SQLiteRecordStore(Path(sys.argv[1]))
for number in itertools.count(int(sys.argv[2])):
    operation = store.update_operation(store.create_operation(make_operation(number)))
    store.put_name(Name(f"name-{number}"))
    store.add_signed_parts(operation.id, [Part(1, number, "AAAAAAAAAAA=")])
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.sqlite"


@contextmanager
def writer(path: Path, first: int) -> Iterator[subprocess.Popen[str]]:
    """Run a process that writes and says what was acknowledged, until it is killed."""
    process = run(WRITER, path, str(first))
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run(script: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, os.fspath(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )


def read_numbers(process: subprocess.Popen[str], count: int) -> list[int]:
    assert process.stdout is not None
    return [int(process.stdout.readline()) for _ in range(count)]


def assert_holds(path: Path, numbers: list[int]) -> None:
    with closing(SQLiteRecordStore(path)) as store:
        for number in numbers:
            [operation] = store.get_operations([make_id(number)]).values()
            [name] = store.get_names([f"name-{number}"]).values()
            [part] = store.get_signed_parts(operation.id).values()
            assert (operation.revision, name.revision, part.length) == (2, 1, number)


def test_no_acknowledged_write_is_lost_when_the_writer_is_killed(path: Path):
    for first in (0, 1000, 2000):
        with writer(path, first) as process:
            acknowledged = read_numbers(process, 5)
            process.kill()
            assert process.stdout is not None
            acknowledged += [int(line) for line in process.stdout]
        assert_holds(path, acknowledged)


def test_two_processes_write_at_once(path: Path):
    with writer(path, 0) as one, writer(path, 1000) as other:
        acknowledged = read_numbers(one, 3) + read_numbers(other, 3)
    assert_holds(path, acknowledged)


def test_a_store_opens_while_another_process_makes_the_same_file(path: Path):
    """SQLite itself does not wait where the log is switched on and another process holds the file."""
    with closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.1, other.rollback)
        release.start()
        with closing(SQLiteRecordStore(path)) as store:
            assert store.put_name(Name("a")).revision == 1
        release.join()


def test_another_process_that_keeps_the_file_makes_it_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(records, "BUSY_TIMEOUT_SECONDS", 0.05)
    with closing(SQLiteRecordStore(path)) as store, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RecordsUnavailableError):
            store.put_name(Name("a"))
        assert store.get_names(["a"]) == {}, "reading does not wait for a writer"
        other.rollback()
        assert store.put_name(Name("a")).revision == 1


@pytest.mark.skipif(os.name != "posix", reason="other systems keep rights elsewhere than in a mode")
def test_a_full_disk_is_told_from_other_trouble_and_takes_writes_again_when_there_is_room(path: Path):
    with closing(SQLiteRecordStore(path)) as store:
        kept = store.create_operation(make_operation(0))
        # As on a disk without a free block: the file may not become larger.
        store._connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(RecordsFullError, match="Free some space on it, then run the same command again"):
            list(map(store.create_operation, map(make_operation, range(1, 100))))
        assert store.get_operations([kept.id]) == {kept.id: kept}
        store._connection.execute("PRAGMA max_page_count = 1000")
        last = store.create_operation(make_operation(100))
        store.sync()
        assert store.get_operations([last.id]) == {last.id: last}


def test_only_the_owner_can_read_the_file_and_its_log(path: Path):
    umask = os.umask(0)
    try:
        with closing(SQLiteRecordStore(path)) as store:
            store.put_name(Name("a"))
            files = sorted(path.parent.iterdir())
            assert [file.name for file in files] == [path.name, f"{path.name}-shm", f"{path.name}-wal"]
            assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3
    finally:
        os.umask(umask)


@pytest.mark.skipif(os.name != "posix", reason="other systems keep rights elsewhere than in a mode")
def test_a_file_that_others_could_read_is_closed_to_them(path: Path):
    SQLiteRecordStore(path).close()
    path.chmod(0o644)
    SQLiteRecordStore(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_keeps_a_write_ahead_log_that_is_synced_before_it_moves_to_the_file(path: Path):
    with closing(SQLiteRecordStore(path)) as store:
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (1,)


def test_the_file_says_its_version(path: Path):
    SQLiteRecordStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_people_of_an_older_file_are_found_however_their_names_are_written(path: Path):
    with closing(SQLiteRecordStore(path)) as store:
        stored = store.create_operation(make_operation(1, actor="Zoë"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE operations SET actor = 'Zoë'")  # as version 1 wrote it
        connection.execute("DROP INDEX awaiting_removal")
        connection.execute("ALTER TABLE operations DROP COLUMN awaits_removal")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    with closing(SQLiteRecordStore(path)) as store:
        assert store.find_operations(HistoryQuery(limit=5, actor="zoë")).operations == [stored]


def test_what_an_older_file_holds_can_be_deleted(path: Path):
    with closing(SQLiteRecordStore(path)) as store:
        upload = store.create_operation(make_operation(1, phase="done"))
    with closing(sqlite3.connect(path)) as connection:  # as version 2 wrote it
        connection.execute("DROP INDEX awaiting_removal")
        connection.execute("ALTER TABLE operations DROP COLUMN awaits_removal")
        connection.execute("PRAGMA user_version = 2")
        connection.commit()
    with closing(SQLiteRecordStore(path)) as store:
        deleted = upload.advance("done", deleted_at=START, recoverable_until=START)
        _, stored = store.create_with_upload(make_delete(2), deleted, Name("team/clip.mp4.tar.gz"))
        assert store.find_operations(HistoryQuery(limit=5, is_deleted=True)).operations == [stored]


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(path: Path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(LocalBackendError, match="newer"):
        SQLiteRecordStore(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_a_file_that_is_something_else_is_refused(path: Path):
    path.write_bytes(b"notes of somebody" * 100)
    with pytest.raises(LocalBackendError, match="not a database"):
        SQLiteRecordStore(path)
    assert path.read_bytes() == b"notes of somebody" * 100


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        SQLiteRecordStore(tmp_path / "missing" / "records.sqlite")


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (HistoryQuery(limit=5), "feed"),
        (HistoryQuery(limit=5, actor="kim", after="2026"), "by_actor"),
        (HistoryQuery(limit=5, base_name="clip.tar.gz"), "by_name"),
        (HistoryQuery(limit=5, status="pending"), "by_status"),
    ],
)
def test_a_page_is_read_from_an_index_and_not_sorted(path: Path, query: HistoryQuery, index: str):
    """What a page costs does not grow with the history."""
    statements: list[str] = []
    with closing(SQLiteRecordStore(path)) as store:
        store.create_operation(make_operation(1))
        store._connection.set_trace_callback(statements.append)
        store.find_operations(query)
        store._connection.set_trace_callback(None)
        [statement] = statements
        plan = store._connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
    assert [f"INDEX {index}" in row[3] for row in plan] == [True], plan


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux tells which file a descriptor is")
def test_the_disk_is_waited_for_once_for_many_writes(path: Path, monkeypatch: pytest.MonkeyPatch):
    with closing(SQLiteRecordStore(path)) as store:
        for number in range(20):
            store.create_operation(make_operation(number))
        synced: list[str] = []
        real = os.fsync

        def note(descriptor: int) -> None:
            synced.append(os.fspath(Path(f"/proc/self/fd/{descriptor}").readlink()))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", note)
        store.sync()
        store.sync()
        assert synced == [f"{path}-wal"]
        store.put_name(Name("name"))
        store.sync()
        assert synced == [f"{path}-wal"] * 2


def test_a_disk_that_has_refused_is_not_trusted_again(path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    with closing(SQLiteRecordStore(path)) as store:
        store.create_operation(make_operation(1))
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", refuse)
            with pytest.raises(RecordsUnavailableError):
                store.sync()
        with pytest.raises(RecordsUnavailableError):
            store.sync()
    with closing(SQLiteRecordStore(path)) as store:
        store.create_operation(make_operation(2))
        store.sync()


@pytest.mark.parametrize("document", ["gone", "{}", '{"record": {"status": 5}}'])
def test_a_record_that_cannot_be_read_does_not_hide_the_others(path: Path, document: str):
    with closing(SQLiteRecordStore(path)) as store:
        stored = [store.create_operation(make_operation(number, seconds=number)) for number in range(3)]
        with closing(sqlite3.connect(path)) as hand, hand:
            hand.execute("UPDATE operations SET document = ? WHERE id = ?", (document, stored[1].id))
        found, after, pages = [], None, 0
        while pages == 0 or after is not None:
            page = store.find_operations(HistoryQuery(limit=1, after=after))
            found += [each.id for each in page.operations]
            after, pages = page.after, pages + 1
        assert found == [stored[2].id, stored[0].id]
        assert pages == 3
