"""One team for all inputs of a process; a laptop and a prefix of its own for each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mgmt_local.engine.seaweedfs import StorageEngine
from support.engine import versioned_bucket
from support.faulty_storage import FaultyStorage
from support.inputs import Desk, check_entry
from support.team import Laptop, Team, team_at_work
from support.team_fixtures import storage

__all__ = ["storage"]

COLLECTED = pytest.StashKey[dict[str, set[str]]]()
"""Which entries the tests of each file are about, before any are deselected."""
_NUMBERS = itertools.count(1)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Note which entry a test is about."""
    entries = item.config.stash.setdefault(COLLECTED, {}).setdefault(item.path.name, set())
    entries.update(check_entry(mark.args[0]) for mark in item.iter_markers("entry"))


@pytest.fixture
def collected(pytestconfig: pytest.Config) -> dict[str, set[str]]:
    return pytestconfig.stash[COLLECTED]


@pytest.fixture(scope="session")
def team(tmp_path_factory: pytest.TempPathFactory, engine: StorageEngine, storage: FaultyStorage) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    with versioned_bucket(engine) as bucket, team_at_work(folder, engine, bucket, storage) as team:
        yield team


@pytest.fixture
def laptop(team: Team, tmp_path: Path) -> Laptop:
    return team.laptop(tmp_path, "anna")


@pytest.fixture
def desk(
    request: pytest.FixtureRequest,
    team: Team,
    laptop: Laptop,
    record_property: Callable[[str, object], None],
) -> Desk:
    for name in ("home", "tmp"):
        (laptop.folder / name).mkdir()
    entry, given, *_ = (*request.node.get_closest_marker("entry").args, "")
    return Desk(team, laptop, entry, given, record_property, prefix=f"{next(_NUMBERS):03}")
