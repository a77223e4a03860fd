"""What the journal keeps: uploads that were begun, orders of commands, originals that were moved."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Set as AbstractSet
from typing import Any, Final, Literal

from mgmt_contract.messages.uploads import Content, Existing
from mgmt_contract.values import Value
from mgmt_contract.wire import from_json, to_json

EndedAs = Literal["failed", "kept", "left"]
"""Of an operation that has ended only the archive is still ours: it may be used again after a failure; it was kept by
request; or it was left because it could not be deleted."""


class Entry(Value):
    """One upload that was begun here, kept as long as its operation or its archive is ours."""

    operation_id: str
    service: str
    """The session's name of the operation's service: its address, or the embedded backend."""
    source_path: str
    destination: str
    """Prefix and name, as far as the client decides them."""
    archive_path: str
    fingerprint: str
    """Shows whether the source has changed since the upload began."""
    plan: str
    archive_size: int | None = None
    archive_mtime_ns: int | None = None
    """The archive's modification time; without a size, the one that it will get once it is whole."""
    ended_as: EndedAs | None = None
    content: Content | None = None
    """The packed archive's content; None until it is whole."""
    completed_path: str | None = None
    """Where the original will be moved: the upload has succeeded, and the move was promised.

    Such an upload is not over, also where `ended_as` tells of its archive."""
    excludes: tuple[str, ...] = ()
    """The globs that were left out of the source: by the same members it is recognised in another place."""


class Order(Value):
    """A source that a command was told to upload, kept until that has come to an end: `mgmt resume` knows it by this.

    It is written down before the source is looked at, so it also tells of what a run that was stopped had not begun.
    """

    service: str
    source_path: str
    destination: str
    options: str
    """How it was to be uploaded: JSON, written and read by the upload alone."""
    run_id: str
    """The run of that command: held as long as it lasts."""


class DownloadOrder(Value):
    """What a command was told to download, kept until that has come to an end; the counterpart of `Order`."""

    service: str
    folder: str
    """Where it is to be put."""
    name: str
    """As the user named the upload."""
    options: str
    """How it was to be downloaded: JSON, written and read by the download alone."""
    run_id: str
    """The run of that command: held as long as it lasts."""
    upload_id: str | None = None
    """The upload that the name was found to mean; None until it was looked for."""
    given_seconds: float | None = None
    """When its command said so, in seconds since 1970; None for one that says it now."""


class Moved(Value):
    """An original that was uploaded and moved away: the same command may name it again."""

    operation_id: str
    service: str
    source_path: str
    """Its path before the move."""
    destination: str
    completed_path: str
    object: Existing | None = None
    """The stored object; None where the service was not asked."""


def new_operation_id() -> str:
    """Mint a UUID of version 7: sortable by time, unique without a common counter (RFC 9562, section 5.7)."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def name_of_run(run_id: str) -> str:
    """Name what a run holds as long as its orders are its own."""
    return f"run {run_id}"


COLUMNS: Final = (
    "operation_id",
    "service",
    "source_path",
    "destination",
    "archive_path",
    "fingerprint",
    "plan",
    "archive_size",
    "archive_mtime_ns",
    "ended_as",
    "content",
    "completed_path",
    "excludes",
)
"""Those of an upload's row, in their order; its entry has fields of the same names."""
_PATHS: Final = ("source_path", "archive_path", "completed_path")
"""Columns of paths: bytes, as any file name works, text or not."""


def row_of(entry: Entry) -> tuple[object, ...]:
    """Make the row of an upload: its columns, and the time."""
    values = {name: getattr(entry, name) for name in COLUMNS}
    values |= {name: os.fsencode(values[name]) for name in _PATHS if values[name] is not None}
    values["content"] = to_json(entry.content) if entry.content else None
    values["excludes"] = json.dumps(entry.excludes)
    return (*values.values(), time.time())


def entry_of(*row: object) -> Entry:
    """Make the upload of a row."""
    values: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    values |= {name: os.fsdecode(values[name]) for name in _PATHS if values[name] is not None}
    values["content"] = from_json(Content, values["content"]) if values["content"] else None
    values["excludes"] = tuple(json.loads(values["excludes"]))
    return Entry(**values)


def key_of(order: DownloadOrder) -> tuple[str, bytes, str, str]:
    """Make what tells an order of a download from all others."""
    return order.service, os.fsencode(order.folder), order.name, order.options


def has_newer_options(order: Order | DownloadOrder, known_names: AbstractSet[str]) -> bool:
    """Tell whether a newer mgmt has written an order's options: they have names that this one does not know.

    An option that is to mean something else takes another name, by which older versions see it.
    """
    try:
        values = json.loads(order.options)
    except ValueError:
        return False
    return isinstance(values, dict) and not values.keys() <= known_names
