"""The table of the service as data: keys, indexes, and how an entity becomes an item and an item an entity.

One table, strings as keys:

| item | pk | sk |
| --- | --- | --- |
| operation | `OP#id` | `OP` |
| signed parts, up to 100 numbers each | `OP#id` | `PARTS#1#bucket` |
| name | `NAME#folded key` | `NAME` |
| person: the subjects that a person's name was recorded with | `PERSON#folded name` | `PERSON` |
| mark that all people are known: the table was empty when the first was noted | `PEOPLE` | `PEOPLE` |

Attributes are stored as DynamoDB's own types and under the entities' names, so that a person can read the
table. Values of None are left out, and of an upload what follows from its other values (`derived`). Signed parts live
beside their operation and not in it: a write costs by the size of the whole item. Nothing here needs boto3: the stack
is built from the same definition.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from mgmt_api.adapters.derived import leave_out_derived, set_derived
from mgmt_api.domain.entities import Name, Operation, Recorded, entity_of
from mgmt_contract.messages.uploads import Part
from mgmt_contract.names import fold_key, fold_person
from mgmt_contract.records import (
    DeleteRecord,
    DownloadRecord,
    OperationRecord,
    RestoreRecord,
    UndeleteRecord,
    UploadRecord,
)
from mgmt_contract.wire import from_plain, to_plain

Item = dict[str, Any]
"""An item's attributes in Python's types, as boto3's serializer takes and gives them."""


class KeyAttributes(NamedTuple):
    """The two key attributes of the table or of an index; both are strings."""

    partition: str
    sort: str


TABLE_KEYS: Final = KeyAttributes("pk", "sk")
INDEXES: Final[Mapping[str, KeyAttributes]] = {
    "feed": KeyAttributes("feed_pk", "order"),
    "by_actor_id": KeyAttributes("actor_id_pk", "order"),
    "by_name": KeyAttributes("name_pk", "order"),
    "open": KeyAttributes("open_pk", "order"),
}
"""All sorted by start time and id. `open` is sparse: it holds operations that are pending or have failed, and uploads
that were deleted and whose bytes are not given up yet."""
INDEX_PROJECTION: Final = "KEYS_ONLY"
"""An index holds ids only; the items are then read from the table, so they are current."""

WRITE_ID: Final = "write_id"
"""An attribute of every item: the number of the write that made it."""

AWAITS_REMOVAL: Final = "deleted"
"""Stands in `open` where others have their status: of an upload that was deleted, until its bytes are given up."""

PARTITION_KEY_MAX_BYTES: Final = 2048
"""Source: Amazon DynamoDB Developer Guide, "Quotas: partition key length", read 2026-11."""
PARTS_PER_ITEM: Final = 100
SUBJECTS_MAX: Final = 20
"""A name of more people than that is looked for in the feed: a page of a person's history costs a query for each."""

PARTS_PREFIX: Final = "PARTS#1#"
"""The beginning of the sort keys of all signed parts of an operation. An earlier version numbered them by the lease
under which they were signed: those of other numbers are not read."""
_OPERATION_SORT: Final = "OP"
_NAME_SORT: Final = "NAME"
_PERSON_SORT: Final = "PERSON"

PEOPLE_KEY: Final[Item] = {"pk": "PEOPLE", "sk": "PEOPLE"}


# --- keys ----------------------------------------------------------------------------------------------


def operation_key(operation_id: str) -> Item:
    """Return the key of an operation's item."""
    return {"pk": f"OP#{operation_id}", "sk": _OPERATION_SORT}


def name_key(key: str) -> Item:
    """Return the key of a name's item: the same for all keys that differ only by case or normalization."""
    return {"pk": _partition("NAME", fold_key(key)), "sk": _NAME_SORT}


def parts_key(operation_id: str, bucket: int) -> Item:
    """Return the key of the item that holds one bucket of signed parts."""
    return {"pk": f"OP#{operation_id}", "sk": f"{PARTS_PREFIX}{bucket:02d}"}


def parts_bucket(number: int) -> int:
    """Say to which bucket a part number belongs: 0 for parts 1 to 100."""
    return (number - 1) // PARTS_PER_ITEM


def feed_partitions(shards: int) -> list[str]:
    """Return every partition of the feed."""
    return [f"F#{shard}" for shard in range(shards)]


def person_key(actor: str) -> Item:
    """Return the key of a person's item: the same however the name is written."""
    return {"pk": _partition("PERSON", fold_person(actor)), "sk": _PERSON_SORT}


def actor_id_partition(actor_id: str) -> str:
    """Return the partition of one subject's operations, under all names the subject had."""
    return _partition("I", actor_id)


def base_name_partition(base_name: str) -> str:
    """Return the partition of the operations on one archive name, under any prefix."""
    return _partition("N", base_name)


