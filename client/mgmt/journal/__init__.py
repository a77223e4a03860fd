"""The journal of uploads that this machine has begun: each is promised here before the service is asked.

Only a hint: the service's records are the truth. With it the same command, after a crash or a lost
network, continues the same operation with the same archive, and mgmt recognises its own archives.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import filelock

from mgmt.errors import RefusedError
from mgmt.journal.entries import (
    COLUMNS,
    DownloadOrder,
    EndedAs,
    Entry,
    Moved,
    Order,
    entry_of,
    has_newer_options,
    key_of,
    name_of_run,
    new_operation_id,
    row_of,
)
from mgmt.journal.file import JournalFile, Statement, translate_errors
from mgmt.journal.locks import Locks
from mgmt.machine.files import write_private
from mgmt_contract.messages.downloads import DownloadEnd
from mgmt_contract.messages.uploads import CleanUp, Existing
from mgmt_contract.wire import from_json, to_json

__all__ = [
    "DownloadOrder",
    "EndedAs",
    "Entry",
    "Journal",
    "Moved",
    "Order",
    "has_newer_options",
    "name_of_run",
    "new_operation_id",
]

T = TypeVar("T")

MOVED_KEPT_SECONDS: Final = 30 * 86_400.0
"""How long a repeated command is told that an original was uploaded and moved."""

ORDERS_KEPT_SECONDS: Final = 30 * 86_400.0
"""How long `mgmt resume` begins what a command was told to upload and never came to."""

_PUT: Final = f"INSERT OR REPLACE INTO uploads ({', '.join(COLUMNS)}, began_at) VALUES ({'?, ' * len(COLUMNS)}?)"  # noqa: S608  our own text

_END_ORDER_OF: Final = (
    "DELETE FROM orders WHERE (service, source_path, destination) IN "
    "(SELECT service, source_path, destination FROM uploads WHERE operation_id = ?)"
)

_UNFINISHED: Final = "(ended_as IS NULL OR ended_as = 'failed' OR completed_path IS NOT NULL)"
_HAS_ARCHIVE: Final = "archive_path = ? AND archive_size = ? AND archive_mtime_ns = ?"
"""An archive's identity among other files at its path."""
_CROSS_OUT_ENDED: Final = f"DELETE FROM uploads WHERE {_HAS_ARCHIVE} AND ended_as IN ('failed', 'left', ?)"  # noqa: S608  our own text


