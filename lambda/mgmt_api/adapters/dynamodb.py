"""The record store on DynamoDB.

Every write names the revision it was computed from, and DynamoDB compares. A write whose answer was lost is
repeated by the SDK and then meets itself: each write carries an id of its own and so recognises itself.

Actions used: BatchGetItem, PutItem and Query on the table, Query on its indexes. (A transaction of puts is
allowed by PutItem.)
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from mgmt_api.adapters.clients import LOST_ANSWERS, UNREACHED, error_code, error_status
from mgmt_api.adapters.table import (
    AWAITS_REMOVAL,
    INDEXES,
    WRITE_ID,
    Item,
    actor_id_partition,
    actor_partition,
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
    parts_prefix,
    read_name,
    read_operation,
    read_parts,
)
from mgmt_api.domain.entities import HistoryPage, HistoryQuery, Name, Operation, Recorded, RecordedT
from mgmt_api.ports import ConflictError, RecordsUnavailableError
from mgmt_contract.messages import Part
from mgmt_contract.names import fold_key, fold_person
from mgmt_contract.wire import format_time

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import PutTypeDef

logger = logging.getLogger(__name__)

BATCH_MAX: Final = 100
"""Items that one BatchGetItem may name. Source: Amazon DynamoDB API Reference, read 2026-11."""
ROUNDS_MAX: Final = 4
"""How often one page reads on where filters have dropped operations: its fixed budget."""
UNPROCESSED_TRIES: Final = 5
LOST_RACES_MAX: Final = 20

_FIRST_PAUSE_SECONDS: Final = 0.05
_CONFLICTS: Final = frozenset(
    {"ConditionalCheckFailedException", "TransactionConflictException", "TransactionCanceledException"}
)
_THROTTLES: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
    }
)
_BEFORE_EVERY_ORDER: Final = "0"
_AFTER_EVERY_ORDER: Final = ":"
"""The character after "9"."""


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
        self._pause = pause

    # --- operations and names --------------------------------------------------------------------------

    def get_operations(self, operation_ids: Iterable[str]) -> dict[str, Recorded]:
        """Return the operations that exist, by id; at most 100 ids."""
        return self.get_operations_and_names(operation_ids, ())[0]

    def create_operation(self, operation: RecordedT) -> RecordedT:
        """Store a new operation."""
        created = replace(operation, revision=1)
        self._put_item(operation_item(created, self._shards), over_revision=0)
        return created

    def update_operation(self, operation: RecordedT) -> RecordedT:
        """Store an operation over the revision it was computed from."""
        if operation.revision == 0:
            raise ConflictError(f"operation {operation.id} was never stored")
        updated = replace(operation, revision=operation.revision + 1)
        self._put_item(operation_item(updated, self._shards), over_revision=operation.revision)
        return updated

    def create_with_upload(self, operation: RecordedT, upload: Operation, name: Name) -> tuple[RecordedT, Operation]:
        """Store a new operation, the upload it changes and its name, in one transaction."""
        if upload.revision == 0:
            raise ConflictError(f"operation {upload.id} was never stored")
        created = replace(operation, revision=1)
        updated = replace(upload, revision=upload.revision + 1)
        named = replace(name, revision=name.revision + 1)
        self._put_all(
            [
                self._put_request(operation_item(created, self._shards), 0),
                self._put_request(operation_item(updated, self._shards), upload.revision),
                self._put_request(name_item(named), name.revision),
            ]
        )
        return created, updated

    def update_with_name(self, operation: RecordedT, name: Name) -> RecordedT:
        """Store an operation and a name over their revisions, in one transaction."""
        if operation.revision == 0:
            raise ConflictError(f"operation {operation.id} was never stored")
        updated = replace(operation, revision=operation.revision + 1)
        named = replace(name, revision=name.revision + 1)
        self._put_all(
            [
                self._put_request(operation_item(updated, self._shards), operation.revision),
                self._put_request(name_item(named), name.revision),
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
            items += self._get_items(wanted[start : start + BATCH_MAX])
        operations = [read_operation(item) for item in items if is_operation(item)]
        names = [read_name(item) for item in items if not is_operation(item)]
        return {each.id: each for each in operations}, {fold_key(each.key): each for each in names}

    def put_name(self, name: Name) -> Name:
        """Store a name over the revision it was computed from."""
        stored = replace(name, revision=name.revision + 1)
        self._put_item(name_item(stored), over_revision=name.revision)
        return stored

    # --- signed parts ----------------------------------------------------------------------------------

    def get_signed_parts(self, operation_id: str, lease_epoch: int) -> dict[int, Part]:
        """Return every part signed so far in this epoch, by number."""
        with _port_errors():
            pages = self._client.get_paginator("query").paginate(
                TableName=self._table_name,
                ConsistentRead=True,
                KeyConditionExpression="pk = :operation AND begins_with(sk, :epoch)",
                ExpressionAttributeValues={
                    ":operation": {"S": operation_key(operation_id)["pk"]},
                    ":epoch": {"S": parts_prefix(lease_epoch)},
                },
            )
            items = [_from_attributes(item) for page in pages for item in page["Items"]]
        return {number: part for item in items for number, part in sorted(read_parts(item).items())}

    def add_signed_parts(self, operation_id: str, lease_epoch: int, parts: Sequence[Part]) -> None:
        """Store the parts that are about to be signed; all or nothing.

        Several calls may add parts of one bucket at once. A call that loses reads again: each round one of
        them wins, so the rounds are bounded by the number of callers.
        """
        for _ in range(LOST_RACES_MAX):
            puts = self._plan_part_puts(operation_id, lease_epoch, parts)
            try:
                self._put_all(puts)
            except ConflictError:
                continue
            return
        raise RecordsUnavailableError(f"operation {operation_id}: parts are being signed by too many at once")

    def _plan_part_puts(self, operation_id: str, lease_epoch: int, parts: Sequence[Part]) -> list[dict[str, Any]]:
        added: defaultdict[int, list[Part]] = defaultdict(list)
        for part in parts:
            added[parts_bucket(part.number)].append(part)
        keys = {bucket: parts_key(operation_id, lease_epoch, bucket) for bucket in added}
        stored = {item["sk"]: item for item in self._get_items(list(keys.values()))}
        puts = []
        for bucket, key in keys.items():
            item = stored.get(key["sk"], parts_item(key, [], 0))
            known = read_parts(item)
            merged = _merge_parts(known, added[bucket])
            if merged != known:
                revision = int(item["revision"])
                puts.append(self._put_request(parts_item(key, merged.values(), revision + 1), revision))
        return puts

    # --- history ---------------------------------------------------------------------------------------

    def find_operations(self, query: HistoryQuery) -> HistoryPage:
        """Return a page of operations, in the query's order of start times.

        One query per partition and one batch of reads, and up to `ROUNDS_MAX` of both where filters that
        the index does not serve drop operations.
        """
        found: list[Recorded] = []
        after = query.after
        for count in (query.limit, *[BATCH_MAX] * (ROUNDS_MAX - 1)):
            orders, more = self._read_orders(query, after, count)
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
        for item in self._get_items([operation_key(operation_id) for operation_id in operation_ids]):
            try:
                operation = read_operation(item)
            except Exception:  # any fault of the item
                logger.exception("an operation cannot be read and is left out of a page", extra={"item": item["pk"]})
            else:
                read[operation.id] = operation
        return read

    def _read_orders(self, query: HistoryQuery, after: str | None, count: int) -> tuple[list[str], bool]:
        """Read the next `count` sort keys from an index, in the query's order, and whether there are more."""
        low = format_time(query.since) if query.since else _BEFORE_EVERY_ORDER
        high = format_time(query.until) if query.until else _AFTER_EVERY_ORDER
        if after is not None:
            low, high = (max(low, after), high) if query.oldest_first else (low, min(high, after))
        if low > high:
            return [], False
        index, partitions = _choose_index(query, self._shards)

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
        with _port_errors():
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

    # --- calls -----------------------------------------------------------------------------------------

    def _get_items(self, keys: list[Item]) -> list[Item]:
        """Read up to 100 items consistently; items that DynamoDB leaves unprocessed are asked for again."""
        items: list[Item] = []
        wanted: Any = [_to_attributes(key) for key in keys]
        for attempt in range(UNPROCESSED_TRIES):
            if not wanted:
                return items
            if attempt:
                self._pause(_FIRST_PAUSE_SECONDS * 2**attempt * random.random())  # noqa: S311 - spreads load
            with _port_errors():
                answer = self._client.batch_get_item(
                    RequestItems={self._table_name: {"Keys": wanted, "ConsistentRead": True}}
                )
            items += map(_from_attributes, answer["Responses"].get(self._table_name, []))
            left_out = answer["UnprocessedKeys"].get(self._table_name)
            wanted = left_out["Keys"] if left_out else []
        if wanted:
            raise RecordsUnavailableError(f"DynamoDB keeps leaving out {len(wanted)} items")
        return items

    def _put_item(self, item: Item, *, over_revision: int) -> None:
        request = self._put_request(item, over_revision)
        with _port_errors():
            try:
                self._client.put_item(**request, ReturnValuesOnConditionCheckFailure="ALL_OLD")
            except self._client.exceptions.ConditionalCheckFailedException as error:
                stored: Any = error.response.get("Item", {})
                if stored.get(WRITE_ID) != request["Item"][WRITE_ID]:
                    raise

    def _put_all(self, puts: Sequence[dict[str, Any]]) -> None:
        with _port_errors():
            if len(puts) == 1:
                self._client.put_item(**puts[0])
            elif puts:
                self._client.transact_write_items(TransactItems=[{"Put": cast("PutTypeDef", put)} for put in puts])

    def _put_request(self, item: Item, over_revision: int) -> dict[str, Any]:
        """Describe the write of an item over a revision; 0: only where there is none."""
        written = item | {WRITE_ID: secrets.token_hex(8)}
        request: dict[str, Any] = {"TableName": self._table_name, "Item": _to_attributes(written)}
        if over_revision == 0:
            return request | {"ConditionExpression": "attribute_not_exists(pk)"}
        return request | {
            "ConditionExpression": "revision = :revision",
            "ExpressionAttributeValues": {":revision": {"N": str(over_revision)}},
        }


