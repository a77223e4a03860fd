"""A part that takes long: the name stays with its sender for as long as the sending takes."""

import os
import random
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest

from support.engine import versioned_bucket
from support.programs import OwnClock, with_slow_disk
from support.team import team_at_work

LEASE_SECONDS = 60
"""Longer than a step of these tests takes on any machine; the clocks are the test's own."""


@contextmanager
def two_people(tmp_path, engine, storage, size_bytes):
    """A team with a short lease, and two people with a file of the same name each."""
    storage.reset()
    with (
        versioned_bucket(engine) as bucket,
        team_at_work(tmp_path / "service", engine, bucket, storage, lease_seconds=LEASE_SECONDS) as team,
    ):
        anna, bert = team.laptop(tmp_path / "anna", "anna"), team.laptop(tmp_path / "bert", "bert")
        for seed, laptop in enumerate((anna, bert)):
            noise = random.Random(seed).randbytes(size_bytes)  # noqa: S311  noise stands for footage
            (laptop.work / "big.mov").write_bytes(noise)
        yield team, anna, bert


def outlast_a_lease(team, clock, renewals):
    """Let more time pass than a lease lasts, on both sides: each half of a lease has to see a renewal."""
    for _ in range(3):
        clock.advance(LEASE_SECONDS / 2)
        assert renewals.acquire(timeout=30), "the lease was not renewed"
        team.ahead += timedelta(seconds=LEASE_SECONDS / 2)


def test_a_lease_is_renewed_while_a_single_part_takes_longer_than_it_lasts(tmp_path, engine, storage):
    with two_people(tmp_path, engine, storage, 17_000_000) as (team, anna, bert):
        clock, renewals = OwnClock(tmp_path), threading.Semaphore(0)
        under_way, arrive = threading.Event(), threading.Event()
        update = team.records.update_operation

        def watch(operation):
            if under_way.is_set():
                renewals.release()
            return update(operation)

        def hold_up(put):
            if put.part_number == 2:
                under_way.set()
                assert arrive.wait(60)
            return "none"

        team.records.update_operation = watch
        storage.fault = hold_up
        process = anna.begin("upload", "big.mov", program=clock.program)
        try:
            assert under_way.wait(30)
            outlast_a_lease(team, clock, renewals)
            refused = bert.run("upload", "big.mov")
        finally:
            arrive.set()
            process.communicate(timeout=60)
        assert refused.exit_code == 6
        assert "anna is uploading" in refused.stderr
        assert process.returncode == 0
        assert anna.run("--json", "show", "big.mov").records[0]["actor"] == "anna"


def test_a_lease_is_renewed_while_packing_takes_long_and_nothing_is_sent(tmp_path, engine, storage):
    """Such as where a disk is slow to sync, or where nothing is sent before the archive is whole."""
    with two_people(tmp_path, engine, storage, 20_000_000) as (team, anna, bert):
        clock, renewals, carried = OwnClock(tmp_path), threading.Semaphore(0), threading.Event()
        update = team.records.update_operation

        def watch(operation):
            if carried.is_set():
                renewals.release()
            return update(operation)

        def note(put):
            if put.part_number == 1:
                carried.set()
            return "none"

        team.records.update_operation = watch
        storage.fault = note
        goes_on = tmp_path / "go"
        process = anna.begin("upload", "big.mov", program=with_slow_disk(clock.program, goes_on))
        try:
            assert carried.wait(30)
            outlast_a_lease(team, clock, renewals)
            refused = bert.run("upload", "big.mov")
        finally:
            goes_on.touch()
            process.communicate(timeout=60)
        assert refused.exit_code == 6
        assert process.returncode == 0


@pytest.mark.parametrize("size_bytes", [1_000_000, 40_000_000], ids=["whole", "parts"])
def test_a_late_put_of_a_machine_that_was_given_up_changes_nothing_of_what_is_done(
    tmp_path, engine, storage, size_bytes
):
    """The first machine sleeps in the middle of a PUT; the second has the same source, takes over and ends it."""
    with two_people(tmp_path, engine, storage, size_bytes) as (team, anna, _):
        second = team.laptop(tmp_path / "second", "anna")
        for laptop in (anna, second):
            (laptop.work / "big.mov").write_bytes(random.Random(7).randbytes(size_bytes))  # noqa: S311  as above
            os.utime(laptop.work / "big.mov", (1_700_000_000, 1_700_000_000))
        asleep, awake = threading.Event(), threading.Event()

        def sleep(put):
            if put.part_number in (None, 2) and not asleep.is_set():
                asleep.set()
                assert awake.wait(60)
            return "none"

        storage.fault = sleep
        process = anna.begin("upload", "big.mov", "--jobs", "1")
        try:
            assert asleep.wait(30)
            operation_id = anna.run("--json", "history").records[0]["operation_id"]
            team.ahead += timedelta(hours=1)
            run = second.run("--json", "resume", operation_id)
            assert run.exit_code == 0, run.stderr
            before = second.run("--json", "show", operation_id).records[0], team.objects()
        finally:
            awake.set()
            process.communicate(timeout=60)
        [record] = second.run("--json", "history").records
        assert (record["operation_id"], record["status"]) == (operation_id, "success")
        assert {**before[0]} == {**second.run("--json", "show", operation_id).records[0]}
        assert (team.objects(), team.versions("big.mov.tar.gz"), team.multipart_uploads()) == (before[1], 1, 0)
        assert anna.run("upload", "big.mov").exit_code == 0, "the first machine learns of it"
        assert anna.left_overs() == []
