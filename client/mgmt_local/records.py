"""The record store of the embedded backend: one SQLite file.

A write-ahead log: writes survive `kill -9`, and a power cut once `sync` has returned. A call of the
service writes hundreds of times and answers once, so it is the answer that waits for the disk.
Entities are kept as the contract's JSON, beside the columns that queries need.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

from mgmt_api.domain.entities import HistoryPage, HistoryQuery, Name, Operation, Recorded, RecordedT, entity_of
from mgmt_api.ports import ConflictError, RecordsFullError, RecordsUnavailableError
from mgmt_contract.messages.uploads import Part
from mgmt_contract.names import fold_key, fold_person
from mgmt_contract.wire import format_time, from_json, from_plain, to_json
from mgmt_local.errors import LocalBackendError

_logger = logging.getLogger(__name__)

SCHEMA_VERSION: Final = 3
"""Kept in the file as `user_version`; 0 is a file without tables."""
BUSY_TIMEOUT_SECONDS: Final = 5.0
"""How long a write waits for another process's."""
_RETRY_SECONDS: Final = 0.01
_FULL_CODES: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
"""What SQLite says on a full disk, of the file and its log, and of the log's index."""
_FULL: Final = (
    "The disk on which the embedded backend keeps its records is full. Free some space on it, then run the same "
    "command again: it goes on, and nothing is lost."
)

