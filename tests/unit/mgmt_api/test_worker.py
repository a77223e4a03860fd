"""The worker's function: batches of messages in, and out which of them are to come again."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import pytest

from mgmt_api.adapters.sqs import SQSWorkQueue
from mgmt_api.domain.work import Work, write_work
from mgmt_api.ports import QueueUnavailableError, StorageUnavailableError
from mgmt_api.upkeep.tasks import Worker
from mgmt_api.wiring import build_worker
from support.interposed import fail_at, interpose_objects
from support.studio import BODY, CONTENT, Studio, item_for


class Context:
    """What Lambda gives its handler beside the event."""

    aws_request_id = "request"

    def __init__(self, left_seconds: float = 900) -> None:
        self._left_seconds = left_seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * self._left_seconds)


def batch(*texts: str) -> dict[str, Any]:
    """An event of SQS with these messages, "1" and on."""
    records = [
        {"messageId": str(number), "body": text, "eventSource": "aws:sqs", "receiptHandle": "r", "attributes": {}}
        for number, text in enumerate(texts, start=1)
    ]
    return {"Records": records}


def failures(answer: dict[str, Any]) -> list[str]:
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def make_worker(studio: Studio) -> Any:
    records, objects = studio._served
    return build_worker(studio.settings, records, objects, studio.clock, studio.queue, studio.metrics)


@pytest.fixture
def studio():
    return Studio(has_worker=True)


def test_each_message_is_done_and_only_what_failed_comes_again(studio, ada):
    arrived = []
    for name in ("one", "two", "three"):
        ada.send(ada.start(item_for(name, BODY)), BODY)
        arrived.append(write_work(Work("arrival", key=f"{name}.tar.gz")))
    down = fail_at("head_object", StorageUnavailableError("down"))
    studio.serve(studio.records, interpose_objects(studio.objects, before=down))
    answer = make_worker(studio)(batch(*arrived, "poison"), Context())
    assert failures(answer) == ["1", "4"]
    assert [each.phase for each in studio.records.operations.values()] == ["carrying", "done", "done"]
    assert studio.metrics.flushes > 0
    assert failures(make_worker(studio)(batch(arrived[0]), Context())) == []
    assert {each.phase for each in studio.records.operations.values()} == {"done"}


def test_a_batch_of_poison_fails_message_by_message(studio):
    """Not as a whole: then SQS counts the tries of each, and lays it into the queue of dead letters."""
    assert failures(make_worker(studio)(batch("poison", '{"task": "dance"}'), Context())) == ["1", "2"]


def test_what_takes_moments_comes_before_the_rounds_of_its_batch(studio, monkeypatch):
    """A round uses all the time; a run that was cut off after it would bring it again, beside its rest."""
    done = []
    monkeypatch.setattr(Worker, "do", lambda _, work: done.append(work.task))
    works = [Work("orphans"), Work("deleted"), Work("arrival", key="a.tar.gz"), Work("pending"), Work("settle", "id")]
    answer = make_worker(studio)(batch(*map(write_work, works), "poison"), Context())
    assert done == ["arrival", "settle", "pending", "deleted", "orphans"]
    assert failures(answer) == ["6"]


def test_a_join_gets_the_time_that_is_left(studio, ada, monkeypatch):
    waits = []
    monkeypatch.setattr(
        studio.objects, "complete_multipart_upload", lambda *_, within_seconds, **__: waits.append(within_seconds)
    )
    started = ada.start(item_for("clip", upper_bound=100))
    ada.carry(started, BODY)
    ada.complete(started, CONTENT)
    make_worker(studio)(batch(write_work(Work("settle", started.operation_id))), Context(100))
    assert waits == [91]


# --- SQS -----------------------------------------------------------------------------------------------


class FakeSQS:
    """Notes what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send_message(self, **parameters: Any) -> None:
        self.sent.append(parameters)


def test_joins_and_looks_go_to_queues_of_their_own():
    sqs = FakeSQS()
    queue = SQSWorkQueue(sqs, "https://joins", "https://looks")
    queue.send(Work("settle", "an-id"), delay_seconds=900)
    queue.send(Work("pending", after="x"))
    assert [(each["QueueUrl"], each["DelaySeconds"]) for each in sqs.sent] == [
        ("https://joins", 900),
        ("https://looks", 0),
    ]
    assert json.loads(sqs.sent[0]["MessageBody"])["operation_id"] == "an-id"


def test_a_queue_that_cannot_be_reached_is_told_as_such(monkeypatch):
    from mgmt_api.adapters.clients import make_sqs_client

    sqs = make_sqs_client("eu-west-1", endpoint_url="http://127.0.0.1:9", access_key="a", secret_key="b")
    with pytest.raises(QueueUnavailableError):
        SQSWorkQueue(sqs, "http://127.0.0.1:9/joins", "http://127.0.0.1:9/looks").send(Work("pending"))


@pytest.fixture
def environment(monkeypatch):
    for name, value in {
        "MGMT_BUCKET": "footage",
        "MGMT_TABLE": "records",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "MGMT_JOINS_QUEUE_URL": "https://joins",
        "MGMT_LOOKS_QUEUE_URL": "https://looks",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("module", ["mgmt_api.worker", "mgmt_api.handler"])
def test_both_functions_are_put_together_from_the_environment(environment, monkeypatch, module):
    monkeypatch.delitem(sys.modules, module, raising=False)
    built = importlib.import_module(module)
    monkeypatch.delitem(sys.modules, module, raising=False)
    assert callable(built.lambda_handler)


def test_the_function_refuses_what_is_no_message(environment, monkeypatch):
    monkeypatch.delitem(sys.modules, "mgmt_api.worker", raising=False)
    worker = importlib.import_module("mgmt_api.worker")
    monkeypatch.delitem(sys.modules, "mgmt_api.worker", raising=False)
    assert failures(worker.lambda_handler(batch("poison"), Context())) == ["1"]
