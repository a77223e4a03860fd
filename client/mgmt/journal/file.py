"""The journal's SQLite file: its tables, its transactions, and the errors of a disk or a damaged file."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from mgmt.errors import LocalStateError
from mgmt.machine.files import close_to_others
from mgmt_contract.wire import MessageError

T = TypeVar("T")

_FILE_NAME: Final = "journal.sqlite"
_DAMAGE_CODES: Final = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""SQLite's results for a damaged file; the first is for tables that are missing."""
_FIRST_SCHEMA: Final = """
CREATE TABLE uploads (
    operation_id TEXT PRIMARY KEY,
    service      TEXT NOT NULL,
    source_path  BLOB NOT NULL,
    destination  TEXT NOT NULL,
    archive_path BLOB NOT NULL,
    fingerprint  TEXT NOT NULL,
    plan         TEXT NOT NULL,
    archive_size INTEGER,
    archive_mtime_ns INTEGER,
    ended_as     TEXT,
    content      TEXT,
    began_at     REAL NOT NULL
) STRICT;
CREATE INDEX uploads_by_source ON uploads (service, source_path, destination);
CREATE INDEX uploads_by_archive ON uploads (archive_path);
CREATE TABLE clean_ups (operation_id TEXT PRIMARY KEY, service TEXT NOT NULL, clean_up TEXT NOT NULL) STRICT;
"""
_SECOND_SCHEMA: Final = """
ALTER TABLE uploads ADD COLUMN completed_path BLOB;
CREATE TABLE speeds (service TEXT PRIMARY KEY, bytes_per_second REAL NOT NULL, measured_at REAL NOT NULL) STRICT;
"""
_THIRD_SCHEMA: Final = """
ALTER TABLE uploads ADD COLUMN excludes TEXT NOT NULL DEFAULT '[]';
CREATE TABLE moved (
    operation_id   TEXT NOT NULL,
    service        TEXT NOT NULL,
    source_path    BLOB NOT NULL,
    destination    TEXT NOT NULL,
    completed_path BLOB NOT NULL,
    object         TEXT,
    moved_at       REAL NOT NULL,
    PRIMARY KEY (service, source_path, destination)
) STRICT;
"""
_FOURTH_SCHEMA: Final = """
CREATE TABLE optional_fields (service TEXT PRIMARY KEY, fields TEXT NOT NULL) STRICT;
"""
_FIFTH_SCHEMA: Final = """
CREATE TABLE orders (
    service     TEXT NOT NULL,
    source_path BLOB NOT NULL,
    destination TEXT NOT NULL,
    options     TEXT NOT NULL,
    run_id      TEXT NOT NULL,
    given_at    REAL NOT NULL,
    PRIMARY KEY (service, source_path, destination)
) STRICT;
"""
_SIXTH_SCHEMA: Final = """
CREATE TABLE download_ends (operation_id TEXT PRIMARY KEY, service TEXT NOT NULL, download_end TEXT NOT NULL) STRICT;
"""
_SEVENTH_SCHEMA: Final = """
CREATE TABLE download_orders (
    service   TEXT NOT NULL,
    folder    BLOB NOT NULL,
    name      TEXT NOT NULL,
    options   TEXT NOT NULL,
    run_id    TEXT NOT NULL,
    upload_id TEXT,
    given_at  REAL NOT NULL,
    PRIMARY KEY (service, folder, name, options)
) STRICT;
"""
_SCHEMAS: Final = (
    _FIRST_SCHEMA,
    _SECOND_SCHEMA,
    _THIRD_SCHEMA,
    _FOURTH_SCHEMA,
    _FIFTH_SCHEMA,
    _SIXTH_SCHEMA,
    _SEVENTH_SCHEMA,
)
"""Each takes a journal from the version before to its own; a new one runs through all of them."""

Statement = tuple[str, tuple[object, ...]]
"""One of SQL, with its values."""


