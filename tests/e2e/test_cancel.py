"""`mgmt cancel` before the real service and engine: an unfinished upload is given up, here and in the records."""

from __future__ import annotations

import json
import os
import signal
import sqlite3

import pytest

from support.team import Laptop, Run, Team
from support.trees import noise

LARGE = 40_000_000
"""Goes in three parts."""


def killed(team: Team, laptop: Laptop, *arguments: str, part: int | None = 3, **environment: str) -> str:
    """Kill an upload where it sends a part, or a whole archive; return the last one's id."""
    team.storage.fault = lambda put: "stall" if put.part_number == part else "none"
    process = laptop.begin("upload", "--jobs", "1", *arguments, **environment)
    assert team.storage.stalled.wait(30)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    team.storage.reset()
    return laptop.run("--json", "history").records[0]["operation_id"]


def error_of(run: Run) -> dict:
    return json.loads(run.stderr.splitlines()[-1])


def remembered(laptop: Laptop) -> tuple[int, int]:
    """Count what the journal knows of unfinished uploads, and of orders."""
    with sqlite3.connect(laptop.folder / "state" / "journal.sqlite") as database:
        counts = database.execute("SELECT (SELECT count(*) FROM uploads), (SELECT count(*) FROM orders)")
        return counts.fetchone()


@pytest.fixture
def clip(anna: Laptop):
    path = anna.work / "clip.mov"
    path.write_bytes(noise(LARGE))
    return path


@pytest.mark.parametrize("place", ["beside", "MGMT_ARCHIVE_DIR", "--archive-dir"])
def test_an_upload_in_parts_is_given_up_wherever_its_archive_lies(team: Team, anna: Laptop, clip, place, tmp_path):
    before, elsewhere = clip.stat(), tmp_path / "archives"
    elsewhere.mkdir()
    options = ["--archive-dir", os.fspath(elsewhere)] if place == "--archive-dir" else []
    environment = {place: os.fspath(elsewhere)} if place == "MGMT_ARCHIVE_DIR" else {}
    killed(team, anna, *options, "clip.mov", **environment)
    folder = anna.work if place == "beside" else elsewhere
    assert ([each.name for each in folder.glob("*.tar.gz")], team.multipart_uploads()) == (["clip.mov.tar.gz"], 1)
    run = anna.run("--json", "cancel", "--yes", "clip.mov")
    assert run.exit_code == 0, run.stderr
    [record] = run.records
    assert (record["status"], record["error_code"]) == ("failed", "cancelled")
    assert run.lines[-1] == {"type": "summary", "succeeded": 1, "failed": 0, "skipped": 0}
    assert (anna.left_overs(), list(elsewhere.iterdir()), team.multipart_uploads()) == ([], [], 0)
    assert (clip.stat().st_mtime_ns, clip.stat().st_size) == (before.st_mtime_ns, LARGE)
    assert remembered(anna) == (0, 0)
    assert anna.run("resume").exit_code == 0
    assert len(anna.run("--json", "history").records) == 1, "nothing was resumed"
    assert anna.run("upload", "clip.mov").exit_code == 0, "the same command begins it anew"
    assert len(team.objects()) == 1


def test_what_failed_and_left_an_archive_is_tidied_up_and_what_ended_is_refused(team: Team, anna: Laptop, clip):
    team.storage.fault = lambda put: "flip"
    assert anna.run("upload", "clip.mov").exit_code == 8
    team.storage.reset()
    assert anna.left_overs() == ["clip.mov.tar.gz"]
    run = anna.run("--json", "cancel", "--yes", "clip.mov")
    assert (run.exit_code, run.records[0]["error_code"]) == (0, "corrupted")
    assert (anna.left_overs(), remembered(anna)) == ([], (0, 0))
    again = anna.run("--json", "cancel", "--yes", "clip.mov")
    assert (again.exit_code, error_of(again)["code"]) == (4, "nothing-left")
    assert anna.run("upload", "clip.mov").exit_code == 0
    stored = anna.run("--json", "cancel", "--yes", "clip.mov")
    assert (stored.exit_code, error_of(stored)["code"]) == (6, "already-stored")
    assert "`mgmt delete`" in error_of(stored)["message"]
    assert len(team.objects()) == 1