def open_partitions(status: str, shards: int) -> list[str]:
    """Return every partition of the operations that are pending, that have failed, or that await their removal.

    Sharded like the feed: every upload passes through, so one partition would limit the whole table.
    """
    return [f"S#{status}#{shard}" for shard in range(shards)]


def shard_of(operation_id: str, shards: int) -> int:
    """Choose the shard of an operation; the same for as long as the number of shards is."""
    return zlib.crc32(operation_id.encode()) % shards


def _partition(kind: str, text: str) -> str:
    """Join a partition key; a text too long for one (case folding can double it) is replaced by its digest."""
    partition = f"{kind}#{text}"
    if len(partition.encode()) <= PARTITION_KEY_MAX_BYTES:
        return partition
    return f"{kind}#sha256:{hashlib.sha256(text.encode()).hexdigest()}"


# --- operations ----------------------------------------------------------------------------------------


def operation_item(operation: Recorded, shards: int) -> Item:
    """Write an operation as an item, with the keys of every index it belongs in."""
    shard = shard_of(operation.id, shards)
    keys = operation_key(operation.id) | {
        "order": operation.order,
        "feed_pk": feed_partitions(shards)[shard],
        "actor_id_pk": actor_id_partition(operation.record.actor_id),
        "name_pk": base_name_partition(operation.base_name),
    }
    status: str = operation.record.status
    if isinstance(operation, Operation) and operation.awaits_removal:
        status = AWAITS_REMOVAL
    if status != "success":
        keys["open_pk"] = open_partitions(status, shards)[shard]
    item = keys | _plain_item(operation)
    return leave_out_derived(item, keys | to_plain(operation)) if isinstance(operation, Operation) else item


def is_operation(item: Mapping[str, Any]) -> bool:
    """Tell whether an item holds an operation, and not a name or signed parts."""
    return bool(item["sk"] == _OPERATION_SORT)


def read_operation(item: Mapping[str, Any]) -> Recorded:
    """Read an operation from its item.

    Raises:
        KeyError: If the operation is of a type that is not known.
        MessageError: If the item is not what `operation_item` writes.
    """
    plain = _attributes(item)
    operation_type = plain["record"]["operation_type"]
    kind = entity_of(operation_type)
    if kind is Operation:
        set_derived(plain)
    plain["record"] = dict.fromkeys(_required_fields(_RECORDS[operation_type])) | plain["record"]  # type: ignore[arg-type]  # hashable
    return from_plain(kind, plain).cut_to_bounds()


_RECORDS: Final[Mapping[str, type[OperationRecord]]] = {
    "upload": UploadRecord,
    "download": DownloadRecord,
    "restore": RestoreRecord,
    "delete": DeleteRecord,
    "undelete": UndeleteRecord,
}


@functools.cache
def _required_fields(kind: type[OperationRecord]) -> tuple[str, ...]:
    return tuple(
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )


# --- names ---------------------------------------------------------------------------------------------


def name_item(name: Name) -> Item:
    """Write a name as an item."""
    return name_key(name.key) | _plain_item(name)


def read_name(item: Mapping[str, Any]) -> Name:
    """Read a name from its item.

    Raises:
        MessageError: If the item is not what `name_item` writes.
    """
    plain = _attributes(item)
    if "current" in plain:
        plain["current"].setdefault("version_id", None)
    return from_plain(Name, plain)


# --- people --------------------------------------------------------------------------------------------


def person_item(actor: str, subjects: Iterable[str], revision: int) -> Item:
    """Write the subjects that a person's name was recorded with as an item."""
    return person_key(actor) | {"subjects": list(subjects), "revision": revision}


# --- signed parts --------------------------------------------------------------------------------------


def parts_item(key: Item, parts: Iterable[Part], revision: int) -> Item:
    """Write a bucket of signed parts as an item: number to length and checksum."""
    signed = {str(part.number): [part.length, part.crc64nvme] for part in parts}
    return key | {"parts": signed, "revision": revision}


def read_parts(item: Mapping[str, Any]) -> dict[int, Part]:
    """Read a bucket of signed parts from its item."""
    return {
        int(number): Part(int(number), int(length), crc64nvme) for number, (length, crc64nvme) in item["parts"].items()
    }


# --- both ways -----------------------------------------------------------------------------------------


def _attributes(item: Mapping[str, Any]) -> Item:
    """Return the attributes that are the entity's own; the reader passes over the rest."""
    return {name: _without_decimals(value) for name, value in item.items()}


def _plain_item(entity: Recorded | Name) -> Item:
    return {name: _without_none(value) for name, value in to_plain(entity).items() if value is not None}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value


def _without_decimals(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, dict):
        return {key: _without_decimals(item) for key, item in value.items()}
    return value
