"""What an upload can come to beside a record of the service."""

from __future__ import annotations

from typing import ClassVar

from mgmt_contract.values import Value


class AlreadyThere(Value):
    """The same content is stored under this name already; nothing was sent and nothing recorded."""

    status: ClassVar = "already there"
    operation_id: str
    target_path: str
    s3_object_key: str
    actor: str | None
    finished_at: str | None
    moved_to: str | None = None
    """The path to which an earlier run has moved the original, if it has."""
