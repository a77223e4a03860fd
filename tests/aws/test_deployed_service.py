"""A smoke test for a deployed stack in a real account: `MGMT_API_URL=… MGMT_TOKEN=… pytest -m aws`.

It uploads three small objects and one in parts below a prefix of its own, and looks at the team's history.
"""

import os
import random
import secrets

import pytest

from support.team import Laptop

pytestmark = pytest.mark.aws


@pytest.fixture
def laptop(tmp_path):
    (tmp_path / "work").mkdir()
    environment = {name: os.environ[name] for name in ("MGMT_API_URL", "MGMT_TOKEN")}
    environment["MGMT_CONFIG"] = os.fspath(tmp_path / "config")
    environment["MGMT_STATE_DIR"] = os.fspath(tmp_path / "state")
    return Laptop(tmp_path, tmp_path / "work", environment)


def test_small_and_large_uploads_arrive_and_are_recorded(laptop):
    prefix = f"smoke-test/{secrets.token_hex(8)}"
    for number in range(3):
        (laptop.work / f"{number}.jpg").write_bytes(os.urandom(10_000))
    (laptop.work / "big.mov").write_bytes(random.Random(1).randbytes(40_000_000))  # noqa: S311  noise stands for footage
    run = laptop.run("--json", "upload", "all", "--prefix", prefix, timeout_seconds=900)
    assert run.exit_code == 0, run.stderr
    assert run.lines[-1] == {"type": "summary", "succeeded": 4, "failed": 0, "skipped": 0}
    again = laptop.run("--json", "upload", "all", "--prefix", prefix, timeout_seconds=900)
    assert again.lines[-1] == {"type": "summary", "succeeded": 0, "failed": 0, "skipped": 4}
    [record] = laptop.run("--json", "history", f"{prefix}/big.mov").records
    assert record["status"] == "success"
    (laptop.work / "big.mov").write_bytes(b"other")
    assert laptop.run("upload", "big.mov", "--prefix", prefix).exit_code == 6
