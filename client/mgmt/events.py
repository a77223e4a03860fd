"""Events of a running command: plain values that a renderer turns into bars, lines or JSON.

A command works on targets. Each becomes a task with stages, such as an upload, and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mgmt.errors import MgmtError
from mgmt_contract.values import Value


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
    """A target has become a task: all of its content was looked at."""

    target: str
    operation_id: str
    source_bytes: int


class Progress(Value):
    """The progress of one stage of one task."""

    operation_id: str
    target_path: str
    stage: str
    done_bytes: int
    total_bytes: int | None
    """None while the total is not known."""
    carried_over_bytes: int = 0
    """Bytes of `done_bytes` that an earlier run had moved; they do not count for the speed."""


class Renewed(Value):
    """A task has started again: its operation was given up for another."""

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
    """A task in its final state, with its error if it failed."""

    record: Any
    """What came of it, for the view of its kind: a value with an `operation_id` (empty where the target never became
    a task), a `status`, a `target_path` and an `s3_object_key`."""
    error: MgmtError | None = None
    moved_to: str | None = None
    """The original's path now, if it was moved."""


Event = Expected | Sized | Repeated | Begun | Progress | Renewed | Notice | Waiting | Answered | Finished
Emit = Callable[[Event], None]
"""May be called from any thread."""
