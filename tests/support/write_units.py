"""What writes cost in DynamoDB, and which partitions they fall on: counted from the calls that are made.

Source: Amazon DynamoDB Developer Guide, "Provisioned capacity mode: write consumption", "DynamoDB item sizes and
formats" and "Global secondary indexes: write costs", read 2026-11. A write is charged by the larger of the item before
and after, in steps of 1 kB; twice in a transaction. An index is charged where an entry appears, vanishes, or (twice)
moves.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from mgmt_api.adapters.table import INDEXES

UNIT_BYTES = 1024
PARTITION_UNITS_PER_SECOND = 1000
"""Source: Amazon DynamoDB Developer Guide, "Partitions and data distribution", read 2026-11."""


class WriteUnits:
    """Counts the write units of one client, by table or index, and by partition."""

    def __init__(self) -> None:
        self.by_target: Counter[str] = Counter()
        self.by_partition: Counter[tuple[str, str]] = Counter()
        self.largest_item_bytes = 0
        self._stored: dict[tuple[str, str], dict[str, Any]] = {}

    def listen(self, client: Any) -> Any:
        """Count what this client writes from now on."""
        client.meta.events.register("after-call.dynamodb.PutItem", self._note_success)
        client.meta.events.register("provide-client-params.dynamodb.*", self._note)
        self._pending: list[tuple[dict[str, Any], int]] = []
        client.meta.events.register("after-call.dynamodb.TransactWriteItems", self._note_success)
        return client

    @property
    def total(self) -> int:
        """All units together."""
        return self.by_target.total()

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name == "PutItem":
            self._pending = [(params["Item"], 1)]
        elif model.name == "TransactWriteItems":
            self._pending = [(each["Put"]["Item"], 2) for each in params["TransactItems"]]

    def _note_success(self, parsed: dict[str, Any], **_: Any) -> None:
        if "Error" not in parsed:
            for attributes, times in self._pending:
                self._write(attributes, times)

    def _write(self, attributes: dict[str, Any], times: int) -> None:
        item = {name: TypeDeserializer().deserialize(value) for name, value in attributes.items()}
        key = item["pk"], item["sk"]
        before = self._stored.get(key, {})
        largest = max(size_of(item), size_of(before))
        self.largest_item_bytes = max(self.largest_item_bytes, largest)
        self._count("table", item["pk"], times * math.ceil(largest / UNIT_BYTES))
        for index, (partition, sort) in INDEXES.items():
            entries = [(each[partition], each[sort]) if partition in each else None for each in (before, item)]
            if entries[0] != entries[1]:
                for entry in entries:
                    if entry is not None:
                        self._count(index, entry[0], times)
        self._stored[key] = item

    def _count(self, target: str, partition: str, units: int) -> None:
        self.by_target[target] += units
        self.by_partition[target, partition] += units


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
