"""What the service stands on: settings, both stores and a clock; and reading ahead for whole lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from mgmt_api.checks import is_operation_id
from mgmt_api.entities import Name, Operation
from mgmt_api.ports import Clock, ObjectStore, RecordStore
from mgmt_api.settings import Settings
from mgmt_contract.names import fold_key


@dataclass(frozen=True)
class Backends:
    """The two stores, the time and the settings of one deployment."""

    settings: Settings
    records: RecordStore
    objects: ObjectStore
    clock: Clock

    def now(self) -> datetime:
        """Tell the time in whole milliseconds: what the wire and the stores keep."""
        moment = self.clock()
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def lease_end(self) -> datetime:
        """Say until when a lease that begins now holds."""
        return self.now() + timedelta(seconds=self.settings.lease_seconds)


class ReadAhead:
    """Operations and names, read for a whole list at once.

    Each is handed out once as it was read ahead, and read afresh after that: whoever asks again has lost
    a conditional write and needs to see what is stored now. May be asked from several threads.
    """

    def __init__(self, backends: Backends) -> None:
        self._records = backends.records
        self._operations: dict[str, Operation | None] = {}
        self._names: dict[str, Name] = {}
        self._lock = Lock()

    def read(self, operation_ids: Iterable[str], keys: Iterable[str]) -> list[Name]:
        """Read operations and names ahead, together; what cannot be an id is not asked for."""
        ids = {id_ for id_ in operation_ids if is_operation_id(id_)}
        by_folded_key = {fold_key(key): key for key in keys}
        if not ids and not by_folded_key:
            return []
        operations, names = self._records.get_operations_and_names(ids, by_folded_key.values())
        self._operations |= {id_: operations.get(id_) for id_ in ids}
        self._names |= {folded: names.get(folded, Name(key)) for folded, key in by_folded_key.items()}
        return list(names.values())

    def read_operations(self, operation_ids: Iterable[str]) -> list[Operation]:
        """Read operations ahead; what cannot be an id is not asked for."""
        wanted = {id_ for id_ in operation_ids if is_operation_id(id_)}
        found = self._records.get_operations(wanted) if wanted else {}
        self._operations |= {id_: found.get(id_) for id_ in wanted}
        return list(found.values())

    def read_names(self, keys: Iterable[str]) -> list[Name]:
        """Read names ahead."""
        wanted = {fold_key(key): key for key in keys}
        found = self._records.get_names(wanted.values()) if wanted else {}
        self._names |= {folded: found.get(folded, Name(key)) for folded, key in wanted.items()}
        return list(found.values())

    def operation(self, operation_id: str) -> Operation | None:
        """Return an operation, or None where none is recorded."""
        with self._lock:
            if operation_id not in self._operations:
                self.read_operations([operation_id])
            return self._operations.pop(operation_id, None)

    def name(self, key: str) -> Name:
        """Return the name that a key folds to; a fresh one where none is stored."""
        folded = fold_key(key)
        with self._lock:
            if folded not in self._names:
                self.read_names([key])
            return self._names.pop(folded)
