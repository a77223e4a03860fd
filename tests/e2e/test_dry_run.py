"""`upload --dry-run`: the truth about what would happen, and nothing happens."""

import os
import socket
import sqlite3
import subprocess

import pytest

from support.trees import noise, small_disk, text

MB = 1_000_000


def plans(run):
    return {line["target_path"]: line for line in run.lines if line["type"] == "plan"}


def traces(team, laptop):
    """All that an upload could leave behind: files, journal rows, records, objects, requests to the storage."""
    database = sqlite3.connect(laptop.folder / "state" / "journal.sqlite")
    try:
        rows = [database.execute(f"SELECT count(*) FROM {name}").fetchone() for name in ("uploads", "clean_ups")]  # noqa: S608  our own names
    finally:
        database.close()
    files = sorted(str(path) for path in laptop.work.rglob("*"))
    locks = (laptop.folder / "state" / "locks").exists()
    return rows, files, locks, laptop.run("--json", "history").records, sorted(team.objects()), len(team.storage.puts)


def test_everything_is_told_and_nothing_happens(team, anna, bert):
    """Free, taken by the same, taken by others, replaced, missing; as one command, with its exit code."""
    for laptop in (anna, bert):
        (laptop.work / "same").mkdir()
        (laptop.work / "same" / "a").write_bytes(noise(3 * MB))
        (laptop.work / "big").write_bytes(noise(17 * MB))
        for path in ("same/a", "same", "big"):
            os.utime(laptop.work / path, (1_700_000_000, 1_700_000_000))  # of one content and one time: the same bytes
    (bert.work / "other").write_bytes(b"one")
    (anna.work / "other").write_bytes(b"two")
    assert bert.run("upload", "same", "other", "big", "--prefix", "p").exit_code == 0
    (anna.work / "DCIM").mkdir()
    (anna.work / "DCIM" / "a.jpg").write_bytes(noise(5000))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(anna.work / "DCIM" / "s"))
    anna.run("upload", "--dry-run", "DCIM")  # makes the journal, which everything makes
    before = traces(team, anna)
    command = ("--json", "upload", "--dry-run", "DCIM", "same", "other", "big", "gone", "--prefix", "p")
    run = anna.run(*command, "--move-completed", "--completed-dir=done")
    assert run.exit_code == 3
    found = plans(run)
    assert {name: plan["outcome"] for name, plan in found.items()} == {
        "DCIM": "upload", "same": "already_there", "other": "fail", "big": "already_there", "gone": "fail",
    }  # fmt: skip
    card = found["DCIM"]
    assert (card["s3_bucket"], card["s3_object_key"]) == (team.bucket, "p/DCIM.tar.gz")
    assert (card["source_size"], card["member_count"], card["skipped_count"]) == (5000, 2, 1)
    assert 5000 < card["archive_size_max"] < 10_000
    assert card["moves_to"] == os.fspath(anna.work / "done" / "DCIM")
    assert card["estimated_seconds"] is None
    assert "DCIM/s is skipped: a socket." in [line.get("message") for line in run.lines]
    assert found["same"]["existing"]["actor"] == "bert"
    assert [(found[name]["exit_code"], found[name]["code"]) for name in ("other", "gone")] == [
        (6, "name-taken"), (4, "source-missing"),
    ]  # fmt: skip
    assert run.lines[-1] == {
        "type": "summary", "succeeded": 1, "failed": 2, "skipped": 2, "is_dry_run": True,
        "archive_size_max": card["archive_size_max"], "bytes_per_second": None, "estimated_seconds": None,
    }  # fmt: skip
    assert plans(anna.run(*command, "--replace"))["other"]["outcome"] == "replace"
    assert traces(team, anna) == before
    assert anna.run("upload", "DCIM", "same", "other", "big", "gone", "--prefix", "p").exit_code == 3, "as was said"


def test_a_person_reads_where_how_large_and_how_long(team, anna):
    (anna.work / "clip").write_bytes(noise(2 * MB))
    first = anna.run("upload", "--dry-run", "clip")
    assert f"clip → s3://{team.bucket}/clip.tar.gz" in first.stdout
    assert "no speed measured yet" in first.stderr
    assert "nothing was packed, sent or recorded" in first.stderr
    assert anna.run("upload", "clip").exit_code == 0
    again = anna.run("upload", "--dry-run", "clip", "--as", "copy")
    assert "at the last measured" in again.stderr
    assert "already there" in anna.run("upload", "--dry-run", "clip").stdout
    assert "nothing to upload" in anna.run("upload", "--dry-run", "all", "--exclude", "clip").stderr


def test_a_dry_run_tells_what_is_the_same_from_what_was_only_reported_so(team, anna, bert):
    for laptop in (anna, bert):
        (laptop.work / "clip").write_bytes(bytes(range(100)) * 500)
    assert anna.run("upload", "clip", "--compression", "store").exit_code == 0
    assert plans(anna.run("--json", "upload", "--dry-run", "clip"))["clip"]["outcome"] == "already_there"
    for more, outcome, code in (
        ((), "fail", "claimed-same"),
        (("--compression", "store"), "already_there", None),
        (("--replace",), "replace", None),
    ):
        dry = bert.run("--json", "upload", "--dry-run", "clip", *more)
        plan = plans(dry)["clip"]
        assert (plan["outcome"], plan["code"], dry.exit_code) == (outcome, code, 6 if code else 0)
        assert bert.run("upload", "clip", *more).exit_code == dry.exit_code, "as was said"


