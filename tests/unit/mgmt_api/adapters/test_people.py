"""The subjects of people's names in the table: complete, cheap, and never missing behind an operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mgmt_api.adapters import people
from mgmt_api.adapters.dynamodb import DynamoDBRecordStore
from mgmt_api.adapters.table import SUBJECTS_MAX
from mgmt_api.domain.entities import HistoryQuery, Operation
from mgmt_api.ports import ConflictError, RecordsUnavailableError
from support.moto_table import TABLE
from support.operations import make_operation

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@pytest.fixture
def store(client: DynamoDBClient) -> DynamoDBRecordStore:
    return DynamoDBRecordStore(client, TABLE, 2)


def by(actor: str, actor_id: str, number: int) -> Operation:
    operation = make_operation(number, seconds=number)
    return replace(operation, record=replace(operation.record, actor=actor, actor_id=actor_id))


def read(client: DynamoDBClient, pk: str, sk: str) -> dict[str, Any] | None:
    return client.get_item(TableName=TABLE, Key={"pk": {"S": pk}, "sk": {"S": sk}}).get("Item")


def delete_people(client: DynamoDBClient) -> None:
    """Make the table as it was before it had people."""
    for item in client.scan(TableName=TABLE)["Items"]:
        if item["sk"]["S"] in ("PERSON", "PEOPLE"):
            client.delete_item(TableName=TABLE, Key={"pk": item["pk"], "sk": item["sk"]})


def test_an_admin_can_read_who_has_a_name(client: DynamoDBClient, store: DynamoDBRecordStore):
    for number, (actor, actor_id) in enumerate([("Zoë", "a"), ("zoë", "b"), ("ZOË", "a")]):
        store.create_operation(by(actor, actor_id, number))
    person = read(client, "PERSON#zoë", "PERSON")
    assert person is not None
    assert person["subjects"] == {"L": [{"S": "a"}, {"S": "b"}]}
    assert read(client, "PEOPLE", "PEOPLE") is not None


def test_a_known_person_costs_nothing_more(client: DynamoDBClient, store: DynamoDBRecordStore, calls: Counter[str]):
    store.create_operation(by("kim", "s", 1))
    calls.clear()
    store.create_operation(by("kim", "s", 2))
    assert calls == {"PutItem": 1}
    calls.clear()
    DynamoDBRecordStore(client, TABLE, 2).create_operation(by("kim", "s", 3))
    assert calls == {"BatchGetItem": 1, "PutItem": 1}, "another process reads it once"


@pytest.mark.parametrize(
    ("subjects", "cost"),
    [
        (0, {"BatchGetItem": 1}),
        (1, {"Query": 1, "BatchGetItem": 2}),
        (SUBJECTS_MAX, {"Query": SUBJECTS_MAX, "BatchGetItem": 2}),
        (SUBJECTS_MAX + 1, {"Query": 2, "BatchGetItem": 2}),
        (SUBJECTS_MAX + 5, {"Query": 2, "BatchGetItem": 2}),
    ],
)
def test_a_page_by_name_costs_a_query_for_each_of_few_people(
    store: DynamoDBRecordStore, calls: Counter[str], subjects: int, cost: dict[str, int]
):
    stored = [store.create_operation(by("kim", f"s{number}", number)) for number in range(subjects)]
    store.create_operation(by("lee", "t", 100))
    calls.clear()
    assert store.find_operations(HistoryQuery(50, actor="kim")).operations == stored[::-1]
    assert calls == cost


def test_the_item_of_a_name_does_not_grow_without_bound(client: DynamoDBClient, store: DynamoDBRecordStore):
    for number in range(SUBJECTS_MAX + 5):
        store.create_operation(by("kim", f"s{number}", number))
    person = read(client, "PERSON#kim", "PERSON")
    assert person is not None
    assert len(person["subjects"]["L"]) == SUBJECTS_MAX + 1


def test_a_table_that_is_older_than_its_people_is_still_searched_whole(
    client: DynamoDBClient, store: DynamoDBRecordStore
):
    old = [store.create_operation(by("kim", "gone", 1)), store.create_operation(by("kim", "s", 2))]
    delete_people(client)
    later = DynamoDBRecordStore(client, TABLE, 2)
    new = [later.create_operation(by("kim", "s", 3)), later.create_operation(by("lee", "t", 4))]
    assert read(client, "PEOPLE", "PEOPLE") is None
    assert later.find_operations(HistoryQuery(10, actor="kim")).operations == [new[0], *old[::-1]]
    assert later.find_operations(HistoryQuery(10, actor="lee", status="pending")).operations == [new[1]]


def test_an_item_that_was_written_with_the_index_of_names_is_read_as_before(
    client: DynamoDBClient, store: DynamoDBRecordStore
):
    """Such an item held the name in that index's key only."""
    stored = store.create_operation(by("kim", "s", 1))
    client.update_item(
        TableName=TABLE,
        Key={"pk": {"S": f"OP#{stored.id}"}, "sk": {"S": "OP"}},
        UpdateExpression="SET actor_pk = :partition REMOVE #record.actor",
        ExpressionAttributeNames={"#record": "record"},
        ExpressionAttributeValues={":partition": {"S": "A#kim"}},
    )
    assert store.get_operations([stored.id]) == {stored.id: stored}


def test_people_of_one_name_who_come_at_once_are_all_noted(client: DynamoDBClient):
    """Each from a process of its own."""

    def create(number: int) -> Operation:
        return DynamoDBRecordStore(client, TABLE, 2).create_operation(by("kim", f"s{number}", number))

    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(create, range(8)))
    found = DynamoDBRecordStore(client, TABLE, 2).find_operations(HistoryQuery(50, actor="kim")).operations
    assert found == stored[::-1]


@pytest.mark.parametrize("error", [ConflictError, RecordsUnavailableError])
def test_without_its_person_no_operation_is_stored(
    store: DynamoDBRecordStore, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
):
    operation, put = by("kim", "s", 1), people.Items.put
    with monkeypatch.context() as patched:
        patched.setattr(people.Items, "put", _refuse_person(put, error))
        with pytest.raises(RecordsUnavailableError):
            store.create_operation(operation)
    assert store.get_operations([operation.id]) == {}
    stored = store.create_operation(operation)
    assert store.find_operations(HistoryQuery(5, actor="kim")).operations == [stored]


def _refuse_person(put: Callable[..., None], error: type[Exception]) -> Callable[..., None]:
    def refuse(items: Any, item: dict[str, Any], *, over_revision: int) -> None:
        if item["sk"] == "PERSON":
            raise error("not now")
        put(items, item, over_revision=over_revision)

    return refuse


def test_a_process_remembers_a_bounded_number_of_people(
    store: DynamoDBRecordStore, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(people, "KNOWN_MAX", 2)
    for number, actor in enumerate(("kim", "lee", "zoe")):
        store.create_operation(by(actor, actor, number))
    calls.clear()
    store.create_operation(by("zoe", "zoe", 10))
    assert calls == {"PutItem": 1}
    store.create_operation(by("kim", "kim", 11))
    assert calls == {"PutItem": 2, "BatchGetItem": 1}
