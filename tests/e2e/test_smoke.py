"""The steps of the smoke test on the storage of the other tests: so that they run when a real account is there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import smoke
from support.engine import versioned_bucket
from support.team import Team, team_at_work

PREFIX = "smoke-test/1"


@pytest.fixture
def team(tmp_path, engine, storage) -> Iterator[Team]:
    storage.reset()
    with (
        versioned_bucket(engine) as bucket,
        team_at_work(tmp_path / "service", engine, bucket, storage, restores_archived=True) as team,
    ):
        yield team


@pytest.mark.parametrize(
    "step", [smoke.store, smoke.get_back, smoke.delete_and_bring_back, smoke.meet_an_archived_class]
)
def test_each_step_runs(anna, step):
    step(anna, PREFIX)


def test_the_question_whether_a_card_is_safe_runs(anna):
    smoke.ask_whether_it_is_safe(anna, PREFIX, "CARD_A")
