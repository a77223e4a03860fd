"""Decides what is safe: from facts alone, without disk or network.

A file is safe only if it was read again whole in this run, and an upload that still stands lists the same content under
the same path. Every doubt is a no.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from mgmt_contract.messages.objects import LookResult
from mgmt_contract.records import OperationRecord, UploadRecord

Loss = Literal["deleted", "failed", "pending", "gone", "altered", "replaced", "rewritten", "unproven", "unusable"]
Code = Loss | Literal["not-stored", "differs", "excluded", "unreadable", "changed", "special", "empty"]

LOSSES: Final[Mapping[Code, str]] = {
    "deleted": "which was deleted",
    "failed": "which has failed",
    "pending": "which is not finished",
    "gone": "whose object is gone from the bucket",
    "altered": "whose object does not have the recorded size and checksum any more",
    "replaced": "whose object lies under a later version or a delete marker",
    "rewritten": "whose record has changed meanwhile",
    "unproven": "whose object's checksum the storage does not state",
    "unusable": "whose archive cannot be read, or is not what was recorded",
}
"""Why an upload proves nothing, each as the end of a sentence about it."""

REASONS: Final[Mapping[Code, str]] = {
    "not-stored": "not stored",
    "differs": "stored with other content",
    "excluded": "left out by --exclude",
    "unreadable": "cannot be read",
    "changed": "not as it was",
    "special": "never stored",
    "empty": "no file is in it",
}
"""Why a file is not safe, where that is not the loss of an upload."""


class MemberFacts(NamedTuple):
    """The facts about one file, folder or link of the target."""

    problem: Code | None
    """Why it was not read, or did not stay as it was."""
    was_read: bool
    """Its content is known: it was read whole in this run."""
    same: Sequence[int]
    """The uploads that list the same content under its path, by number."""
    other: Sequence[int] = ()
    """The uploads that list other content there."""
    excluded: Sequence[int] = ()
    """The uploads that have left it out by --exclude."""


class Answer(NamedTuple):
    """The answer for one file, folder or link."""

    code: Code | None
    """None is safe; else why it is not."""
    upload: int | None = None
    """The upload that holds it, or that the reason is about."""


def judge_member(facts: MemberFacts, losses: Mapping[int, Loss | None]) -> Answer:
    """Decide on one member.

    Args:
        facts: What is known of it.
        losses: Of each upload why it proves nothing; None for those that stand.
    """
    if facts.problem is not None:
        return Answer(facts.problem)
    if not facts.was_read:
        return Answer("unreadable")
    lost: Answer | None = None
    for upload in facts.same:
        loss = losses[upload]
        if loss is None:
            return Answer(None, upload)
        lost = lost or Answer(loss, upload)
    if lost is not None:
        return lost
    others: Sequence[tuple[Code, Sequence[int]]] = (("differs", facts.other), ("excluded", facts.excluded))
    standing = [Answer(code, upload) for code, found in others for upload in found if losses[upload] is None]
    return standing[0] if standing else Answer("not-stored")


def find_loss(compared: UploadRecord, now: OperationRecord | None, look: LookResult) -> Loss | None:
    """Decide whether an upload stands: recorded as it was compared, and there, whole, as the storage states it now.

    Args:
        compared: Its record when its content was compared.
        now: Its record after that.
        look: What the storage states now.

    Returns:
        Why it proves nothing; None if it stands.
    """
    if not isinstance(now, UploadRecord):
        return "rewritten"
    if now.deleted_at is not None or look.deleted_at is not None:
        return "deleted"
    if now.status != "success":
        return "failed" if now.status == "failed" else "pending"
    if _proof_of(now) != _proof_of(compared) or look.operation_id != compared.operation_id:
        return "rewritten"
    if look.outcome == "gone":
        return "gone"
    return _find_loss_of_object(compared, look)


def _find_loss_of_object(compared: UploadRecord, look: LookResult) -> Loss | None:
    stored = look.stored
    if look.outcome == "differs":
        return "altered"
    if look.outcome != "there" or stored is None or stored.crc64nvme is None or stored.is_current is None:
        return "unproven"
    if (look.s3_object_key, look.version_id) != (compared.s3_object_key, compared.version_id):
        return "rewritten"
    if (stored.size, stored.crc64nvme) != (compared.object_size, compared.crc64nvme):
        return "altered"
    return None if stored.is_current else "replaced"


def _proof_of(record: UploadRecord) -> tuple[object, ...]:
    """Name the fields that say which bytes were stored, and where."""
    return (
        record.operation_id,
        record.s3_bucket,
        record.s3_object_key,
        record.version_id,
        record.object_size,
        record.crc64nvme,
        record.content_digest,
        record.codec,
    )
