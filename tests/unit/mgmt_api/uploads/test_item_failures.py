"""Whatever goes wrong with one item is that item's result: no list fails for it, and the others have their answers."""

from __future__ import annotations

import functools
import io
import json
import uuid
from collections.abc import Callable
from dataclasses import replace

import botocore.exceptions
import pytest

from mgmt_api import routes as api_routes
from mgmt_api.adapters.dynamodb import DynamoDBRecordStore
from mgmt_api.ports import RecordsUnavailableError, StorageUnavailableError
from mgmt_contract import routes
from mgmt_contract.messages.downloads import DownloadEnd, EndDownloadsRequest, OpenDownloadsRequest
from mgmt_contract.messages.history import LookUpRequest
from mgmt_contract.messages.objects import LookRequest, RestoreItem, RestoreRequest
from mgmt_contract.messages.uploads import CleanUp, CleanUpRequest, PreviewRequest, StartRequest
from mgmt_contract.wire import MessageError
from support.events import make_event
from support.fakes import FakeRecordStore
from support.good_requests import BODY, complete_request, fail_request, sign_request
from support.interposed import fail_at, interpose_objects, interpose_records
from support.moto_table import create_table, moto_dynamodb
from support.studio import Studio, download_of, item_for

COUNT = 3
GOOD = {"free", "put", "multipart", "signed", "done", "record", "opened", "there", "asked", "restoring"}
READ_AHEAD = ("get_operations", "get_names", "get_operations_and_names")


def of_client(code: str, status: int = 400) -> botocore.exceptions.ClientError:
    """What botocore raises for an error answer."""
    answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(answer, "Call")  # type: ignore[arg-type]


ERRORS = (
    RecordsUnavailableError("throttled"),
    StorageUnavailableError("slow down"),
    of_client("ValidationException"),
    botocore.exceptions.ParamValidationError(report="Invalid type for parameter Key"),
    RuntimeError("a fault"),
)
CLIENT_ERRORS = (
    of_client("AccessDeniedException"),
    of_client("ValidationException"),
    of_client("ThrottlingException"),
    of_client("InternalServerError", 500),
    of_client("ConditionalCheckFailedException"),
    of_client("SomethingNew"),
    botocore.exceptions.NoCredentialsError(),
    botocore.exceptions.ReadTimeoutError(endpoint_url="https://records.example"),
)


class Desk:
    """One person with what each route needs to have something to do."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.ada = studio.person("ada")

    def preview(self):
        return routes.PREVIEW, PreviewRequest(self.ada.machine_id, self._whole())

    def start(self):
        return routes.START, StartRequest(self.ada.machine_id, self._whole())

    def start_in_parts(self):
        return routes.START, StartRequest(self.ada.machine_id, self._in_parts())

    def start_again(self):
        items = self._in_parts()
        self.ada.start_all(items)
        return routes.START, StartRequest(self.ada.machine_id, items)

    def take_over(self):
        items = self._in_parts()
        self.ada.start_all(items)
        self.studio.clock.advance(3600)
        return routes.START, StartRequest(self.ada.elsewhere().machine_id, items)

    def sign(self):
        started = self.ada.start_all(self._in_parts()).results
        return routes.SIGN, sign_request(self.ada.machine_id, [each.operation_id for each in started])

    def complete(self):
        return routes.COMPLETE, self._completion(self._carried(self._whole()))

    def complete_in_parts(self):
        return routes.COMPLETE, self._completion(self._carried(self._in_parts()))

    def fail(self):
        started = self.ada.start_all(self._in_parts()).results
        return routes.FAIL, fail_request(self.ada.machine_id, [each.operation_id for each in started])

    def clean_up(self):
        return routes.CLEAN_UP, CleanUpRequest([CleanUp(id_, "completed", "deleted") for id_ in self._done()])

    def look_up(self):
        return routes.LOOK_UP, LookUpRequest(self._done())

    def open_downloads(self):
        return routes.OPEN_DOWNLOADS, OpenDownloadsRequest([download_of(id_) for id_ in self._done()])

    def open_downloads_again(self):
        items = [download_of(id_) for id_ in self._done()]
        self.ada.open_downloads(*items)
        return routes.OPEN_DOWNLOADS, OpenDownloadsRequest(items)

    def end_downloads(self):
        items = [download_of(id_) for id_ in self._done()]
        self.ada.open_downloads(*items)
        return routes.END_DOWNLOADS, EndDownloadsRequest([DownloadEnd(each.operation_id, 5) for each in items])

    def restore(self):
        ids = self._carried([replace(item, storage_class="GLACIER") for item in self._whole()])
        self.studio.app(make_event(routes.COMPLETE, claims=self.ada.claims, body=self._completion(ids)))
        return routes.RESTORE, RestoreRequest([RestoreItem(str(uuid.uuid4()), id_) for id_ in ids])

    def look(self):
        return routes.LOOK, LookRequest(self._done())

    def _whole(self):
        return [item_for(f"clip-{number}", BODY) for number in range(COUNT)]

    def _in_parts(self):
        return [item_for(f"card-{number}", upper_bound=100) for number in range(COUNT)]

    def _carried(self, items):
        started = self.ada.start_all(items).results
        for each in started:
            self.ada.carry(each, BODY)
        return [each.operation_id for each in started]

    def _completion(self, ids):
        return complete_request(self.ada.machine_id, ids)

    def _done(self):
        ids = self._carried(self._whole())
        self.studio.app(make_event(routes.COMPLETE, claims=self.ada.claims, body=self._completion(ids)))
        return ids


CALLS = tuple(name for name in vars(Desk) if not name.startswith("_"))


def ask(desk: Desk, call: str, before: Callable[[str], None]) -> list[dict[str, object]]:
    """Make one call on stores that a hook watches, and return its results."""
    studio = desk.studio
    route, request = getattr(desk, call)()
    studio.serve(
        interpose_records(studio.records, before=before),
        interpose_objects(studio.objects, before=before),
    )
    answer = studio.app(make_event(route, claims=desk.ada.claims, body=request))
    assert answer["statusCode"] == 200, answer
    return json.loads(answer["body"])["results"]


@functools.cache
def methods_of(call: str) -> list[str]:
    """Learn which of the stores' methods a call uses."""
    seen: list[str] = []
    results = ask(Desk(Studio()), call, seen.append)
    assert {result["outcome"] for result in results} <= GOOD
    return sorted(set(seen))


