"""Stores that remember all that was ever written, and say where a write breaks a rule that each write has to keep."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from mgmt_api.domain.entities import Name, Operation, Recorded
from mgmt_api.ports import Clock, NewObject, RecordStore, StoredObject
from mgmt_contract.records import STATUS_OF_PHASE, UploadRecord, may_follow
from support.fakes import FakeObjectStore


class Stored(NamedTuple):
    """One object that arrived, and the object that was current under its key until then."""

    before: StoredObject | None
    stored: StoredObject


_FIXED = ("operation_type", "actor_id", "actor", "started_at", "run_id", "s3_bucket", "s3_object_key", "target_path")
_FIXED_ONCE_DONE = ("version_id", "etag", "crc64nvme", "result_path", "finished_at", "index_version_id", "status")


@dataclass
class Ledger:
    """Every operation as it was last written, every object that ever arrived, and the rules that were broken."""

    clock: Clock
    operations: dict[str | None, Any] = field(default_factory=dict)
    """By id."""
    writes: int = 0
    arrived: list[Stored] = field(default_factory=list)
    bodies: dict[str | None, bytes] = field(default_factory=dict)
    """By version."""
    faults: list[str] = field(default_factory=list)

    def note(self, written: Recorded) -> None:
        """Take a write that the store has taken, and compare it with the one before."""
        known = self.operations.get(written.id)
        self.faults += [f"{written.id}: {fault}" for fault in self._compare(known, written)]
        self.operations[written.id] = copy.deepcopy(written)
        self.writes += 1

    def _compare(self, known: Recorded | None, written: Recorded) -> Iterator[str]:
        before, after = known.record if known else None, written.record
        if not may_follow(after.operation_type, before.phase if before else None, after.phase):
            yield f"{after.phase} after {before.phase if before else None}"
        if after.status != STATUS_OF_PHASE[after.phase]:
            yield f"{after.status} in phase {after.phase}"
        if before is None:
            return
        fixed = _FIXED + (_FIXED_ONCE_DONE if before.phase == "done" else ())
        for name in fixed:
            if getattr(before, name, None) != getattr(after, name, None):
                yield f"{name} was {getattr(before, name)}, is {getattr(after, name)}"
        if isinstance(before, UploadRecord) and isinstance(after, UploadRecord):
            yield from self._compare_deletion(before, after)

    def _compare_deletion(self, before: UploadRecord, after: UploadRecord) -> Iterator[str]:
        until = before.recoverable_until
        is_past = until is not None and self.clock() >= until
        is_back = before.deleted_at is not None and after.deleted_at is None
        if is_back and (is_past or before.removed_at is not None):
            yield "brought back after its date"
        if before.removed_at is None and after.removed_at is not None and not is_past:
            yield "given up before its date"
        if before.removed_at is not None and after.removed_at is None:
            yield "given up, and then not"


class LedgerRecords:
    """A record store whose writes are noted once they have been taken."""

    def __init__(self, store: RecordStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def create_operation(self, operation: Any) -> Any:
        """See `RecordStore`."""
        created = self._store.create_operation(operation)
        self._ledger.note(created)
        return created

    def update_operation(self, operation: Any) -> Any:
        """See `RecordStore`."""
        updated = self._store.update_operation(operation)
        self._ledger.note(updated)
        return updated

    def update_with_name(self, operation: Any, name: Name) -> Any:
        """See `RecordStore`."""
        updated = self._store.update_with_name(operation, name)
        self._ledger.note(updated)
        return updated

    def create_with_upload(self, operation: Any, upload: Operation, name: Name) -> Any:
        """See `RecordStore`."""
        created, updated = self._store.create_with_upload(operation, upload, name)
        self._ledger.note(created)
        self._ledger.note(updated)
        return created, updated


def note_records(store: RecordStore, ledger: Ledger) -> RecordStore:
    """Put a ledger beside a record store."""
    return cast("RecordStore", LedgerRecords(store, ledger))


class LedgerObjects(FakeObjectStore):
    """A bucket that notes every object that arrives."""

    def __init__(self, clock: Clock, ledger: Ledger) -> None:
        super().__init__(clock, tells_part_checksums=False)
        self._ledger = ledger

    def _store(self, new_object: NewObject, body: bytes, *, etag: str | None = None) -> StoredObject:
        before = self.head_object(new_object.key)
        stored = super()._store(new_object, body, etag=etag)
        self._ledger.arrived.append(Stored(before, stored))
        self._ledger.bodies[stored.version_id] = body
        return stored
