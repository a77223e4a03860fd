"""What the service answers over HTTP, whatever it is sent."""

from __future__ import annotations

import base64
import io
import json

import pytest

from mgmt_api import routes as api_routes
from mgmt_api.domain.answers import BODY_MAX_BYTES
from mgmt_api.ports import RecordsFullError, RecordsUnavailableError, StorageFullError, StorageUnavailableError
from mgmt_contract import routes
from mgmt_contract.problems import PROBLEMS
from support.events import make_claims, make_event
from support.interposed import fail_at, interpose_objects, interpose_records
from support.studio import content_of, item_for

CLAIMS = make_claims("sub-ada", "ada")


def answer(studio, route=routes.START, **more):
    return studio.app(make_event(route, claims=CLAIMS, **more))


def assert_problem(answered, code):
    problem = json.loads(answered["body"])
    assert problem["code"] == code, problem
    assert answered["statusCode"] == problem["status"] == PROBLEMS[code].http_status
    assert answered["headers"]["Content-Type"] == "application/problem+json"
    assert answered["headers"]["Cache-Control"] == "no-store"
    assert set(problem) == {
        "type",
        "title",
        "status",
        "code",
        "detail",
        "operation_id",
        "retry_after_seconds",
        "run_id",
    }
    return problem


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '"text"',
        "[" * 100_000,
        '[{"machine_id": "m", "items": []}]',
        '{"machine_id": "\\ud800", "items": []}',
        '{"machine_id": "m"}',
        '{"items": []}',
        '{"machine_id": 5, "items": []}',
        '{"machine_id": "m", "items": {}}',
        '{"machine_id": "m", "items": [], "unknown": 1}',
        '{"machine_id": "m", "items": []}' + " " * BODY_MAX_BYTES,
    ],
    ids=lambda body: body[:30],
)
def test_a_body_that_is_none_is_a_problem(studio, body):
    assert_problem(answer(studio, body=body), "invalid-request")


def test_half_a_character_cannot_be_answered_and_is_refused(studio):
    assert_problem(answer(studio, routes.LOOK_UP, body='{"operation_ids": ["\\ud83c"]}'), "invalid-request")
    assert answer(studio, routes.LOOK_UP, body='{"operation_ids": ["\\ud83c\\udfac"]}')["statusCode"] == 200


def test_no_body_is_a_problem(studio):
    assert_problem(answer(studio), "invalid-request")


@pytest.mark.parametrize("body", ["!", "/w==", "/////"])
def test_a_body_that_is_not_what_its_event_says_is_a_problem(studio, body):
    event = make_event(routes.START, claims=CLAIMS, body=body) | {"isBase64Encoded": True}
    assert_problem(studio.app(event), "invalid-request")


def test_a_body_in_base64_is_read(studio):
    body = base64.b64encode(b'{"operation_ids": ["x"]}').decode()
    event = make_event(routes.LOOK_UP, claims=CLAIMS, body=body) | {"isBase64Encoded": True}
    assert studio.app(event)["statusCode"] == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/xml"])
def test_another_content_type_is_a_problem(studio, kind):
    assert_problem(answer(studio, body="{}", headers={"content-type": kind}), "invalid-request")


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=x",
        " multipart/form-data",
    ],
)
@pytest.mark.parametrize("body", ["machine_id=m&items=1", "--x\r\n\r\n--x--", "\u00e9\u0142"])
def test_a_form_is_a_problem(studio, kind, body):
    assert_problem(answer(studio, body=body, headers={"content-type": kind}), "invalid-request")


@pytest.mark.parametrize(
    "path",
    ["items.0.unknown", "items.0.packing.unknown", "items.0.content.unknown", "items.0.source_file_record.unknown"],
)
def test_a_field_nobody_knows_is_named_and_refused(studio, ada, path):
    message = {"machine_id": ada.machine_id, "items": [json.loads(make_event(routes.START, body=item_for())["body"])]}
    *parents, last = path.split(".")
    target = message
    for key in parents:
        target = target[int(key) if key.isdigit() else key]
    target[last] = "s3cret"
    problem = assert_problem(answer(studio, body=json.dumps(message)), "invalid-request")
    assert path in problem["detail"]
    assert "s3cret" not in problem["detail"]


def test_many_faults_are_counted_not_listed(studio):
    body = json.dumps({"machine_id": "m", "items": [{}] * 100})
    problem = assert_problem(answer(studio, body=body), "invalid-request")
    assert "more" in problem["detail"]
    assert len(problem["detail"]) < 1000


