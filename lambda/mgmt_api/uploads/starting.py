"""Starting uploads: a name is reserved, the operation recorded, and the first URL signed.

The name is reserved before the operation is recorded, each by a conditional write. A client that is interrupted
in between starts again under the same id and continues. A reservation holds as long as its operation has not
ended and the lease has not run out; the operation says so itself, not the name.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from mgmt_api.calls.backends import Backends
from mgmt_api.calls.items import answer_each
from mgmt_api.domain.access import Caller
from mgmt_api.domain.checks import check_count
from mgmt_api.domain.description import describe_service
from mgmt_api.domain.entities import Actor, Name, Operation, PendingUpload
from mgmt_api.ports import StoredObject
from mgmt_api.uploads.clean_ups import apply_riding_clean_ups
from mgmt_api.uploads.drafts import draft_operation, is_whole_put
from mgmt_api.uploads.existing import describe_existing, refuse_replacement, tell_owner
from mgmt_api.uploads.multipart import open_multipart_upload
from mgmt_api.uploads.recording import discard_parts
from mgmt_api.uploads.replays import answer_ready, replay
from mgmt_api.uploads.reservations import AskedNames, check_request, refuse_twin
from mgmt_api.uploads.settlement import COMPLETING_RETRY_SECONDS, end_unfinished
from mgmt_contract.messages.uploads import Existing, StartItem, StartOutcome, StartRequest, StartResponse, StartResult
from mgmt_contract.problems import Problem, ProblemError, make_problem
from mgmt_contract.sameness import compare_content, explain_claimed

SUPERSEDED: Final = "superseded"
"""Error code of an upload whose name another upload took over."""


def start_uploads(backends: Backends, actor: Actor, request: StartRequest, run_id: str | None = None) -> StartResponse:
    """Begin uploads, or begin them again under the same ids.

    Raises:
        ProblemError: bucket-differs or invalid-request, before anything is recorded.
    """
    check_request(backends, request.machine_id, len(request.items), request.expected_bucket)
    check_count("clean_ups", len(request.clean_ups), at_least=0)
    apply_riding_clean_ups(backends, actor, request.clean_ups)
    desk = _Desk(backends, Caller(actor, request.machine_id, run_id), request.items)
    results = answer_each(request.items, desk.start, _refuse)
    return StartResponse(service=describe_service(backends.settings), results=results)


def _refuse(operation_id: str, problem: Problem) -> StartResult:
    return StartResult(operation_id, "problem", problem=problem)


class _Desk:
    """One start call: the caller, and the names of its items."""

    def __init__(self, backends: Backends, caller: Caller, items: list[StartItem]) -> None:
        self._backends = backends
        self._caller = caller
        self._asked = AskedNames(backends, caller, items)

    def start(self, item: StartItem) -> StartResult:
        """Start one upload."""
        key = self._asked.check(item)
        operation = self._asked.ahead.upload(item.operation_id)
        name = self._asked.ahead.name(key)
        if operation is not None:
            return replay(self._backends, self._caller, item, key, operation, name)
        name = self._clear_way(item, key, name)
        refuse_twin(self._backends, key, name)
        stored = self._look(item, key, name)
        if stored is None:
            return self._begin(item, key, name, None)
        existing = describe_existing(self._backends, name, stored, self._caller.actor.id)
        if existing.is_deleted:
            return self._begin(item, key, name, existing)
        answer = _answer_existing(item, existing) or self._refuse_replacement(item, existing)
        return answer or self._begin(item, key, name, existing)

    def _clear_way(self, item: StartItem, key: str, name: Name) -> Name:
        """Refuse a name under which somebody else is uploading; end an abandoned upload.

        Returns the name as it is stored after that.
        """
        claim = name.pending
        if claim is None or (claim.operation_id, claim.actor_id) == (
            item.operation_id,
            self._caller.actor.id,
        ):
            return name
        holder = self._asked.find_holder(claim, name.key)
        if holder is not None and holder.phase in ("done", "failed"):
            if holder.phase == "failed":
                discard_parts(self._backends, holder)  # the call that failed it may have been interrupted before this
            return name
        self._asked.refuse_reserved(claim, holder, key, name)
        return name if holder is None else self._supersede(holder, item, key, name)

    def _supersede(self, holder: Operation, item: StartItem, key: str, name: Name) -> Name:
        actor = self._caller.actor
        message = f"Operation {item.operation_id} of {actor.name} took the name over."
        if holder.record.actor_id == actor.id:
            message = f"{actor.name} began this upload anew, as operation {item.operation_id}."
        ended = end_unfinished(self._backends, holder, name, SUPERSEDED, message)
        if ended.phase == "completing":
            raise ProblemError(
                "changed-meanwhile",
                f"{name.key}, uploaded by {ended.record.actor}, is being completed. Ask again.",
                retry_after_seconds=COMPLETING_RETRY_SECONDS,
            )
        return self._asked.ahead.name(key)

    def _look(self, item: StartItem, key: str, name: Name) -> StoredObject | None:
        """Look for an object under the key; a new whole object needs no look, its PUT can only create."""
        if name.current is None and is_whole_put(item) and not item.replace:
            return None
        return self._backends.objects.head_object(key)

    def _refuse_replacement(self, item: StartItem, existing: Existing) -> StartResult | None:
        problem = refuse_replacement(self._backends, self._caller.actor, existing)
        return None if problem is None else _make_refusal(item, existing, problem)

    def _begin(self, item: StartItem, key: str, name: Name, replaced: Existing | None) -> StartResult:
        """Reserve the name, record the operation, open the multipart upload: in this order."""
        draft = draft_operation(self._backends, self._caller, item, key, replaced)
        claim = PendingUpload(
            operation_id=draft.id,
            machine_id=draft.machine_id,
            actor=draft.record.actor,
            actor_id=draft.record.actor_id,
            lease_expires_at=draft.lease_expires_at,
        )
        self._backends.records.put_name(dataclasses.replace(name, key=key, pending=claim))
        operation = self._backends.records.create_operation(draft)
        self._backends.metrics.count("UploadsStarted")
        if operation.phase == "reserved":
            operation = open_multipart_upload(self._backends, operation)
        return answer_ready(self._backends, operation)


def _answer_existing(item: StartItem, existing: Existing) -> StartResult | None:
    """Answer an upload whose name is taken; None where it may replace what is there."""
    key, content = existing.s3_object_key, item.content
    if content is None:
        return StartResult(item.operation_id, "name_taken", s3_object_key=key, existing=existing)
    sameness = compare_content(existing, content)
    if sameness == "same":
        return StartResult(item.operation_id, "already_there", s3_object_key=key, existing=existing)
    if item.replace:
        return None
    if sameness == "claimed":
        problem = make_problem("claimed-same", explain_claimed(existing, tell_owner(existing)))
        return _make_refusal(item, existing, problem, "claimed_same")
    problem = make_problem(
        "name-taken",
        f"Other content is stored under {key}, by {tell_owner(existing)}. "
        "Upload under another name with --as, or replace it with --replace.",
    )
    return _make_refusal(item, existing, problem)


def _make_refusal(
    item: StartItem, existing: Existing, problem: Problem, outcome: StartOutcome = "problem"
) -> StartResult:
    problem = dataclasses.replace(problem, operation_id=item.operation_id)
    key = existing.s3_object_key
    return StartResult(item.operation_id, outcome, s3_object_key=key, existing=existing, problem=problem)
