"""The storage engine for the tests that only look at it."""

from __future__ import annotations

import pytest

from mgmt_local.engine.seaweedfs import StorageEngine
from support.local_backend import listeners, wait_until


@pytest.fixture(scope="session")
def engine(engine: StorageEngine) -> StorageEngine:
    # S3 answers before the last of them listens.
    wait_until(lambda: len(listeners(engine.pid)) == 2 * len(engine.ports))
    return engine
