"""A part that takes long: the name stays with who is sending, for as long as the sending takes."""

import random
import threading

from support.engine import versioned_bucket
from support.team import team_at_work

LEASE_SECONDS = 4


def test_a_lease_is_renewed_while_a_single_part_takes_longer_than_it_lasts(tmp_path, engine, storage):
    storage.reset()
    with (
        versioned_bucket(engine) as bucket,
        team_at_work(tmp_path / "service", engine, bucket, storage, lease_seconds=LEASE_SECONDS) as team,
    ):
        anna, bert = team.laptop(tmp_path / "anna", "anna"), team.laptop(tmp_path / "bert", "bert")
        for seed, laptop in enumerate((anna, bert)):
            noise = random.Random(seed).randbytes(17_000_000)  # noqa: S311  noise stands for footage
            (laptop.work / "big.mov").write_bytes(noise)
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
