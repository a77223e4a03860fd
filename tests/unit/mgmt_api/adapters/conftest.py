"""The records' table in moto's DynamoDB, and a count of the calls to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from support.moto_table import TABLE, create_table, moto_dynamodb

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@pytest.fixture
def client() -> Iterator[DynamoDBClient]:
    with moto_dynamodb() as client:
        create_table(client, TABLE)
        yield client


@pytest.fixture
def calls(client: DynamoDBClient) -> Counter[str]:
    """Count the calls by name."""
    counted: Counter[str] = Counter()
    client.meta.events.register("before-call.dynamodb", lambda model, **_: counted.update([model.name]))
    return counted
