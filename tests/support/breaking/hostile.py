"""The service under requests that are made from its own OpenAPI: some keep to it, some break it in one place.

Gateway, service, records and storage engine are real. In most requests ids, machines and contents are put in that
exist, so that they come past the border. No answer may be a fault of the service, of another type than is documented,
or tell a secret.
"""

from __future__ import annotations

import json
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

import requests as http
import urllib3
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode, Response, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as documented

from mgmt_api.openapi import make_openapi
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.problems import PROBLEM_CONTENT_TYPE, PROBLEMS
from mgmt_contract.wire import to_plain
from support.engine import send, storage_engine, versioned_bucket
from support.events import make_claims
from support.faulty_storage import faulty_storage
from support.good_requests import BODY, make_good_requests
from support.odd_requests import find_places
from support.studio import Machine, Studio, content_of, part_of
from support.team import Team, team_at_work

CHECKS: Final = (
    not_a_server_error,
    documented.status_code_conformance,
    documented.content_type_conformance,
    documented.response_schema_conformance,
)
GATEWAY_STATUSES: Final = frozenset({400, 401, 403, 404, 411, 413})
"""What the gateway refuses by itself, with a message instead of a problem."""
PLANTED_SHARE: Final = 0.8
"""Of the places in a request where a value that exists fits."""
_PER_ROUND: Final = 20
_TIMEOUT_SECONDS: Final = 30
_INSIDES: Final = ("Traceback", "botocore", "sqlite", 'File "', "aws_lambda_powertools", "pydantic")
"""Words that tell how the service is made, which no answer is for."""


@dataclass
class Outcome:
    """What many requests came to."""

    requests: int = 0
    by_route: Counter[str] = field(default_factory=Counter)
    by_status: Counter[int] = field(default_factory=Counter)
    reached: int = 0
    """Requests that came past the border: answered 200."""
    own_5xx: int = 0
    """Answers, and results of single items, whose fault is on the service's side."""
    undocumented: int = 0
    """Answers that the OpenAPI or the table of problems does not know."""
    leaks: int = 0
    """Answers and lines of the log with a secret in them."""
    faults: list[str] = field(default_factory=list)


def fuzz(requests: int, seed: int) -> Outcome:
    """Send so many requests to a service of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="mgmt-hostile-") as folder,
        storage_engine(Path(folder) / "engine") as engine,
        faulty_storage(engine.endpoint_url) as storage,
        versioned_bucket(engine) as bucket,
        team_at_work(Path(folder) / "service", engine, bucket, storage) as team,
    ):
        secrets = (engine.secret_key, folder)
        return fuzz_team(team, Path(folder) / "laptop", requests, seed, secrets=secrets)


def fuzz_team(team: Team, folder: Path, requests: int, seed: int, *, secrets: tuple[str, ...] = ()) -> Outcome:
    """Send so many requests to a team's service, in the name of one of its admins."""
    token = team.laptop(folder, "ada", is_admin=True).environment["MGMT_TOKEN"]
    outcome = Outcome()
    with http.Session() as session, _watched_logs([token, *secrets], outcome):
        session.trust_env = False
        ada = make_person(team, token)
        judge = _Judge(outcome, [token, *secrets])
        for cases in _rounds(requests, seed, ada):
            for case in cases:
                headers = {"authorization": f"Bearer {token}"}
                answer = case.call(base_url=team.url, session=session, headers=headers, timeout=_TIMEOUT_SECONDS)
                judge.look_at(case, answer)
    return outcome


# --- the requests --------------------------------------------------------------------------------------


def _rounds(requests: int, seed: int, ada: Machine) -> Iterator[Iterator[Case]]:
    """Make requests to each route in turn, on uploads that are new in each round, until there were so many."""
    operations = [each.ok() for each in openapi.from_dict(json.loads(make_openapi())).get_all_operations()]
    left = requests
    rng = random.Random(seed)  # noqa: S311  it must come out the same again
    for round_ in count():
        known = _find_known(ada, f"{seed} {round_}")
        for operation in operations:
            for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
                most = min(left, _PER_ROUND if operation.body or operation.query else 2)
                cases = _draw(operation.as_strategy(generation_mode=mode), most, seed + round_)
                left -= len(cases)
                yield (_plant_case(case, known, rng) for case in cases)
                if left == 0:
                    return


def _draw(strategy: Any, most: int, begin: int) -> list[Case]:
    """Draw cases; a route without any parameter has none that breaks its schema."""
    drawn: list[Case] = []

    @seed(begin)
    @settings(
        max_examples=most,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=strategy)
    def draw(case: Case) -> None:
        drawn.append(case)

    with suppress(Unsatisfiable):
        draw()
    return drawn[:most]


def _find_known(ada: Machine, round_: str) -> dict[str, list[Any]]:
    """Collect the values of good requests by the names of their fields."""
    known: dict[str, list[Any]] = {}
    for good in make_good_requests(ada, round_):
        body = to_plain(good.body)
        for way in find_places(body):
            value = body
            for key in way:
                value = value[key]
            if way and isinstance(way[-1], str):
                known.setdefault(way[-1], []).append(value)
    known["content"].append(to_plain(content_of(BODY)))
    known["parts"].append([to_plain(part_of(1, BODY))])
    return known


