"""How an upload ends: the service looks at the storage, compares, and has recorded (`recording`) what is true.

Every step can be repeated from the start: the records are read first, the storage after them, and every
write names the revision that was read. A call that is interrupted, or loses a write, looks again.
"""

from __future__ import annotations

import dataclasses
import logging
from datetime import timedelta
from typing import Final

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.entities import Name, Operation
from mgmt_api.ports import (
    ContentRefusedError,
    NoSuchMultipartUploadError,
    OperationInProgressError,
    PreconditionFailedError,
    RecordsUnavailableError,
    StorageError,
    StorageUnavailableError,
    StoredObject,
    StoredPart,
)
from mgmt_api.uploads.conditions import find_condition
from mgmt_api.uploads.content import require_content
from mgmt_api.uploads.multipart import find_missing_parts, list_whole_parts, open_multipart_upload
from mgmt_api.uploads.recording import (
    fail_for_content,
    fail_for_name,
    is_as_promised,
    record_failure,
    record_outcome,
    record_success,
)
from mgmt_contract.parts import part_count
from mgmt_contract.records import Phase
from mgmt_contract.values import Value

logger = logging.getLogger(__name__)

COMPLETING_RETRY_SECONDS: Final = 3
ASKED_AGAIN_AFTER_SECONDS: Final = 30
"""So long a message to the worker is waited for, before another is sent: to a queue it costs nothing to get two."""
JOIN_MIN_SECONDS: Final = 5.0
"""A call with less time to spare leaves joining to the next one: S3 joins most objects within it."""


class Standing(Value):
    """How an operation stands after a look at the storage.

    Done, failed, completing (ask again), or carrying: with parts missing, with a refusal to join them, or only with
    no time left for that.
    """

    operation: Operation
    missing_parts: tuple[int, ...] = ()
    refusal: str | None = None
    """Why the storage has refused to join the parts, where that says nothing about them: a code, if it gave one."""

    @property
    def phase(self) -> Phase:
        """The operation's phase."""
        return self.operation.phase


def finish(backends: Backends, operation: Operation, name: Name) -> Standing:
    """Finish an upload of known content, as far as the storage lets.

    Args:
        backends: The stores.
        operation: In phase carrying or completing, with its content.
        name: Read before this call: a change since then makes the last write fail.

    Raises:
        ConflictError: If another call has changed the operation or the name.
        StorageUnavailableError: If the storage does not answer.
    """
    if operation.part_size is None:
        return _finish_whole(backends, operation, name)
    return _finish_multipart(backends, operation, name)


def end_unfinished(
    backends: Backends, operation: Operation, name: Name, error_code: str, error_message: str
) -> Operation:
    """End an abandoned upload: failed, unless its object turns out to be there.

    One that is completing is finished and never overwritten; it may come back completing still.

    Raises:
        ConflictError: If another call has changed the operation or the name.
    """
    if operation.phase == "completing":
        operation = finish(backends, operation, name).operation
        if operation.phase != "carrying":
            return operation
    elif operation.phase == "carrying" and operation.part_size is None:
        stored = backends.objects.head_object(operation.record.s3_object_key)
        if stored is not None and is_as_promised(operation, stored):
            return record_success(backends, operation, name, stored)
    return record_failure(backends, operation, name, error_code, error_message)


def _finish_whole(backends: Backends, operation: Operation, name: Name) -> Standing:
    stored = backends.objects.head_object(operation.record.s3_object_key)
    if _is_open(operation, stored):
        return Standing(_fall_back(backends, operation), missing_parts=(1,))
    return Standing(record_outcome(backends, operation, name, stored))


def _finish_multipart(backends: Backends, operation: Operation, name: Name) -> Standing:
    found = _look_at_join(backends, operation, name)
    if found is not None:
        return found
    try:
        parts = list_whole_parts(backends, operation)
    except NoSuchMultipartUploadError as refusal:
        return _look_again(backends, operation, name, refusal)
    missing = find_missing_parts(operation, parts)
    if missing:
        return Standing(_fall_back(backends, operation), missing)
    return _ask_to_join(backends, operation, name, parts)


def _look_at_join(backends: Backends, operation: Operation, name: Name) -> Standing | None:
    """Say how a join that was asked for stands; None where it has to be asked for, again or for the first time."""
    if operation.phase == "completing":
        stored = backends.objects.head_object(operation.record.s3_object_key)
        if stored is not None and stored.operation_id == operation.id:
            return Standing(record_outcome(backends, operation, name, stored))
        if _may_be_joining(backends, operation) or _is_handed_over(backends, operation):
            return Standing(operation)
    elif operation.refusal is not None and _is_handed_over(backends, operation):
        return Standing(operation, refusal=operation.refusal)
    return None


def _ask_to_join(backends: Backends, operation: Operation, name: Name, parts: list[StoredPart]) -> Standing:
    """Have the worker join the parts; without one, join them here if there is time."""
    if backends.worker is not None:
        operation = _hand_over(backends, operation)
        return Standing(operation, refusal=operation.refusal)
    if backends.spare_seconds() < JOIN_MIN_SECONDS:
        return Standing(operation)
    operation = _note_join(backends, operation)
    return _look_again(backends, operation, name, _join_parts(backends, operation, parts))


