"""Records: those of certain operations, and pages of the team's history."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from mgmt_contract.problems import Problem
from mgmt_contract.records import (
    DeleteRecord,
    DownloadRecord,
    OperationRecord,
    OperationStatus,
    OperationType,
    RestoreRecord,
    UndeleteRecord,
    UploadRecord,
)
from mgmt_contract.values import StrictValue, Value

AnyRecord = UploadRecord | DownloadRecord | RestoreRecord | DeleteRecord | UndeleteRecord | OperationRecord
"""A record of any type; one of tomorrow is read as the last."""


class RecordResult(Value):
    """The record as it stands after the call (an upload that was done stays done), or why there is none."""

    operation_id: str
    outcome: Literal["record", "problem"]
    record: AnyRecord | None = None
    problem: Problem | None = None


class RecordsResponse(Value):
    """Results in the order of the items."""

    results: list[RecordResult]


class LookUpRequest(StrictValue):
    """Ask for the records of operations."""

    operation_ids: list[str]


HISTORY_LIMIT_DEFAULT = 50


HISTORY_LIMIT_MAX = 100


class HistoryRequest(StrictValue):
    """Filters of one page of the team's operations, newest first; sent as query parameters.

    A page may hold fewer records than `limit`, even none, and still have a `cursor`: filters that no index
    serves read a bounded number of records per call.
    """

    actor: str | None = None
    """A person's name; case does not matter."""
    mine: bool = False
    status: OperationStatus | None = None
    operation_type: OperationType | None = None
    name: str | None = None
    """Source name, archive name, whole key, or a folder in the bucket, which ends with a slash."""
    since: datetime | None = None
    until: datetime | None = None
    limit: int = HISTORY_LIMIT_DEFAULT
    cursor: str | None = None


class HistoryResponse(Value):
    """A page of records; `cursor` is None on the last."""

    records: list[AnyRecord]
    cursor: str | None = None
    replaced: tuple[str, ...] = ()
    """Ids of the successful uploads on this page whose object was replaced by a later one."""
