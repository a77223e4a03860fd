"""Completing uploads: the stored object is compared with the client's size and checksum."""

from __future__ import annotations

from typing import Final

from mgmt_api.calls.backends import Backends, ReadAhead
from mgmt_api.calls.items import answer_each
from mgmt_api.domain.access import require_lease, require_reach
from mgmt_api.domain.checks import check_content, check_count, check_machine_id
from mgmt_api.domain.entities import Actor, Operation
from mgmt_api.uploads.clean_ups import apply_riding_clean_ups
from mgmt_api.uploads.content import add_content
from mgmt_api.uploads.recording import discard_parts
from mgmt_api.uploads.settlement import COMPLETING_RETRY_SECONDS, Standing, finish
from mgmt_contract.messages.uploads import CompleteItem, CompleteRequest, CompleteResponse, CompleteResult, Content
from mgmt_contract.problems import Problem, ProblemError, make_problem

_PAUSES: Final = ((30, 5), (10, COMPLETING_RETRY_SECONDS), (2, 1), (float("-inf"), 0))
"""Seconds that the worker has had, and seconds until the client asks again: most joins take moments."""
_SERVICE_CODES: Final = frozenset({"name-taken", "content-differs"})
"""Codes of failures that are problems of the protocol as well; any other is answered as operation-failed."""


def complete_uploads(backends: Backends, actor: Actor, request: CompleteRequest) -> CompleteResponse:
    """Look at the storage, compare, and record; may be asked again at any time.

    Raises:
        ProblemError: invalid-request, where a list is too long or empty.
    """
    check_count("items", len(request.items))
    check_count("clean_ups", len(request.clean_ups), at_least=0)
    check_machine_id(request.machine_id)
    apply_riding_clean_ups(backends, actor, request.clean_ups)
    desk = _Desk(backends, actor, request)
    return CompleteResponse(answer_each(request.items, desk.complete, _refuse))


def _refuse(operation_id: str, problem: Problem) -> CompleteResult:
    return CompleteResult(operation_id, "problem", problem=problem)


class _Desk:
    """One complete call: the caller, and the records read ahead."""

    def __init__(self, backends: Backends, actor: Actor, request: CompleteRequest) -> None:
        self._backends = backends
        self._actor = actor
        self._machine_id = request.machine_id
        self._ahead = ReadAhead(backends)
        operations = self._ahead.read_operations(item.operation_id for item in request.items)
        self._ahead.read_names(operation.record.s3_object_key for operation in operations)

    def complete(self, item: CompleteItem) -> CompleteResult:
        """Complete one upload."""
        if self._backends.spare_seconds() <= 0:
            return CompleteResult(item.operation_id, "completing", retry_after_seconds=0)
        check_content(item.content)
        stored = self._ahead.upload(item.operation_id)
        operation = require_reach(stored, item.operation_id, self._actor, "upload", self._backends.settings)
        if operation.phase == "failed":
            return _answer_failed(self._backends, operation)
        if operation.content is not None:
            _require_same(operation.content, item.content)
        if operation.phase == "done":
            return _answer(self._backends, Standing(operation))
        require_lease(operation, self._machine_id, item.lease_epoch)
        operation = _prepare(operation, item.content)
        name = self._ahead.name(operation.record.s3_object_key)
        return _answer(self._backends, finish(self._backends, operation, name))


def _require_same(recorded: Content, asked: Content) -> None:
    if recorded != asked:
        raise ProblemError(
            "content-differs",
            f"The client asks for {asked.size} bytes, checksum {asked.crc64nvme}; the operation is for "
            f"{recorded.size} bytes, checksum {recorded.crc64nvme}. Upload it under a new id.",
        )


def _prepare(operation: Operation, content: Content) -> Operation:
    if operation.phase == "reserved":
        raise ProblemError(
            "invalid-request",
            f"Operation {operation.id} was not started to the end. Start it again to learn what to send.",
        )
    return add_content(operation, content) if operation.content is None else operation


def _answer(backends: Backends, standing: Standing) -> CompleteResult:
    operation = standing.operation
    if standing.phase == "done":
        return CompleteResult(operation.id, "done", record=operation.record)
    if standing.phase == "failed":
        return _make_failed(operation)
    if standing.phase == "completing":
        return CompleteResult(operation.id, "completing", retry_after_seconds=_ask_again_in(backends, operation))
    if standing.refusal is not None:
        raise ProblemError(
            "storage-unavailable",
            f"The storage does not join the parts ({standing.refusal}). All of them are kept. Ask again; tell the "
            "admin if it stays so.",
            retry_after_seconds=COMPLETING_RETRY_SECONDS,
        )
    if not standing.missing_parts:  # the join did not fit into this call
        return CompleteResult(operation.id, "completing", retry_after_seconds=0)
    return CompleteResult(operation.id, "incomplete", missing_parts=list(standing.missing_parts))


def _ask_again_in(backends: Backends, operation: Operation) -> int:
    """Say when to ask again: at once while the worker begins, later the longer it takes."""
    if operation.handed_over_at is None:
        return COMPLETING_RETRY_SECONDS
    waited_seconds = (backends.now() - operation.handed_over_at).total_seconds()
    return next(pause for since, pause in _PAUSES if waited_seconds >= since)


def _answer_failed(backends: Backends, operation: Operation) -> CompleteResult:
    discard_parts(backends, operation)
    return _make_failed(operation)


def _make_failed(operation: Operation) -> CompleteResult:
    """Answer a failed operation the same way every time: with the service's own reason where it had one."""
    record = operation.record
    code = record.error_code if record.error_code in _SERVICE_CODES else "operation-failed"
    detail = record.error_message or "The upload has failed."
    problem = make_problem(code, detail, operation_id=operation.id)
    return CompleteResult(operation.id, "problem", record=record, problem=problem)
