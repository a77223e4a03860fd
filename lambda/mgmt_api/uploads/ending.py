"""Ending uploads without success: the failure is recorded, and the parts are thrown away.

A person gives their own upload up from any machine, without its lease, with the error code `cancelled`. An admin may
end anybody's upload, without holding its lease: the record says which admin did.
"""

from __future__ import annotations

from mgmt_api.calls.backends import Backends, ReadAhead
from mgmt_api.calls.items import answer_each
from mgmt_api.domain.access import require_lease, require_reach
from mgmt_api.domain.checks import check_count, check_error_code, check_machine_id
from mgmt_api.domain.entities import Actor, Operation
from mgmt_api.uploads.recording import discard_parts
from mgmt_api.uploads.settlement import COMPLETING_RETRY_SECONDS, end_unfinished
from mgmt_contract.messages.history import RecordResult, RecordsResponse
from mgmt_contract.messages.uploads import FailItem, FailRequest
from mgmt_contract.problems import Problem, ProblemError
from mgmt_contract.records import CANCELLED
from mgmt_contract.texts import cut_text


def fail_uploads(backends: Backends, actor: Actor, request: FailRequest) -> RecordsResponse:
    """Record failures; an upload whose object is there is recorded as done instead.

    Raises:
        ProblemError: invalid-request, where the list is too long or empty.
    """
    check_count("items", len(request.items))
    check_machine_id(request.machine_id)
    ahead = ReadAhead(backends)
    operations = ahead.read_operations(item.operation_id for item in request.items)
    ahead.read_names(operation.record.s3_object_key for operation in operations)

    def answer(item: FailItem) -> RecordResult:
        check_error_code(item.error_code)
        stored = ahead.upload(item.operation_id)
        operation = require_reach(stored, item.operation_id, actor, "cancel", backends.settings)
        message = item.error_message
        if operation.record.actor_id != actor.id:
            message = cut_text(f"Cancelled by {actor.name}, an admin: {message}")
        elif item.error_code != CANCELLED and operation.phase not in ("done", "failed"):
            require_lease(operation, request.machine_id, item.lease_epoch)
        return RecordResult(operation.id, "record", _end(backends, ahead, operation, item.error_code, message).record)

    return RecordsResponse(answer_each(request.items, answer, _refuse))


def _refuse(operation_id: str, problem: Problem) -> RecordResult:
    return RecordResult(operation_id, "problem", problem=problem)


def _end(backends: Backends, ahead: ReadAhead, operation: Operation, error_code: str, error_message: str) -> Operation:
    if operation.phase == "done":
        return operation
    if operation.phase == "failed":
        discard_parts(backends, operation)
        return operation
    name = ahead.name(operation.record.s3_object_key)
    ended = end_unfinished(backends, operation, name, error_code, error_message)
    if ended.phase == "completing":
        raise ProblemError(
            "changed-meanwhile",
            f"Operation {operation.id} is being completed: its parts are being joined. Ask again until it is done, or "
            "can be given up.",
            retry_after_seconds=COMPLETING_RETRY_SECONDS,
        )
    return ended
