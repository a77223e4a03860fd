"""What deleting and undeleting share: the upload, its name, the right to it, and the answer when asked again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, cast

from mgmt_api.calls.backends import Backends, ReadAhead
from mgmt_api.calls.items import answer_each
from mgmt_api.domain.checks import check_count, check_operation_id, is_operation_id
from mgmt_api.domain.entities import Actor, Delete, Operation, Recorded, Undelete
from mgmt_api.domain.policy import may_act_on
from mgmt_contract.messages.removal import RemovalItem, RemovalRequest, RemovalResponse, RemovalResult
from mgmt_contract.problems import Problem, ProblemError
from mgmt_contract.records import STATUS_OF_PHASE, DeleteRecord, Phase, UndeleteRecord
from mgmt_contract.values import Value

Verb = Literal["delete", "undelete"]
Removal = Delete | Undelete

_ENTITIES: Final[Mapping[Verb, type[Removal]]] = {"delete": Delete, "undelete": Undelete}
_RECORDS: Final[Mapping[Verb, type[DeleteRecord | UndeleteRecord]]] = {
    "delete": DeleteRecord,
    "undelete": UndeleteRecord,
}


class Desk(Value):
    """One call: the caller, and the records read ahead."""

    verb: Verb
    backends: Backends
    actor: Actor
    run_id: str | None
    ahead: ReadAhead

    def find_upload(self, upload_id: str) -> Operation:
        """Return the upload that an item names.

        Raises:
            ProblemError: no-such-operation; not-stored, where it has stored nothing that could be deleted.
        """
        recorded = self.ahead.operation(upload_id)
        if not isinstance(recorded, Operation):
            shown = upload_id if is_operation_id(upload_id) else "this id"
            raise ProblemError("no-such-operation", f"No upload is recorded under {shown}.")
        if recorded.phase != "done":
            raise ProblemError("not-stored", _explain_unfinished(recorded))
        return recorded

    def require_right(self, item: RemovalItem, upload: Operation) -> None:
        """Refuse what belongs to somebody else, and record that it was tried.

        Raises:
            ProblemError: not-allowed.
        """
        record = upload.record
        if may_act_on(self.actor, self.verb, self.backends.settings, owner_id=record.actor_id):
            return
        sentence = (
            f"{record.s3_object_key} was uploaded by {record.actor}; only they or an admin may {self.verb} it. "
            "Ask one of them."
        )
        refused = self.draft(item, upload, "failed", error_code="not-allowed", error_message=sentence)
        self.backends.records.create_operation(refused)
        raise ProblemError("not-allowed", sentence)

    def draft(self, item: RemovalItem, upload: Operation, phase: Phase, **more: Any) -> Removal:
        """Draft the record of a deletion or an undeletion."""
        record, now = upload.record, self.backends.now()
        kind = _RECORDS[self.verb]
        return _ENTITIES[self.verb](
            kind(  # type: ignore[arg-type]  # the two tables have the same verbs
                operation_id=item.operation_id,
                operation_type=self.verb,
                target_path=record.s3_object_key,
                started_at=now,
                finished_at=now,
                status=STATUS_OF_PHASE[phase],
                phase=phase,
                result_path=record.s3_object_key if phase == "done" else None,
                upload_id=upload.id,
                s3_bucket=record.s3_bucket,
                s3_object_key=record.s3_object_key,
                version_id=record.version_id,
                size=upload.content.size if upload.content is not None else 0,
                actor=self.actor.name,
                actor_id=self.actor.id,
                run_id=self.run_id,
                **{"error_message": None, **more},
            )
        )

    def find_earlier(self, item: RemovalItem) -> Removal | None:
        """Return what was recorded under the item's id before; None where nothing was.

        Raises:
            ProblemError: What was answered then; operation-differs, where it was something else.
        """
        known = self.ahead.operation(item.operation_id)
        if known is None:
            return None
        if not self._is_same(known, item):
            raise ProblemError("operation-differs", f"Operation {known.id} is another one. Take a new id.")
        record = known.record
        if record.phase == "failed":
            raise ProblemError(record.error_code or "not-allowed", record.error_message or "It was refused before.")
        return cast("Removal", known)

    def _is_same(self, known: Recorded, item: RemovalItem) -> bool:
        if not isinstance(known, _ENTITIES[self.verb]):
            return False
        return (known.record.actor_id, known.record.upload_id) == (self.actor.id, item.upload_id)


def answer_removals(
    desk: Desk, request: RemovalRequest, answer: Callable[[RemovalItem], RemovalResult]
) -> RemovalResponse:
    """Answer every item of a list.

    Raises:
        ProblemError: invalid-request, where the list is too long or empty.
    """
    check_count("items", len(request.items))
    desk.ahead.read_operations(item.operation_id for item in request.items)
    uploads = desk.ahead.read_operations(item.upload_id for item in request.items)
    desk.ahead.read_names(upload.record.s3_object_key for upload in uploads)

    def check_and_answer(item: RemovalItem) -> RemovalResult:
        check_operation_id(item.operation_id)
        return answer(item)

    return RemovalResponse(answer_each(request.items, check_and_answer, _refuse))


def _refuse(operation_id: str, problem: Problem) -> RemovalResult:
    return RemovalResult(operation_id, "problem", problem=problem)


def _explain_unfinished(upload: Operation) -> str:
    key, record = upload.record.s3_object_key, upload.record
    if upload.phase == "failed":
        return f"The upload of {key} by {record.actor} has failed: it has stored nothing that could be deleted."
    return (
        f"The upload of {key} by {record.actor} has not ended: it has stored nothing yet that could be deleted. Wait "
        "until it has ended."
    )
