"""Deleting uploads and bringing them back."""

from __future__ import annotations

from typing import Literal

from mgmt_contract.problems import Problem
from mgmt_contract.records import DeleteRecord, OperationRecord, UndeleteRecord, UploadRecord
from mgmt_contract.values import StrictValue, Value


class RemovalItem(StrictValue):
    """One upload to be deleted, or to be brought back."""

    operation_id: str
    """Minted by the client for this deletion or undeletion."""
    upload_id: str
    """The upload whose object it is about: the version that it stored, also where a later one replaced it."""


class RemovalRequest(StrictValue):
    """Delete uploads, or bring deleted ones back; nothing changes in the storage."""

    items: list[RemovalItem]


class NewerUpload(Value):
    """The upload that has, or is about to have, the name of one that was brought back."""

    operation_id: str
    actor: str
    is_pending: bool
    """It is under way: once it has succeeded, it has the name."""


class RemovalResult(Value):
    """How one deletion or undeletion stands.

    `done`: it is recorded. `already`: the upload was deleted before (`upload` says by whom and until when), or is not
    deleted; nothing was recorded. `problem`: refused.
    """

    operation_id: str
    outcome: Literal["done", "already", "problem"]
    record: DeleteRecord | UndeleteRecord | OperationRecord | None = None
    upload: UploadRecord | None = None
    """The upload's record as it is now."""
    newer: NewerUpload | None = None
    """Of one that was brought back: who has its name now. It is read by its id, as any version that was replaced."""
    problem: Problem | None = None


class RemovalResponse(Value):
    """Results in the order of the items."""

    results: list[RemovalResult]
