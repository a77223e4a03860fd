"""A part that takes long: the name stays with who is sending, for as long as the sending takes."""

import os
import random
import subprocess
import sys
import threading
from contextlib import contextmanager

from support.engine import versioned_bucket
from support.team import team_at_work

LEASE_SECONDS = 8


@contextmanager
def two_people(tmp_path, engine, storage, size_bytes):
    """Give a team with a short lease, and two of it who each have a file of the same name."""
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


def test_a_lease_is_renewed_while_a_single_part_takes_longer_than_it_lasts(tmp_path, engine, storage):
    with two_people(tmp_path, engine, storage, 17_000_000) as (team, anna, bert):
        under_way, arrive, outlasted = (threading.Event() for _ in range(3))
        begun = []
        update = team.records.update_operation

        def watch(operation):
            if under_way.is_set():
                begun.append(operation.lease_expires_at)
                if (begun[-1] - begun[0]).total_seconds() > LEASE_SECONDS:
                    outlasted.set()
            return update(operation)

        def hold_up(put):
            if put.part_number == 2:
                under_way.set()
                assert arrive.wait(60)
            return "none"

        team.records.update_operation = watch
        storage.fault = hold_up
        process = anna.begin("upload", "big.mov")
        try:
            assert outlasted.wait(30), "nobody has renewed the lease"
            refused = bert.run("upload", "big.mov")
        finally:
            arrive.set()
            process.communicate(timeout=60)
        assert refused.exit_code == 6
        assert "anna is uploading" in refused.stderr
        assert process.returncode == 0
        assert anna.run("--json", "show", "big.mov").records[0]["actor"] == "anna"


SLOW_DISK = """
import os, sys, threading
from mgmt.archive.unfinished import UnfinishedArchive
publish = UnfinishedArchive.publish
def publish_late(self, *words):
    while not os.path.exists("go"):
        threading.Event().wait(0.05)
    publish(self, *words)
UnfinishedArchive.publish = publish_late
from mgmt.cli.main import main
sys.exit(main(["upload", "big.mov"]))
"""


def test_a_lease_is_renewed_while_packing_takes_long_and_nothing_is_sent(tmp_path, engine, storage):
    """Such as where a disk is slow to sync, or where nothing is sent before the archive is whole."""
    with two_people(tmp_path, engine, storage, 20_000_000) as (team, anna, bert):
        outlasted = threading.Event()
        begun = []
        update = team.records.update_operation

        def watch(operation):
            begun.append(operation.lease_expires_at)
            if (begun[-1] - begun[0]).total_seconds() > LEASE_SECONDS:
                outlasted.set()
            return update(operation)

        team.records.update_operation = watch
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MGMT_")}
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW_DISK], cwd=anna.work, env={**inherited, **anna.environment}
        )
        try:
            assert outlasted.wait(30), "nobody has renewed the lease"
            refused = bert.run("upload", "big.mov")
        finally:
            (anna.work / "go").touch()
            process.communicate(timeout=60)
        assert refused.exit_code == 6
        assert process.returncode == 0
