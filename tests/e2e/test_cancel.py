"""`mgmt cancel` before the real service and engine: an unfinished upload is given up, here and in the records."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from mgmt_api.ports import NoSuchMultipartUploadError, OperationInProgressError, StorageError
from mgmt_api.uploads import ending
from support.database import open_database
from support.person import people
from support.programs import QUICK_WAITS
from support.team import Laptop, Run, Team
from support.trees import noise, small_disk

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
    with open_database(laptop.folder / "state" / "journal.sqlite") as database:
        counts = database.execute("SELECT (SELECT count(*) FROM uploads), (SELECT count(*) FROM orders)")
        return counts.fetchone()


@contextmanager
def write_protected(disk) -> Iterator[None]:
    try:
        subprocess.run(["mount", "-o", "remount,ro", os.fspath(disk)], check=True)
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", os.fspath(disk)], check=True)


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
    team.kill_stalled(anna.begin("upload", "small.mov"))
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


@pytest.mark.parametrize("comes_through", [True, False], ids=["joined", "refused"])
def test_an_upload_whose_parts_are_being_joined_is_stored_or_given_up_and_never_both(
    team: Team, anna: Laptop, clip, comes_through, tmp_path, monkeypatch
):
    """Its client still waits for the join, another machine cancels, and only then the storage makes up its mind."""
    complete, end = team.store.complete_multipart_upload, ending.end_unfinished
    joins: list[tuple] = []
    looks: list[str] = []
    open_uploads: list[int] = []
    """How many multipart uploads are open after each look."""
    is_joining = threading.Event()

    def join_slowly(*given, **named):
        joins.append((given, named))
        is_joining.set()
        if looks:
            raise StorageError("said by a test", code="InvalidPart")
        raise OperationInProgressError("still at it")

    def look_and_decide(*given):
        ended = end(*given)
        looks.append(ended.phase)
        if len(looks) == 2 and comes_through:
            complete(*joins[0][0], **joins[0][1])
        elif len(looks) == 2:
            team.ahead = timedelta(minutes=11)  # nobody waits for that join any longer: the next one is refused
        open_uploads.append(team.multipart_uploads())
        return ended

    monkeypatch.setattr(team.store, "complete_multipart_upload", join_slowly)
    monkeypatch.setattr(ending, "end_unfinished", look_and_decide)
    waiting = anna.begin("--json", "upload", "clip.mov", program=QUICK_WAITS)
    try:
        assert is_joining.wait(30)
        run = team.laptop(tmp_path / "other", "anna").run(
            "--json", "cancel", "--yes", "clip.mov.tar.gz", program=QUICK_WAITS
        )
        waiting.communicate(timeout=60)
    finally:
        waiting.kill()
        waiting.communicate()
    assert looks[:2] == ["completing", "completing"], "it was asked again until it was known"
    [record] = anna.run("--json", "history").records
    if comes_through:
        assert (run.exit_code, error_of(run)["code"], waiting.returncode) == (6, "already-stored", 0)
        assert (record["status"], list(team.objects())) == ("success", ["clip.mov.tar.gz"])
    else:
        assert (run.exit_code, run.records[0]["error_code"], waiting.returncode) == (0, "cancelled", 6)
        with pytest.raises(NoSuchMultipartUploadError):  # the first join comes late: there is nothing to join any more
            complete(*joins[0][0], **joins[0][1])
        assert (record["status"], record["error_code"], team.objects()) == ("failed", "cancelled", {})
    assert (open_uploads[-1], team.multipart_uploads()) == (0, 0), "the parts go with it"


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
mgmt.upload.cancelling.tidy_given_up = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from mgmt.__main__ import run
run()
"""
"""The command, killed when the service has recorded the end and nothing was removed here."""


def test_killed_in_between_the_same_command_tidies_up(team: Team, anna: Laptop, clip):
    operation_id = killed(team, anna, "clip.mov")
    assert anna.run("cancel", "--yes", "clip.mov", program=DYING).exit_code == -signal.SIGKILL
    assert (anna.left_overs(), remembered(anna)) == (["clip.mov.tar.gz"], (1, 0))
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


