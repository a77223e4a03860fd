"""Looking at stored objects: what the storage states now, compared with the records; nothing is written."""

from __future__ import annotations

from mgmt_api.calls.backends import Backends, ReadAhead
from mgmt_api.calls.items import answer_each
from mgmt_api.calls.versions import look_at, look_at_index, require_stored, sign_index
from mgmt_api.domain.checks import check_count
from mgmt_contract.messages.objects import LookRequest, LookResponse, LookResult
from mgmt_contract.problems import Problem
from mgmt_contract.values import Value


class _Wanted(Value):
    """An upload's id in the list."""

    operation_id: str


def look_at_objects(backends: Backends, request: LookRequest) -> LookResponse:
    """Have the storage state the versions that uploads have stored, anybody's.

    Raises:
        ProblemError: invalid-request, where the list is too long or empty.
    """
    check_count("upload_ids", len(request.upload_ids))
    ahead = ReadAhead(backends)
    ahead.read_operations(request.upload_ids)

    def answer(wanted: _Wanted) -> LookResult:
        upload = require_stored(ahead.operation(wanted.operation_id), wanted.operation_id)
        version = look_at(backends, upload, and_at_current=True)
        index = look_at_index(backends, upload)
        is_signed = request.signs_indexes and index is not None and index.is_readable
        return LookResult(
            upload.id,
            version.standing,
            s3_object_key=upload.record.s3_object_key,
            version_id=upload.record.version_id,
            stored=version.describe(),
            index=index.standing if index is not None else None,
            index_request=sign_index(backends, upload) if is_signed else None,
            deleted_at=upload.record.deleted_at,
            recoverable_until=upload.record.recoverable_until,
            problem=version.make_problem(upload.id),
        )

    return LookResponse(answer_each([_Wanted(id_) for id_ in request.upload_ids], answer, _refuse))


def _refuse(operation_id: str, problem: Problem) -> LookResult:
    return LookResult(operation_id, "problem", problem=problem)
