"""The history use case: the team's operations, page by page; and one upload found by id or name."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from mgmt.api import ServiceApi, error_of
from mgmt.errors import SourceError, UsageError
from mgmt_contract.messages import HISTORY_LIMIT_MAX, HistoryRequest
from mgmt_contract.records import OperationRecord, UploadRecord
from mgmt_contract.values import Value


def read_name(text: str) -> str:
    """Read a name as a person types, completes or copies it: `DCIM/`, `./clip.mp4`, `s3://bucket/key`.

    Raises:
        UsageError: If nothing is left of it.
    """
    name = re.sub(r"^(s3://[^/]+/|(\./+)+)", "", text).rstrip("/")
    if not name:
        raise UsageError(f"{text!r} is no name; expected a source or archive name, or a whole key.", code="no-name")
    return name


class Found:
    """The operations that match, newest first; iterate once."""

    def __init__(self, api: ServiceApi, filters: HistoryRequest, limit: int | None) -> None:
        self._api = api
        self._filters = filters
        self._limit = limit
        self.count = 0
        """How many were given out so far."""
        self.is_cut = False
        """Set at the end, where the limit has cut the list and there may be more."""

    def __iter__(self) -> Iterator[OperationRecord]:
        """Yield operations, page by page.

        Raises:
            MgmtError: What the service answers instead.
        """
        cursor: str | None = None
        while self._limit is None or self.count < self._limit:
            size = HISTORY_LIMIT_MAX if self._limit is None else min(self._limit - self.count, HISTORY_LIMIT_MAX)
            page = self._api.history(replace(self._filters, limit=size, cursor=cursor))
            for record in page.records:
                self.count += 1
                yield record
            cursor = page.cursor
            if cursor is None:
                return
        self.is_cut = True


class Shown(Value):
    """One operation and, for an upload, what else was stored under its key."""

    record: OperationRecord
    earlier: list[UploadRecord]
    """The successful uploads before it, newest first."""
    replaced_by: UploadRecord | None
    """The newest successful upload after it."""


def find_upload(api: ServiceApi, id_or_name: str) -> Shown:
    """Find an operation of any type by its id, or the newest upload under a name (successful before failed).

    Raises:
        SourceError: If there is none.
        UsageError: If the name is empty, or fits several keys; the sentence lists them.
    """
    record = _look_up(api, id_or_name) if _is_operation_id(id_or_name) else _find_by_name(api, read_name(id_or_name))
    if record is None:
        raise SourceError(f"Nothing is recorded as {id_or_name}. `mgmt history` lists what is.", code="not-found")
    if not isinstance(record, UploadRecord):
        return Shown(record, [], None)
    others = [each for each in _stored_under(api, record.s3_object_key) if each.operation_id != record.operation_id]
    earlier = [each for each in others if _order(each) < _order(record)]
    later = [each for each in others if _order(each) > _order(record)]
    return Shown(record, earlier, later[0] if later and record.status == "success" else None)


def _order(record: OperationRecord) -> tuple[datetime, str]:
    return record.started_at, record.operation_id


def _stored_under(api: ServiceApi, key: str) -> list[UploadRecord]:
    """Return the successful uploads to a key, newest first."""
    if not key:
        return []
    filters = HistoryRequest(name=key, operation_type="upload", status="success")
    found = [each for each in Found(api, filters, limit=None) if isinstance(each, UploadRecord)]
    return [each for each in found if each.s3_object_key == key]


def _look_up(api: ServiceApi, operation_id: str) -> OperationRecord | None:
    [result] = api.look_up([operation_id.lower()]).results
    if result.problem is not None and result.problem.code != "no-such-operation":
        raise error_of(result.problem)
    return result.record


def _find_by_name(api: ServiceApi, name: str) -> OperationRecord | None:
    newest: dict[str, UploadRecord] = {}
    for record in Found(api, HistoryRequest(name=name, operation_type="upload"), limit=None):
        if not isinstance(record, UploadRecord):
            continue
        best = newest.setdefault(record.s3_object_key, record)
        if best.status != "success" and record.status == "success":
            newest[record.s3_object_key] = record
    if len(newest) > 1:
        raise UsageError(
            f"{name} fits {len(newest)} keys; name one of them whole: {', '.join(sorted(newest))}", code="several-keys"
        )
    return next(iter(newest.values()), None)


def _is_operation_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