@pytest.mark.parametrize("what", ["gone", "changed"])
def test_the_archive_of_a_source_that_is_not_there_as_it_was_stays_and_is_named(team: Team, anna: Laptop, clip, what):
    """It may be the last that is left of it."""
    killed(team, anna, "clip.mov")
    archive = (anna.work / "clip.mov.tar.gz").read_bytes()
    clip.unlink()
    if what == "changed":
        clip.write_bytes(b"another take")
    run = anna.run("--json", "cancel", "--yes", "clip.mov")
    assert (run.exit_code, run.records[0]["error_code"]) == (0, "cancelled"), run.stderr
    [said] = [line for line in run.lines if line["type"] == "notice"]
    assert (said["code"], os.fspath(anna.work / "clip.mov.tar.gz") in said["message"]) == ("archive-kept", True)
    assert (team.multipart_uploads(), remembered(anna)) == (0, (1, 0))
    assert "nothing left to resume" in anna.run("resume").stderr
    clip.write_bytes(b"a third take")
    again = anna.run("--json", "upload", "clip.mov")
    assert (again.exit_code, error_of(again)["code"]) == (4, "archive-exists")
    assert anna.run("upload", "all").exit_code == 4
    assert (anna.work / "clip.mov.tar.gz").read_bytes() == archive
    assert team.objects() == {}


UNREADABLE = """
import errno, os
look = os.stat
def fail(path, *given, **named):
    if not isinstance(path, int) and os.fspath(path).endswith("clip.mov"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return look(path, *given, **named)
os.stat = fail
from mgmt.__main__ import run
run()
"""
"""The command on a medium that does not give the source's entry just now."""


def test_the_archive_of_a_source_that_cannot_be_read_just_now_goes_when_it_can_be(team: Team, anna: Laptop, clip):
    killed(team, anna, "clip.mov")
    run = anna.run("--json", "cancel", "--yes", "clip.mov", program=UNREADABLE)
    assert (run.exit_code, run.records[0]["error_code"]) == (0, "cancelled"), run.stderr
    [said] = [line for line in run.lines if line["type"] == "notice"]
    assert (said["code"], "cannot be read now" in said["message"]) == ("archive-not-deleted", True)
    assert (anna.left_overs(), remembered(anna)) == (["clip.mov.tar.gz"], (1, 0))
    again = anna.run("--json", "resume")
    assert (again.exit_code, anna.left_overs(), remembered(anna)) == (0, [], (0, 0))
    assert clip.exists()


def test_the_archive_of_a_write_protected_card_goes_from_the_cache_folder_and_of_an_unplugged_one_stays(team, anna):
    with small_disk(anna.work / "card", 64) as disk:
        if disk is None:
            pytest.skip("this system does not let us mount a disk")
        (disk / "clip.mov").write_bytes(noise(LARGE))
        with write_protected(disk):
            killed(team, anna, "card/clip.mov")
            cache = anna.folder / "cache" / "mgmt" / "archives"
            assert [path.name for path in cache.rglob("*.gz")] == ["clip.mov.tar.gz"]
            assert anna.run("cancel", "--yes", "card/clip.mov").exit_code == 0
            assert (list(cache.iterdir()), remembered(anna)) == ([], (0, 0))
            killed(team, anna, "card/clip.mov")
    run = anna.run("cancel", "--yes", "clip.mov")
    assert run.exit_code == 0, run.stderr
    [archive] = cache.rglob("*.gz")
    assert os.fspath(archive) in run.stderr
    assert "gone or has changed" in run.stderr


