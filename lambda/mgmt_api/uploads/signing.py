"""Signing parts: each URL is good for exactly the bytes that were announced, and the lease is renewed."""

from __future__ import annotations

from dataclasses import replace

from mgmt_api.calls.backends import Backends, ReadAhead
from mgmt_api.calls.items import answer_each
from mgmt_api.domain.access import require_lease, require_reach
from mgmt_api.domain.checks import check_checksum, check_content, check_count, check_machine_id
from mgmt_api.domain.entities import Actor, Operation
from mgmt_api.domain.work import FINAL_DELAY_SECONDS
from mgmt_api.ports import ConflictError
from mgmt_api.uploads.content import add_content
from mgmt_api.uploads.index import add_index, sign_index
from mgmt_api.uploads.replays import make_failed_error
from mgmt_contract.messages.uploads import (
    Content,
    Lease,
    Part,
    SignedPart,
    SignItem,
    SignRequest,
    SignResponse,
    SignResult,
)
from mgmt_contract.parts import PART_COUNT_MAX, SIGN_PARTS_MAX, part_count, part_span
from mgmt_contract.problems import Problem, ProblemError


def sign_parts(backends: Backends, actor: Actor, request: SignRequest) -> SignResponse:
    """Sign the URLs of parts.

    Raises:
        ProblemError: invalid-request, where a list is too long or empty.
    """
    check_count("items", len(request.items))
    check_machine_id(request.machine_id)
    asked = sum(len(item.parts) for item in request.items)
    if asked > SIGN_PARTS_MAX:
        raise ProblemError("invalid-request", f"{asked} parts in one call, expected at most {SIGN_PARTS_MAX}.")
    ahead = ReadAhead(backends)
    ahead.read_operations(item.operation_id for item in request.items)

    def answer(item: SignItem) -> SignResult:
        stored = ahead.upload(item.operation_id)
        operation = require_reach(stored, item.operation_id, actor, "upload", backends.settings)
        require_lease(operation, request.machine_id, item.lease_epoch)
        return _sign(backends, operation, item)

    return SignResponse(answer_each(request.items, answer, _refuse))


def _refuse(operation_id: str, problem: Problem) -> SignResult:
    return SignResult(operation_id, "problem", problem=problem)


def _sign(backends: Backends, operation: Operation, item: SignItem) -> SignResult:
    """Store the parts, then renew the lease, then sign: no part is signed before it is recorded."""
    _require_carrying(operation)
    if item.final is not None:
        operation = _add_final(operation, item.final)
    if item.index is not None:
        operation = add_index(operation, item.index, has_final=item.final is not None)
    _check_parts(operation, item.parts)
    _remember(backends, operation, item.parts)
    operation = backends.records.update_operation(
        replace(operation.advance("carrying"), lease_expires_at=backends.lease_end())
    )
    if item.final is not None:  # nobody tells of a part that arrives
        backends.ask_to_settle(operation.id, delay_seconds=FINAL_DELAY_SECONDS)
    lease = Lease(operation.lease_epoch, backends.settings.lease_seconds)
    parts = [_sign_part(backends, operation, part) for part in item.parts]
    index_request = sign_index(backends, operation) if item.index is not None else None
    return SignResult(operation.id, "signed", lease=lease, parts=parts, index_request=index_request)


def _require_carrying(operation: Operation) -> None:
    if operation.phase == "failed":
        raise make_failed_error(operation)
    if operation.phase == "completing":
        raise ProblemError(
            "changed-meanwhile",
            f"Operation {operation.id} is being completed. Ask for its completion again.",
            retry_after_seconds=1,
        )
    if operation.phase != "carrying" or operation.multipart_upload_id is None:
        raise ProblemError(
            "invalid-request",
            f"Operation {operation.id} takes no parts now. Start it again to learn what to send.",
        )


def _add_final(operation: Operation, final: Content) -> Operation:
    check_content(final)
    if operation.content not in (None, final):
        raise ProblemError(
            "operation-differs",
            f"Operation {operation.id} was said to have other content before. Start it under a new id.",
        )
    return add_content(operation, final)


def _check_parts(operation: Operation, parts: list[Part]) -> None:
    if len({part.number for part in parts}) != len(parts):
        raise ProblemError("invalid-request", "A part is named twice.")
    for part in parts:
        check_checksum(f"crc64nvme of part {part.number}", part.crc64nvme)
        expected = _expected_length(operation, part.number)
        if part.length != expected:
            raise ProblemError(
                "invalid-request",
                f"Part {part.number} has {part.length} bytes, expected {expected}; only the last part is "
                "shorter, and it comes with or after `final`.",
            )


def _expected_length(operation: Operation, number: int) -> int:
    part_size = operation.part_size or 0
    bound = operation.content.size if operation.content is not None else operation.upper_bound or 0
    last = min(part_count(bound, part_size), PART_COUNT_MAX)
    if not 1 <= number <= last:
        raise ProblemError("invalid-request", f"There is no part {number}, expected 1 to {last}.")
    return part_size if operation.content is None else part_span(number, bound, part_size).length


def _remember(backends: Backends, operation: Operation, parts: list[Part]) -> None:
    if not parts:
        return
    try:
        backends.records.add_signed_parts(operation.id, parts)
    except ConflictError as error:
        raise ProblemError(
            "part-differs",
            f"A part of operation {operation.id} was signed for other bytes before: {error}. The source has "
            "changed since; give this upload up and start it under a new id.",
        ) from error


def _sign_part(backends: Backends, operation: Operation, part: Part) -> SignedPart:
    request = backends.objects.presign_part(
        operation.record.s3_object_key,
        operation.multipart_upload_id or "",
        part,
        expires_in_seconds=backends.settings.url_life_seconds,
    )
    return SignedPart(part.number, request)
