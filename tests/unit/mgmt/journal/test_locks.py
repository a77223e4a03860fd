"""Locks that are bytes of one file: each excludes all other processes, and together they cost one descriptor."""

import os
import subprocess
import sys

import pytest

from mgmt.journal.locks import Locks

HOLD = """
import sys
from pathlib import Path
from mgmt.journal.locks import Locks
locks = Locks(Path(sys.argv[1]))
print(*(locks.take(what) for what in sys.argv[2:]), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def locks(tmp_path):
    locks = Locks(tmp_path / "uploads.lock")
    yield locks
    locks.close()


def other_process(path, *names):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().split()


def tried_elsewhere(path, *names):
    process, told = other_process(path, *names)
    process.communicate(timeout=30)
    return told


def test_a_lock_keeps_other_processes_away_until_it_is_given_back(locks, tmp_path):
    assert locks.take("a")
    assert tried_elsewhere(tmp_path / "uploads.lock", "a", "b") == ["False", "True"]
    locks.give_back("a")
    assert tried_elsewhere(tmp_path / "uploads.lock", "a") == ["True"]


def test_a_process_that_is_killed_holds_nothing_any_more(locks, tmp_path):
    process, told = other_process(tmp_path / "uploads.lock", "a")
    try:
        assert told == ["True"]
        assert not locks.take("a")
    finally:
        process.kill()
        process.communicate()
    assert locks.take("a")


def test_the_same_process_takes_a_lock_once(locks, tmp_path):
    """Also where a process has opened the file twice: closing one leaves the other's locks alone."""
    again = Locks(tmp_path / "uploads.lock")
    assert locks.take("a")
    assert not locks.take("a")
    assert not again.take("a")
    assert again.take("b")
    again.close()
    assert tried_elsewhere(tmp_path / "uploads.lock", "a", "b") == ["False", "True"]


def test_what_is_given_back_twice_or_after_the_end_is_nobodys_concern(locks):
    assert locks.take("a")
    locks.give_back("a")
    locks.give_back("a")
    assert locks.take("a")
    locks.close()
    locks.give_back("a")
    assert locks.held == set()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system does not tell")  # noqa: PTH112
def test_a_thousand_locks_take_one_descriptor(locks):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert all(locks.take(str(number)) for number in range(1000))
    assert len(os.listdir("/proc/self/fd")) == before + 1  # noqa: PTH208
    locks.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_file_that_took_the_place_of_the_first_is_another_one(locks, tmp_path):
    """Such as after the state folder was emptied."""
    assert locks.take("a")
    (tmp_path / "uploads.lock").unlink()
    again = Locks(tmp_path / "uploads.lock")
    assert again.take("a")
    again.close()
    assert locks.held == {"a"}
