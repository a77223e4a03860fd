"""Whatever the service is sent, it answers what the contract knows: an answer or a problem, and never 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mgmt_api.domain.answers import ANSWER_MAX_BYTES
from mgmt_api.wiring import App, build_app
from mgmt_contract import routes
from mgmt_contract.messages import (
    CleanUp,
    CleanUpRequest,
    DownloadEnd,
    EndDownloadsRequest,
    LookRequest,
    LookUpRequest,
    OpenDownloadsRequest,
    PreviewRequest,
    RestoreItem,
    RestoreRequest,
    StartRequest,
)
from mgmt_contract.problems import PROBLEM_CONTENT_TYPE, PROBLEMS, Problem
from mgmt_contract.wire import from_json
from mgmt_local.records import SQLiteRecordStore
from support.events import make_event
from support.good_requests import BODY, complete_request, fail_request, sign_request
from support.odd_requests import ANSWERS, Good, odd_events
from support.studio import SETTINGS, Machine, Studio, download_of, item_for

REQUESTS = 2000
ASKED_PER_ROUND = 25


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteRecordStore]:
    folder: Path = tmp_path_factory.mktemp("odd")
    store = SQLiteRecordStore(folder / "records.sqlite")
    yield store
    store.close()


@pytest.fixture(scope="module")
def studio(records) -> Studio:
    studio = Studio()
    studio.serve(records, studio.objects)
    return studio


@pytest.fixture(scope="module")
def app(studio, records) -> App:
    return build_app(SETTINGS, records, studio.objects, studio.clock)


@pytest.fixture(scope="module")
def ada(studio) -> Machine:
    return studio.person("ada", groups=("admins",))


class Desk:
    """Gives good requests, and begins anew from time to time: what was asked for may have ended everything."""

    def __init__(self, ada: Machine) -> None:
        self._ada = ada
        self._asked = 0
        self._good: list[Good] = []

    def requests(self) -> list[Good]:
        """One request of every kind that the service takes as it is, on uploads in every phase."""
        if self._asked % ASKED_PER_ROUND == 0:
            self._good = make_good_requests(self._ada, str(self._asked))
        self._asked += 1
        return self._good


def make_good_requests(ada: Machine, round_: str) -> list[Good]:
    machine_id = ada.machine_id
    whole = item_for(f"clip {round_}", BODY, prefix="day1", storage_class="STANDARD", tags={"project": "film"})
    begun = item_for(f"begun {round_}", upper_bound=100)
    carried, done = item_for(f"carried {round_}", BODY), item_for(f"done {round_}", BODY)
    ada.start(begun)
    ada.carry(ada.start(carried), BODY)
    ada.upload(done, BODY)
    ids = [each.operation_id for each in (begun, carried, done)]
    archived = item_for(f"archived {round_}", BODY, storage_class="GLACIER")
    ada.upload(archived, BODY)
    opened = download_of(done.operation_id)
    ada.open_downloads(opened)
    reports = [CleanUp(done.operation_id, "completed", "deleted")]
    cursor = ada.history(limit="1").cursor
    return [
        Good(routes.DESCRIBE),
        Good(routes.PREVIEW, PreviewRequest(machine_id, [whole, done], "footage")),
        Good(routes.START, StartRequest(machine_id, [whole, begun], "footage", reports)),
        Good(routes.START, StartRequest(machine_id, [begun, carried, done])),
        Good(routes.SIGN, sign_request(machine_id, ids[:1])),
        Good(routes.COMPLETE, complete_request(machine_id, ids, reports)),
        Good(routes.FAIL, fail_request(machine_id, ids)),
        Good(routes.CLEAN_UP, CleanUpRequest(reports)),
        Good(routes.LOOK_UP, LookUpRequest(ids)),
        Good(routes.OPEN_DOWNLOADS, OpenDownloadsRequest([download_of(done.operation_id), opened])),
        Good(routes.END_DOWNLOADS, EndDownloadsRequest([DownloadEnd(opened.operation_id, 5, "disk-full", "No room.")])),
        Good(routes.RESTORE, RestoreRequest([RestoreItem(whole.operation_id, archived.operation_id)])),
        Good(routes.LOOK, LookRequest(ids[2:])),
        Good(routes.HISTORY, query={"actor": "ada", "status": "pending", "since": "2026-11-01T00:00:00Z"}),
        Good(routes.HISTORY, query={"limit": "1", "cursor": cursor or ""}),
        Good(routes.HISTORY, query={"name": "day1/clip", "mine": "true", "operation_type": "upload"}),
    ]


@pytest.fixture(scope="module")
def desk(ada) -> Desk:
    return Desk(ada)


@pytest.mark.timeout(600)  # ten seconds on one core of its own
@settings(
    max_examples=REQUESTS,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_every_odd_request_is_answered_by_the_contract_and_none_with_5xx(app, ada, desk, data):
    event = data.draw(odd_events(desk.requests(), ada.claims))
    answer = app(event, None)
    assert len(json.dumps(answer)) < ANSWER_MAX_BYTES + 1_000_000
    assert answer["headers"]["Cache-Control"] == "no-store"
    answer["body"].encode()
    if answer["statusCode"] == 200:
        check_results(event, answer)
    else:
        assert 400 <= answer["statusCode"] < 500, answer
        assert answer["headers"]["Content-Type"] == PROBLEM_CONTENT_TYPE
        check_problem(from_json(Problem, answer["body"]))
        assert from_json(Problem, answer["body"]).status == answer["statusCode"]


def check_results(event: dict[str, Any], answer: dict[str, Any]) -> None:
    """Require an answer of the route that was asked, and of each item one that is no fault of the service."""
    # Powertools takes small letters for a method, and passes over a slash or a newline at a path's end.
    called = (event["requestContext"]["http"]["method"].upper(), event["rawPath"].rstrip("/\n"))
    [asked] = [each for each in ANSWERS if each[:2] == called]
    message = from_json(ANSWERS[asked], answer["body"])
    for result in getattr(message, "results", ()):
        if result.problem is not None:
            check_problem(result.problem)
            assert result.problem.operation_id == result.operation_id


def check_problem(problem: Problem) -> None:
    """Require a problem of the table whose fault is not on the service's side."""
    kind = PROBLEMS[problem.code]
    assert (problem.title, problem.status) == (kind.title, kind.http_status)
    assert problem.status < 500, problem
    assert problem.detail


def test_the_requests_that_are_changed_are_good(app, ada):
    """Bad ones would be refused at the border and test nothing behind it."""
    for route, body, query in make_good_requests(ada, "unchanged"):
        answer = app(make_event(route, claims=ada.claims, body=body, query=query), None)
        assert answer["statusCode"] == 200, (route, answer)