def _plant_case(case: Case, known: Mapping[str, list[Any]], rng: random.Random) -> Case:
    if isinstance(case.body, dict):
        case.body = _plant(case.body, known, rng)
    return case


def _plant(value: Any, known: Mapping[str, list[Any]], rng: random.Random) -> Any:
    """Put known values in the places of drawn ones."""
    if isinstance(value, list):
        return [_plant(each, known, rng) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: rng.choice(known[name])
        if name in known and rng.random() < PLANTED_SHARE and (name != "items" or rng.random() < 0.2)
        else _plant(each, known, rng)
        for name, each in value.items()
    }


# --- the answers ---------------------------------------------------------------------------------------


class _Judge:
    """Counts answers, and what is wrong with them."""

    def __init__(self, outcome: Outcome, secrets: list[str]) -> None:
        self._outcome = outcome
        self._secrets = secrets

    def look_at(self, case: Case, answer: Response) -> None:
        """Judge one answer."""
        outcome, status = self._outcome, answer.status_code
        outcome.requests += 1
        outcome.by_route[f"{case.method} {case.path}"] += 1
        outcome.by_status[status] += 1
        outcome.reached += status == 200
        text = answer.content.decode()
        problems = list(_problems_of(answer))
        own = [each for each in problems if PROBLEMS[each["code"]].http_status >= 500]
        self._note(bool(own) or status >= 500, "own_5xx", case, text)
        self._note(not self._is_documented(case, answer, problems), "undocumented", case, text)
        told, asked = f"{text}{answer.headers}", f"{case.path_parameters}{case.query}{case.body}"
        insides = [word for word in _INSIDES if word not in asked]  # what is sent may come back, such as an id
        self._note(any(word in told for word in (*self._secrets, *insides)), "leaks", case, text)

    def _is_documented(self, case: Case, answer: Response, problems: list[dict[str, Any]]) -> bool:
        try:
            case.validate_response(answer, checks=list(CHECKS))
        except Exception as error:  # noqa: BLE001  schemathesis raises groups of several kinds
            self._outcome.faults.append(f"{case.method} {case.path}: {error}")
            return False
        if answer.status_code != 200 and not problems:
            return answer.status_code in GATEWAY_STATUSES
        return all(each["status"] == PROBLEMS[each["code"]].http_status for each in problems)

    def _note(self, is_wrong: bool, what: str, case: Case, text: str) -> None:
        if is_wrong:
            setattr(self._outcome, what, getattr(self._outcome, what) + 1)
            self._outcome.faults.append(f"{what}: {case.method} {case.path} {case.body!r:.2000}: {text:.2000}")


def _problems_of(answer: Response) -> Iterator[dict[str, Any]]:
    if PROBLEM_CONTENT_TYPE in answer.headers.get("content-type", [""]):
        yield answer.json()
    elif answer.status_code == 200:
        yield from (each["problem"] for each in answer.json().get("results", []) if each.get("problem"))


@contextmanager
def _watched_logs(secrets: list[str], outcome: Outcome) -> Iterator[None]:
    """Read what the service logs meanwhile, and print nothing of it."""

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = f"{record.getMessage()} {vars(record)}"
            if any(secret in line for secret in (*secrets, "X-Amz-Signature=")):
                outcome.leaks += 1
                outcome.faults.append(f"logged: {line:.2000}")

    reader = Reader()
    loggers = [logging.getLogger(name) for name in ("mgmt_api", "mgmt_local")]
    before = [(each, each.handlers, each.level, each.propagate) for each in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [reader], False
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, handlers, level, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


# --- good requests, over HTTP --------------------------------------------------------------------------


def make_person(team: Team, token: str) -> Machine:
    """Sit a person down at a team's service, who makes good requests."""
    studio: Any = _StudioOverHTTP(team, token)
    return Machine(cast("Studio", studio), make_claims("sub-ada", "ada"), "c3d6f7b5-1606-4ac8-92e9-ace1caf565c5")


class _StudioOverHTTP:
    """Answers events as the app does, by sending them to a team's gateway."""

    def __init__(self, team: Team, token: str) -> None:
        self._url, self._token = team.url, token
        self.objects = _Objects()

    def app(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Send an event as the request that it stands for."""
        query = event["rawQueryString"]
        with urllib3.PoolManager(retries=False, timeout=_TIMEOUT_SECONDS) as pool:
            answer = pool.request(
                event["requestContext"]["http"]["method"],
                f"{self._url}{event['rawPath']}{'?' if query else ''}{query}",
                body=event.get("body"),
                headers={"content-type": "application/json", "authorization": f"Bearer {self._token}"},
            )
        return {"statusCode": answer.status, "headers": dict(answer.headers), "body": answer.data.decode()}


class _Objects:
    def put(self, request: SignedRequest, body: bytes) -> int:
        return send(request, body)

    put_part = put
