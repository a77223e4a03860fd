"""The service's settings, stores and clock; and reading ahead for whole lists."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

from mgmt_api.domain.checks import is_operation_id
from mgmt_api.domain.entities import Download, Name, Operation, Recorded, RecordedT, Restore
from mgmt_api.domain.metrics import Metrics, NoMetrics
from mgmt_api.domain.settings import Settings
from mgmt_api.domain.work import Work
from mgmt_api.ports import (
    Clock,
    ObjectStore,
    QueueUnavailableError,
    RecordStore,
    RecordsUnavailableError,
    WorkQueue,
)
from mgmt_contract.names import fold_key
from mgmt_contract.problems import ProblemError
from mgmt_contract.values import Value

logger = logging.getLogger(__name__)

CALL_MAX_SECONDS: Final = 29.0
"""An answer is cut off at 30 s. Source: Amazon API Gateway Developer Guide, "HTTP API quotas", read 2026-11."""
ANSWER_SECONDS: Final = 9.0
"""Kept free at the end of a call: for the last look at the storage, the records, and the answer."""


class Backends(Value):
    """The two stores, the time, the settings and the counts of one deployment."""

    settings: Settings
    records: RecordStore
    objects: ObjectStore
    clock: Clock
    metrics: Metrics = dataclasses.field(default_factory=NoMetrics)
    remaining_seconds: Callable[[], float] = lambda: CALL_MAX_SECONDS
    """Says how long the present call may still take."""
    worker: WorkQueue | None = None
    """Where work for the worker goes; None where there is none, or this is it: then parts are joined right here."""

    def now(self) -> datetime:
        """Tell the time in whole milliseconds, the precision of the wire and the stores."""
        moment = self.clock()
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def lease_end(self) -> datetime:
        """Say until when a lease that begins now holds."""
        return self.now() + timedelta(seconds=self.settings.lease_seconds)

    def spare_seconds(self) -> float:
        """Say how long a step may take now, so that there is time for the answer after it."""
        return self.remaining_seconds() - ANSWER_SECONDS

    def ask_to_settle(self, operation_id: str, *, delay_seconds: int = 0) -> bool:
        """Have the worker look at an operation; where its queue is out of order, its next round will.

        Returns whether it has looked already.
        """
        if self.worker is None:
            return False
        try:
            return self.worker.send(Work("settle", operation_id), delay_seconds=delay_seconds)
        except QueueUnavailableError as error:
            logger.warning("the worker was not asked", extra={"operation_id": operation_id, "reason": str(error)})
            return False


class ReadAhead:
    """Operations and names, read for a whole list at once.

    Each is handed out once as it was read ahead, and read again after that: a second request means a lost
    conditional write, so the current state is needed. May be asked from several threads.

    Reading ahead never fails: an error of one of many is raised to the item that asks for it.
    """

    def __init__(self, backends: Backends) -> None:
        self._records = backends.records
        self._operations: dict[str, Recorded | None] = {}
        self._names: dict[str, Name] = {}
        self._lock = Lock()
        self._outage: RecordsUnavailableError | None = None

    def read(self, operation_ids: Iterable[str], keys: Iterable[str]) -> list[Name]:
        """Read operations and names ahead, together; texts that cannot be an id are skipped."""
        ids = {id_ for id_ in operation_ids if is_operation_id(id_)}
        by_folded_key = {fold_key(key): key for key in keys}
        if not ids and not by_folded_key:
            return []
        names: dict[str, Name] = {}
        with self._noting_failure():
            operations, stored = self._records.get_operations_and_names(ids, by_folded_key.values())
            self._operations |= {id_: operations.get(id_) for id_ in ids}
            names = self._keep_names(by_folded_key, stored)
        return list(names.values())

    def read_operations(self, operation_ids: Iterable[str]) -> list[Recorded]:
        """Read operations ahead; texts that cannot be an id are skipped."""
        wanted = {id_ for id_ in operation_ids if is_operation_id(id_)}
        found: dict[str, Recorded] = {}
        with self._noting_failure():
            found = self._records.get_operations(wanted) if wanted else {}
            self._operations |= {id_: found.get(id_) for id_ in wanted}
        return list(found.values())

    def read_names(self, keys: Iterable[str]) -> list[Name]:
        """Read names ahead."""
        wanted = {fold_key(key): key for key in keys}
        names: dict[str, Name] = {}
        with self._noting_failure():
            names = self._keep_names(wanted, self._records.get_names(wanted.values()) if wanted else {})
        return list(names.values())

    def upload(self, operation_id: str) -> Operation | None:
        """Return an upload, or None where nothing is recorded.

        Raises:
            ProblemError: operation-differs, where the id is that of another operation.
            RecordsUnavailableError: As `operation`.
        """
        return _require_type(self.operation(operation_id), Operation, "an upload")

    def download(self, operation_id: str) -> Download | None:
        """Return a download, or None where nothing is recorded; raises as `upload`."""
        return _require_type(self.operation(operation_id), Download, "a download")

    def restore(self, operation_id: str) -> Restore | None:
        """Return a restore, or None where nothing is recorded; raises as `upload`."""
        return _require_type(self.operation(operation_id), Restore, "a restore")

    def operation(self, operation_id: str) -> Recorded | None:
        """Return an operation of any type, or None where none is recorded.

        Raises:
            RecordsUnavailableError: If the records do not answer, or did not when they were read ahead.
        """
        with self._lock:
            if operation_id in self._operations:
                return self._operations.pop(operation_id)
        if not is_operation_id(operation_id):
            return None
        self._refuse_in_outage()
        return self._records.get_operations([operation_id]).get(operation_id)

    def name(self, key: str) -> Name:
        """Return the name that a key folds to; a fresh one where none is stored.

        Raises:
            RecordsUnavailableError: If the records do not answer, or did not when they were read ahead.
        """
        folded = fold_key(key)
        with self._lock:
            if folded in self._names:
                return self._names.pop(folded)
        self._refuse_in_outage()
        return self._records.get_names([key]).get(folded, Name(key))

    def _keep_names(self, by_folded_key: Mapping[str, str], stored: Mapping[str, Name]) -> dict[str, Name]:
        names = {folded: stored.get(folded, Name(key)) for folded, key in by_folded_key.items()}
        self._names |= names
        return names

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except RecordsUnavailableError as error:
            self._outage = error
        except Exception:  # one record that cannot be read must not keep the others from being
            logger.exception("reading ahead failed; each item is read for itself")

    def _refuse_in_outage(self) -> None:
        """Stop asking records that did not answer: once for each item takes more time than a call has."""
        if self._outage is not None:
            raise self._outage


def _require_type(found: Recorded | None, kind: type[RecordedT], expected: str) -> RecordedT | None:
    if found is None or isinstance(found, kind):
        return found
    raise ProblemError(
        "operation-differs", f"Operation {found.id} is of the type {found.record.operation_type}, not {expected}."
    )