@pytest.mark.parametrize("call", CALLS)
def test_an_error_of_any_kind_in_any_step_is_the_result_of_one_item(call):
    for method in methods_of(call):
        for error in ERRORS:
            results = ask(Desk(Studio()), call, fail_at(method, error))
            problems = [result["problem"]["code"] for result in results if result["outcome"] == "problem"]
            told = (method, error, problems)
            assert len(results) == COUNT
            assert {result["outcome"] for result in results} <= GOOD | {"problem"}, told
            if method in READ_AHEAD:  # of a read that concerns all, an outage is told to all; the rest is read again
                assert len(problems) in ((0, COUNT) if isinstance(error, RecordsUnavailableError) else (0,)), told
            else:
                assert len(problems) <= 1, told
            assert set(problems) <= {"storage-unavailable", "internal-error"}, told


@pytest.mark.parametrize("call", CALLS)
def test_the_same_call_again_succeeds_for_every_item(call):
    for method in methods_of(call):
        for error in (RecordsUnavailableError("throttled"), StorageUnavailableError("slow"), RuntimeError("a fault")):
            desk = Desk(Studio())
            route, request = getattr(desk, call)()
            hook = fail_at(method, error)
            records = interpose_records(desk.studio.records, before=hook)
            desk.studio.serve(records, interpose_objects(desk.studio.objects, before=hook))
            event = make_event(route, claims=desk.ada.claims, body=request)
            if call == "take_over":
                desk.ada = replace(desk.ada, machine_id=request.machine_id)
            desk.studio.app(event)
            desk.studio.clock.advance(600)  # for so long a join with an unknown end is only looked at
            again = json.loads(desk.studio.app(event)["body"])["results"]
            assert {result["outcome"] for result in again} <= GOOD, (method, error, again)


def test_one_record_that_cannot_be_read_stays_alone(studio, ada):
    """As a later version, or a hand in the table, may have left it."""

    class WithOneUnreadable(FakeRecordStore):
        def get_operations(self, operation_ids):
            wanted = set(operation_ids)
            if poisoned in wanted:
                raise MessageError("Operation.record.phase is 'vanished'")
            return super().get_operations(wanted)

    ids = Desk(studio)._done()
    poisoned = ids[1]
    store = WithOneUnreadable()
    store.operations, store.names = studio.records.operations, studio.records.names
    studio.serve(store, studio.objects)
    results = ada.look_up(*ids)
    assert [result.outcome for result in results] == ["record", "problem", "record"]
    assert results[1].problem.code == "internal-error"
    done = CleanUp(poisoned, "completed", "deleted")
    assert ada.start(item_for("another", BODY), clean_ups=[done]).outcome == "put"


def test_a_fault_at_an_item_is_logged_with_its_operation_and_its_place(studio, ada, monkeypatch):
    log = io.StringIO()
    for handler in api_routes.logger.handlers:
        monkeypatch.setattr(handler, "stream", log)
    error = RuntimeError("the password is s3cret")
    studio.serve(interpose_records(studio.records, before=fail_at("create_operation", error)), studio.objects)
    item = item_for("clip", BODY)
    problem = ada.start(item).problem
    assert (problem.code, problem.operation_id) == ("internal-error", item.operation_id)
    assert "s3cret" not in problem.detail
    [fault] = [line for line in map(json.loads, log.getvalue().splitlines()) if line["level"] == "ERROR"]
    assert (fault["operation_id"], fault["exception_name"]) == (item.operation_id, "RuntimeError")
    assert "create_operation" in fault["exception"]


@pytest.mark.parametrize("error", CLIENT_ERRORS, ids=lambda error: str(error)[:60])
@pytest.mark.parametrize("operation", ["BatchGetItem", "PutItem"])
def test_what_dynamodb_answers_to_one_item_is_that_items_result(operation, error):
    """Through the adapter itself."""
    left = [1]

    def refuse(**_: object) -> None:
        if left:
            left.pop()
            raise error

    with moto_dynamodb() as client:
        studio = Studio()
        studio.serve(DynamoDBRecordStore(client, create_table(client, "records"), 1), studio.objects)
        client.meta.events.register(f"before-call.dynamodb.{operation}", refuse)
        results = studio.person("ada").start_all([item_for(f"clip-{number}") for number in range(COUNT)]).results
    codes = {result.problem.code for result in results if result.problem is not None}
    assert codes <= {"storage-unavailable", "internal-error"}
    assert not left
    if operation == "PutItem":
        assert [result.outcome for result in results].count("put") >= COUNT - 1
