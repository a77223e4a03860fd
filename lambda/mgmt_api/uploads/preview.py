"""Previewing uploads: the result that starting them would have. Reads, and writes nothing."""

from __future__ import annotations

import dataclasses

from mgmt_api.calls.backends import Backends
from mgmt_api.calls.items import answer_each
from mgmt_api.domain.access import Caller
from mgmt_api.domain.description import describe_service
from mgmt_api.domain.entities import Actor
from mgmt_api.uploads.existing import describe_existing, refuse_replacement
from mgmt_api.uploads.reservations import AskedNames, check_request, refuse_twin
from mgmt_contract.messages.uploads import PreviewRequest, PreviewResponse, PreviewResult, StartItem
from mgmt_contract.problems import Problem
from mgmt_contract.sameness import compare_content


def preview_uploads(backends: Backends, actor: Actor, request: PreviewRequest) -> PreviewResponse:
    """Say of each upload whether its name is free, taken, or refused.

    An abandoned upload does not reserve its name: a start would end it.

    Raises:
        ProblemError: bucket-differs or invalid-request.
    """
    check_request(backends, request.machine_id, len(request.items), request.expected_bucket)
    asked = AskedNames(backends, Caller(actor, request.machine_id), request.items)

    def answer(item: StartItem) -> PreviewResult:
        return _preview(backends, actor, asked, item)

    results = answer_each(request.items, answer, _refuse)
    return PreviewResponse(service=describe_service(backends.settings), results=results)


def _refuse(operation_id: str, problem: Problem) -> PreviewResult:
    return PreviewResult(operation_id, "problem", problem=problem)


def _preview(backends: Backends, actor: Actor, asked: AskedNames, item: StartItem) -> PreviewResult:
    key = asked.check(item)
    name = asked.ahead.name(key)
    claim = name.pending
    if claim is not None:
        holder = asked.find_holder(claim, name.key)
        if holder is None or holder.phase not in ("done", "failed"):
            asked.refuse_reserved(claim, holder, key, name)
    refuse_twin(backends, key, name)
    stored = backends.objects.head_object(key)
    if stored is None:
        return PreviewResult(item.operation_id, "free", s3_object_key=key)
    existing = describe_existing(backends, name, stored, actor.id)
    if existing.is_deleted:
        return PreviewResult(item.operation_id, "free", s3_object_key=key)
    if item.replace and item.content is not None and compare_content(existing, item.content) != "same":
        problem = refuse_replacement(backends, actor, existing)
        if problem is not None:
            return _refuse(item.operation_id, dataclasses.replace(problem, operation_id=item.operation_id))
    return PreviewResult(item.operation_id, "taken", s3_object_key=key, existing=existing)
