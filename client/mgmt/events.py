"""Events of a running command: plain values that a renderer turns into bars, lines or JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from mgmt.errors import MgmtError
from mgmt_contract.records import UploadRecord
from mgmt_contract.values import Value

Stage = Literal["packing", "uploading", "confirming"]


class Expected(Value):
    """All targets of a command, each with its size as far as one look at it shows."""

    sizes: Mapping[str, int | None]
    """Bytes of each target; None for a folder until its content was counted."""


class Sized(Value):
    """The size of a target that was unknown so far; 0 where it will not be sent."""

    target: str
    source_bytes: int


class Repeated(Value):
    """A target that is another one under another spelling: it is uploaded once."""

    target: str


class Begun(Value):
    """A target has become an upload: all of its content was looked at."""

    target: str
    operation_id: str
    source_bytes: int


class Progress(Value):
    """The progress of one stage of one operation."""

    operation_id: str
    target_path: str
    stage: Stage
    done_bytes: int
    total_bytes: int | None
    """None while the total is not known."""
    carried_over_bytes: int = 0
    """Bytes of `done_bytes` that an earlier run had sent; they do not count for the speed."""


class Renewed(Value):
    """An upload has started again: its operation was given up for another."""

    former_id: str
    operation_id: str


class Notice(Value):
    """A message for a person while the work goes on."""

    message: str
    code: str
    operation_id: str | None = None


class Waiting(Value):
    """The reason of a wait, such as a service that does not answer."""

    what: str


class Answered(Value):
    """An answer of the service: the wait for it is over."""


class Finished(Value):
    """One operation in its final state, with its error if it failed."""

    record: UploadRecord
    error: MgmtError | None = None
    moved_to: str | None = None
    """The original's path now, if it was moved."""


class AlreadyThere(Value):
    """The same content is stored under this name already; nothing was sent and nothing recorded."""

    operation_id: str
    target_path: str
    s3_object_key: str
    actor: str | None
    finished_at: str | None
    moved_to: str | None = None
    """The path to which an earlier run has moved the original, if it has."""


Event = Expected | Sized | Repeated | Begun | Progress | Renewed | Notice | Waiting | Answered | Finished | AlreadyThere
Emit = Callable[[Event], None]
"""May be called from any thread."""
