"""Clean-up reports of the client: what became of the local files of a successful upload."""

from __future__ import annotations

import dataclasses
import logging
from typing import Final

from mgmt_api.calls.backends import Backends, ReadAhead
from mgmt_api.calls.items import answer_each
from mgmt_api.domain.access import require_reach
from mgmt_api.domain.checks import check_count
from mgmt_api.domain.entities import Actor, Operation
from mgmt_contract.messages.history import RecordResult, RecordsResponse
from mgmt_contract.messages.uploads import CleanUp, CleanUpRequest
from mgmt_contract.problems import PROBLEMS, Problem, ProblemError

logger = logging.getLogger(__name__)
_RECORDED_LATER: Final = {code for code, kind in PROBLEMS.items() if kind.retryable} - {"internal-error"} | {
    "storage-full"
}
"""Problems that pass, by themselves or when somebody has made room."""


def clean_up(backends: Backends, actor: Actor, request: CleanUpRequest) -> RecordsResponse:
    """Record what became of local files.

    Raises:
        ProblemError: invalid-request, where the list is too short or too long.
    """
    check_count("items", len(request.items))
    return RecordsResponse(_record_each(backends, actor, request.items))


def apply_riding_clean_ups(backends: Backends, actor: Actor, items: list[CleanUp]) -> None:
    """Record reports that ride on another call, before it does anything else.

    Reports that can never be recorded are only logged, and so are faults of the service itself: they may last for ever,
    and would keep this person from uploading anything. For reports that may be recorded later, the whole call is
    refused and has to be made again: the client takes an answered call's reports for recorded.

    Raises:
        ProblemError: The first problem that may not occur when the call is made again.
    """
    for result in _record_each(backends, actor, items):
        if result.problem is not None:
            problem = result.problem
            if problem.code in _RECORDED_LATER:
                raise ProblemError(problem.code, problem.detail, retry_after_seconds=problem.retry_after_seconds)
            logger.warning(
                "a clean-up was not recorded",
                extra={"operation_id": result.operation_id, "code": problem.code},
            )


def _record_each(backends: Backends, actor: Actor, items: list[CleanUp]) -> list[RecordResult]:
    ahead = ReadAhead(backends)
    ahead.read_operations(item.operation_id for item in items)

    def answer(item: CleanUp) -> RecordResult:
        stored = ahead.upload(item.operation_id)
        operation = require_reach(stored, item.operation_id, actor, "upload", backends.settings)
        return RecordResult(operation.id, "record", _record(backends, operation, item).record)

    return answer_each(items, answer, _refuse)


def _refuse(operation_id: str, problem: Problem) -> RecordResult:
    return RecordResult(operation_id, "problem", problem=problem)


def _record(backends: Backends, operation: Operation, item: CleanUp) -> Operation:
    record = operation.record
    if operation.phase != "done" or not record.source_file_record or not record.compressed_file_record:
        raise ProblemError(
            "invalid-request",
            f"Operation {operation.id} is {record.status}; only files of a successful upload are cleaned up.",
        )
    reported = operation.advance(
        "done",
        source_file_record=dataclasses.replace(record.source_file_record, status=item.source_status),
        compressed_file_record=dataclasses.replace(record.compressed_file_record, status=item.archive_status),
    )
    return operation if reported == operation else backends.records.update_operation(reported)
