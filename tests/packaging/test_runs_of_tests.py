r"""What a run of the tests holds to when a test, or the run itself, ends in an odd way."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

TESTS = Path(__file__).parents[1]

ODD_TESTS = r"""
import logging
import pytest

@pytest.mark.parametrize("sign", ["\ud800"])
def test_id(sign):
    assert False

def test_message(record_property):
    record_property("seen", "\udcff")
    logging.getLogger().warning("logged \udcff")
    assert not "as seen", "as seen \udcff"

@pytest.fixture
def broken():
    raise ValueError("while set up \udcff")

def test_fixture(broken):
    pass
"""


def test_a_failure_with_half_a_character_is_reported_and_stops_nothing(tmp_path: Path):
    (tmp_path / "test_odd.py").write_text(ODD_TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-n", "1", "-q", "test_odd.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert "2 failed, 1 error" in done.stdout, done.stdout + done.stderr
    for said in ("test_id[\\ud800]", "AssertionError: as seen \\udcff", "logged \\udcff", "while set up \\udcff"):
        assert said in done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


RUN_ENGINE = """
import sys
from pathlib import Path
from support.engine import storage_engine

with storage_engine(Path(sys.argv[1])) as engine:
    print(engine.pid, flush=True)
    sys.stdin.read()
"""
"""As the fixture `engine` does in a worker of pytest."""


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "in order"])
def test_the_storage_engine_of_a_run_ends_with_it(tmp_path: Path, is_killed: bool):
    with subprocess.Popen(
        [sys.executable, "-c", RUN_ENGINE, tmp_path / "engine"],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        engine = psutil.Process(int(run.stdout.readline()))
        if is_killed:
            run.kill()
        run.communicate(timeout=60)
    try:
        engine.wait(20)
    finally:
        if engine.is_running():
            engine.kill()
    assert (run.returncode == 0) is not is_killed