def test_a_speed_held_back_or_of_few_bytes_is_not_remembered(team, anna):
    (anna.work / "clip").write_bytes(noise(2 * MB))
    (anna.work / "small").write_bytes(b"x")
    assert anna.run("upload", "clip", "--limit-rate", "20M").exit_code == 0
    assert anna.run("upload", "small").exit_code == 0
    assert "no speed measured yet" in anna.run("upload", "--dry-run", "clip", "--as", "copy").stderr


@pytest.mark.parametrize("left_over", ["foreign", "kept"])
def test_what_a_real_run_would_refuse_before_it_asks_is_refused_alike(team, anna, left_over):
    (anna.work / "clip").write_bytes(b"x")
    if left_over == "foreign":
        (anna.work / "clip.tar.gz").write_text("somebody's")
    else:
        assert anna.run("upload", "clip", "--keep-archive").exit_code == 0
        (anna.work / "clip").write_bytes(b"other")
    dry, wet = (anna.run("upload", "clip", *more) for more in (["--dry-run"], []))
    assert dry.exit_code == wet.exit_code == 4
    assert "would fail with exit code 4" in dry.stdout
    assert wet.stderr.removeprefix("mgmt: ").strip() in dry.stdout


def test_a_folder_without_room_is_told_once_and_by_name(team, anna):
    """However many archives are to be made in it; "beside it" is said only where it lies there."""
    elsewhere = anna.folder / "archives"
    elsewhere.mkdir()
    disk = os.statvfs(anna.work)
    for name in ("a", "b"):
        with (anna.work / name).open("wb") as file:
            file.truncate(disk.f_bavail * disk.f_frsize + (1 << 30))  # and nothing on the disk
    for options, where in (([], "free beside it"), (["--archive-dir", os.fspath(elsewhere)], f"free in {elsewhere}.")):
        run = anna.run("--json", "upload", "--dry-run", "a", "b", *options)
        [notice] = [line for line in run.lines if line.get("code") == "disk-nearly-full"]
        assert where in notice["message"]
        assert len(plans(run)) == 2


@pytest.mark.parametrize("disk_is", ["too small", "full", "read-only"])
def test_a_folder_that_cannot_take_the_archive_fails_as_the_real_run_does(team, anna, disk_is):
    (anna.work / "clip").write_bytes(noise(6 * MB))
    with small_disk(anna.folder / "disk", 4) as disk:
        if disk is None:
            pytest.skip("this system does not let us mount a small disk")
        if disk_is == "full":
            (disk / "filler").write_bytes(b"x" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
        if disk_is == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", os.fspath(disk)], check=True)
        before = sorted(path.name for path in disk.iterdir())
        dry, wet = (anna.run("upload", "clip", "--archive-dir", os.fspath(disk), *more) for more in (["--dry-run"], []))
        assert sorted(path.name for path in disk.iterdir()) == before
    assert dry.exit_code == wet.exit_code == 9
    assert "clip would fail with exit code 9" in dry.stdout
    assert wet.stderr.splitlines()[-1].removeprefix("mgmt: ") in dry.stdout


def test_what_shrinks_enough_for_a_small_disk_does_not_fail(team, anna):
    (anna.work / "notes").write_bytes(text(12 * MB))
    with small_disk(anna.folder / "disk", 8) as disk:
        if disk is None:
            pytest.skip("this system does not let us mount a small disk")
        for more in (["--dry-run"], []):
            assert anna.run("upload", "notes", "--archive-dir", os.fspath(disk), *more).exit_code == 0


def test_a_limit_says_how_long_it_takes(team, anna):
    (anna.work / "clip").write_bytes(noise(2 * MB))
    run = anna.run("upload", "--dry-run", "--limit-rate", "100k", "clip")
    assert "about 20 s" in run.stdout
    assert "about 20 s at the limit of 100 kB/s" in run.stderr
    assert anna.run("upload", "clip").exit_code == 0
    again = anna.run("upload", "--dry-run", "clip", "--as", "copy", "--limit-rate", "100G")
    assert "at the last measured" in again.stderr


def test_a_target_named_again_over_a_link_is_one_target(team, anna):
    (anna.work / "D").mkdir()
    (anna.work / "D" / "clip").write_bytes(b"x")
    (anna.work / "link").symlink_to("D")
    for more in (["--dry-run"], []):
        run = anna.run("--json", "upload", "D/clip", "link/clip", *more)
        assert (run.exit_code, run.lines[-1]["succeeded"]) == (0, 1)
        assert "link/clip is named more than once; it is uploaded once." in [line.get("message") for line in run.lines]


def test_all_leaves_the_folder_of_archives_out_however_it_is_spelled(team, anna):
    (anna.work / "a").write_bytes(b"x")
    (anna.work / "archives").mkdir()
    for spelling in ("archives", f"../{anna.work.name}/archives", os.fspath(anna.work / "archives")):
        run = anna.run("--json", "upload", "--dry-run", "all", "--archive-dir", spelling)
        assert list(plans(run)) == ["a"]


def test_a_name_that_somebody_is_uploading_would_be_refused(team, anna, bert):
    (anna.work / "clip").write_bytes(b"x")
    (bert.work / "clip").write_bytes(b"x")
    team.storage.fault = lambda put: "stall"
    process = anna.begin("upload", "clip")
    assert team.storage.stalled.wait(30)
    run = bert.run("--json", "upload", "--dry-run", "clip")
    process.kill()
    process.communicate()
    assert run.exit_code == 6
    assert "anna is uploading" in plans(run)["clip"]["message"]


def test_a_pinned_bucket_and_a_sign_in_are_asked_for_as_always(team, anna):
    (anna.work / "clip").write_bytes(b"x")
    assert anna.run("upload", "--dry-run", "clip", MGMT_BUCKET="other").exit_code == 10
    assert anna.run("upload", "--dry-run", "clip", MGMT_TOKEN="wrong").exit_code == 5