def _may_be_joining(backends: Backends, operation: Operation) -> bool:
    """Tell whether the storage may still be joining the parts: then it must not be asked again."""
    patience = timedelta(seconds=backends.settings.join_patience_seconds)
    return operation.join_asked_at is not None and backends.now() < operation.join_asked_at + patience


def _is_handed_over(backends: Backends, operation: Operation) -> bool:
    """Tell whether the worker was asked a moment ago, and need not be asked again."""
    handed_over_at = operation.handed_over_at
    return (
        backends.worker is not None
        and handed_over_at is not None
        and backends.now() < handed_over_at + timedelta(seconds=ASKED_AGAIN_AFTER_SECONDS)
    )


def _hand_over(backends: Backends, operation: Operation) -> Operation:
    """Have the worker join the parts. Recorded first: the worker must find it so.

    Returns the operation as it is after that; done, where the worker was so fast.
    """
    handed_over = dataclasses.replace(operation.advance("completing"), handed_over_at=backends.now())
    handed_over = backends.records.update_operation(handed_over)
    if not backends.ask_to_settle(operation.id):
        return handed_over
    settled = backends.records.get_operations([operation.id]).get(operation.id)
    return settled if isinstance(settled, Operation) else handed_over


def _note_join(backends: Backends, operation: Operation) -> Operation:
    """Note that the storage is about to be asked to join the parts; a call that loses this write does not ask."""
    noted = dataclasses.replace(operation.advance("completing"), join_asked_at=backends.now())
    try:
        return backends.records.update_operation(noted)
    except RecordsUnavailableError:
        # If the note was stored and the storage not asked, every call would wait for a join that never began.
        stored = backends.records.get_operations([operation.id]).get(operation.id)
        if not isinstance(stored, Operation) or stored != dataclasses.replace(noted, revision=stored.revision):
            raise
        return stored


def _note_answer(backends: Backends, operation: Operation) -> Operation:
    """Note that the storage has answered, and so has stopped joining parts."""
    if operation.join_asked_at is None and operation.phase == "completing":
        return operation
    answered = dataclasses.replace(operation.advance("completing"), join_asked_at=None)
    return backends.records.update_operation(answered)


def _join_parts(backends: Backends, operation: Operation, parts: list[StoredPart]) -> StorageError | None:
    content = require_content(operation)
    wanted = part_count(content.size, operation.part_size or 1)
    try:
        backends.objects.complete_multipart_upload(
            operation.record.s3_object_key,
            operation.multipart_upload_id or "",
            [part for part in parts if part.number <= wanted],
            size=content.size,
            crc64nvme=content.crc64nvme,
            condition=find_condition(backends, operation),
            within_seconds=min(backends.spare_seconds(), backends.settings.join_patience_seconds),
        )
    except StorageError as refusal:
        return refusal
    return None


def _look_again(backends: Backends, operation: Operation, name: Name, refusal: StorageError | None) -> Standing:
    """Judge a completion by the object under the key; the storage's answer counts only after that."""
    stored = backends.objects.head_object(operation.record.s3_object_key)
    if stored is not None and stored.operation_id == operation.id:
        return Standing(record_outcome(backends, operation, name, stored))
    if isinstance(refusal, OperationInProgressError):
        return Standing(operation)
    if isinstance(refusal, ContentRefusedError):
        finding = f"the storage refused to join the parts: {refusal}"
        return Standing(fail_for_content(backends, operation, name, finding))
    if isinstance(refusal, StorageUnavailableError):
        _note_answer(backends, operation)
        raise refusal
    return _weigh(backends, operation, name, stored, refusal)


def _weigh(
    backends: Backends, operation: Operation, name: Name, stored: StoredObject | None, refusal: StorageError | None
) -> Standing:
    """Judge an answer that says nothing about the bytes, with the operation's own object not there."""
    still_open = _is_open(operation, stored)
    if isinstance(refusal, NoSuchMultipartUploadError) and still_open:
        return _reopen(backends, operation)
    if isinstance(refusal, (NoSuchMultipartUploadError, PreconditionFailedError)) and not still_open:
        return Standing(fail_for_name(backends, operation, name, stored))
    if refusal is None or isinstance(refusal, PreconditionFailedError):
        # The joined object, or the one in the way, was removed at once: ask again.
        return Standing(_note_answer(backends, operation))
    # Refused for a reason that says nothing about the bytes: the parts stay. How often to ask again is bounded by
    # the client, and the upload can be ended.
    logger.warning("the storage refuses to join parts", extra={"operation_id": operation.id, "reason": str(refusal)})
    code = refusal.code or "no reason given"
    return Standing(_fall_back(backends, operation, refusal=code), refusal=code)


def _reopen(backends: Backends, operation: Operation) -> Standing:
    """Begin a new multipart upload in the place of one whose parts are gone."""
    reopened = open_multipart_upload(backends, operation)
    return Standing(reopened, find_missing_parts(reopened, []))


def _is_open(operation: Operation, stored: StoredObject | None) -> bool:
    """Tell whether the key still holds what it held when the operation began."""
    if stored is None:
        return operation.replaces_etag is None or operation.replaces_deleted
    return stored.operation_id != operation.id and stored.etag == operation.replaces_etag


def _fall_back(backends: Backends, operation: Operation, *, refusal: str | None = None) -> Operation:
    if operation.phase == "carrying":
        return operation
    return backends.records.update_operation(dataclasses.replace(operation.advance("carrying"), refusal=refusal))
