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
from mgmt_contract.problems import PROBLEM_CONTENT_TYPE, PROBLEMS, Problem
from mgmt_contract.routes import ROUTES
from mgmt_contract.wire import from_json
from mgmt_local.records import SQLiteRecordStore
from support.events import make_event
from support.good_requests import Good, make_good_requests
from support.odd_requests import ANSWERS, odd_events
from support.studio import SETTINGS, Machine, Studio

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


def test_every_route_has_a_good_request_and_its_answer(ada):
    """A route without one would be left out above."""
    assert set(ANSWERS) == set(ROUTES) == {each.route for each in make_good_requests(ada, "every route")}
