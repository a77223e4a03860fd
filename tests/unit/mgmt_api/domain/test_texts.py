"""No text makes an answer too large for anybody: bounded at the border, cut where an older record holds more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from mgmt_api.domain.answers import ANSWER_MAX_BYTES
from mgmt_contract import routes
from mgmt_contract.messages.history import LookUpRequest
from mgmt_contract.messages.uploads import (
    CleanUp,
    CleanUpRequest,
    CompleteItem,
    CompleteRequest,
    FailItem,
    FailRequest,
    Packing,
    Part,
    PreviewRequest,
    SignItem,
    SignRequest,
    StartRequest,
)
from mgmt_contract.records import FileRecord
from mgmt_contract.texts import TEXT_MAX_BYTES
from mgmt_contract.wire import to_plain
from support.events import make_claims, make_event
from support.operations import make_id, make_operation
from support.studio import content_of, item_for

CLAIMS = make_claims("sub-ada", "ada")
MACHINE = "c3d6f7b5-1606-4ac8-92e9-ace1caf565c5"
ID = make_id(1)
ITEM = item_for(
    "clip", prefix="day1", storage_class="STANDARD", tags={"project": "film"}, packing=Packing("isal", "auto")
)
DONE = CleanUp(ID, "completed", "deleted")
REQUESTS = {
    routes.PREVIEW: PreviewRequest(MACHINE, [ITEM], "footage"),
    routes.START: StartRequest(MACHINE, [ITEM], "footage", [DONE]),
    routes.SIGN: SignRequest(MACHINE, [SignItem(ID, 1, [Part(1, 1, "AAAAAAAAAAA=")], content_of(b"bytes"))]),
    routes.COMPLETE: CompleteRequest(MACHINE, [CompleteItem(ID, 1, content_of(b"bytes"))], [DONE]),
    routes.FAIL: FailRequest(MACHINE, [FailItem(ID, 1, "gave-up", "gave up")]),
    routes.CLEAN_UP: CleanUpRequest([DONE]),
    routes.LOOK_UP: LookUpRequest([ID]),
}
FILTERS = {"actor": "ada", "name": "clip", "cursor": "x", "since": "2026-11-01T00:00:00Z", "status": "failed"}
TOO_LONG = ("x" * (TEXT_MAX_BYTES + 1), '"' * (TEXT_MAX_BYTES // 2 + 1), "é" * 1025, "\N{CLAPPER BOARD}" * 100_000)
WITH_CONTROLS = ("take\n1", "\x1b[31m", "\x7f", "\x85", "\x00")


def places(data: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Name the way to every text of a message."""
    if isinstance(data, str):
        yield way
    for key, value in data.items() if isinstance(data, dict) else enumerate(data if isinstance(data, list) else ()):
        yield from places(value, (*way, key))


def with_text(data: Any, way: tuple[Any, ...], text: str) -> Any:
    """Return a copy of a message with another text at one place."""
    copied = json.loads(json.dumps(data))
    target = copied
    for key in way[:-1]:
        target = target[key]
    target[way[-1]] = text
    return copied


EVERY_TEXT = [
    pytest.param(route, way, id=f"{route.path.rsplit('/', 1)[-1]}: {'.'.join(map(str, way))}")
    for route, request in REQUESTS.items()
    for way in places(to_plain(request))
    if "clean_ups" not in way  # what rides on another call has no result of its own
]


def problem_of(answer: dict[str, Any]) -> dict[str, Any] | None:
    body = json.loads(answer["body"])
    if answer["statusCode"] != 200:
        return body
    if body["results"] == []:
        return None
    return body["results"][0]["problem"]


@pytest.mark.parametrize(("route", "way"), EVERY_TEXT)
def test_a_text_that_is_too_long_or_holds_control_characters_is_refused_wherever_it_stands(studio, route, way):
    plain = to_plain(REQUESTS[route])
    for text in (*TOO_LONG, *WITH_CONTROLS):
        answer = studio.app(
            make_event(route, claims=CLAIMS, body=json.dumps(with_text(plain, way, text), ensure_ascii=False))
        )
        problem = problem_of(answer)
        assert problem is not None
        assert problem["code"] in ("invalid-request", "invalid-name", "bucket-differs")
        assert len(answer["body"]) < 5 * TEXT_MAX_BYTES
        assert text not in answer["body"]
    assert studio.records.operations == studio.records.names == {}


@pytest.mark.parametrize("route", [routes.START, routes.COMPLETE], ids=lambda route: route.path)
def test_an_id_that_is_none_among_what_rides_on_a_call_does_the_call_no_harm(studio, route):
    plain = to_plain(REQUESTS[route])
    for text in (*TOO_LONG, *WITH_CONTROLS):
        body = json.dumps(with_text(plain, ("clean_ups", 0, "operation_id"), text), ensure_ascii=False)
        answer = studio.app(make_event(route, claims=CLAIMS, body=body))
        assert answer["statusCode"] == 200
        assert len(answer["body"]) < 5 * TEXT_MAX_BYTES


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_is_bounded_as_every_text_is(studio, name):
    for text in (*TOO_LONG, *WITH_CONTROLS):
        answer = studio.app(make_event(routes.HISTORY, claims=CLAIMS, query={name: text}))
        assert answer["statusCode"] == 400
        assert len(answer["body"]) < 2 * TEXT_MAX_BYTES