def test_an_archive_in_a_folder_that_is_not_there_now_is_named(team: Team, anna: Laptop, clip, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    killed(team, anna, "--archive-dir", os.fspath(disk), "clip.mov")
    disk.rename(tmp_path / "unplugged")
    run = anna.run("--json", "cancel", "--yes", "clip.mov")
    assert run.exit_code == 0, run.stderr
    [said] = [line for line in run.lines if line["type"] == "notice"]
    assert (said["code"], os.fspath(disk / "clip.mov.tar.gz") in said["message"]) == ("archive-not-deleted", True)
    assert anna.run("upload", "clip.mov").exit_code == 0


def test_a_person_sees_what_it_is_about_and_agrees_or_not(team: Team, anna: Laptop, clip, sit_down):
    (anna.work / "waiting.mov").write_bytes(b"not come to")
    killed(team, anna, "clip.mov", "waiting.mov")
    environment = {**anna.whole_environment(), "NO_COLOR": "1"}
    for answer, exit_code in (("n\n", 130), ("\n", 130), ("y\n", 0)):
        person = sit_down("cancel", "clip.mov", "waiting.mov", environment=environment, cwd=anna.work)
        person.answer("Give up 2 uploads? What was sent is thrown away; sources stay as they are. [y/N]:", answer)
        assert person.end() == exit_code, person.seen
        assert all(word in person.seen for word in ("WHO", "anna", "clip.mov.tar.gz", "nothing of it was sent"))
        assert ("nothing was given up" in person.seen) == (exit_code != 0)
        assert remembered(anna) == ((1, 2) if exit_code else (0, 0))
    assert "2 given up" in person.seen


def test_an_interrupt_at_the_question_gives_nothing_up(team: Team, anna: Laptop, clip, sit_down):
    killed(team, anna, "clip.mov")
    person = sit_down("cancel", "clip.mov", environment=anna.whole_environment(), cwd=anna.work)
    person.read_until("[y/N]:")
    person.interrupt()
    assert person.end() == 130
    assert remembered(anna) == (1, 1)


@pytest.fixture
def sit_down() -> Iterator:
    with people() as seat:
        yield seat


OVERTAKEN = """
import sqlite3, sys
import mgmt.upload.cancelling as cancelling
hold = cancelling._hold
def overtaken(session, left, held):
    with sqlite3.connect(session.journal.state_dir / "journal.sqlite") as database:
        database.execute("UPDATE uploads SET operation_id = '00000000-0000-7000-8000-000000000000'")
    hold(session, left, held)
cancelling._hold = overtaken
from mgmt.__main__ import run
run()
"""
"""The command, with another run that has begun the upload anew and was killed, while a person thought."""


def test_what_another_run_has_gone_on_with_since_is_not_touched(team: Team, anna: Laptop, clip):
    operation_id = killed(team, anna, "clip.mov")
    run = anna.run("--json", "cancel", "--yes", "clip.mov", program=OVERTAKEN)
    assert (run.exit_code, error_of(run)["code"]) == (6, "changed-meanwhile")
    assert (anna.left_overs(), remembered(anna)) == (["clip.mov.tar.gz"], (1, 1))
    assert anna.run("--json", "show", operation_id).records[0]["status"] == "pending"


ODD_NAMES = ["C:\\DCIM\\clip.mov", "CON", "it's a take; rm -rf.mov", "cafe\u0301.mov", "-rf", "\u202egpj.exe", "a\nb"]


def test_names_of_every_kind_are_understood_as_they_are_shown(team: Team, anna: Laptop):
    """Not begun, so that their paths are all there is to name them by; two of the same name are told apart."""
    (anna.work / "first.mov").write_bytes(noise(LARGE))
    for name in ODD_NAMES:
        (anna.work / name).write_bytes(b"x")
    killed(team, anna, "--", "first.mov", *ODD_NAMES)
    begun = sum(remembered(anna))
    for name in ODD_NAMES:
        run = anna.run("--json", "cancel", "--yes", "--", name)
        assert run.exit_code == 0, (name, run.stderr)
    assert (begun, sum(remembered(anna))) == (len(ODD_NAMES) + 2, 2)
    assert anna.run("cancel", "--yes", "first.mov").exit_code == 0
    assert team.objects() == {}


@pytest.mark.parametrize("is_begun", [True, False])
def test_an_order_that_is_damaged_can_be_given_up(team: Team, anna: Laptop, clip, is_begun):
    (anna.work / "waiting.mov").write_bytes(b"not come to")
    killed(team, anna, "clip.mov", "waiting.mov")
    with open_database(anna.folder / "state" / "journal.sqlite") as database:
        database.execute("UPDATE orders SET options = '{\"prefix\": 5'")
    name = "clip.mov" if is_begun else "waiting.mov"
    assert anna.run("cancel", "--yes", name).exit_code == 0
    assert remembered(anna) == ((0, 1) if is_begun else (1, 1))


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


def test_what_could_not_be_removed_goes_with_the_next_cancel(team: Team, anna: Laptop, clip, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    operation_id = killed(team, anna, "--archive-dir", os.fspath(disk), "clip.mov")
    disk.rename(tmp_path / "unplugged")
    assert anna.run("cancel", "--yes", "clip.mov").exit_code == 0
    (tmp_path / "unplugged").rename(disk)
    run = anna.run("--json", "cancel", "--yes", operation_id)
    assert (run.exit_code, list(disk.iterdir()), remembered(anna)) == (0, [], (0, 0)), run.stderr
    again = anna.run("--json", "cancel", "--yes", operation_id)
    assert (again.exit_code, error_of(again)["code"]) == (4, "nothing-left")
    assert clip.stat().st_size == LARGE


def cut_off(team: Team, laptop: Laptop, *arguments: str) -> str:
    """Kill a download in the middle of the first archive; return its id."""
    team.storage.get_fault = lambda get: "stall" if get.first > LARGE // 2 else "none"
    team.kill_stalled(laptop.begin("download", "--jobs", "1", *arguments))
    return laptop.run("--json", "history", "--mine", "--type", "download").records[0]["operation_id"]


def short_id_of(laptop: Laptop, operation_id: str) -> str:
    shown = laptop.run("show", operation_id).stdout
    return next(line.split()[-1] for line in shown.splitlines() if "short id" in line)


def test_a_download_is_given_up_by_the_name_or_id_of_what_it_fetches(team: Team, anna: Laptop, bert: Laptop, clip):
    (anna.work / "other.mov").write_bytes(b"not come to")
    assert anna.run("upload", "clip.mov", "other.mov").exit_code == 0
    uploads = anna.run("--json", "history", "clip.mov").records
    for name in ("./clip.mov", "clip.mov.tar.gz", short_id_of(anna, uploads[0]["operation_id"])):
        operation_id = cut_off(team, bert, "clip.mov", "other.mov")
        run = bert.run("--json", "cancel", "--yes", name)
        assert run.exit_code == 0, (name, run.stderr)
        assert [(each["operation_id"], each["error_code"]) for each in run.records] == [(operation_id, "cancelled")]
        assert list(bert.work.iterdir()) == [], "what was fetched is gone"
    assert bert.run("--json", "cancel", "--yes", "other.mov").lines[0]["type"] == "not_fetched"
    again = bert.run("--json", "cancel", "--yes", "clip.mov")
    assert (again.exit_code, error_of(again)["code"]) == (6, "already-stored")
    assert "nothing left to resume" in bert.run("resume").stderr


def test_a_download_that_could_not_begin_is_given_up_by_its_name(team: Team, anna: Laptop, bert: Laptop, clip):
    """Which upload it means is known, and the service knows nothing of it."""
    assert anna.run("upload", "clip.mov").exit_code == 0
    operation_id = cut_off(team, bert, "clip.mov")
    with open_database(bert.folder / "state" / "journal.sqlite") as database:
        database.execute("UPDATE download_orders SET folder = ?", [os.fsencode(bert.work / "elsewhere")])
    run = bert.run("--json", "cancel", "--yes", "clip.mov")
    assert [line.get("operation_id", line["type"]) for line in run.lines] == [operation_id, "not_fetched", "summary"]


def test_a_name_that_fits_an_upload_and_a_download_is_not_guessed(team: Team, anna: Laptop, clip):
    """Both of one person: the upload is asked for by its path, or found in the history from another machine."""
    assert anna.run("upload", "clip.mov").exit_code == 0
    download_id = cut_off(team, anna, "--to", os.fspath(anna.folder), "clip.mov")
    clip.write_bytes(noise(LARGE, seed=9))
    upload_id = killed(team, anna, "--replace", "clip.mov")
    run = anna.run("--json", "cancel", "--yes", "clip.mov")
    assert (run.exit_code, error_of(run)["code"]) == (2, "several-keys")
    assert all(f"mgmt cancel {each}" in error_of(run)["message"] for each in (download_id, upload_id))
    other = team.laptop(anna.folder.parent / "other", "anna")
    elsewhere = other.run("--json", "cancel", "--yes", "clip.mov")
    assert (elsewhere.exit_code, error_of(elsewhere)["code"]) == (2, "several-keys")
    assert "fits 2 unfinished uploads and downloads. Name one by its ID" in error_of(elsewhere)["message"]
    assert anna.run("cancel", "--yes", download_id).exit_code == 0
    assert anna.run("--json", "cancel", "--yes", "clip.mov").records[0]["operation_id"] == upload_id


def test_downloads_of_others_and_ended_ones_are_not_meant_by_a_name(team: Team, anna: Laptop, bert: Laptop, clip):
    assert anna.run("upload", "clip.mov").exit_code == 0
    operation_id = cut_off(team, bert, "clip.mov")
    for folder in ("a", "b"):
        (anna.work / folder).mkdir()
    assert anna.run("download", "--to", "a", "clip.mov").exit_code == 0
    run = anna.run("--json", "cancel", "--yes", "clip.mov")
    assert (run.exit_code, error_of(run)["code"]) == (6, "already-stored")
    assert bert.run("--json", "show", operation_id).records[0]["status"] == "pending"
    both = {cut_off(team, anna, "--to", folder, "--replace", "clip.mov") for folder in ("a", "b")}
    several = anna.run("--json", "cancel", "--yes", "clip.mov")
    assert (several.exit_code, error_of(several)["code"]) == (2, "several-keys")
    assert all(short_id_of(anna, each) in error_of(several)["message"] for each in both)


def test_of_a_download_that_is_not_known_here_no_folder_is_guessed(team: Team, anna: Laptop, bert: Laptop, clip):
    assert anna.run("upload", "clip.mov").exit_code == 0
    for folder in (bert.work / "out", bert.folder / "elsewhere"):
        folder.mkdir()
    operation_id = cut_off(team, bert, "--to", "out", "clip.mov")
    stranger = team.laptop(bert.folder.parent / "other", "bert")
    abroad = stranger.run("--json", "cancel", "--yes", operation_id)
    assert abroad.exit_code == 0
    [said] = [line["message"] for line in abroad.lines if line["type"] == "notice"]
    assert bert.run("cancel", "--yes", operation_id, cwd=bert.folder / "elsewhere").exit_code == 0, "its journal knows"
    assert list((bert.work / "out").iterdir()) == []
    again = bert.run("--json", "cancel", "--yes", operation_id, cwd=bert.folder / "elsewhere")
    assert (again.exit_code, error_of(again)["code"]) == (4, "nothing-left")
    for message in (said, error_of(again)["message"]):
        assert "its record says 'out/clip.mov.tar.gz'" in message
        assert os.fspath(bert.folder) not in message


def test_a_download_to_a_path_that_was_cut_is_found_by_its_journal_and_guessed_nowhere(
    team: Team, anna: Laptop, bert: Laptop, clip
):
    """Only the ends of both paths are in their records, and these are alike."""
    assert anna.run("upload", "clip.mov").exit_code == 0
    folders = [bert.work / "/".join([*["f" * 200] * 7, middle, *["f" * 200] * 7]) for middle in ("one", "two")]
    ids = []
    for folder in folders:
        folder.mkdir(parents=True)
        ids.append(cut_off(team, bert, "--to", os.fspath(folder), "clip.mov"))
    records = bert.run("--json", "history", "--mine", "--type", "download").records
    assert [each["target_path_cut"] for each in records] == [True, True]
    assert records[0]["target_path"] == records[1]["target_path"]
    stranger = team.laptop(bert.folder.parent / "other", "bert")
    refused = stranger.run("--json", "cancel", "--yes", ids[1])
    assert refused.exit_code == 0, refused.stderr
    assert [line["code"] for line in refused.lines if line["type"] == "notice"] == ["not-here"]
    assert bert.run("cancel", "--yes", ids[1]).exit_code == 0
    assert [bool(list(folder.iterdir())) for folder in folders] == [True, False]
    assert bert.run("--json", "cancel", "--yes", "clip.mov").records[0]["operation_id"] == ids[0]
    assert not any(list(folder.iterdir()) for folder in folders)


def test_downloads_into_two_folders_of_one_name_are_told_apart(team: Team, anna: Laptop, bert: Laptop, clip, tmp_path):
    """Their records say the same: they tell nobody of a person's folders above the current one."""
    assert anna.run("upload", "clip.mov").exit_code == 0
    folders = [tmp_path / disk / "out" for disk in ("one", "two")]
    ids = []
    for folder in folders:
        folder.mkdir(parents=True)
        ids.append(cut_off(team, bert, "--to", os.fspath(folder), "clip.mov"))
    assert bert.run("cancel", "--yes", ids[1]).exit_code == 0
    assert [bool(list(folder.iterdir())) for folder in folders] == [True, False]
    assert bert.run("resume").exit_code == 0
    assert [[path.name for path in folder.iterdir()] for folder in folders] == [["clip.mov.tar.gz"], []]


STOPPED = """
import mgmt.upload.cancelling
give_up = mgmt.upload.cancelling.give_up
def stop_after_one(*given):
    yield next(give_up(*given))
    raise KeyboardInterrupt
mgmt.upload.cancelling.give_up = stop_after_one
from mgmt.__main__ import run
run()
"""
"""The command, with Ctrl-C when one of them is given up."""


def test_stopped_in_between_a_program_reads_what_came_of_it(team: Team, anna: Laptop, clip):
    (anna.work / "waiting.mov").write_bytes(b"not come to")
    killed(team, anna, "clip.mov", "waiting.mov")
    run = anna.run("--json", "cancel", "--yes", "waiting.mov", "clip.mov", program=STOPPED)
    assert (run.exit_code, error_of(run)["code"]) == (130, "interrupted")
    assert [line["type"] for line in run.lines] == ["not_sent", "summary"]
    assert run.lines[-1] == {"type": "summary", "succeeded": 1, "failed": 0, "skipped": 0}
    assert remembered(anna) == (1, 1)