def test_what_had_arrived_whole_is_recorded_as_done_and_not_as_cancelled(team: Team, anna: Laptop):
    (anna.work / "small.mov").write_bytes(noise(1000))
    team.storage.fault = lambda put: "lose-answer" if put.attempt == 0 else "stall"
    process = anna.begin("upload", "small.mov")
    assert team.storage.stalled.wait(30)
    process.kill()
    process.communicate()
    team.storage.reset()
    run = anna.run("--json", "cancel", "--yes", "small.mov")
    assert (run.exit_code, error_of(run)["code"]) == (6, "already-stored")
    assert anna.run("--json", "history").records[0]["status"] == "success"
    assert anna.run("resume").exit_code == 0
    assert (anna.left_overs(), len(team.objects())) == ([], 1)


def test_a_running_upload_has_to_be_stopped_first(team: Team, anna: Laptop, clip):
    (anna.work / "waiting.mov").write_bytes(noise(LARGE, seed=2))
    team.storage.fault = lambda put: "stall" if put.part_number == 1 else "none"
    process = anna.begin("upload", "clip.mov", "waiting.mov")
    try:
        assert team.storage.stalled.wait(30)
        runs = [anna.run("--json", "cancel", "--yes", name) for name in ("clip.mov", "waiting.mov")]
    finally:
        process.kill()
        process.communicate()
    assert [(run.exit_code, error_of(run)["code"]) for run in runs] == [(6, "busy-here")] * 2
    team.storage.reset()
    assert anna.run("cancel", "--yes", "waiting.mov").exit_code == 0
    assert remembered(anna) == (1, 1)
    assert anna.run("--json", "resume").records[0]["target_path"] == "clip.mov"
    assert len(team.objects()) == 1, "what was given up before it was begun is not resumed"


def test_its_owner_cancels_from_any_machine_an_admin_anybodys_and_nobody_else(team, anna, bert, clip, tmp_path):
    operation_id = killed(team, anna, "clip.mov")
    refused = bert.run("--json", "cancel", "--yes", operation_id)
    assert (refused.exit_code, error_of(refused)["code"]) == (6, "not-allowed")
    other = team.laptop(tmp_path / "other", "anna")
    assert other.run("cancel", "--yes", operation_id).exit_code == 0
    assert anna.left_overs() == ["clip.mov.tar.gz"], "the other machine cannot reach it"
    resumed = anna.run("--json", "resume")
    assert (resumed.exit_code, error_of(resumed)["code"]) == (6, "given-up")
    assert anna.run("cancel", "--yes", operation_id).exit_code == 0
    assert (anna.left_overs(), remembered(anna)) == ([], (0, 0))
    operation_id = killed(team, anna, "clip.mov")
    carl = team.laptop(tmp_path / "carl", "carl", is_admin=True)
    [record] = carl.run("--json", "cancel", "--yes", operation_id).records
    assert (record["actor"], record["error_code"]) == ("anna", "cancelled")
    assert record["error_message"].startswith("Cancelled by carl, an admin: ")
    assert team.multipart_uploads() == 0


def test_archives_of_others_stay(team: Team, anna: Laptop, clip):
    """One that was kept on request, and one that another upload of the same source needs."""
    killed(team, anna, "--prefix", "a", "clip.mov")
    killed(team, anna, "--prefix", "b", "clip.mov")
    assert anna.run("cancel", "--yes", "a/clip.mov").exit_code == 0
    assert anna.left_overs() == ["clip.mov.tar.gz"]
    ambiguous = anna.run("--json", "cancel", "--yes", "clip.mov")
    assert ambiguous.exit_code == 0, ambiguous.stderr
    assert anna.left_overs() == []
    assert anna.run("upload", "--keep-archive", "--prefix", "c", "clip.mov").exit_code == 0
    killed(team, anna, "--prefix", "d", "clip.mov")
    assert anna.run("cancel", "--yes", "d/clip.mov").exit_code == 0
    assert anna.left_overs() == ["clip.mov.tar.gz"]


def test_a_name_that_fits_several_is_not_guessed(team: Team, anna: Laptop, clip):
    for prefix in ("a", "b"):
        killed(team, anna, "--prefix", prefix, "clip.mov")
    run = anna.run("--json", "cancel", "--yes", "clip.mov")
    assert (run.exit_code, error_of(run)["code"]) == (2, "several-keys")
    assert [each["status"] for each in anna.run("--json", "history").records] == ["pending", "pending"]


