"""Answers that are wrong in any place: every command ends with a sentence, in time, in little memory, nothing lost.

`MGMT_FUZZ_ANSWERS=20000` is the long form, which takes a quarter of an hour; `MGMT_FUZZ_SEED` begins it elsewhere.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgmt.service import replies
from mgmt_contract.messages.history import HistoryResponse, RecordsResponse
from mgmt_contract.messages.service import Service
from mgmt_contract.messages.uploads import (
    CompleteResponse,
    Packing,
    Part,
    PreviewResponse,
    SignItem,
    SignResponse,
    SignResult,
    StartItem,
    StartResponse,
    StartResult,
)
from mgmt_contract.wire import MessageError, from_plain, to_json, to_plain
from support.paper_service import PaperService

ANSWERS = int(os.environ.get("MGMT_FUZZ_ANSWERS", "200"))
SEED = int(os.environ.get("MGMT_FUZZ_SEED", "1"))
TESTS = Path(__file__).parents[3]


@pytest.mark.timeout(100 + ANSWERS)
def test_no_answer_is_a_bug_a_hang_or_a_flood():
    done = subprocess.run(
        [sys.executable, "-m", "support.fuzzed_answers", "--count", str(ANSWERS), "--seed", str(SEED)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["faults"] == []
    assert report["changed_answers"] >= ANSWERS
    assert set(report["exit_codes"]) <= {"0", "3", "4", "5", "6", "7", "8", "10", "11"}
    assert report["exit_codes"]["7"] > ANSWERS / 10, "the changes must hurt"
    assert report["peak_mb"] < 100


# --- the decoder alone ----------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**320)
    | st.floats()
    | st.text()
    | st.datetimes().map(lambda moment: moment.isoformat() + "+14:00")
    | st.sampled_from(["upload", "download", "done", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"])
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)
KINDS = (
    Service,
    PreviewResponse,
    StartResponse,
    SignResponse,
    CompleteResponse,
    RecordsResponse,
    HistoryResponse,
)


def make_right_answers():
    """One answer of each kind, with every field that it can have."""
    service = object.__new__(PaperService)
    service.limits, service.records, service._items, service._indexes = {}, {}, {}, {}
    record = service._record("x", "success", {"size": 1, "crc64nvme": "AAAAAAAAAAA=", "member_count": 1})
    problem = {"type": "t", "title": "t", "status": 409, "code": "name-taken", "detail": "d", "retry_after_seconds": 1}
    request = {"url": "https://h/k", "headers": {"a": "b"}, "expires_in_seconds": 9}
    existing = {"s3_object_key": "k", "size": 1, "etag": "e", "finished_at": "2026-01-01T00:00:00Z"}
    whole = {
        "operation_id": "x", "outcome": "put", "lease": {"epoch": 1, "expires_in_seconds": 600}, "request": request,
        "multipart": {"part_size": 5_242_880, "received_parts": [1]}, "existing": existing, "record": record,
        "problem": problem, "parts": [{"number": 1, "request": request}], "missing_parts": [1],
    }  # fmt: skip
    described = service.describe()
    listed = {"service": described, "results": [whole]}
    return {
        **dict.fromkeys(KINDS, listed),
        Service: described,
        HistoryResponse: {"records": [record], "cursor": "c", "replaced": ["x"]},
    }


RIGHT = make_right_answers()


def test_the_right_answers_are_right():
    for kind in KINDS:
        assert replies.read_reply(kind, json.dumps(RIGHT[kind]).encode()) is not None


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS), values)
def test_any_json_is_a_message_or_is_refused(kind, value):
    refuse_or_read(kind, json.dumps(value).encode())


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS), st.binary(max_size=50))
def test_any_bytes_are_a_message_or_are_refused(kind, body):
    refuse_or_read(kind, body)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(KINDS))
def test_a_right_answer_with_anything_in_any_place_is_a_message_or_is_refused(data, kind):
    """And a message that has passed can be written, checked, and means the same again."""
    answer = json.loads(json.dumps(RIGHT[kind]))
    holder, key = data.draw(st.sampled_from(list(places(answer))))
    holder[key] = data.draw(values)
    message = refuse_or_read(kind, json.dumps(answer).encode())
    if message is None:
        return
    assert to_plain(from_plain(kind, to_plain(message))) == to_plain(message)
    try:
        check(message)
    except MessageError:
        return


def places(value):
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from places(inner)


def refuse_or_read(kind, body):
    try:
        message = replies.read_reply(kind, body)
    except MessageError:
        return None
    to_json(message)
    return message


SERVICE = Service(1, 1, "9", "paper", "eu-west-1", "", 1, 1, 1, 1, 1)


def check(message):
    if isinstance(message, HistoryResponse):
        replies.check_page(message)
    elif isinstance(message, Service):
        replies.check_service(message)
    else:
        replies.check_results(message.results, ["x"])
        for result in message.results:
            if isinstance(result, StartResult):
                item = StartItem("x", "n", "t", None, "p", Packing("c", "p"), upper_bound=10**9)
                replies.check_start(result, item, message.service, "https://h")
            elif isinstance(result, SignResult):
                item = SignItem("x", 1, [Part(1, 5, "AAAAAAAAAAA=")])
                replies.check_sign(result, item, SERVICE, "https://h")
        if isinstance(message, CompleteResponse):
            replies.check_complete(message.results)
