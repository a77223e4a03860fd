"""What one run of a client has asked for is found again: in the lines, in the record, in a problem's answer."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mgmt_api.ports import RecordsUnavailableError
from mgmt_contract import routes
from mgmt_contract.messages.uploads import CleanUp
from support.events import make_claims, make_event
from support.interposed import fail_at, interpose_records
from support.studio import content_of, item_for

RUN_ID = "8c1f07a2b3d4e5f6"
UNKNOWN = "00000000-0000-7000-8000-000000000000"
ODD = ["", " ", "a b", "a_b", "über", "a\nb", 'a","level":"', "<script>", "a" * 65, "one,two"]
"""None of these may get into a line, a record or an answer."""


@pytest.fixture
def run(ada):
    return replace(ada, run_id=RUN_ID)


def test_every_line_names_the_run_and_the_request(run, lines):
    """Those of items, which are answered beside each other, and of other modules as well."""
    items = [item_for(f"clip-{number}") for number in range(3)]
    run.start_all(items, clean_ups=[CleanUp(UNKNOWN, "completed", "deleted")])
    said = lines()
    assert {line["level"] for line in said} == {"INFO", "WARNING"}
    assert {(line["run_id"], line["request_id"]) for line in said} == {(RUN_ID, "request")}


def test_a_run_is_not_named_after_it(run, ada, lines):
    run.start(item_for("clip"))
    ada.start(item_for("other"))
    [_, other] = lines()
    assert "run_id" not in other


@pytest.mark.parametrize("run_id", [RUN_ID, "A-z-0", "x" * 64])
def test_the_record_says_which_run_began_it(ada, run_id):
    started = replace(ada, run_id=run_id).start(item_for("clip"))
    [found] = ada.look_up(started.operation_id)
    assert found.record.run_id == run_id


def test_who_goes_on_later_does_not_change_who_began(run, ada):
    item = item_for("clip", b"bytes")
    run.start(item)
    later = replace(ada, run_id="later")
    started = later.start(item)
    later.send(started, b"bytes")
    assert later.complete(started, content_of(b"bytes")).record.run_id == RUN_ID


@pytest.mark.parametrize("run_id", ODD)
def test_an_odd_name_is_passed_over_and_the_call_answered(ada, lines, run_id):
    started = replace(ada, run_id=run_id).start(item_for("clip"))
    assert started.outcome == "put"
    [found] = ada.look_up(started.operation_id)
    assert found.record.run_id is None
    assert not [line for line in lines() if "run_id" in line]


def ask(studio, route=routes.START, **more):
    event = make_event(route, claims=make_claims("sub", "ada"), headers={routes.RUN_ID_HEADER: RUN_ID}, **more)
    return json.loads(studio.app(event)["body"])


def test_a_problem_can_be_quoted(studio):
    """Refused, misread, misrouted, out of order, or a bug: each says which run it was answered to."""
    odd = [ask(studio, body="{"), ask(studio, body='{"items": 3}'), ask(studio, ("GET", "/v2/nothing"))]
    for error in (RecordsUnavailableError("throttled"), RuntimeError("a bug")):
        studio.serve(interpose_records(studio.records, before=fail_at("find_operations", error)), studio.objects)
        odd.append(ask(studio, routes.HISTORY))
    assert [(problem["code"], problem["run_id"]) for problem in odd] == [
        ("invalid-request", RUN_ID),
        ("invalid-request", RUN_ID),
        ("no-such-route", RUN_ID),
        ("storage-unavailable", RUN_ID),
        ("internal-error", RUN_ID),
    ]
