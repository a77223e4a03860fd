"""Reads the service's answers: whole messages of the protocol, or an error that names the place.

This is the border: an answer that has passed it (and `grants`, for uploads) has every field that its outcome needs,
numbers that make sense, addresses that may be sent to, and one result per item, in order. An outcome of a newer service
passes as it is; code that does not know it leaves the operation alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from mgmt_contract import messages
from mgmt_contract.wire import MessageError, from_json

T = TypeVar("T")

REPLY_MAX_BYTES: Final = 7_000_000
"""Slightly more than Lambda answers at most: 6 MB ("Lambda quotas", AWS Lambda Developer Guide, read 2026-11)."""
_TEXT: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)'
"""Compiled only where it is needed, which is rare."""
_VALUES_MAX: Final = 200_000
"""Of one reply: a hundred records with all they can hold are a tenth of it. An empty list takes 30 times its text."""
_CURSOR_MAX_CHARACTERS: Final = 8000
"""Longer ones would not fit into an address that API Gateway takes."""

_NEEDS: Final[Mapping[type[Any], Mapping[str, tuple[str, ...]]]] = {
    messages.StartResult: {
        "put": ("lease", "request"),
        "multipart": ("lease", "multipart"),
        "already_there": ("existing",),
        "claimed_same": ("problem",),
        "name_taken": (),
        "done": ("record",),
        "problem": ("problem",),
    },
    messages.PreviewResult: {"free": (), "taken": ("existing",), "problem": ("problem",)},
    messages.SignResult: {"signed": ("lease",), "problem": ("problem",)},
    messages.CompleteResult: {
        "done": ("record",),
        "completing": (),
        "incomplete": ("missing_parts",),
        "problem": ("problem",),
    },
    messages.RecordResult: {"record": ("record",), "problem": ("problem",)},
}
"""The fields that each outcome needs. An outcome that is not here is a newer service's."""


def read_reply(kind: type[T], body: bytes) -> T:
    """Read a reply's text.

    Raises:
        MessageError: If it is no JSON, not the expected message, or made to fill the memory.
    """
    if _count(body, 0, len(body)) > _VALUES_MAX and _has_too_many_values(body):
        raise MessageError(f"{kind.__name__} holds more than {_VALUES_MAX} values")
    return from_json(kind, body)


def _count(body: bytes, begin: int, end: int) -> int:
    return sum(body.count(sign, begin, end) for sign in (b",", b"[", b"{"))


def _has_too_many_values(body: bytes) -> bool:
    """Count without the characters in texts: names may consist of commas."""
    count = end = 0
    for found in re.finditer(_TEXT, body, re.DOTALL):
        count += _count(body, end, found.start())
        end = found.end()
        if count > _VALUES_MAX:
            return True
    return count + _count(body, end, len(body)) > _VALUES_MAX


def is_known(result: Any) -> bool:
    """Tell whether this version knows a result's outcome."""
    return result.outcome in _NEEDS[type(result)]


def check_service(service: messages.Service) -> None:
    """Refuse limits that are too small for any upload."""
    for name in ("single_put_max_bytes", "part_count_max", "sign_parts_max", "items_max", "lease_seconds"):
        require(getattr(service, name) >= 1, f"service.{name} is 0")


def check_person(person: messages.Me) -> None:
    """Refuse a person without a name."""
    require(bool(person.id and person.name and person.role), "id, name or role is empty")


def check_page(page: messages.HistoryResponse) -> None:
    """Refuse a page that is too large, speaks of records that are not on it, or has a cursor that cannot be sent."""
    count = len(page.records)
    require(count <= messages.HISTORY_LIMIT_MAX, f"{count} records, expected {messages.HISTORY_LIMIT_MAX} at most")
    require(page.cursor is None or 0 < len(page.cursor) <= _CURSOR_MAX_CHARACTERS, "cursor is empty, or too long")
    ids = {record.operation_id for record in page.records}
    require(ids.issuperset(page.replaced), "replaced names what is not on the page")


def check_results(results: Sequence[Any], operation_ids: Iterable[str]) -> None:
    """Refuse anything but one result per item, in order, each with the fields that its outcome needs."""
    asked = list(operation_ids)
    require(len(results) == len(asked), f"{len(results)} results, where {len(asked)} were asked for")
    for place, (result, operation_id) in enumerate(zip(results, asked, strict=True)):
        where = f"results[{place}]"
        require(result.operation_id == operation_id, f"{where} is of another operation")
        _check_result(where, result)


def _check_result(where: str, result: Any) -> None:
    needs = _NEEDS[type(result)].get(result.outcome)
    if needs is None:
        return
    for name in needs:
        require(getattr(result, name) not in (None, []), f"{where}.{name} is missing, for {result.outcome}")
    require(("problem" in needs) == (result.problem is not None), f"{where} has a problem, and is {result.outcome}")
    record = getattr(result, "record", None)
    if record is not None:
        require(record.operation_id == result.operation_id, f"{where}.record is of another operation")


def require(right: bool, sentence: str) -> None:
    """Refuse a message that makes no sense.

    Raises:
        MessageError: With the sentence.
    """
    if not right:
        raise MessageError(sentence)
