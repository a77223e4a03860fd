"""Many uploads on a system that allows a process few open files."""

import subprocess
import sys

import pytest

from support.team import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")

LIMIT = 128
COUNT = 3_000
"""So many that a file left open by every thirtieth upload is one too many."""


def run_limited(laptop, *arguments):
    """Run mgmt in a process that may have no more files open, and cannot change that."""
    command = f'ulimit -S -n {LIMIT} && ulimit -H -n {LIMIT} && exec "$0" -m mgmt "$@"'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, *arguments],
        cwd=laptop.work,
        env=laptop.whole_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=570,
    )
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.mark.timeout(600)  # a minute or less on a quiet machine
def test_three_thousand_small_files_go_with_128_open_files(team, anna):
    for number in range(COUNT):
        (anna.work / f"{number:04d}").write_bytes(b"%d" % number)
    run = run_limited(anna, "--json", "upload", "all")
    assert (run.exit_code, run.stderr) == (0, "")
    assert run.lines[-1] == {"type": "summary", "succeeded": COUNT, "failed": 0, "skipped": 0}
    assert anna.left_overs() == []


def test_many_transfers_at_a_time_are_as_many_as_there_may_be_open_files_for(team, anna):
    for number in range(90):
        (anna.work / f"{number:04d}").write_bytes(b"%d" % number)
    (anna.work / "big").write_bytes(bytes(1_000) + b"x" * 17_000_000)
    run = run_limited(anna, "--json", "upload", "all", "--jobs", "64")
    assert (run.exit_code, run.stderr) == (0, "")