def test_the_longest_texts_of_every_kind_are_taken_and_come_back_whole(ada):
    longest = "é" * (TEXT_MAX_BYTES // 2)
    source = FileRecord(longest, longest, "local", 10, is_directory=False, status="pending")
    item = item_for("clip", target_path=longest, compressed_file_path=longest, source_file_record=source)
    record = ada.fail(ada.start(item), longest).record
    assert (record.target_path, record.compressed_file_path, record.error_message) == (longest,) * 3
    assert (record.source_file_record.name, record.source_file_record.path) == (longest,) * 2


# --- pages ----------------------------------------------------------------------------------------------------------


def worst_item(number: int) -> Any:
    """The largest record that the border lets through: nothing but quotes, doubled by JSON and again by Lambda."""
    quotes = '"' * (TEXT_MAX_BYTES // 2)
    letters = "\N{LINEAR B SYLLABLE B008 A}" * 256
    return item_for(
        f"{number:03}{quotes[:1000]}",
        target_path=quotes,
        compressed_file_path=quotes,
        source_file_record=FileRecord(quotes, quotes, "local", 10, is_directory=False, status="pending"),
        packing=Packing('"' * 200, '"' * 200),
        tags={f"{key}{letters[:127]}": letters for key in range(10)},
    )


def bytes_for_lambda(answer: dict[str, Any]) -> int:
    """What Lambda passes on: the runtime writes the whole answer as JSON, up to Python 3.11 in ASCII."""
    return len(json.dumps(answer))


def test_a_page_of_the_worst_records_is_cut_by_its_bytes_and_the_next_goes_on(studio, ada):
    items = [worst_item(number) for number in range(100)]
    for item in items:
        started = ada.start(item)
        assert started.outcome == "put", started
        ada.fail(started, '"' * (TEXT_MAX_BYTES // 2))
        studio.clock.advance(1)
    found, pages, cursor = [], 0, None
    while pages == 0 or cursor is not None:
        query = {"limit": "100"} | ({"cursor": cursor} if cursor else {})
        answer = studio.app(make_event(routes.HISTORY, claims=CLAIMS, query=query))
        assert answer["statusCode"] == 200
        assert bytes_for_lambda(answer) < ANSWER_MAX_BYTES + 10_000
        page = json.loads(answer["body"])
        assert page["records"]
        found += [record["operation_id"] for record in page["records"]]
        pages, cursor = pages + 1, page["cursor"]
    assert found == [item.operation_id for item in reversed(items)]
    assert 2 <= pages <= 4


def test_a_page_of_ordinary_records_is_not_cut(studio, ada):
    for number in range(100):
        ada.start(item_for(f"clip-{number}"))
    assert len(ada.history(limit="100").records) == 100


def test_records_from_before_there_were_bounds_do_not_blind_the_team(studio, ada):
    """As they were taken once: 16 KiB of control characters in each of four texts, six bytes each as JSON."""
    hostile = "\x1b" * 16 * 1024
    file = FileRecord(hostile, hostile, "local", 1, is_directory=False, status="pending")
    for number in range(100):
        operation = make_operation(number, key=f"clip-{number}.tar.gz", seconds=number)
        record = replace(
            operation.record, target_path=hostile, compressed_file_path=hostile, error_message=hostile,
            source_file_record=file, compressed_file_record=file,
        )  # fmt: skip
        studio.records.create_operation(replace(operation, record=record))
    found, query = [], {"limit": "100"}
    while query is not None:
        answer = studio.app(make_event(routes.HISTORY, claims=CLAIMS, query=query))
        assert bytes_for_lambda(answer) < ANSWER_MAX_BYTES + 10_000
        page = json.loads(answer["body"])
        found += page["records"]
        query = {"limit": "100", "cursor": page["cursor"]} if page["cursor"] else None
    assert len(found) == 100
    assert all("…" in record["target_path"] for record in found)


def test_a_hundred_of_the_worst_records_are_answered_at_once_or_asked_for_again(studio, ada):
    """What does not fit into one answer is a problem of its item that passes when fewer are asked for."""
    items = [worst_item(number) for number in range(100)]
    for item in items:
        ada.fail(ada.start(item), '"' * (TEXT_MAX_BYTES // 2))
    wanted, rounds = [item.operation_id for item in items], 0
    while wanted:
        event = make_event(routes.LOOK_UP, claims=CLAIMS, body=LookUpRequest(wanted))
        answer = studio.app(event)
        assert bytes_for_lambda(answer) < ANSWER_MAX_BYTES + 100_000
        results = json.loads(answer["body"])["results"]
        assert [result["operation_id"] for result in results] == wanted
        left = [result for result in results if result["outcome"] == "problem"]
        assert {result["problem"]["code"] for result in left} <= {"answer-too-large"}
        assert len(left) < len(wanted)
        wanted, rounds = [result["operation_id"] for result in left], rounds + 1
    assert rounds <= 4
