"""More files than one batch holds: whatever stops the run, the same command again finishes all of them, each once."""

import signal

import pytest

from support.programs import QUICK_WAITS
from support.trees import noise, small_disk

BATCH = 20
COUNT = 26
NAMES = [f"{number:03d}.jpg" for number in range(COUNT)]
FIRST, LAST = NAMES[0], NAMES[-1]


@pytest.fixture
def photos(team, anna, monkeypatch):
    """More than this service takes in one call: with a fifth of the usual number all goes as it does with all of it."""
    monkeypatch.setattr("mgmt_api.domain.description.ITEMS_MAX", BATCH)
    for number, name in enumerate(NAMES):
        (anna.work / name).write_bytes(noise(2_000, number))
    return NAMES


def assert_all_uploaded_once(team, laptop):
    assert sorted(team.objects()) == [f"{name}.tar.gz" for name in NAMES]
    records = laptop.run("--json", "history", "--all", "--status", "success").records
    assert sorted(record["s3_object_key"] for record in records) == [f"{name}.tar.gz" for name in NAMES]
    assert {team.versions(f"{name}.tar.gz") for name in (FIRST, LAST)} == {1}
    assert laptop.left_overs() == []
    assert sorted(path.name for path in laptop.work.iterdir()) == NAMES


def stall(team, name):
    team.storage.fault = lambda put: "stall" if f"/{name}.tar.gz" in put.path else "none"


@pytest.mark.parametrize("name", [FIRST, LAST])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_with_batches_in_flight(team, anna, photos, name, how):
    stall(team, name)
    process = anna.begin("upload", "all")
    assert team.storage.stalled.wait(60)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=20)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in stderr
        kept = anna.left_overs()
        assert not kept or f"{len(kept)} partial uploads kept" in stderr or f"{kept[0]}. Run the same" in stderr
    team.storage.reset()
    run = anna.run("--json", "upload", "all")
    assert (run.exit_code, run.stderr) == (0, "")
    assert_all_uploaded_once(team, anna)


def test_a_storage_that_refuses_one_stops_the_run_when_the_others_are_up(team, anna, photos):
    team.storage.fault = lambda put: "refuse" if f"/{FIRST}.tar.gz" in put.path else "none"
    assert anna.run("upload", "all", program=QUICK_WAITS).exit_code == 7
    assert len(team.objects()) >= BATCH - 1
    team.storage.reset()
    run = anna.run("--json", "upload", "all")
    assert (run.exit_code, run.stderr) == (0, "")
    assert len(run.records) + len([line for line in run.lines if line["type"] == "already_there"]) == COUNT
    assert_all_uploaded_once(team, anna)


def test_an_archive_that_an_earlier_run_left_on_a_small_disk_makes_room_for_the_others(team, anna):
    (anna.work / "b.mov").write_bytes(noise(6_000_000, 1))
    with small_disk(anna.folder / "disk", 8) as disk:
        if disk is None:
            pytest.skip("this system lets nobody mount a disk here")
        team.storage.fault = lambda _: "stall"
        process = anna.begin("upload", "b.mov", "--archive-dir", str(disk))
        assert team.storage.stalled.wait(30)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert [path.name for path in disk.iterdir()] == ["b.mov.tar.gz"]
        team.storage.reset()
        (anna.work / "a.mov").write_bytes(noise(3_000_000, 2))
        assert anna.run("upload", "a.mov", "b.mov", "--archive-dir", str(disk)).exit_code == 0
        assert list(disk.iterdir()) == []
    assert sorted(team.objects()) == ["a.mov.tar.gz", "b.mov.tar.gz"]
