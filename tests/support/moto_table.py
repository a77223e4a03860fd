"""The service's table in moto's DynamoDB: conditions, transactions and indexes as they are, in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from moto import mock_aws

from mgmt_api.adapters.clients import make_dynamodb_client
from mgmt_api.adapters.table import INDEX_PROJECTION, INDEXES, TABLE_KEYS, KeyAttributes

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import KeySchemaElementTypeDef

REGION = "eu-west-1"
TABLE = "records"


@contextmanager
def moto_dynamodb() -> Iterator[DynamoDBClient]:
    """Give a client of an empty DynamoDB that serves one call at a time."""
    with mock_aws():
        client = make_dynamodb_client(REGION, access_key="testing", secret_key="testing")
        _serialize_calls(client)
        yield client


def create_table(client: DynamoDBClient, table_name: str) -> str:
    """Create the table as the adapter's own definition says, and return its name."""
    names = sorted(set(TABLE_KEYS).union(*INDEXES.values()))
    client.create_table(
        TableName=table_name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
        KeySchema=_key_schema(TABLE_KEYS),
        GlobalSecondaryIndexes=[
            {
                "IndexName": name,
                "KeySchema": _key_schema(keys),
                "Projection": {"ProjectionType": INDEX_PROJECTION},
            }
            for name, keys in INDEXES.items()
        ],
    )
    return table_name


def _key_schema(keys: KeyAttributes) -> list[KeySchemaElementTypeDef]:
    return [
        {"AttributeName": keys.partition, "KeyType": "HASH"},
        {"AttributeName": keys.sort, "KeyType": "RANGE"},
    ]


def _serialize_calls(client: DynamoDBClient) -> None:
    """Make each call one step: moto compares and writes without a lock, DynamoDB does not."""
    lock = threading.RLock()

    def begin(**_: object) -> None:
        lock.acquire()

    def end(**_: object) -> None:
        lock.release()

    client.meta.events.register("before-call.dynamodb", begin)
    client.meta.events.register("after-call.dynamodb", end)
    client.meta.events.register("after-call-error.dynamodb", end)
