"""Starting an operation that is recorded already: the same request gets the same outcome, with fresh URLs."""

from __future__ import annotations

from dataclasses import replace

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.access import Caller, require_reach
from mgmt_api.domain.entities import Name, Operation
from mgmt_api.ports import NoSuchMultipartUploadError
from mgmt_api.uploads.conditions import find_condition
from mgmt_api.uploads.drafts import is_same_request
from mgmt_api.uploads.multipart import (
    find_whole_parts,
    make_new_object,
    open_multipart_upload,
)
from mgmt_api.uploads.recording import discard_parts
from mgmt_api.uploads.settlement import COMPLETING_RETRY_SECONDS, finish
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import Lease, Multipart, StartItem, StartResult
from mgmt_contract.parts import part_count
from mgmt_contract.problems import ProblemError


def replay(
    backends: Backends, caller: Caller, item: StartItem, key: str, operation: Operation, name: Name
) -> StartResult:
    """Answer a start request whose operation exists.

    The machine that holds the lease continues at once; another one of the same person after it has run out.

    Raises:
        ProblemError: not-allowed, operation-differs, operation-failed or name-reserved.
    """
    operation = require_reach(operation, item.operation_id, caller.actor, "upload", backends.settings)
    if not is_same_request(operation, item, key):
        raise ProblemError(
            "operation-differs",
            f"Operation {operation.id} was started with another request. Start the upload under a new id.",
        )
    elsewhere = operation.machine_id != caller.machine_id
    if elsewhere and operation.phase not in ("done", "failed"):
        _refuse_living_lease(backends, operation)
    if operation.phase == "completing":
        operation = finish(backends, operation, name).operation
    if operation.phase in ("done", "failed"):
        return _answer_ended(backends, operation)
    if operation.phase == "completing":
        return _answer_completing(backends, operation, elsewhere=elsewhere)
    return _take_over(backends, caller, operation) if elsewhere else _carry_on(backends, operation)


def answer_ready(backends: Backends, operation: Operation, received_parts: tuple[int, ...] = ()) -> StartResult:
    """Tell the client how to send an operation's bytes."""
    lease = Lease(operation.lease_epoch, backends.settings.lease_seconds)
    key = operation.record.s3_object_key
    if operation.part_size is None:
        request = _sign_put(backends, operation)
        return StartResult(operation.id, "put", s3_object_key=key, lease=lease, request=request)
    multipart = Multipart(operation.part_size, received_parts)
    return StartResult(operation.id, "multipart", s3_object_key=key, lease=lease, multipart=multipart)


def make_failed_error(operation: Operation) -> ProblemError:
    """Say that an operation has failed before, with the reason."""
    record = operation.record
    reason = (record.error_message or "").rstrip(". ")  # a client's message may lack the full stop
    return ProblemError(
        "operation-failed",
        f"Operation {operation.id} has failed ({record.error_code}): {reason}. Start the upload under a new id.",
    )


def _sign_put(backends: Backends, operation: Operation) -> SignedRequest:
    content = operation.content
    if content is None:
        raise ValueError(f"{operation.id} is sent whole without known content")
    return backends.objects.presign_put(
        make_new_object(operation),
        size=content.size,
        crc64nvme=content.crc64nvme,
        content_md5=operation.content_md5,
        condition=find_condition(backends, operation),
        expires_in_seconds=backends.settings.url_life_seconds,
    )


def _refuse_living_lease(backends: Backends, operation: Operation) -> None:
    left_seconds = int((operation.lease_expires_at - backends.now()).total_seconds())
    if left_seconds > 0:
        raise ProblemError(
            "name-reserved",
            f"{operation.record.actor} is uploading {operation.record.s3_object_key} on another machine. "
            f"It can go on here when nothing was heard from there for {left_seconds} more seconds.",
            retry_after_seconds=left_seconds,
        )


def _answer_ended(backends: Backends, operation: Operation) -> StartResult:
    if operation.phase == "failed":
        discard_parts(backends, operation)
        raise make_failed_error(operation)
    record = operation.record
    return StartResult(operation.id, "done", s3_object_key=record.s3_object_key, record=record)


def _answer_completing(backends: Backends, operation: Operation, *, elsewhere: bool) -> StartResult:
    """Answer while the storage joins the parts: nothing is left to send, only to ask for completion."""
    if elsewhere or operation.content is None or operation.part_size is None:
        raise ProblemError(
            "changed-meanwhile",
            f"{operation.record.s3_object_key} is being completed. Ask again.",
            retry_after_seconds=COMPLETING_RETRY_SECONDS,
        )
    count = part_count(operation.content.size, operation.part_size)
    return answer_ready(backends, operation, tuple(range(1, count + 1)))


def _carry_on(backends: Backends, operation: Operation) -> StartResult:
    """Renew the lease; what the storage has of the parts need not be sent again."""
    renewed = replace(operation, lease_expires_at=backends.lease_end())
    if operation.phase == "reserved":
        return answer_ready(backends, open_multipart_upload(backends, renewed))
    if operation.part_size is None or operation.multipart_upload_id is None:
        return answer_ready(backends, backends.records.update_operation(renewed))
    try:
        stored = backends.objects.list_parts(operation.record.s3_object_key, operation.multipart_upload_id)
    except NoSuchMultipartUploadError:
        return answer_ready(backends, open_multipart_upload(backends, renewed))
    signed = backends.records.get_signed_parts(operation.id)
    received = tuple(part.number for part in find_whole_parts(stored, signed))
    return answer_ready(backends, backends.records.update_operation(renewed), received)


def _take_over(backends: Backends, caller: Caller, operation: Operation) -> StartResult:
    """Carry an operation on from another machine, with the parts that are there.

    URLs of the old holder stay valid, and its bytes cannot mix with others: a part is only ever signed for one length
    and checksum, so a new holder whose parts come out otherwise has to start the upload anew.
    """
    taken = replace(operation, lease_epoch=operation.lease_epoch + 1, machine_id=caller.machine_id)
    return _carry_on(backends, taken)
