"""More files than one batch holds: whatever stops the run, the same command again finishes all of them, each once."""

import signal

import pytest

from support.trees import noise

COUNT = 130
NAMES = [f"{number:03d}.jpg" for number in range(COUNT)]
FIRST, LAST = NAMES[0], NAMES[-1]


@pytest.fixture
def photos(anna):
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
    _, stderr = process.communicate(timeout=5)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in stderr
        kept = anna.left_overs()
        assert not kept or f"{len(kept)} archives are kept" in stderr or f"{kept[0]} is kept" in stderr
    team.storage.reset()
    run = anna.run("--json", "upload", "all")
    assert (run.exit_code, run.stderr) == (0, "")
    assert_all_uploaded_once(team, anna)


def test_a_storage_that_refuses_one_stops_the_run_when_the_others_are_up(team, anna, photos):
    team.storage.fault = lambda put: "refuse" if f"/{FIRST}.tar.gz" in put.path else "none"
    assert anna.run("upload", "all").exit_code == 7
    assert len(team.objects()) >= 99
    team.storage.reset()
    run = anna.run("--json", "upload", "all")
    assert (run.exit_code, run.stderr) == (0, "")
    assert len(run.records) + len([line for line in run.lines if line["type"] == "already_there"]) == COUNT
    assert_all_uploaded_once(team, anna)
