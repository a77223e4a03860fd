"""`mgmt download` of archived classes on moto's S3, which keeps their states: archived, being restored, readable.

The command, the gateway, the handlers and their adapter are the real ones, and moto decides what can be read.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from support.faulty_storage import faulty_storage
from support.moto_s3 import MotoS3, moto_s3
from support.programs import QUICK_WAITS
from support.team import Team, team_at_work
from support.trees import describe, noise

EXPECTED_HOURS = {"GLACIER": 12, "DEEP_ARCHIVE": 48}
PRICES = {"GLACIER": "about $0.00", "DEEP_ARCHIVE": "less than $0.01"}
"""Of the tier Bulk; the first is free."""

archived = pytest.mark.parametrize("storage_class", list(EXPECTED_HOURS))


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoS3]:
    with moto_s3() as storage:
        yield storage


@pytest.fixture
def team(tmp_path, moto) -> Iterator[Team]:
    with (
        moto.versioned_bucket() as bucket,
        faulty_storage(moto.endpoint_url) as storage,
        team_at_work(tmp_path / "service", moto, bucket, storage, restores_archived=True) as team,
    ):
        yield team


@pytest.fixture
def clip(anna, storage_class):
    (anna.work / "clip").write_bytes(noise(100_000))
    run = anna.run("upload", "--storage-class", storage_class, "clip")
    assert run.exit_code == 0, run.stderr
    return (anna.work / "clip").read_bytes()


def restores_in_history(laptop):
    return laptop.run("--json", "history", "--type", "restore").records


def age_hours(record):
    times = [datetime.fromisoformat(record[name]) for name in ("started_at", "ready_at")]
    return (times[1] - times[0]) / timedelta(hours=1)


@archived
def test_s3_is_asked_once_for_the_team_and_each_downloads_when_it_is_over(team, moto, anna, bert, clip, storage_class):
    asking = bert.run("--json", "download", "--yes", "--tier", "Bulk", "--days", "3", "clip")
    assert (asking.exit_code, json.loads(asking.stderr)["code"]) == (7, "restoring")
    [offer] = [line["message"] for line in asking.lines if line["type"] == "notice"]
    assert f"from {storage_class}: {PRICES[storage_class]} at the tier Bulk (prices of us-east-1" in offer
    assert f"ready in about {EXPECTED_HOURS[storage_class]} h 0 min, readable for 3 days" in offer
    [restore] = restores_in_history(anna)
    assert (restore["actor"], restore["status"], restore["tier"], restore["days"]) == ("bert", "pending", "Bulk", 3)
    assert age_hours(restore) == EXPECTED_HOURS[storage_class]
    for laptop, options in ((anna, ["--to", ".."]), (bert, [])):
        again = laptop.run("--json", "download", *options, "clip")
        assert (again.exit_code, json.loads(again.stderr)["code"]) == (7, "restoring")
        assert "asked by bert" in json.loads(again.stderr)["message"]
    assert moto.restores == [f"/{team.bucket}/clip.tar.gz"]
    assert team.storage.gets == [], "nothing was tried that S3 would refuse"
    moto.end_restores()
    for laptop in (anna, bert):
        run = laptop.run("download", "--extract", "--to", "..", "clip")
        assert (run.exit_code, (laptop.folder / "clip").read_bytes() == clip) == (0, True), run.stderr
    team.go_round()
    [restore] = restores_in_history(anna)
    assert (restore["actor"], restore["status"]) == ("bert", "success"), "the worker sees that it is over"
    assert len(moto.restores) == 1


@archived
@pytest.mark.parametrize("options", [[], ["--extract"], ["--only", "clip"]], ids=["archive", "extracted", "only"])
def test_with_wait_one_command_asks_comes_back_and_downloads(moto, bert, clip, options):
    moto.end_restores_after(6)
    run = bert.run("--json", "download", "--wait", "--yes", *options, "clip", program=QUICK_WAITS)
    assert (run.exit_code, run.stderr) == (0, "")
    assert sorted(path.name for path in bert.work.iterdir()) == (["clip"] if options else ["clip.tar.gz"])
    if options:
        assert (bert.work / "clip").read_bytes() == clip
    assert len(moto.restores) == 1
    [restore] = restores_in_history(bert)
    assert (restore["status"], restore["tier"], restore["days"]) == ("success", "Standard", 7)


@archived
def test_a_restore_that_was_asked_for_past_mgmt_is_waited_for_and_not_asked_again(team, moto, bert, clip):
    team.s3.restore_object(Bucket=team.bucket, Key="clip.tar.gz", RestoreRequest={"Days": 1})
    run = bert.run("--json", "download", "clip")
    assert (run.exit_code, json.loads(run.stderr)["code"]) == (7, "restoring")
    assert "asked past mgmt" in json.loads(run.stderr)["message"]
    moto.end_restores()
    assert bert.run("download", "clip").exit_code == 0
    assert (len(moto.restores), restores_in_history(bert)) == (1, [])


@pytest.mark.parametrize("storage_class", ["STANDARD", "STANDARD_IA", "GLACIER_IR"])
def test_an_instant_class_needs_no_restore_and_no_consent(moto, bert, clip):
    run = bert.run("--json", "download", "--extract", "clip")
    assert (run.exit_code, run.stderr) == (0, "")
    assert (bert.work / "clip").read_bytes() == clip
    assert (moto.restores, restores_in_history(bert)) == ([], [])


def test_a_tree_comes_back_as_it_was_out_of_the_deepest_class(moto, anna, bert):
    folder = anna.work / "DCIM"
    (folder / "sub").mkdir(parents=True)
    for number in range(5):
        (folder / "sub" / f"clip{number}").write_bytes(noise(20_000 + number))
    assert anna.run("upload", "--storage-class", "DEEP_ARCHIVE", "DCIM").exit_code == 0
    assert bert.run("download", "--yes", "--extract", "DCIM").exit_code == 7
    moto.end_restores()
    assert bert.run("download", "--extract", "DCIM").exit_code == 0
    assert describe(bert.work / "DCIM") == describe(folder)
    assert len(moto.restores) == 1
