"""Items of the one DynamoDB table: consistent batches of reads, and conditional puts.

A write whose answer was lost is repeated by the SDK and then meets itself: each write carries an id of its own and so
recognises itself.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from mgmt_api.adapters.clients import LOST_ANSWERS, UNREACHED, error_code, error_status
from mgmt_api.adapters.table import WRITE_ID, Item
from mgmt_api.ports import ConflictError, RecordsUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import PutTypeDef

BATCH_MAX: Final = 100
"""Items that one BatchGetItem may name. Source: Amazon DynamoDB API Reference, read 2026-11."""
UNPROCESSED_TRIES: Final = 5
LOST_RACES_MAX: Final = 20
"""How often an item to which several calls add at once is read and written again: each round one of them wins."""

_FIRST_PAUSE_SECONDS: Final = 0.05
_CONFLICTS: Final = frozenset(
    {
        "ConditionalCheckFailed",
        "ConditionalCheckFailedException",
        "TransactionConflict",
        "TransactionConflictException",
    }
)
_THROTTLES: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingError",
        "ThrottlingException",
        "TransactionInProgressException",  # the first try of this very transaction: the SDK has repeated it meanwhile
        "ProvisionedThroughputExceeded",
    }
)
"""Errors, and reasons why a transaction was cancelled. Source: Amazon DynamoDB API Reference, "TransactWriteItems", and
botocore's model of it, read 2026-11."""


class Items:
    """Reads and writes the items of one table; may be used from several threads.

    Args:
        client: From `make_dynamodb_client`.
        table_name: The table's.
        pause: Waits between tries of a throttled read.
    """

    def __init__(self, client: DynamoDBClient, table_name: str, pause: Callable[[float], None]) -> None:
        self._client = client
        self._table_name = table_name
        self._pause = pause

    def get(self, keys: list[Item]) -> list[Item]:
        """Read up to 100 items consistently; items that DynamoDB leaves unprocessed are asked for again."""
        items: list[Item] = []
        wanted: Any = [_to_attributes(key) for key in keys]
        for attempt in range(UNPROCESSED_TRIES):
            if not wanted:
                return items
            if attempt:
                self._pause(_FIRST_PAUSE_SECONDS * 2**attempt * random.random())  # noqa: S311 - spreads load
            with port_errors():
                answer = self._client.batch_get_item(
                    RequestItems={self._table_name: {"Keys": wanted, "ConsistentRead": True}}
                )
            items += map(from_attributes, answer["Responses"].get(self._table_name, []))
            left_out = answer["UnprocessedKeys"].get(self._table_name)
            wanted = left_out["Keys"] if left_out else []
        if wanted:
            raise RecordsUnavailableError(f"DynamoDB keeps leaving out {len(wanted)} items")
        return items

    def put(self, item: Item, *, over_revision: int) -> None:
        """Write an item over a revision."""
        request = self.make_put(item, over_revision)
        with port_errors():
            try:
                self._client.put_item(**request, ReturnValuesOnConditionCheckFailure="ALL_OLD")
            except self._client.exceptions.ConditionalCheckFailedException as error:
                stored: Any = error.response.get("Item", {})
                if stored.get(WRITE_ID) != request["Item"][WRITE_ID]:
                    raise

    def put_all(self, puts: Sequence[dict[str, Any]]) -> None:
        """Make writes from `make_put`, all or none."""
        with port_errors():
            if len(puts) == 1:
                self._client.put_item(**puts[0])
            elif puts:
                self._client.transact_write_items(TransactItems=[{"Put": cast("PutTypeDef", put)} for put in puts])

    def make_put(self, item: Item, over_revision: int) -> dict[str, Any]:
        """Describe the write of an item over a revision; 0: only where there is none."""
        written = item | {WRITE_ID: secrets.token_hex(8)}
        request: dict[str, Any] = {"TableName": self._table_name, "Item": _to_attributes(written)}
        if over_revision == 0:
            return request | {"ConditionExpression": "attribute_not_exists(pk)"}
        return request | {
            "ConditionExpression": "revision = :revision",
            "ExpressionAttributeValues": {":revision": {"N": str(over_revision)}},
        }


def _to_attributes(item: Item) -> Item:
    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in item.items()}


def from_attributes(item: Any) -> Item:
    """Return an item of an answer in Python's types."""
    deserialize = TypeDeserializer().deserialize
    return {name: deserialize(value) for name, value in item.items()}


@contextmanager
def port_errors() -> Iterator[None]:
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
    """Yield why each item of a transaction was refused; one that was cancelled without a reason has met another one."""
    reasons: Any = error.response.get("CancellationReasons", [])
    if not reasons and error_code(error) == "TransactionCanceledException":
        yield "TransactionConflict"
    for reason in reasons:
        yield reason.get("Code", "None")