class Journal:
    """This machine's unfinished uploads, in a file of the state folder; for any thread.

    Every method may raise LocalStateError where the file cannot be used.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        lock_folder = state_dir / "locks"
        self._locks = Locks(lock_folder / "uploads.lock")
        with translate_errors(state_dir):
            for folder in (state_dir, lock_folder):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = JournalFile(state_dir)

    def close(self) -> None:
        """Close the file, between two changes; a thread that makes one later gets an error."""
        self._file.close()
        self._locks.close()

    @property
    def held(self) -> frozenset[str]:
        """The things that this journal keeps other processes away from now."""
        return self._locks.held

    @property
    def state_dir(self) -> Path:
        """The folder of the journal and of all other state of this machine."""
        return self._state_dir

    @property
    def machine_id(self) -> str:
        """This machine's id: kept apart from the journal, so that a lost journal keeps its leases."""
        path = self._state_dir / "machine-id"
        with translate_errors(self._state_dir):
            known = _read_machine_id(path)
            if known is not None:
                return known
            # Two first runs at once: one id wins.
            with filelock.FileLock(self._state_dir / "locks" / "machine-id.lock", mode=0o600):
                return _read_machine_id(path) or _make_machine_id(path)

    @contextmanager
    def hold(self, what: str, shown: str) -> Iterator[None]:
        """Keep other processes of this machine away from an archive's path, or from an object.

        The lock ends with the process, however that ends.

        Args:
            what: The name of the lock.
            shown: Its name in the message.

        Raises:
            RefusedError: If another process holds it.
        """
        with translate_errors(self._state_dir):
            is_ours = self._locks.take(what)
        if not is_ours:
            raise RefusedError(
                f"Another mgmt on this machine is uploading '{shown}' right now. "
                "Wait for it to end, or upload under another name with --as.",
                code="busy-here",
            )
        try:
            yield
        finally:
            self._locks.give_back(what)

    def is_running(self, run_id: str) -> bool:
        """Tell whether a run that gave orders has not ended; this one has not."""
        what = name_of_run(run_id)
        with translate_errors(self._state_dir):
            if not self._locks.take(what):
                return True
            self._locks.give_back(what)
        return False

    def find(self, service: str, source_path: str, destination: str) -> Entry | None:
        """Return the newest unfinished upload of this source to this destination."""
        query = "service = ? AND source_path = ? AND destination = ? ORDER BY began_at DESC LIMIT 1"
        return _first(self._select(query, (service, os.fsencode(source_path), destination)))

    def find_archive(self, path: Path) -> Entry | None:
        """Return an upload whose finished archive is the file at this path, by path, size and time.

        The one with `--keep-archive`, if there is one; else the newest.
        """
        found = _size_and_time(path)
        if found is None:
            return None
        query = f"{_HAS_ARCHIVE} ORDER BY ended_as IS 'kept' DESC, began_at DESC LIMIT 1"
        return _first(self._select(query, (os.fsencode(path), *found)))

    def begun_at(self, path: Path) -> list[Entry]:
        """Return the unfinished uploads, to any destination, with this archive path."""
        return self._select("archive_path = ? AND ended_as IS NULL", (os.fsencode(path),))

    def entries_at(self, path: str) -> list[Entry]:
        """Return the uploads, ended or not, whose archives are or were to be at a path."""
        return self._select("archive_path = ?", (os.fsencode(path),))

    def moves(self, service: str) -> list[Entry]:
        """Return the uploads whose originals were about to be moved when the run that began them ended."""
        return self._select("service = ? AND completed_path IS NOT NULL", (service,))

    def entries_in(self, folder: Path) -> list[Entry]:
        """Return the uploads, ended or not, whose archives are or were to be in a folder."""
        prefix = os.fsencode(folder / "_")[:-1]
        return self._select("archive_path >= ? AND archive_path < ?", (prefix, prefix + b"\xff"))

    def unfinished(self, service: str) -> list[Entry]:
        """Return the uploads that have not ended, those that failed and left an archive, and those still to be moved.

        The oldest first.
        """
        return self._select(f"service = ? AND {_UNFINISHED} ORDER BY began_at", (service,))

    def remains(self, service: str) -> list[Entry]:
        """Return the uploads that are over and whose archives could not be removed then."""
        return self._select("service = ? AND ended_as = 'left' AND completed_path IS NULL", (service,))

    def services_left(self) -> list[str]:
        """Return the names of all services with something that is left to do."""
        query = (
            f"SELECT service FROM uploads WHERE {_UNFINISHED} UNION "  # noqa: S608  our own text
            "SELECT service FROM orders UNION SELECT service FROM download_orders ORDER BY service"
        )
        return self._file.read(query, (), str)

    def orders(self, service: str) -> list[Order]:
        """Return what commands were told to upload to a service and did not; the oldest first."""
        query = (
            "SELECT source_path, destination, options, run_id FROM orders WHERE service = ? ORDER BY given_at, rowid"
        )
        return self._file.read(query, (service,), lambda path, *others: Order(service, os.fsdecode(path), *others))

    def take_orders(self, orders: Iterable[Order]) -> None:
        """Write down what is to be uploaded; a later order takes the place of the same one."""
        now = time.time()
        rows = (
            (each.service, os.fsencode(each.source_path), each.destination, each.options, each.run_id, now)
            for each in orders
        )
        self._take("orders", rows)

    def end_orders(self, service: str, ended: Iterable[tuple[str, str]]) -> None:
        """Cross out orders, each by its source's path and its destination."""
        self._file.change(
            ("DELETE FROM orders WHERE service = ? AND source_path = ? AND destination = ?", row)
            for row in ((service, os.fsencode(path), destination) for path, destination in ended)
        )

    def download_orders(self, service: str) -> list[DownloadOrder]:
        """Return what commands were told to download from a service and did not; the oldest first."""
        query = (
            "SELECT folder, name, options, run_id, upload_id, given_at FROM download_orders WHERE service = ? "
            "ORDER BY given_at, rowid"
        )
        return self._file.read(
            query, (service,), lambda folder, *others: DownloadOrder(service, os.fsdecode(folder), *others)
        )

    def take_download_orders(self, orders: Iterable[DownloadOrder]) -> None:
        """Write down what is to be downloaded, or found to be meant; it takes the place of the same order."""
        now = time.time()
        rows = ((*key_of(each), each.run_id, each.upload_id, each.given_seconds or now) for each in orders)
        self._take("download_orders", rows)

    def end_download_orders(self, orders: Iterable[DownloadOrder]) -> None:
        """Cross out orders of downloads."""
        self._file.change(
            ("DELETE FROM download_orders WHERE (service, folder, name, options) = (?, ?, ?, ?)", key_of(each))
            for each in orders
        )

    def put(self, entries: Iterable[Entry], *, instead_of: Iterable[str] = ()) -> None:
        """Write entries down, and cross out those they replace; all or none, on the disk when this returns.

        An upload with a whole archive takes the place of those that ended with the very same one; but an archive that
        was kept on request stays known as kept until another entry says so.
        """
        self._file.change([*map(_crossing_out, instead_of), *_writing_down(entries)])

    def forget(self, operation_ids: Iterable[str]) -> None:
        """Cross out uploads that have ended."""
        self._file.change([*map(_crossing_out, operation_ids)])

    def finish(
        self, service: str, clean_ups: Iterable[CleanUp], kept: Iterable[Entry] = (), moved: Iterable[Moved] = ()
    ) -> None:
        """Cross out uploads that have succeeded; remember what to report, archives that stay, originals that moved.

        An upload whose original is still to be moved is kept with its order: by both the move is made later.
        """
        kept = list(kept)
        moving = {each.operation_id for each in kept if each.completed_path is not None}
        changes: list[Statement] = []
        for each in clean_ups:
            if each.operation_id not in moving:
                changes.append((_END_ORDER_OF, (each.operation_id,)))
            changes.append(_crossing_out(each.operation_id))
            row = (each.operation_id, service, to_json(each))
            changes.append(("INSERT OR REPLACE INTO clean_ups VALUES (?, ?, ?)", row))
        self._file.change([*changes, *_writing_down(kept), *_remembering(moved)])

    def find_moved(self, service: str, source_path: str, destination: str) -> Moved | None:
        """Return the original that lay at a path until its upload, to this destination, had it moved."""
        query = (
            "SELECT operation_id, completed_path, object FROM moved "
            "WHERE service = ? AND source_path = ? AND destination = ?"
        )

        def make(operation_id: str, completed_path: bytes, stored: str | None) -> Moved:
            known = from_json(Existing, stored) if stored else None
            return Moved(operation_id, service, source_path, destination, os.fsdecode(completed_path), known)

        return _first(self._file.read(query, (service, os.fsencode(source_path), destination), make))

    def unreported(self, service: str, limit: int) -> list[CleanUp]:
        """Return clean-ups that the service has not been told yet."""
        query = "SELECT clean_up FROM clean_ups WHERE service = ? LIMIT ?"
        return self._file.read(query, (service, limit), partial(from_json, CleanUp))

    def note_reported(self, clean_ups: Iterable[CleanUp]) -> None:
        """Cross out clean-ups that the service has been told."""
        self._file.change(
            [("DELETE FROM clean_ups WHERE operation_id = ?", (each.operation_id,)) for each in clean_ups]
        )

    def keep_download_end(self, service: str, end: DownloadEnd) -> None:
        """Remember the end of a download, of which the service could not be told."""
        row = (end.operation_id, service, to_json(end))
        self._file.change([("INSERT OR REPLACE INTO download_ends VALUES (?, ?, ?)", row)])

    def unreported_downloads(self, service: str, limit: int) -> list[DownloadEnd]:
        """Return ends of downloads that the service has not been told yet."""
        query = "SELECT download_end FROM download_ends WHERE service = ? LIMIT ?"
        return self._file.read(query, (service, limit), partial(from_json, DownloadEnd))

    def note_downloads_reported(self, operation_ids: Iterable[str]) -> None:
        """Cross out ends of downloads that the service has been told."""
        self._file.change([("DELETE FROM download_ends WHERE operation_id = ?", (each,)) for each in operation_ids])

    def speed(self, service: str) -> float | None:
        """Return the bytes per second of the last transfers to a service that were measured."""
        return _first(self._file.read("SELECT bytes_per_second FROM speeds WHERE service = ?", (service,), float))

    def note_speed(self, service: str, bytes_per_second: float) -> None:
        """Remember the measured speed, for later estimates."""
        row = (service, bytes_per_second, time.time())
        self._file.change([("INSERT OR REPLACE INTO speeds VALUES (?, ?, ?)", row)])

    def optional_fields(self, service: str) -> tuple[str, ...]:
        """Return the request fields that not every service takes and this one took in the last run."""
        query = "SELECT fields FROM optional_fields WHERE service = ?"
        return _first(self._file.read(query, (service,), lambda fields: tuple(json.loads(fields)))) or ()

    def note_optional_fields(self, service: str, fields: tuple[str, ...]) -> None:
        """Remember the fields that a service takes, so that the next run sends them from its first call on."""
        self._file.change([("INSERT OR REPLACE INTO optional_fields VALUES (?, ?)", (service, json.dumps(fields)))])

    def _select(self, condition: str, values: tuple[object, ...]) -> list[Entry]:
        query = f"SELECT {', '.join(COLUMNS)} FROM uploads WHERE {condition}"  # noqa: S608  both are our own text
        return self._file.read(query, values, entry_of)

    def _take(self, table: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Write orders down, each in the place of the same one, and forget old ones."""
        forgetting = f"DELETE FROM {table} WHERE given_at < ?", (time.time() - ORDERS_KEPT_SECONDS,)  # noqa: S608  our own text
        putting = [(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(row))})", row) for row in rows]  # noqa: S608  our own text
        self._file.change([forgetting, *putting])


def _first(found: Sequence[T]) -> T | None:
    return found[0] if found else None


def _size_and_time(path: str | Path) -> tuple[int, int] | None:
    """Return a file's identity among others that may be at its path; None where there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _read_machine_id(path: Path) -> str | None:
    """Return the id, or None where there is none: a disk that filled up may have left an empty file."""
    try:
        return str(uuid.UUID(path.read_text(encoding="ascii").strip()))
    except (FileNotFoundError, ValueError):
        return None


def _make_machine_id(path: Path) -> str:
    made = str(uuid.uuid4())
    write_private(path, made)  # whole and on the disk: an empty id after a power cut would be of no machine
    return made


def _crossing_out(operation_id: str) -> Statement:
    return "DELETE FROM uploads WHERE operation_id = ?", (operation_id,)


def _writing_down(entries: Iterable[Entry]) -> Iterator[Statement]:
    for entry in entries:
        if entry.archive_size is not None:  # or each run that finds a kept archive would add one more
            archive = (os.fsencode(entry.archive_path), entry.archive_size, entry.archive_mtime_ns)
            yield _CROSS_OUT_ENDED, (*archive, entry.ended_as)
        yield _PUT, row_of(entry)


def _remembering(moved: Iterable[Moved]) -> Iterator[Statement]:
    now = time.time()
    yield "DELETE FROM moved WHERE moved_at < ?", (now - MOVED_KEPT_SECONDS,)
    for each in moved:
        paths = os.fsencode(each.source_path), each.destination, os.fsencode(each.completed_path)
        stored = to_json(each.object) if each.object else None
        row = (each.operation_id, each.service, *paths, stored, now)
        yield "INSERT OR REPLACE INTO moved VALUES (?, ?, ?, ?, ?, ?, ?)", row
