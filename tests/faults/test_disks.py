"""Disks that are full, read-only, broken or gone from some call of a command on; MGMT_DISK_FAULTS=200 makes more."""

import os
import sys
from contextlib import ExitStack, closing

import pytest

from support.breaking.disks import DISK_SCENARIOS, ENDS, DiskCase, break_disks, break_once, count_calls
from support.breaking.network import BreakingProxy
from support.breaking.world import world_at

CASES = int(os.environ.get("MGMT_DISK_FAULTS", "8"))
SEED = int(os.environ.get("MGMT_FAULTS_SEED", "1"))


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="which file a descriptor is of, Linux says")


@pytest.fixture
def world(engine, tmp_path):
    with ExitStack() as stack:
        storage = stack.enter_context(closing(BreakingProxy(engine.endpoint_url, keeps_host=True)))
        yield stack.enter_context(world_at(tmp_path, engine, storage))


def test_a_command_whose_disk_fails_says_so_loses_nothing_and_comes_to_its_end_when_it_is_run_again(world):
    outcome = break_disks(world, DISK_SCENARIOS, cases=CASES, seed=SEED)
    assert outcome.faults == []
    assert outcome.cases == CASES
    assert set(outcome.exit_codes) <= ENDS
    assert outcome.exit_codes[9] > 0, "the disks did fail"


def test_an_archive_on_a_disk_that_went_before_it_was_removed_goes_when_the_disk_is_back(world):
    """The disk does not say whether it is there: so it is kept in mind."""
    kind = DiskCase(DISK_SCENARIOS[0], "ESTALE", "work")
    calls = count_calls(world, kind)
    tried = [break_once(world, kind, at) for at in range(calls - 7, calls + 1, 2)]
    assert [wrong for *_, wrong in tried if wrong] == []
    assert [code for _, _, code, _ in tried].count(0) >= 3, "it was stored by then"


def test_a_folder_whose_disk_went_before_anything_was_looked_at_is_not_said_to_be_missing(world):
    """Exit code 2 would say that the command was wrong."""
    [only] = [each for each in DISK_SCENARIOS if each.name == "download-only"]
    *_, exit_code, wrong = break_once(world, DiskCase(only, "ESTALE", "work"), 1)
    assert (exit_code in ENDS, wrong) == (True, [])
