"""The history use case: the team's operations, page by page; and one upload found by id or name."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace

from mgmt.api import ServiceApi, error_of
from mgmt.errors import SourceError, UsageError
from mgmt_contract.messages import HISTORY_LIMIT_MAX, HistoryRequest
from mgmt_contract.records import OperationRecord, UploadRecord


def find_operations(api: ServiceApi, filters: HistoryRequest, limit: int | None) -> Iterator[OperationRecord]:
    """Yield operations that match, newest first; all of them where `limit` is None.

    Raises:
        MgmtError: What the service answers instead.
    """
    left = limit
    cursor: str | None = None
    while left is None or left > 0:
        size = HISTORY_LIMIT_MAX if left is None else min(left, HISTORY_LIMIT_MAX)
        page = api.history(replace(filters, limit=size, cursor=cursor))
        yield from page.records
        left = None if left is None else left - len(page.records)
        cursor = page.cursor
        if cursor is None:
            return


def find_upload(api: ServiceApi, id_or_name: str) -> UploadRecord:
    """Find one upload by its id, or the newest under a name (successful before failed).

    Raises:
        SourceError: If there is none.
        UsageError: If the name fits several keys; the sentence lists them.
    """
    record = _look_up(api, id_or_name) if _is_operation_id(id_or_name) else _find_by_name(api, id_or_name)
    if not isinstance(record, UploadRecord):
        raise SourceError(f"Nothing is recorded as {id_or_name!r}. `mgmt history` lists what is.", code="not-found")
    return record


def _look_up(api: ServiceApi, operation_id: str) -> OperationRecord | None:
    [result] = api.look_up([operation_id.lower()]).results
    if result.problem is not None and result.problem.code != "no-such-operation":
        raise error_of(result.problem)
    return result.record


def _find_by_name(api: ServiceApi, name: str) -> OperationRecord | None:
    newest: dict[str, UploadRecord] = {}
    for record in find_operations(api, HistoryRequest(name=name, operation_type="upload"), limit=None):
        if not isinstance(record, UploadRecord):
            continue
        best = newest.setdefault(record.s3_object_key, record)
        if best.status != "success" and record.status == "success":
            newest[record.s3_object_key] = record
    if len(newest) > 1:
        raise UsageError(
            f"{name!r} fits several keys; name one of them whole: {', '.join(sorted(newest))}", code="several-keys"
        )
    return next(iter(newest.values()), None)


def _is_operation_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
