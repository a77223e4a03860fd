"""The record store on DynamoDB.

Every write names the revision it was computed from, and DynamoDB compares (`items`).

Actions used: BatchGetItem, PutItem and Query on the table, Query on its indexes. (A transaction of puts is
allowed by PutItem.)
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mgmt_api.adapters.items import BATCH_MAX, LOST_RACES_MAX, Items, from_attributes, port_errors
from mgmt_api.adapters.people import People
from mgmt_api.adapters.table import (
    AWAITS_REMOVAL,
    INDEXES,
    PARTS_PREFIX,
    Item,
    actor_id_partition,
    base_name_partition,
    feed_partitions,
    is_operation,
    name_item,
    name_key,
    open_partitions,
    operation_item,
    operation_key,
    parts_bucket,
    parts_item,
    parts_key,
    read_name,
    read_operation,
    read_parts,
)
from mgmt_api.domain.entities import HistoryPage, HistoryQuery, Name, Operation, Recorded, RecordedT
from mgmt_api.ports import ConflictError, RecordsUnavailableError
from mgmt_contract.messages.uploads import Part
from mgmt_contract.names import fold_key, fold_person
from mgmt_contract.wire import format_time

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

logger = logging.getLogger(__name__)

ROUNDS_MAX: Final = 4
"""How often one page reads on where filters have dropped operations: its fixed budget."""

_BEFORE_EVERY_ORDER: Final = "0"
_AFTER_EVERY_ORDER: Final = ":"
"""The character after "9"."""


class _Partitions(NamedTuple):
    index_name: str
    keys: list[str]


class DynamoDBRecordStore:
    """Operations, names and signed parts in one DynamoDB table; may be used from several threads.

    Args:
        client: From `make_dynamodb_client`.
        table_name: A table as `mgmt_api.adapters.table` defines it.
        feed_shards: Partitions of the feed; never less than the table was ever written with.
        pause: Waits between tries of a throttled read.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        feed_shards: int,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._table_name = table_name
        self._shards = feed_shards
        self._items = Items(client, table_name, pause)
        self._people = People(self._items, self._is_empty)

    # --- operations and names --------------------------------------------------------------------------

    def get_operations(self, operation_ids: Iterable[str]) -> dict[str, Recorded]:
        """Return the operations that exist, by id; at most 100 ids."""
        return self.get_operations_and_names(operation_ids, ())[0]

    def create_operation(self, operation: RecordedT) -> RecordedT:
        """Store a new operation."""
        self._people.note(operation.record.actor, operation.record.actor_id)
        created = replace(operation, revision=1)
        self._items.put(operation_item(created, self._shards), over_revision=0)
        return created

    def update_operation(self, operation: RecordedT) -> RecordedT:
        """Store an operation over the revision it was computed from."""
        if operation.revision == 0:
            raise ConflictError(f"operation {operation.id} was never stored")
        updated = replace(operation, revision=operation.revision + 1)
        self._items.put(operation_item(updated, self._shards), over_revision=operation.revision)
        return updated

    def create_with_upload(self, operation: RecordedT, upload: Operation, name: Name) -> tuple[RecordedT, Operation]:
        """Store a new operation, the upload it changes and its name, in one transaction."""
        if upload.revision == 0:
            raise ConflictError(f"operation {upload.id} was never stored")
        self._people.note(operation.record.actor, operation.record.actor_id)
        created = replace(operation, revision=1)
        updated = replace(upload, revision=upload.revision + 1)
        named = replace(name, revision=name.revision + 1)
        self._items.put_all(
            [
                self._items.make_put(operation_item(created, self._shards), 0),
                self._items.make_put(operation_item(updated, self._shards), upload.revision),
                self._items.make_put(name_item(named), name.revision),
            ]
        )
        return created, updated

    def update_with_name(self, operation: RecordedT, name: Name) -> RecordedT:
        """Store an operation and a name over their revisions, in one transaction."""
        if operation.revision == 0:
            raise ConflictError(f"operation {operation.id} was never stored")
        updated = replace(operation, revision=operation.revision + 1)
        named = replace(name, revision=name.revision + 1)
        self._items.put_all(
            [
                self._items.make_put(operation_item(updated, self._shards), operation.revision),
                self._items.make_put(name_item(named), name.revision),
            ]
        )
        return updated

    def get_names(self, keys: Iterable[str]) -> dict[str, Name]:
        """Return the names that exist under the folded forms of `keys`, by folded key; at most 100."""
        return self.get_operations_and_names((), keys)[1]

    def get_operations_and_names(
        self, operation_ids: Iterable[str], keys: Iterable[str]
    ) -> tuple[dict[str, Recorded], dict[str, Name]]:
        """Return the operations and the names that exist; both together cost one call up to 100 in all."""
        wanted = [operation_key(operation_id) for operation_id in dict.fromkeys(operation_ids)]
        wanted += {fold_key(key): name_key(key) for key in keys}.values()
        items: list[Item] = []
        for start in range(0, len(wanted), BATCH_MAX):
            items += self._items.get(wanted[start : start + BATCH_MAX])
        operations = [read_operation(item) for item in items if is_operation(item)]
        names = [read_name(item) for item in items if not is_operation(item)]
        return {each.id: each for each in operations}, {fold_key(each.key): each for each in names}

    def put_name(self, name: Name) -> Name:
        """Store a name over the revision it was computed from."""
        stored = replace(name, revision=name.revision + 1)
        self._items.put(name_item(stored), over_revision=name.revision)
        return stored

    # --- signed parts ----------------------------------------------------------------------------------

    def get_signed_parts(self, operation_id: str) -> dict[int, Part]:
        """Return every part signed so far, by number."""
        with port_errors():
            pages = self._client.get_paginator("query").paginate(
                TableName=self._table_name,
                ConsistentRead=True,
                KeyConditionExpression="pk = :operation AND begins_with(sk, :parts)",
                ExpressionAttributeValues={
                    ":operation": {"S": operation_key(operation_id)["pk"]},
                    ":parts": {"S": PARTS_PREFIX},
                },
            )
            items = [from_attributes(item) for page in pages for item in page["Items"]]
        return {number: part for item in items for number, part in sorted(read_parts(item).items())}

    def add_signed_parts(self, operation_id: str, parts: Sequence[Part]) -> None:
        """Store the parts that are about to be signed; all or nothing.

        Several calls may add parts of one bucket at once. A call that loses reads again: each round one of
        them wins, so the rounds are bounded by the number of callers.
        """
        for _ in range(LOST_RACES_MAX):
            puts = self._plan_part_puts(operation_id, parts)
            try:
                self._items.put_all(puts)
            except ConflictError:
                continue
            return
        raise RecordsUnavailableError(f"operation {operation_id}: parts are being signed by too many at once")

    def _plan_part_puts(self, operation_id: str, parts: Sequence[Part]) -> list[dict[str, Any]]:
        added: defaultdict[int, list[Part]] = defaultdict(list)
        for part in parts:
            added[parts_bucket(part.number)].append(part)
        keys = {bucket: parts_key(operation_id, bucket) for bucket in added}
        stored = {item["sk"]: item for item in self._items.get(list(keys.values()))}
        puts = []
        for bucket, key in keys.items():
            item = stored.get(key["sk"], parts_item(key, [], 0))
            known = read_parts(item)
            merged = _merge_parts(known, added[bucket])
            if merged != known:
                revision = int(item["revision"])
                puts.append(self._items.make_put(parts_item(key, merged.values(), revision + 1), revision))
        return puts

    # --- history ---------------------------------------------------------------------------------------

    def find_operations(self, query: HistoryQuery) -> HistoryPage:
        """Return a page of operations, in the query's order of start times.

        One query per partition and one batch of reads, and up to `ROUNDS_MAX` of both where filters that
        the index does not serve drop operations. A person's name costs one read more.
        """
        partitions = self._choose_partitions(query)
        found: list[Recorded] = []
        after = query.after
        for count in (query.limit, *[BATCH_MAX] * (ROUNDS_MAX - 1)):
            orders, more = self._read_orders(query, partitions, after, count)
            stored = self._read_readable(map(_id_in, orders))
            for position, order in enumerate(orders, start=1):
                after = order
                operation = stored.get(_id_in(order))
                if operation and _matches(query, operation):
                    found.append(operation)
                if len(found) == query.limit:
                    return HistoryPage(found, after if more or position < len(orders) else None)
            if not more:
                return HistoryPage(found, None)
        return HistoryPage(found, after)

    def _read_readable(self, operation_ids: Iterable[str]) -> dict[str, Recorded]:
        """Read operations, without those whose items cannot be read: one such item must not hide all the others."""
        read: dict[str, Recorded] = {}
        for item in self._items.get([operation_key(operation_id) for operation_id in operation_ids]):
            try:
                operation = read_operation(item)
            except Exception:  # any fault of the item
                logger.exception("an operation cannot be read and is left out of a page", extra={"item": item["pk"]})
            else:
                read[operation.id] = operation
        return read

    def _is_empty(self) -> bool:
        """Tell whether no operation is stored."""
        return not self._read_orders(HistoryQuery(1), self._feed(), None, 1)[0]

    def _feed(self) -> _Partitions:
        return _Partitions("feed", feed_partitions(self._shards))

    def _choose_partitions(self, query: HistoryQuery) -> _Partitions:
        """Choose the index whose items need the least filtering, and its partitions to be read."""
        if query.is_deleted:
            return _Partitions("open", open_partitions(AWAITS_REMOVAL, self._shards))
        if query.base_name is not None:
            return _Partitions("by_name", [base_name_partition(query.base_name)])
        if query.actor_id is not None:
            return _Partitions("by_actor_id", [actor_id_partition(query.actor_id)])
        if query.actor is not None:
            subjects = self._people.find_subjects(query.actor)
            if subjects is not None:
                return _Partitions("by_actor_id", [actor_id_partition(subject) for subject in subjects])
        if query.status in ("pending", "failed"):
            return _Partitions("open", open_partitions(query.status, self._shards))
        return self._feed()

    def _read_orders(
        self, query: HistoryQuery, read_from: _Partitions, after: str | None, count: int
    ) -> tuple[list[str], bool]:
        """Read the next `count` sort keys from an index, in the query's order, and whether there are more."""
        index, partitions = read_from
        low = format_time(query.since) if query.since else _BEFORE_EVERY_ORDER
        high = format_time(query.until) if query.until else _AFTER_EVERY_ORDER
        if after is not None:
            low, high = (max(low, after), high) if query.oldest_first else (low, min(high, after))
        if low > high or not partitions:
            return [], False

        def read(partition: str) -> list[str]:
            # Two more than asked for: `after` itself is in the range, and one more shows whether there are more.
            return self._query_partition(index, partition, (low, high), count + 2, oldest_first=query.oldest_first)

        with ThreadPoolExecutor(len(partitions)) as pool:
            orders = {order for page in pool.map(read, partitions) for order in page} - {after}
        return sorted(orders, reverse=not query.oldest_first)[:count], len(orders) > count

    def _query_partition(
        self, index: str, partition: str, span: tuple[str, str], limit: int, *, oldest_first: bool
    ) -> list[str]:
        keys = INDEXES[index]
        low, high = span
        with port_errors():
            answer = self._client.query(
                TableName=self._table_name,
                IndexName=index,
                KeyConditionExpression="#partition = :partition AND #order BETWEEN :low AND :high",
                ExpressionAttributeNames={"#partition": keys.partition, "#order": keys.sort},
                ExpressionAttributeValues={
                    ":partition": {"S": partition},
                    ":low": {"S": low},
                    ":high": {"S": high},
                },
                ScanIndexForward=oldest_first,
                Limit=limit,
            )
        return [item[keys.sort]["S"] for item in answer["Items"]]


def _matches(query: HistoryQuery, operation: Recorded) -> bool:
    """Tell whether an operation as it is now passes every filter; an index may lag behind."""
    if query.is_deleted and not (isinstance(operation, Operation) and operation.awaits_removal):
        return False
    record = operation.record
    wanted_and_found = (
        (query.actor, fold_person(record.actor)),
        (query.actor_id, record.actor_id),
        (query.status, record.status),
        (query.operation_type, record.operation_type),
        (query.base_name, operation.base_name),
        (query.key, record.s3_object_key),
    )
    is_in_folder = query.folder is None or record.s3_object_key.startswith(query.folder)
    return is_in_folder and all(wanted is None or wanted == found for wanted, found in wanted_and_found)


def _id_in(order: str) -> str:
    return order.partition("#")[2]


def _merge_parts(known: dict[int, Part], added: Iterable[Part]) -> dict[int, Part]:
    merged = dict(known)
    for part in added:
        signed = merged.setdefault(part.number, part)
        if signed != part:
            raise ConflictError(f"part {part.number} was signed as {signed}, now asked for as {part}")
    return merged