def _choose_index(query: HistoryQuery, shards: int) -> tuple[str, list[str]]:
    """Choose the index whose items need the least filtering, and its partitions to be read."""
    if query.is_deleted:
        return "open", open_partitions(AWAITS_REMOVAL, shards)
    if query.base_name is not None:
        return "by_name", [base_name_partition(query.base_name)]
    if query.actor is not None:
        return "by_actor", [actor_partition(query.actor)]
    if query.actor_id is not None:
        return "by_actor_id", [actor_id_partition(query.actor_id)]
    if query.status in ("pending", "failed"):
        return "open", open_partitions(query.status, shards)
    return "feed", feed_partitions(shards)


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


def _to_attributes(item: Item) -> Item:
    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in item.items()}


def _from_attributes(item: Any) -> Item:
    deserialize = TypeDeserializer().deserialize
    return {name: deserialize(value) for name, value in item.items()}


@contextmanager
def _port_errors() -> Iterator[None]:
    """Turn botocore's errors into the port's; errors that neither a race nor load explains stay as they are."""
    try:
        yield
    except (*LOST_ANSWERS, *UNREACHED) as error:
        raise RecordsUnavailableError(f"DynamoDB does not answer: {error}") from error
    except ClientError as error:
        codes = {error_code(error), *_cancellation_codes(error)}
        if codes & _THROTTLES or error_status(error) >= 500:
            raise RecordsUnavailableError(f"DynamoDB cannot serve this now: {error}") from error
        if codes & _CONFLICTS:
            raise ConflictError(f"DynamoDB refused a conditional write: {error}") from error
        raise


def _cancellation_codes(error: ClientError) -> Iterator[str]:
    """Yield why each item of a transaction was refused."""
    reasons: Any = error.response.get("CancellationReasons", [])
    for reason in reasons:
        code = reason.get("Code", "None")
        yield "ThrottlingException" if code in ("ThrottlingError", "ProvisionedThroughputExceeded") else code