def test_without_yes_nobody_to_ask_is_a_refusal(team: Team, anna: Laptop, clip):
    operation_id = killed(team, anna, "clip.mov")
    run = anna.run("--json", "cancel", operation_id)
    assert (run.exit_code, error_of(run)["code"]) == (2, "nobody-to-ask")
    assert anna.run("--json", "history").records[0]["status"] == "pending"


DYING = """
import os, signal
import mgmt.upload.cancelling
mgmt.upload.cancelling.remove_given_up = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from mgmt.__main__ import run
run()
"""
"""The command, killed when the service has recorded the end and nothing was removed here."""


def test_killed_in_between_the_same_command_tidies_up(team: Team, anna: Laptop, clip):
    operation_id = killed(team, anna, "clip.mov")
    assert anna.run("cancel", "--yes", "clip.mov", program=DYING).exit_code == -signal.SIGKILL
    assert (anna.left_overs(), remembered(anna)) == (["clip.mov.tar.gz"], (1, 1))
    resumed = anna.run("--json", "resume")
    assert (resumed.exit_code, error_of(resumed)["code"]) == (6, "given-up"), "what was given up stays so"
    [record] = anna.run("--json", "cancel", "--yes", "clip.mov").records
    assert (record["operation_id"], record["error_code"]) == (operation_id, "cancelled")
    assert (anna.left_overs(), remembered(anna), team.multipart_uploads()) == ([], (0, 0), 0)


def test_where_the_service_is_out_of_reach_nothing_is_removed(team: Team, anna: Laptop, clip):
    killed(team, anna, "clip.mov")
    run = anna.run("--json", "cancel", "--yes", "clip.mov", MGMT_TOKEN="wrong")
    assert run.exit_code == 5
    assert (anna.left_overs(), remembered(anna)) == (["clip.mov.tar.gz"], (1, 1))


# --- downloads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--extract"], ["--only", "*.mov"]], ids=["archive", "extract", "only"])
def test_a_download_is_given_up_with_all_that_it_has_fetched(team: Team, anna: Laptop, bert: Laptop, options):
    (anna.work / "DCIM").mkdir()
    for name in ("a.mov", "b.mov"):
        (anna.work / "DCIM" / name).write_bytes(noise(LARGE))
    assert anna.run("upload", "DCIM").exit_code == 0
    (bert.work / "out").mkdir()
    team.storage.get_fault = lambda get: "stall" if get.first > LARGE // 2 else "none"
    process = bert.begin("download", "DCIM", "--to", "out", "--jobs", "1", *options)
    assert team.storage.stalled.wait(30)
    [record, *_] = bert.run("--json", "history", "--type", "download").records
    busy = bert.run("--json", "cancel", "--yes", record["operation_id"])
    process.kill()
    process.communicate()
    team.storage.reset()
    assert (busy.exit_code, error_of(busy)["code"]) == (6, "busy-here")
    (bert.work / "out" / "mine.txt").write_bytes(b"mine")
    (bert.work / "out" / ".other.tar.gz.mgmt-00000000.part").write_bytes(b"of another run")
    assert len(list((bert.work / "out").iterdir())) > 3
    run = bert.run("--json", "cancel", "--yes", record["operation_id"])
    assert run.exit_code == 0, run.stderr
    assert [(each["status"], each["error_code"]) for each in run.records] == [("failed", "cancelled")]
    assert {path.name for path in (bert.work / "out").iterdir()} == {"mine.txt", ".other.tar.gz.mgmt-00000000.part"}
    again = bert.run("--json", "cancel", "--yes", record["operation_id"])
    assert (again.exit_code, error_of(again)["code"]) == (4, "nothing-left")
    assert bert.run("download", "DCIM", "--to", "out", *options).exit_code == 0
    [done, *_] = bert.run("--json", "history", "--type", "download").records
    ended = bert.run("--json", "cancel", "--yes", done["operation_id"])
    assert (ended.exit_code, error_of(ended)["code"]) == (6, "already-there")
    assert anna.run("--json", "cancel", "--yes", record["operation_id"]).exit_code != 0
