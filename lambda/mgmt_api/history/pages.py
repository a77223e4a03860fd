"""The team's history: records by id, and pages of records, newest first."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime

from mgmt_api.calls.backends import Backends, ReadAhead
from mgmt_api.calls.items import answer_each
from mgmt_api.domain.answers import count_fitting
from mgmt_api.domain.checks import check_count, check_texts
from mgmt_api.domain.entities import Actor, HistoryPage, HistoryQuery, Name, Operation, Recorded
from mgmt_contract.messages.history import (
    HISTORY_LIMIT_MAX,
    HistoryRequest,
    HistoryResponse,
    LookUpRequest,
    RecordResult,
    RecordsResponse,
)
from mgmt_contract.names import base_name, fold_key, fold_person, trim_prefix
from mgmt_contract.problems import Problem, ProblemError
from mgmt_contract.values import Value
from mgmt_contract.wire import to_json

_ORDER = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z#[0-9a-f-]{36}")


class _Wanted(Value):
    """An id in a list of ids."""

    operation_id: str


def look_up(backends: Backends, request: LookUpRequest) -> RecordsResponse:
    """Return the records of anybody's operations.

    Raises:
        ProblemError: invalid-request, where the list is too long or empty.
    """
    check_count("operation_ids", len(request.operation_ids))
    ahead = ReadAhead(backends)
    ahead.read_operations(request.operation_ids)

    def answer(wanted: _Wanted) -> RecordResult:
        operation = ahead.operation(wanted.operation_id)
        if operation is None:
            raise ProblemError("no-such-operation", "No operation is recorded under this id.")
        return RecordResult(operation.id, "record", operation.record)

    return RecordsResponse(answer_each([_Wanted(id_) for id_ in request.operation_ids], answer, _refuse))


def _refuse(operation_id: str, problem: Problem) -> RecordResult:
    return RecordResult(operation_id, "problem", problem=problem)


def find_history(backends: Backends, actor: Actor, request: HistoryRequest) -> HistoryResponse:
    """Return a page of the team's operations, newest first.

    Raises:
        ProblemError: invalid-request, where a filter or the cursor is none.
    """
    check_texts(request)
    query = _make_query(backends.settings.root_prefix, actor, request)
    filters = _fingerprint(query)
    if request.cursor is not None:
        query = dataclasses.replace(query, after=_read_cursor(request.cursor, filters))
    page = _cut_page(backends.records.find_operations(query))
    return HistoryResponse(
        records=[operation.record for operation in page.operations],
        cursor=None if page.after is None else _make_cursor(page.after, filters),
        replaced=_find_replaced(backends, page.operations),
    )


def _cut_page(page: HistoryPage) -> HistoryPage:
    """Leave the records that make an answer too large to the next page."""
    count = count_fitting([operation.record for operation in page.operations])
    if count >= len(page.operations):
        return page
    return HistoryPage(page.operations[:count], page.operations[count - 1].order)


def _find_replaced(backends: Backends, operations: list[Recorded]) -> tuple[str, ...]:
    """Return the uploads whose object was replaced by a later one; one read for a whole page."""
    stored = [each for each in operations if isinstance(each, Operation) and each.record.status == "success"]
    names = backends.records.get_names({operation.record.s3_object_key for operation in stored}) if stored else {}
    return tuple(operation.id for operation in stored if _is_replaced(operation, names))


def _is_replaced(operation: Operation, names: Mapping[str, Name]) -> bool:
    name = names.get(fold_key(operation.record.s3_object_key))
    return name is not None and name.current is not None and name.current.operation_id != operation.id


def _make_query(root_prefix: str, actor: Actor, request: HistoryRequest) -> HistoryQuery:
    if not 1 <= request.limit <= HISTORY_LIMIT_MAX:
        raise ProblemError("invalid-request", f"limit is {request.limit}, expected 1 to {HISTORY_LIMIT_MAX}.")
    name = unicodedata.normalize("NFC", request.name or "")
    is_folder = name.endswith("/")
    return HistoryQuery(
        limit=request.limit,
        actor=fold_person(request.actor) if request.actor is not None else None,
        actor_id=actor.id if request.mine else None,
        status=request.status,
        operation_type=request.operation_type,
        base_name=base_name(name) if name and not is_folder else None,
        key=_whole_key(root_prefix, name) if "/" in name and not is_folder else None,
        folder=_with_root(root_prefix, f"{name.strip('/')}/") if is_folder else None,
        since=_read_moment("since", request.since),
        until=_read_moment("until", request.until),
    )


def _whole_key(root_prefix: str, name: str) -> str:
    """Complete a name with a slash to its key."""
    folder, slash, _ = name.strip("/").rpartition("/")
    return _with_root(root_prefix, f"{folder}{slash}{base_name(name)}")


def _with_root(root_prefix: str, key: str) -> str:
    """Put the service's root prefix before a key that a person names without it."""
    root = trim_prefix(root_prefix)
    return key if not root or key.startswith(f"{root}/") else f"{root}/{key}"


def _read_moment(field: str, moment: datetime | None) -> datetime | None:
    """Return a time in UTC if its year can be written: an offset can lead beyond the last year."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ProblemError("invalid-request", f"{field} has no time zone, expected one such as Z.")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ProblemError("invalid-request", f"{field} is not in the years 1 to 9999 in UTC.") from error


# --- cursors -------------------------------------------------------------------------------------------


def _fingerprint(query: HistoryQuery) -> str:
    """Hash the filters, so that a cursor is refused in another list; the page's length may change."""
    filters = to_json(dataclasses.replace(query, limit=0))
    return hashlib.sha256(filters.encode()).hexdigest()[:16]


def _make_cursor(after: str, filters: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([after, filters]).encode()).decode()


def _read_cursor(cursor: str, filters: str) -> str:
    try:
        after, made_for = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise _make_cursor_error() from error
    if made_for != filters or not isinstance(after, str) or _ORDER.fullmatch(after) is None:
        raise _make_cursor_error()
    return after


def _make_cursor_error() -> ProblemError:
    return ProblemError(
        "invalid-request", "cursor was not made by this service for these filters. Begin with the first page."
    )
