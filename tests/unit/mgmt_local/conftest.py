"""One storage engine for the tests that only look at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mgmt_local.engine.seaweedfs import StorageEngine
from support.engine import storage_engine
from support.local_backend import listeners, wait_until


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageEngine]:
    with storage_engine(tmp_path_factory.mktemp("engine")) as running:
        # S3 answers before the last of them listens.
        wait_until(lambda: len(listeners(running.pid)) == 2 * len(running.ports))
        yield running