class JournalFile:
    """The SQLite file of a state folder; for any thread.

    Every method may raise LocalStateError where the file cannot be used.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._lock = threading.Lock()
        with translate_errors(state_dir):
            path = state_dir / _FILE_NAME
            _make_private(path)
            self._database = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
            with contextlib.ExitStack() as where_it_fails:
                where_it_fails.callback(self._database.close)
                self._prepare()
                where_it_fails.pop_all()

    def _prepare(self) -> None:
        # No write-ahead log: SQLite maps its index into memory, and cutting a mapped file short kills the process.
        # A change costs a sync or two more, and a batch makes three.
        self._database.execute("PRAGMA journal_mode=DELETE")
        self._database.execute("PRAGMA mmap_size=0")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("PRAGMA fullfsync=ON")  # of macOS, as `mgmt.machine.files.sync`; nothing elsewhere
        self._create_schema()

    def close(self) -> None:
        """Close the file, between two changes; a thread that makes one later gets an error."""
        with self._lock:  # SQLite's library crashes where its connection goes away under a running statement
            self._database.close()

    def read(self, query: str, values: tuple[object, ...], make: Callable[..., T]) -> list[T]:
        """Read rows, and make of the columns of each what it stands for."""
        with translate_errors(self._state_dir), self._lock:
            return [make(*row) for row in self._database.execute(query, values).fetchall()]

    def change(self, statements: Iterable[Statement]) -> None:
        """Make changes: all or none, on the disk when this returns."""
        with translate_errors(self._state_dir), self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                for statement, values in statements:
                    self._database.execute(statement, values)
                self._database.execute("COMMIT")
            except BaseException:  # such as Ctrl-C, after any of them
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def _create_schema(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")  # two first runs at once: one creates
        [version] = self._database.execute("PRAGMA user_version").fetchone()
        for statement in ";".join(_SCHEMAS[version:]).split(";"):
            self._database.execute(statement)
        self._database.execute(f"PRAGMA user_version={max(version, len(_SCHEMAS))}")
        self._database.execute("COMMIT")
        if version > len(_SCHEMAS):
            raise LocalStateError(
                f"The journal in {self._state_dir} was written by a newer mgmt. Update mgmt on this machine.",
                code="journal",
            )


def _make_private(path: Path) -> None:
    """Make the file if it is not there, so that only its owner can read it; SQLite's files beside it get its mode.

    A folder that a person has made may be open to others, and SQLite alone would go by the umask. One that is there is
    not opened: closing it would end the locks of this process on it.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        with contextlib.suppress(OSError):  # somebody else's, or on a disk that knows no modes
            close_to_others(path)


@contextmanager
def translate_errors(state_dir: Path) -> Iterator[None]:
    """Say of errors of the disk, and of a damaged file, what to do about them."""
    try:
        yield
    except (sqlite3.Error, OSError, ValueError) as error:
        if _is_damage(error):
            raise LocalStateError(_explain_damage(state_dir / _FILE_NAME, error), code="journal-damaged") from error
        raise LocalStateError(
            f"mgmt's own state in {state_dir} cannot be used: {error}. Free some space, fix its permissions, or "
            "set MGMT_STATE_DIR to another folder.",
            code="journal",
        ) from error


def _is_damage(error: Exception) -> bool:
    """Distinguish a damaged file from one that cannot be reached or written."""
    return (
        isinstance(error, (MessageError, json.JSONDecodeError))
        or getattr(error, "sqlite_errorcode", None) in _DAMAGE_CODES
    )


def _explain_damage(path: Path, error: Exception) -> str:
    return (
        f"The journal of this machine's unfinished uploads, {path}, is damaged ({error}). Nothing that was "
        f"uploaded is lost. Rename it to {path.name}.damaged and run the same command again: unfinished uploads "
        "then start from the beginning, and you have to delete an archive that one of them has left beside its "
        "source."
    )