_SCHEMA: Final = (
    """
    CREATE TABLE operations (
        id TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        started_order TEXT NOT NULL,
        actor TEXT NOT NULL,
        actor_id TEXT NOT NULL,
        status TEXT NOT NULL,
        operation_type TEXT NOT NULL,
        base_name TEXT NOT NULL,
        key TEXT NOT NULL,
        document TEXT NOT NULL,
        awaits_removal INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX awaiting_removal ON operations (started_order) WHERE awaits_removal",
    "CREATE INDEX feed ON operations (started_order)",
    "CREATE INDEX by_actor ON operations (actor, started_order)",
    "CREATE INDEX by_actor_id ON operations (actor_id, started_order)",
    "CREATE INDEX by_name ON operations (base_name, started_order)",
    "CREATE INDEX by_status ON operations (status, started_order)",
    """
    CREATE TABLE names (
        folded_key TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        document TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE signed_parts (
        operation_id TEXT NOT NULL,
        lease_epoch INTEGER NOT NULL,
        number INTEGER NOT NULL,
        length INTEGER NOT NULL,
        crc64nvme TEXT NOT NULL,
        PRIMARY KEY (operation_id, lease_epoch, number)
    ) WITHOUT ROWID
    """,
)

_FROM_VERSION: Final = {
    # People were known by their names as written; now by the folded ones.
    1: ("UPDATE operations SET actor = fold_person(actor)",),
    # Nothing could be deleted.
    2: (
        "ALTER TABLE operations ADD COLUMN awaits_removal INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX awaiting_removal ON operations (started_order) WHERE awaits_removal",
    ),
}
"""What brings a file from each version to the next."""

_INSERT_OPERATION: Final = """
    INSERT INTO operations VALUES (
        :id, :revision, :started_order, :actor, :actor_id, :status, :operation_type, :base_name, :key,
        :document, :awaits_removal
    )
"""
_UPDATE_OPERATION: Final = """
    UPDATE operations SET
        revision = :revision, started_order = :started_order, actor = :actor, actor_id = :actor_id,
        status = :status, operation_type = :operation_type, base_name = :base_name, key = :key,
        document = :document, awaits_removal = :awaits_removal
    WHERE id = :id AND revision = :revision - 1
"""
_INSERT_NAME: Final = "INSERT INTO names VALUES (:folded_key, :revision, :document)"
_UPDATE_NAME: Final = """
    UPDATE names SET revision = :revision, document = :document
    WHERE folded_key = :folded_key AND revision = :revision - 1
"""


class SQLiteRecordStore:
    """Operations, names and signed parts in one SQLite file that only its owner can read.

    May be used from several threads and by several processes at once.

    Raises:
        LocalBackendError: If a newer mgmt wrote the file, it is damaged, or it is something else.
        RecordsUnavailableError: If another process holds the file for too long.
        OSError: If the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        # Made before SQLite opens it: the log beside it gets the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        self._path = path
        self._lock = threading.Lock()
        self._is_synced = True
        self._has_lost = False
        self._connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare()
            if os.name != "nt":  # folders cannot be opened there
                _sync(path.parent, os.O_RDONLY)  # the log's name: it lasts as long as this connection
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    def sync(self) -> None:
        """Have everything written so far on the disk when this returns; called before an answer is sent.

        Raises:
            RecordsUnavailableError: If the disk refuses, or has refused before: the system may have dropped the
                data that it could not write, and a second try would not notice.
        """
        with self._lock:
            if self._has_lost:
                raise RecordsUnavailableError("the disk did not take the records; restart with `mgmt local stop`")
            if self._is_synced:
                return
            try:
                # Writes that have left the log were synced by SQLite when they moved to the file.
                _sync(self._path.with_name(f"{self._path.name}-wal"), os.O_RDWR)
            except OSError as error:
                self._has_lost = True
                raise RecordsUnavailableError(f"the records cannot be brought to the disk: {error}") from error
            self._is_synced = True

    def _prepare(self) -> None:
        self._connection.create_function("fold_person", 1, fold_person, deterministic=True)
        with _port_errors():
            self._enter_write_ahead_log()
            self._connection.execute("PRAGMA synchronous = NORMAL")
        with self._write() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise LocalBackendError(
                    f"the records are of version {version}, this mgmt knows {SCHEMA_VERSION}: install a newer"
                )
            if version < SCHEMA_VERSION:
                steps = [_FROM_VERSION[each] for each in range(version, SCHEMA_VERSION)] if version else [_SCHEMA]
                for statement in chain.from_iterable(steps):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _enter_write_ahead_log(self) -> None:
        """Switch to the log; SQLite does not wait here while another process opens or closes the file."""
        deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
            else:
                return

    # --- operations and names --------------------------------------------------------------------------

    def get_operations(self, operation_ids: Iterable[str]) -> dict[str, Recorded]:
        """Return the operations that exist, by id; at most 100 ids."""
        with self._read() as connection:
            documents = [
                document
                for operation_id in dict.fromkeys(operation_ids)
                for (document,) in connection.execute("SELECT document FROM operations WHERE id = ?", (operation_id,))
            ]
        operations = map(_read_operation, documents)
        return {operation.id: operation for operation in operations}

    def create_operation(self, operation: RecordedT) -> RecordedT:
        """Store a new operation."""
        created = replace(operation, revision=1)
        self._write_row(_INSERT_OPERATION, _operation_row(created))
        return created

    def update_operation(self, operation: RecordedT) -> RecordedT:
        """Store an operation over the revision it was computed from."""
        updated = replace(operation, revision=operation.revision + 1)
        self._write_row(_UPDATE_OPERATION, _operation_row(updated))
        return updated

    def create_with_upload(self, operation: RecordedT, upload: Operation, name: Name) -> tuple[RecordedT, Operation]:
        """Store a new operation, the upload it changes and its name, in one transaction."""
        created = replace(operation, revision=1)
        updated = replace(upload, revision=upload.revision + 1)
        self._write_rows(
            (_INSERT_OPERATION, _operation_row(created)),
            (_UPDATE_OPERATION, _operation_row(updated)),
            _name_write(name),
        )
        return created, updated

    def update_with_name(self, operation: RecordedT, name: Name) -> RecordedT:
        """Store an operation and a name over their revisions, in one transaction."""
        updated = replace(operation, revision=operation.revision + 1)
        self._write_rows((_UPDATE_OPERATION, _operation_row(updated)), _name_write(name))
        return updated

    def get_names(self, keys: Iterable[str]) -> dict[str, Name]:
        """Return the names that exist under the folded forms of `keys`, by folded key; at most 100."""
        with self._read() as connection:
            documents = {
                folded_key: document
                for folded_key in map(fold_key, keys)
                for (document,) in connection.execute("SELECT document FROM names WHERE folded_key = ?", (folded_key,))
            }
        return {folded_key: from_json(Name, document) for folded_key, document in documents.items()}

    def get_operations_and_names(
        self, operation_ids: Iterable[str], keys: Iterable[str]
    ) -> tuple[dict[str, Recorded], dict[str, Name]]:
        """Return the operations and the names that exist."""
        return self.get_operations(operation_ids), self.get_names(keys)

    def put_name(self, name: Name) -> Name:
        """Store a name over the revision it was computed from."""
        self._write_row(*_name_write(name))
        return replace(name, revision=name.revision + 1)

    # --- signed parts: their `lease_epoch` is 1, since another machine goes on with the same parts ----------

    def get_signed_parts(self, operation_id: str) -> dict[int, Part]:
        """Return every part signed so far, by number."""
        with self._read() as connection:
            rows = connection.execute(
                "SELECT number, length, crc64nvme FROM signed_parts"
                " WHERE operation_id = ? AND lease_epoch = 1 ORDER BY number",
                (operation_id,),
            ).fetchall()
        return {number: Part(number, length, crc64nvme) for number, length, crc64nvme in rows}

    def add_signed_parts(self, operation_id: str, parts: Sequence[Part]) -> None:
        """Store the parts that are about to be signed; all or nothing."""
        with self._write() as connection:
            for part in parts:
                connection.execute(
                    "INSERT INTO signed_parts VALUES (?, 1, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (operation_id, part.number, part.length, part.crc64nvme),
                )
                signed = connection.execute(
                    "SELECT number, length, crc64nvme FROM signed_parts"
                    " WHERE operation_id = ? AND lease_epoch = 1 AND number = ?",
                    (operation_id, part.number),
                ).fetchone()
                if Part(*signed) != part:
                    raise ConflictError(f"part {part.number} was signed as {signed}, now asked for as {part}")

    # --- history ---------------------------------------------------------------------------------------

    def find_operations(self, query: HistoryQuery) -> HistoryPage:
        """Return a page of operations, in the query's order; short if it is the last, or one cannot be read."""
        conditions, values = _conditions(query)
        direction = "ASC" if query.oldest_first else "DESC"
        with self._read() as connection:
            # One more than asked for tells whether there are more.
            rows = connection.execute(
                f"SELECT started_order, document FROM operations WHERE {conditions}"  # noqa: S608 - no value is in the text
                f" ORDER BY started_order {direction} LIMIT ?",
                [*values, query.limit + 1],
            ).fetchall()
        examined = rows[: query.limit]
        return HistoryPage(list(_read_readable(examined)), examined[-1][0] if len(rows) > query.limit else None)

    # --- calls -----------------------------------------------------------------------------------------

    def _write_row(self, statement: str, row: dict[str, Any]) -> None:
        """Write one row; a statement is a transaction of its own, and this one holds its condition itself."""
        with self._lock, _port_errors():
            self._is_synced = False
            changed = self._connection.execute(statement, row).rowcount
        _require_change(changed, row)

    def _write_rows(self, *writes: tuple[str, dict[str, Any]]) -> None:
        with self._write() as connection:
            for statement, row in writes:
                _require_change(connection.execute(statement, row).rowcount, row)

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _port_errors():
            yield self._connection

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """Give the connection within a transaction that holds the file's write lock from its beginning."""
        with self._lock, _port_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._is_synced = False
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise


def _require_change(changed: int, row: dict[str, Any]) -> None:
    if changed == 0:
        raise ConflictError(f"revision {row['revision'] - 1} is not the stored one")


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_operation(document: str) -> Recorded:
    plain = json.loads(document)
    return from_plain(entity_of(plain["record"]["operation_type"]), plain).cut_to_bounds()


def _read_readable(rows: Iterable[tuple[str, str]]) -> Iterator[Recorded]:
    """Read the operations of a page, without the unreadable ones: one must not hide all others."""
    for order, document in rows:
        try:
            yield _read_operation(document)
        except Exception:  # any fault of the document
            _logger.exception("operation %s cannot be read and is left out of a page", order)


def _operation_row(operation: Recorded) -> dict[str, Any]:
    record = operation.record
    return {
        "id": operation.id,
        "revision": operation.revision,
        "started_order": operation.order,
        "actor": fold_person(record.actor),
        "actor_id": record.actor_id,
        "status": record.status,
        "operation_type": record.operation_type,
        "base_name": operation.base_name,
        "key": record.s3_object_key,
        "document": to_json(operation),
        "awaits_removal": isinstance(operation, Operation) and operation.awaits_removal,
    }


def _name_row(name: Name) -> dict[str, Any]:
    return {"folded_key": fold_key(name.key), "revision": name.revision, "document": to_json(name)}


def _name_write(name: Name) -> tuple[str, dict[str, Any]]:
    """Return the statement that stores a name over its revision, and its values."""
    statement = _INSERT_NAME if name.revision == 0 else _UPDATE_NAME
    return statement, _name_row(replace(name, revision=name.revision + 1))


def _conditions(query: HistoryQuery) -> tuple[str, list[str]]:
    """Write a query's filters as SQL and the values for its question marks."""
    bounds = [None if query.oldest_first else query.after, format_time(query.until) if query.until else None]
    filters = {
        "actor = ?": query.actor,
        "actor_id = ?": query.actor_id,
        "status = ?": query.status,
        "operation_type = ?": query.operation_type,
        "base_name = ?": query.base_name,
        "key = ?": query.key,
        "instr(key, ?) = 1": query.folder,
        "started_order >= ?": format_time(query.since) if query.since else None,
        "started_order < ?": min((bound for bound in bounds if bound), default=None),
        "started_order > ?": query.after if query.oldest_first else None,
    }
    asked = {condition: value for condition, value in filters.items() if value is not None}
    conditions = [*asked, *(["awaits_removal"] if query.is_deleted else [])]
    return " AND ".join(conditions) or "TRUE", list(asked.values())


@contextmanager
def _port_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise ConflictError(f"stored already: {error}") from error
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode in _FULL_CODES:
            raise RecordsFullError(_FULL) from error
        raise RecordsUnavailableError(f"the records cannot be read or written now: {error}") from error
    except sqlite3.DatabaseError as error:
        raise LocalBackendError(f"the records cannot be used: {error}") from error
