"""How an upload ends, as it is shown: done or failed with its record, or there already."""

from __future__ import annotations

from mgmt.errors import MgmtError
from mgmt.events import Ended
from mgmt_contract.records import UploadRecord


class Finished(Ended):
    """One upload in its final state, with its error if it failed."""

    record: UploadRecord
    error: MgmtError | None = None
    moved_to: str | None = None
    """The original's path now, if it was moved."""

    @property
    def operation_id(self) -> str:
        """The upload's operation; empty where the target could not be uploaded."""
        return self.record.operation_id

    @property
    def status(self) -> str:
        """The record's status."""
        return self.record.status

    @property
    def target_path(self) -> str:
        """The target, as the record has it."""
        return self.record.target_path

    @property
    def s3_object_key(self) -> str:
        """The object's key."""
        return self.record.s3_object_key


class AlreadyThere(Ended):
    """The same content is stored under this name already; nothing was sent and nothing recorded."""

    operation_id: str
    target_path: str
    s3_object_key: str
    actor: str | None
    finished_at: str | None
    moved_to: str | None = None
    """The path to which an earlier run has moved the original, if it has."""

    @property
    def status(self) -> str:
        """The word for the log."""
        return "already there"

    @property
    def error(self) -> None:
        """None: this is no failure."""
