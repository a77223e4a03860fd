"""What an upload can come to beside a record of the service, and what a run came to."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import ClassVar

from mgmt.errors import MgmtError
from mgmt.events import Finished
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


@dataclass
class Summary:
    """What a command's uploads came to; counted from any thread."""

    succeeded: int = 0
    skipped: int = 0
    """Already there."""
    errors: list[MgmtError] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def count(self, event: Finished | None) -> None:
        """Count an upload by the event that tells its end; None for a success of which no more is known."""
        with self._lock:
            if event is not None and isinstance(event.record, AlreadyThere):
                self.skipped += 1
            elif event is not None and event.error is not None:
                self.errors.append(event.error)
            else:
                self.succeeded += 1
