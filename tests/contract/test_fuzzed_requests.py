"""The service under requests made from its OpenAPI. `MGMT_HOSTILE_REQUESTS=20000` is the long form."""

from __future__ import annotations

import os

import pytest

from mgmt_contract.routes import ROUTES
from support.breaking.hostile import fuzz_team
from support.engine import versioned_bucket
from support.faulty_storage import faulty_storage
from support.team import team_at_work

REQUESTS = int(os.environ.get("MGMT_HOSTILE_REQUESTS", "600"))
SEED = int(os.environ.get("MGMT_HOSTILE_SEED", "1"))


@pytest.mark.timeout(3600)  # the long form takes minutes
def test_requests_made_from_the_documentation_are_answered_as_it_says(engine, tmp_path):
    with (
        faulty_storage(engine.endpoint_url) as storage,
        versioned_bucket(engine) as bucket,
        team_at_work(tmp_path / "service", engine, bucket, storage) as team,
    ):
        outcome = fuzz_team(team, tmp_path / "laptop", REQUESTS, SEED, secrets=(engine.secret_key, str(tmp_path)))
    assert outcome.faults == []
    assert (outcome.requests, outcome.own_5xx, outcome.undocumented, outcome.leaks) == (REQUESTS, 0, 0, 0)
    assert set(outcome.by_route) == {f"{route.method} {route.path}" for route in ROUTES}
    assert outcome.reached > REQUESTS / 4, "else the border alone was tried"