@pytest.mark.parametrize(
    "route", [("GET", "/v1/uploads/start"), ("POST", "/v1/history"), ("GET", "/"), ("POST", "/v2/uploads/start")]
)
def test_a_route_that_is_none_is_a_problem(studio, route):
    assert_problem(answer(studio, route), "no-such-route")


def test_records_that_do_not_answer_are_a_problem_worth_asking_again(studio):
    error = RecordsUnavailableError("throttled")
    studio.serve(interpose_records(studio.records, before=fail_at("find_operations", error)), studio.objects)
    answered = answer(studio, routes.HISTORY)
    assert_problem(answered, "storage-unavailable")
    assert answered["headers"]["Retry-After"] == "2"
    assert answer(studio, routes.HISTORY)["statusCode"] == 200


def test_a_storage_that_does_not_answer_concerns_one_item(studio, ada):
    error = StorageUnavailableError("slow down")
    studio.serve(studio.records, interpose_objects(studio.objects, before=fail_at("create_multipart_upload", error)))
    items = [item_for("a", upper_bound=1), item_for("b", upper_bound=1)]
    results = ada.start_all(items).results
    assert [result.outcome for result in results] == ["problem", "multipart"]
    assert results[0].problem.code == "storage-unavailable"
    assert ada.start(items[0]).outcome == "multipart"


def test_a_disk_without_room_is_told_in_its_own_words_and_not_to_be_asked_again(studio, ada):
    full = fail_at("find_operations", RecordsFullError("No room for records."))
    studio.serve(interpose_records(studio.records, before=full), studio.objects)
    answered = answer(studio, routes.HISTORY)
    assert assert_problem(answered, "storage-full")["detail"] == "No room for records."
    assert "Retry-After" not in answered["headers"]

    full = fail_at("create_multipart_upload", StorageFullError("No room for bytes."))
    studio.serve(studio.records, interpose_objects(studio.objects, before=full))
    items = [item_for("a", upper_bound=1), item_for("b", upper_bound=1)]
    refused, started = ada.start_all(items).results
    assert (refused.problem.code, refused.problem.detail) == ("storage-full", "No room for bytes.")
    assert (started.outcome, ada.start(items[0]).outcome) == ("multipart", "multipart")


def test_a_fault_of_the_service_says_nothing_of_its_inside(studio):
    error = RuntimeError("the password is s3cret")
    studio.serve(interpose_records(studio.records, before=fail_at("find_operations", error)), studio.objects)
    problem = assert_problem(answer(studio, routes.HISTORY), "internal-error")
    assert "s3cret" not in json.dumps(problem)


def test_times_are_written_as_the_contract_writes_them(studio, ada):
    done = ada.upload(item_for("clip", b"bytes"), b"bytes")
    studio.clock.advance(0.0123456)
    ada.upload(item_for("next", b"bytes"), b"bytes")
    body = answer(studio, routes.HISTORY)["body"]
    assert '"started_at":"2026-11-01T12:00:00.000Z"' in body
    assert '"started_at":"2026-11-01T12:00:00.012Z"' in body
    assert done.record.started_at == ada.look_up(done.operation_id)[0].record.started_at


def test_answers_with_urls_are_not_to_be_kept(studio, ada):
    answered = studio.app(make_event(routes.DESCRIBE))
    assert answered["headers"] == {"Content-Type": "application/json", "Cache-Control": "no-store"}


def test_the_log_tells_who_did_what_and_no_secret(studio, ada, monkeypatch):
    log = io.StringIO()
    for handler in api_routes.logger.handlers:
        monkeypatch.setattr(handler, "stream", log)
    item = item_for("clip", upper_bound=100)
    started = ada.start(item)
    ada.carry(started, b"bytes")
    ada.complete(started, content_of(b"bytes"))
    whole = ada.start(item_for("small", b"bytes"))
    headers = {"authorization": "Bearer eyJhbGciOi.eyJzdWIi.c2ln"}
    answer(studio, routes.HISTORY, headers=headers)
    answer(studio, body="{", headers=headers)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    ours = [line for line in lines if line.get("operation_id") == item.operation_id]
    assert [line["outcome"] for line in ours] == ["multipart", "signed", "done"]
    assert {line["actor"] for line in ours} == {"ada"}
    assert ours[-1]["key"] == "clip.tar.gz"
    for secret in ("X-Amz-Signature", "Bearer", "eyJ", whole.request.url.partition("?")[2]):
        assert secret not in log.getvalue()
