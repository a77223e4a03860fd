"""The short form of `make faults`: commands that are killed, or whose requests go wrong, come to the same end.

The long form has kills at more steps, more cases and a longer soak; `MGMT_FAULTS_SEED` begins here elsewhere.
"""

import os
from contextlib import ExitStack, closing

import pytest

from support.breaking.cases import FaultCase, all_cases, break_all, choose_cases
from support.breaking.kills import SCENARIOS, kill_everywhere
from support.breaking.network import FAULTS, Plan
from support.breaking.soak import RandomlyBreaking, soak
from support.breaking.worker_kills import WORKER_SCENARIOS
from support.breaking.world import find_orphans, world_at

SEED = int(os.environ.get("MGMT_FAULTS_SEED", "1"))
KILLS, CASES, UPLOADS = 14, 12, 20


@pytest.fixture(scope="module")
def at_work(engine, tmp_path_factory):
    """A world, and the proxies before its service and its storage."""
    with ExitStack() as stack:
        storage = stack.enter_context(closing(RandomlyBreaking(engine.endpoint_url, keeps_host=True)))
        world = stack.enter_context(world_at(tmp_path_factory.mktemp("world"), engine, storage))
        service = stack.enter_context(closing(RandomlyBreaking(world.team.url, keeps_host=False)))
        yield world, service, storage
        assert find_orphans(world.team) == []


def test_commands_and_the_worker_that_are_killed_anywhere_come_to_the_same_end_when_they_run_again(at_work):
    outcome = kill_everywhere(at_work[0], SCENARIOS, points=KILLS, seed=SEED)
    assert outcome.faults == []
    assert outcome.points >= KILLS + len(WORKER_SCENARIOS) - 2, "a run may have been quicker than its kill"
    assert all(outcome.steps[each.name] >= 10 for each in SCENARIOS), "the steps are still found"
    assert all(outcome.steps[each.name] >= 4 for each in WORKER_SCENARIOS)
    assert outcome.parts_sent_again["jobs 1"] <= 1
    assert outcome.parts_sent_again["jobs 3"] <= 3


def test_what_networks_and_servers_do_is_got_over_or_told_and_nothing_is_lost(at_work):
    outcome = break_all(*at_work, choose_cases(CASES, SEED))
    assert outcome.faults == []
    assert (outcome.cases, outcome.missed) == (CASES, {}), "each fault did happen"
    assert outcome.own_5xx == 0


def test_what_is_planned_happens_also_to_presigned_requests():
    """Else no case would break the storage."""
    with closing(RandomlyBreaking("http://127.0.0.1:9", keeps_host=True)) as proxy:
        proxy.plans["/clip"] = Plan(FAULTS[0], lambda method, _: method == "PUT", times=1)
        signed = "/bucket/clip.tar.gz?X-Amz-Signature=1"
        assert [proxy.choose(method, signed) for method in ("GET", "PUT", "PUT")] == [None, FAULTS[0], None]


def test_a_soak_loses_doubles_and_leaves_nothing(at_work):
    outcome = soak(*at_work, UPLOADS, seed=SEED)
    assert outcome.faults == []
    assert outcome.downloads == 1
    assert (outcome.uploads, outcome.lost, outcome.doubled, outcome.stuck, outcome.own_5xx) == (UPLOADS, 0, 0, 0, 0)


def test_an_object_that_is_not_what_it_should_be_is_noticed(at_work):
    """Else all of the above would prove nothing."""
    world, *_ = at_work
    case = world.make_case("altered")
    name = case.add_file()
    case.add_file(name="stray.part")
    case.expected.discard("stray.part")
    assert case.run(["upload", name]).exit_code == 0
    assert case.find_faults_of_upload(name) == []
    world.team.s3.put_object(Bucket=world.team.bucket, Key=f"{name}.tar.gz", Body=b"")
    (case.laptop.work / name).write_bytes(b"altered")
    faults = " ".join([*case.find_faults_of_upload(name, versions=2), *case.find_left_overs()])
    for word in ("source is not", "records of success", "stray.part"):
        assert word in faults


def test_the_table_has_every_fault_and_each_case_once():
    cases = all_cases()
    assert len(set(map(str, cases))) == len(cases) > 1000
    assert {fault.name for fault in FAULTS} <= {case.fault.name for case in cases if not isinstance(case.fault, str)}
    assert isinstance(cases[0], FaultCase)
    assert choose_cases(100, 1) == choose_cases(100, 1) != choose_cases(100, 2)
