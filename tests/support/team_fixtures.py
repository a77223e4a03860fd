"""The real client before the real service: gateway, handler, records in SQLite, a storage engine that verifies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt_local.engine.seaweedfs import StorageEngine
from support.engine import versioned_bucket
from support.faulty_storage import FaultyStorage, faulty_storage
from support.team import Laptop, Team, team_at_work


@pytest.fixture(scope="session")
def storage(engine: StorageEngine) -> Iterator[FaultyStorage]:
    with faulty_storage(engine.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def team(tmp_path: Path, engine: StorageEngine, storage: FaultyStorage) -> Iterator[Team]:
    storage.reset()
    with versioned_bucket(engine) as bucket, team_at_work(tmp_path / "service", engine, bucket, storage) as team:
        yield team


@pytest.fixture
def anna(team: Team, tmp_path: Path) -> Laptop:
    return team.laptop(tmp_path / "anna", "anna")


@pytest.fixture
def bert(team: Team, tmp_path: Path) -> Laptop:
    return team.laptop(tmp_path / "bert", "bert")
