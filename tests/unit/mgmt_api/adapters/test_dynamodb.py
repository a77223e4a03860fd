"""What only the DynamoDB adapter does: items a person can read, bounded calls, and answers that go wrong."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from mgmt_api.adapters import dynamodb
from mgmt_api.adapters.clients import make_dynamodb_client
from mgmt_api.adapters.dynamodb import DynamoDBRecordStore
from mgmt_api.adapters.table import feed_partitions, shard_of
from mgmt_api.domain.entities import HistoryQuery, Name
from mgmt_api.ports import ConflictError, RecordsUnavailableError
from mgmt_contract.messages.uploads import Part
from support.moto_table import TABLE
from support.operations import make_id, make_operation
from support.scripted_server import Answer, scripted_server

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@pytest.fixture
def store(client: DynamoDBClient) -> DynamoDBRecordStore:
    return DynamoDBRecordStore(client, TABLE, 1)


class TestUnreadableItems:
    @pytest.mark.parametrize("record", [{"S": "gone"}, {"M": {}}, {"M": {"status": {"N": "5"}}}])
    def test_one_does_not_hide_the_others_from_the_team(
        self, client: DynamoDBClient, store: DynamoDBRecordStore, record: Any, caplog: pytest.LogCaptureFixture
    ):
        """As a hand in the table, or a version to come, may leave it."""
        stored = [store.create_operation(make_operation(number, seconds=number)) for number in range(3)]
        client.update_item(
            TableName=TABLE,
            Key={"pk": {"S": f"OP#{stored[1].id}"}, "sk": {"S": "OP"}},
            UpdateExpression="SET #record = :record",
            ExpressionAttributeNames={"#record": "record"},
            ExpressionAttributeValues={":record": record},
        )
        page = store.find_operations(HistoryQuery(limit=10))
        assert [each.id for each in page.operations] == [stored[2].id, stored[0].id]
        assert page.after is None
        assert "cannot be read" in caplog.text


class TestItems:
    def read(self, client: DynamoDBClient, pk: str, sk: str) -> dict[str, Any]:
        answer = client.get_item(TableName=TABLE, Key={"pk": {"S": pk}, "sk": {"S": sk}})
        return answer["Item"]

    def test_a_person_can_read_an_operation(self, client: DynamoDBClient, store: DynamoDBRecordStore):
        operation = store.create_operation(make_operation(1))
        item = self.read(client, f"OP#{operation.id}", "OP")
        assert item["order"] == {"S": f"2026-11-01T12:00:00.000Z#{operation.id}"}
        assert (item["feed_pk"], item["actor_id_pk"]) == ({"S": "F#0"}, {"S": "I#subject-of-kim"})
        assert (item["name_pk"], item["open_pk"]) == ({"S": "N#clip.mp4.tar.gz"}, {"S": "S#pending#0"})
        assert item["record"]["M"]["s3_object_key"] == {"S": "team/clip.mp4.tar.gz"}
        assert item["record"]["M"]["source_file_record"]["M"]["size"] == {"N": "3"}
        assert "multipart_upload_id" not in item
        assert "NULL" not in json.dumps(item)

    def test_a_person_can_read_a_name_and_signed_parts(self, client: DynamoDBClient, store: DynamoDBRecordStore):
        store.put_name(Name("Team/Clip.tar.gz"))
        assert self.read(client, "NAME#team/clip.tar.gz", "NAME")["key"] == {"S": "Team/Clip.tar.gz"}
        store.add_signed_parts(make_id(1), [Part(201, 5, "AAAAAAAAAAA=")])
        parts = self.read(client, f"OP#{make_id(1)}", "PARTS#1#02")["parts"]
        assert parts == {"M": {"201": {"L": [{"N": "5"}, {"S": "AAAAAAAAAAA="}]}}}

    def test_success_leaves_the_index_of_what_is_open(self, client: DynamoDBClient, store: DynamoDBRecordStore):
        operation = store.create_operation(make_operation(1))
        store.update_operation(store.update_operation(operation.advance("completing")).advance("done"))
        assert "open_pk" not in self.read(client, f"OP#{operation.id}", "OP")
        assert client.scan(TableName=TABLE, IndexName="open")["Count"] == 0

    def test_an_index_carries_keys_only(self, client: DynamoDBClient, store: DynamoDBRecordStore):
        store.create_operation(make_operation(1))
        [entry] = client.scan(TableName=TABLE, IndexName="feed")["Items"]
        assert entry.keys() == {"pk", "sk", "feed_pk", "order"}

    def test_signing_parts_leaves_the_operation_as_small_as_it_was(
        self, client: DynamoDBClient, store: DynamoDBRecordStore
    ):
        operation = store.create_operation(make_operation(1))
        before = self.read(client, f"OP#{operation.id}", "OP")
        store.add_signed_parts(operation.id, [Part(n, 2**24, "AAAAAAAAAAA=") for n in range(1, 101)])
        assert self.read(client, f"OP#{operation.id}", "OP") == before

    def test_shards_are_used_about_evenly_and_an_id_keeps_its_own(self):
        used = Counter(shard_of(make_id(number), 4) for number in range(4000))
        assert len(used) == len(feed_partitions(4))
        assert min(used.values()) > 800
        assert shard_of("0197c0de-0000-7000-8000-000000000001", 4) == 1

    def test_more_shards_than_at_first_find_what_is_older(self, client: DynamoDBClient):
        old = DynamoDBRecordStore(client, TABLE, 1).create_operation(make_operation(1))
        new = DynamoDBRecordStore(client, TABLE, 8)
        operations = [new.create_operation(make_operation(number)) for number in range(2, 10)]
        assert new.find_operations(HistoryQuery(limit=20)).operations == [*operations[::-1], old]


class TestCalls:
    """What a call of the port costs stays the same, however much is stored."""

    @pytest.mark.parametrize("shards", [1, 3])
    def test_a_page_is_one_query_per_shard_and_one_read(self, client: DynamoDBClient, calls: Counter[str], shards: int):
        store = DynamoDBRecordStore(client, TABLE, shards)
        for number in range(30):
            store.create_operation(make_operation(number))
        calls.clear()
        assert len(store.find_operations(HistoryQuery(limit=10)).operations) == 10
        assert calls == {"Query": shards, "BatchGetItem": 1}

    @pytest.mark.parametrize(
        "served",
        [
            {"actor_id": "subject-of-kim"},
            {"base_name": "clip.mp4.tar.gz"},
            {"status": "pending"},
            {"actor": "kim", "actor_id": "subject-of-kim", "operation_type": "upload"},
        ],
    )
    def test_what_an_index_serves_is_found_without_reading_the_rest(
        self, store: DynamoDBRecordStore, calls: Counter[str], served: dict[str, Any]
    ):
        wanted = [store.create_operation(make_operation(number)) for number in range(3)]
        for number in range(3, 20):
            store.create_operation(
                make_operation(number, actor="lee", key="team/other.tar.gz", phase="done", seconds=1)
            )
        calls.clear()
        assert store.find_operations(HistoryQuery(limit=3, **served)).operations == wanted[::-1]
        assert calls == {"Query": 1, "BatchGetItem": 1}

    def test_filters_no_index_serves_read_within_a_fixed_budget(
        self, store: DynamoDBRecordStore, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(dynamodb, "BATCH_MAX", 5)
        needle = store.create_operation(make_operation(0, phase="done"))
        for number in range(1, 60):
            store.create_operation(make_operation(number, seconds=1))
        query = HistoryQuery(limit=4, status="success")
        pages = 0
        while True:
            calls.clear()
            page = store.find_operations(query)
            pages += 1
            assert calls["Query"] <= dynamodb.ROUNDS_MAX
            assert calls["BatchGetItem"] <= dynamodb.ROUNDS_MAX
            if page.after is None:
                break
            assert page.operations == []
            query = replace(query, after=page.after)
        assert page.operations == [needle]
        assert pages == 4, "59 others in rounds of 4, 5, 5 and 5"

    def test_a_span_that_is_empty_asks_nothing(self, store: DynamoDBRecordStore, calls: Counter[str]):
        operation = store.create_operation(make_operation(1))
        calls.clear()
        span = HistoryQuery(limit=5, since=operation.record.started_at, until=operation.record.started_at)
        assert store.find_operations(replace(span, after="2026-01-01T00:00:00.000Z#x")).operations == []
        assert not calls

    @pytest.mark.parametrize(("count", "reads"), [(0, 0), (1, 1), (50, 1), (51, 2), (100, 2)])
    def test_operations_and_names_are_one_read_up_to_a_hundred_in_all(
        self, store: DynamoDBRecordStore, calls: Counter[str], count: int, reads: int
    ):
        store.get_operations_and_names(map(make_id, range(count)), map(str, range(count)))
        assert calls["BatchGetItem"] == calls.total() == reads

    def test_a_hundred_parts_cost_one_read_and_one_write(self, store: DynamoDBRecordStore, calls: Counter[str]):
        parts = [Part(number, 5, "AAAAAAAAAAA=") for number in range(1, 101)]
        store.add_signed_parts(make_id(1), parts)
        assert calls == {"BatchGetItem": 1, "PutItem": 1}
        calls.clear()
        store.add_signed_parts(make_id(1), parts)
        assert calls == {"BatchGetItem": 1}

    def test_reads_are_consistent(self, client: DynamoDBClient, store: DynamoDBRecordStore):
        seen: list[Any] = []
        client.meta.events.register("provide-client-params.dynamodb", lambda params, **_: seen.append(params) or None)
        store.get_operations([make_id(1)])
        store.get_names(["a"])
        store.get_signed_parts(make_id(1))
        batches = [batch for params in seen[:2] for batch in params["RequestItems"].values()]
        assert [request["ConsistentRead"] for request in [*batches, seen[2]]] == [True] * 3


class TestLostAnswers:
    """A write whose answer is lost is repeated by the SDK and meets its own result."""

    @pytest.fixture
    def loses_answers(self, client: DynamoDBClient) -> None:
        def try_again(attempts: int, **_: Any) -> int | None:
            return 0 if attempts == 1 else None

        client.meta.events.register_first("needs-retry.dynamodb.PutItem", try_again)

    def test_the_repetition_of_a_write_is_no_conflict(self, store: DynamoDBRecordStore, loses_answers):
        created = store.create_operation(make_operation(1))
        updated = store.update_operation(created.advance("completing"))
        name = store.put_name(Name("a"))
        store.add_signed_parts(created.id, [Part(1, 5, "AAAAAAAAAAA=")])
        assert store.get_operations([created.id]) == {created.id: updated}
        assert store.get_names(["a"]) == {"a": name}
        assert list(store.get_signed_parts(created.id)) == [1]

    def test_the_same_write_by_another_call_is(self, store: DynamoDBRecordStore, loses_answers):
        operation = store.create_operation(make_operation(1))
        store.update_operation(operation.advance("completing"))
        with pytest.raises(ConflictError):
            store.update_operation(operation.advance("completing"))
        with pytest.raises(ConflictError):
            store.create_operation(make_operation(1))


class TestLeftOutItems:
    """DynamoDB may answer a BatchGetItem in part."""

    def leave_out(self, client: DynamoDBClient, times: int) -> None:
        remaining = iter(range(times))

        def take_away(parsed: dict[str, Any], **_: Any) -> None:
            if next(remaining, None) is None:
                return
            items = parsed["Responses"][TABLE]
            last = items.pop()
            parsed["UnprocessedKeys"] = {TABLE: {"Keys": [{"pk": last["pk"], "sk": last["sk"]}]}}

        client.meta.events.register("after-call.dynamodb.BatchGetItem", take_away)

    def test_they_are_asked_for_again(self, client: DynamoDBClient):
        pauses: list[float] = []
        store = DynamoDBRecordStore(client, TABLE, 1, pause=pauses.append)
        stored = {make_id(n): store.create_operation(make_operation(n)) for n in range(5)}
        self.leave_out(client, 3)
        assert store.get_operations(stored) == stored
        assert len(pauses) == 3
        assert all(0 <= pause < 1 for pause in pauses)

    def test_in_the_end_the_store_is_unavailable(self, client: DynamoDBClient):
        store = DynamoDBRecordStore(client, TABLE, 1, pause=lambda _: None)
        store.create_operation(make_operation(1))
        self.leave_out(client, 99)
        with pytest.raises(RecordsUnavailableError):
            store.get_operations([make_id(1)])


def error_answer(status: int, code: str, **more: Any) -> Answer:
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "told so", **more}
    return Answer(status, json.dumps(body).encode(), {"content-type": "application/x-amz-json-1.0"})


def make_store(url: str) -> DynamoDBRecordStore:
    """Make a store on a loopback address whose client does not wait to try again."""
    client = make_dynamodb_client("eu-west-1", endpoint_url=url, access_key="key", secret_key="made up")
    client.meta.events.unregister("needs-retry.dynamodb", unique_id="retry-config-dynamodb")
    return DynamoDBRecordStore(client, TABLE, 1)


CALLS: dict[str, Callable[[DynamoDBRecordStore], object]] = {
    "get": lambda store: store.get_operations([make_id(1)]),
    "create": lambda store: store.create_operation(make_operation(1)),
    "put_name": lambda store: store.put_name(Name("a")),
    "get_parts": lambda store: store.get_signed_parts(make_id(1)),
    "find": lambda store: store.find_operations(HistoryQuery(limit=1)),
}
FAILURES = {
    "throughput": error_answer(400, "ProvisionedThroughputExceededException"),
    "throttling": error_answer(400, "ThrottlingException"),
    "too many": error_answer(400, "RequestLimitExceeded"),
    "failure": error_answer(500, "InternalServerError"),
    "no service": Answer(503, b"<html>"),
    "broken connection": Answer(breaks=True),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("failure", FAILURES)
def test_load_and_failure_are_unavailable(call: str, failure: str):
    with scripted_server(FAILURES[failure]) as server, pytest.raises(RecordsUnavailableError):
        CALLS[call](make_store(server.url))


@pytest.mark.parametrize("call", CALLS)
def test_a_store_that_is_not_there_is_unavailable(call: str):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(RecordsUnavailableError):
        CALLS[call](make_store(url))


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "ValidationException"])
def test_a_fault_of_the_deployment_is_not_hidden(code: str):
    with scripted_server(error_answer(400, code)) as server, pytest.raises(ClientError, match=code):
        CALLS["create"](make_store(server.url))


PARTS_IN_TWO_ITEMS = [Part(100, 5, "AAAAAAAAAAA="), Part(101, 5, "AAAAAAAAAAA=")]
NOTHING_STORED = Answer(200, json.dumps({"Responses": {TABLE: []}, "UnprocessedKeys": {}}).encode())


def cancelled(*codes: str) -> Answer:
    reasons = [{"Code": code, "Message": "told so"} for code in codes]
    return error_answer(400, "TransactionCanceledException", CancellationReasons=reasons)


@pytest.mark.parametrize(
    "refusal",
    [
        cancelled("None", "ConditionalCheckFailed"),
        cancelled("TransactionConflict", "None"),
        error_answer(400, "TransactionConflictException"),
    ],
)
def test_a_lost_race_for_parts_is_run_again(refusal: Answer):
    answers = (NOTHING_STORED, refusal, NOTHING_STORED, Answer(200, b"{}"))
    with scripted_server(*answers) as server:
        make_store(server.url).add_signed_parts(make_id(1), PARTS_IN_TWO_ITEMS)
    assert [asked.headers["x-amz-target"].partition(".")[2] for asked in server.asked] == [
        "BatchGetItem",
        "TransactWriteItems",
    ] * 2


def test_races_for_parts_end():
    answers = [NOTHING_STORED, cancelled("None", "ConditionalCheckFailed")] * dynamodb.LOST_RACES_MAX
    with scripted_server(*answers) as server, pytest.raises(RecordsUnavailableError):
        make_store(server.url).add_signed_parts(make_id(1), PARTS_IN_TWO_ITEMS)


@pytest.mark.parametrize("code", ["ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_transaction_cancelled_by_load_is_unavailable(code: str):
    with (
        scripted_server(NOTHING_STORED, cancelled("None", code)) as server,
        pytest.raises(RecordsUnavailableError),
    ):
        make_store(server.url).add_signed_parts(make_id(1), PARTS_IN_TWO_ITEMS)
    assert len(server.asked) == 2


def test_a_transaction_whose_first_try_is_still_at_work_is_unavailable():
    """As where its answer was lost and the SDK has asked again: it was answered as a fault of the service."""
    refused = error_answer(400, "TransactionInProgressException")
    with scripted_server(NOTHING_STORED, refused) as server, pytest.raises(RecordsUnavailableError):
        make_store(server.url).add_signed_parts(make_id(1), PARTS_IN_TWO_ITEMS)


@pytest.mark.parametrize("code", ["ValidationError", "ItemCollectionSizeLimitExceeded"])
def test_a_transaction_that_dynamodb_can_never_make_is_no_lost_race(code: str):
    """It was decided again and again, and then said to have been changed by others."""
    with (
        scripted_server(NOTHING_STORED, cancelled("None", code)) as server,
        pytest.raises(ClientError, match="TransactionCanceledException"),
    ):
        make_store(server.url).add_signed_parts(make_id(1), PARTS_IN_TWO_ITEMS)


def test_no_call_outlasts_the_function():
    """All tries of one call together end well within 29 seconds, the life of a call to the service."""
    config = make_dynamodb_client("eu-west-1", access_key="key", secret_key="made up").meta.config
    tries = config.retries["total_max_attempts"]
    assert tries * (config.connect_timeout + config.read_timeout) < 25
