"""What calls cost in DynamoDB, and which partitions they fall on: counted from the calls that are made.

Source: Amazon DynamoDB Developer Guide, "Provisioned capacity mode: write consumption", "DynamoDB item sizes and
formats" and "Global secondary indexes: write costs", read 2026-11. A write is charged by the larger of the item before
and after, in steps of 1 kB; twice in a transaction. An index is charged where an entry appears, vanishes, or (twice)
moves. A consistent read is charged by the item, in steps of 4 kB, one at least.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple

from boto3.dynamodb.types import TypeDeserializer

from mgmt_api.adapters.table import INDEXES

UNIT_BYTES = 1024
READ_UNIT_BYTES = 4096


class Charge(NamedTuple):
    """Units of one call that fall on one partition key of the table or of an index."""

    target: str
    """`table`, or the name of an index."""
    partition: str
    units: int


class WriteUnits:
    """Counts the units of one client's writes and batched reads, by table or index, and by partition."""

    def __init__(self) -> None:
        self.charges: list[Charge] = []
        """Of the writes, in order."""
        self.reads: list[Charge] = []
        self.largest_item_bytes = 0
        self._stored: dict[tuple[str, str], dict[str, Any]] = {}
        self._pending: list[tuple[dict[str, Any], int]] = []
        self._asked: list[tuple[str, str]] = []

    def listen(self, client: Any) -> Any:
        """Count what this client does from now on; one call at a time."""
        client.meta.events.register("provide-client-params.dynamodb.*", self._note)
        client.meta.events.register("after-call.dynamodb.PutItem", self._note_success)
        client.meta.events.register("after-call.dynamodb.TransactWriteItems", self._note_success)
        client.meta.events.register("after-call.dynamodb.BatchGetItem", self._note_read)
        return client

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name == "PutItem":
            self._pending = [(params["Item"], 1)]
        elif model.name == "TransactWriteItems":
            self._pending = [(each["Put"]["Item"], 2) for each in params["TransactItems"]]
        elif model.name == "BatchGetItem":
            [request] = params["RequestItems"].values()
            self._asked = [(key["pk"]["S"], key["sk"]["S"]) for key in request["Keys"]]

    def _note_success(self, parsed: dict[str, Any], **_: Any) -> None:
        if "Error" not in parsed:
            for attributes, times in self._pending:
                self._write(attributes, times)

    def _note_read(self, **_: Any) -> None:
        for key in self._asked:
            size_bytes = size_of(self._stored.get(key, {}))
            self.reads.append(Charge("table", key[0], max(1, math.ceil(size_bytes / READ_UNIT_BYTES))))

    def _write(self, attributes: dict[str, Any], times: int) -> None:
        item = {name: TypeDeserializer().deserialize(value) for name, value in attributes.items()}
        key = item["pk"], item["sk"]
        before = self._stored.get(key, {})
        largest = max(size_of(item), size_of(before))
        self.largest_item_bytes = max(self.largest_item_bytes, largest)
        self.charges.append(Charge("table", item["pk"], times * math.ceil(largest / UNIT_BYTES)))
        for index, (partition, sort) in INDEXES.items():
            entries = [(each[partition], each[sort]) if partition in each else None for each in (before, item)]
            if entries[0] != entries[1]:
                self.charges += [Charge(index, entry[0], times) for entry in entries if entry is not None]
        self._stored[key] = item


def sum_by_target(charges: list[Charge]) -> Counter[str]:
    """Add units up by table or index."""
    found: Counter[str] = Counter()
    for charge in charges:
        found[charge.target] += charge.units
    return found


def size_of(value: Any) -> int:
    """Say how many bytes a value takes, names included."""
    match value:
        case bool() | None:
            return 1
        case str():
            return len(value.encode())
        case dict():
            overhead = 3 if value.keys() - {"pk", "sk"} == value.keys() else 0  # the item itself has none
            return overhead + sum(len(name.encode()) + size_of(each) + bool(overhead) for name, each in value.items())
        case list():
            return 3 + sum(1 + size_of(each) for each in value)
        case _:
            return (len(str(abs(value))) + 1) // 2 + 1
