"""What happens while a command works: plain values that a renderer turns into bars, lines or JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from mgmt.errors import MgmtError
from mgmt_contract.records import UploadRecord
from mgmt_contract.values import Value

Stage = Literal["packing", "uploading", "confirming"]


class Expected(Value):
    """Everything that a command is to upload: how large each target is, as far as one look at it tells."""

    sizes: Mapping[str, int | None]
    """Bytes of each target; None for a folder as long as nobody has counted what is in it."""


class Sized(Value):
    """How large a target is that was not known so far; nothing, where nothing of it will be sent."""

    target: str
    source_bytes: int


class Repeated(Value):
    """A target that is another one under another spelling: it is uploaded once."""

    target: str


class Begun(Value):
    """A target has become an upload: all that is in it was looked at."""

    target: str
    operation_id: str
    source_bytes: int


class Progress(Value):
    """How far one stage of one operation has come."""

    operation_id: str
    target_path: str
    stage: Stage
    done_bytes: int
    total_bytes: int | None
    """None while the total is not known."""
    carried_over_bytes: int = 0
    """Of `done_bytes`: what an earlier run had sent, so that speed is counted without it."""


class Renewed(Value):
    """An upload was begun anew: the operation it had was given up for another."""

    former_id: str
    operation_id: str


class Notice(Value):
    """Something a person should know though the work goes on."""

    message: str
    code: str
    operation_id: str | None = None


class Waiting(Value):
    """What takes a while without anything moving, such as a service that does not answer."""

    what: str


class Trace(Value):
    """A detail for `--verbose`: a call, a retry; never with a secret in it."""

    message: str


class Finished(Value):
    """One operation in its final state, with what went wrong if it failed."""

    record: UploadRecord
    error: MgmtError | None = None
    moved_to: str | None = None
    """Where the original lies now, if it was moved."""


class AlreadyThere(Value):
    """The same content is stored under this name already; nothing was sent and nothing recorded."""

    operation_id: str
    target_path: str
    s3_object_key: str
    actor: str | None
    finished_at: str | None
    moved_to: str | None = None
    """Where an earlier run has moved the original, if that is why it is not here any more."""


Event = Expected | Sized | Repeated | Begun | Progress | Renewed | Notice | Waiting | Trace | Finished | AlreadyThere
Emit = Callable[[Event], None]
"""May be called from any thread."""
