"""Disks that are full, read-only, broken or gone from some call of a command on; MGMT_DISK_FAULTS=200 makes more."""

import os
import sys
from contextlib import ExitStack, closing

import pytest

from support.breaking.disks import DISK_SCENARIOS, ENDS, break_disks
from support.breaking.network import BreakingProxy
from support.breaking.world import world_at

CASES = int(os.environ.get("MGMT_DISK_FAULTS", "8"))
SEED = int(os.environ.get("MGMT_FAULTS_SEED", "1"))


@pytest.mark.skipif(sys.platform != "linux", reason="which file a descriptor is of, Linux says")
def test_a_command_whose_disk_fails_says_so_loses_nothing_and_comes_to_its_end_when_it_is_run_again(engine, tmp_path):
    with ExitStack() as stack:
        storage = stack.enter_context(closing(BreakingProxy(engine.endpoint_url, keeps_host=True)))
        world = stack.enter_context(world_at(tmp_path, engine, storage))
        outcome = break_disks(world, DISK_SCENARIOS, cases=CASES, seed=SEED)
    assert outcome.faults == []
    assert outcome.cases == CASES
    assert set(outcome.exit_codes) <= ENDS
    assert outcome.exit_codes[9] > 0, "the disks did fail"
