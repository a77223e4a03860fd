"""`mgmt resume` before the real service and engine: what was stopped is finished, as its own command would have."""

from __future__ import annotations

import json
import os
import signal
import threading
from datetime import timedelta

import pytest

from support.database import open_database
from support.faulty_storage import Fault
from support.programs import LOW_LIMITS
from support.team import Laptop, Run, Team
from support.trees import noise

MB = 1_000_000
LARGE = 40 * MB
"""Goes in three parts."""


def killed(
    team: Team, laptop: Laptop, *arguments: str, stalls=lambda put: put.part_number == 3, first: Fault = "none"
) -> None:
    """Kill an upload where it sends what `stalls` says; `first` happens to all that it sends before."""
    team.storage.fault = lambda put: "stall" if stalls(put) else first
    process = laptop.begin("upload", *arguments)
    assert team.storage.stalled.wait(30)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    team.storage.reset()


def errors_of(run: Run) -> list[dict]:
    return [json.loads(line) for line in run.stderr.splitlines()]


def orders(laptop: Laptop) -> int:
    with open_database(laptop.folder / "state" / "journal.sqlite") as database:
        return database.execute("SELECT count(*) FROM orders").fetchone()[0]


def test_what_was_killed_goes_on_from_any_folder_with_the_options_of_its_command(team: Team, anna: Laptop):
    (anna.work / "DCIM").mkdir()
    (anna.work / "DCIM" / "a.mov").write_bytes(noise(LARGE))
    (anna.work / "DCIM" / "a.txt").write_bytes(b"left out")
    options = ["--as", "camera a", "--prefix", "day1", "--exclude", "*.txt", "--keep-archive", "--tag", "shoot=7"]
    killed(team, anna, "DCIM", "--jobs", "1", "--storage-class", "STANDARD_IA", *options)
    elsewhere = anna.folder / "elsewhere"
    elsewhere.mkdir()
    run = anna.run("--json", "resume", cwd=elsewhere)
    assert run.exit_code == 0, run.stderr
    assert {put.part_number for put in team.storage.puts} == {3}, "what was there was not sent again"
    [record] = run.records
    assert (record["s3_object_key"], record["storage_class"], record["tags"], record["excludes"]) == (
        "day1/camera a.tar.gz", "STANDARD_IA", {"shoot": "7"}, ["*.txt"],
    )  # fmt: skip
    assert record["target_path"] == "DCIM"
    assert (record["member_count"], anna.left_overs()) == (2, ["camera a.tar.gz"])
    assert run.lines[-1] == {"type": "summary", "succeeded": 1, "failed": 0, "skipped": 0}
    assert len(anna.run("--json", "history").records) == 1
    again = anna.run("resume")
    assert (again.exit_code, again.stdout) == (0, "")
    assert "nothing left to resume" in again.stderr


def test_a_stopped_command_is_finished_also_where_it_had_not_come_to(team: Team, anna: Laptop):
    for number in range(5):
        (anna.work / f"{number}.bin").write_bytes(noise(1000, seed=number))
    (anna.work / "big.mov").write_bytes(noise(LARGE))
    killed(team, anna, "big.mov", *(f"{number}.bin" for number in range(5)), stalls=lambda put: put.part_number == 1)
    assert (len(anna.run("--json", "history").records), orders(anna)) == (1, 6)
    run = anna.run("--json", "resume")
    assert (run.exit_code, len(run.records)) == (0, 6), run.stderr
    assert len(team.objects()) == 6
    assert orders(anna) == 0


def test_a_finished_command_leaves_nothing_to_resume_whatever_its_ends(team: Team, anna: Laptop, bert: Laptop):
    for laptop, seed in ((anna, 1), (bert, 2)):
        (laptop.work / "taken.bin").write_bytes(noise(1000, seed=seed))
    (anna.work / "new.bin").write_bytes(b"new")
    assert bert.run("upload", "taken.bin").exit_code == 0
    assert anna.run("upload", "new.bin").exit_code == 0
    assert anna.run("upload", "new.bin", "taken.bin", "missing").exit_code == 3
    assert orders(anna) == 0, "done, already there, refused, missing: another command is needed, if any"


def test_what_failed_for_a_cause_that_can_pass_stays_to_be_resumed(team: Team, anna: Laptop, bert: Laptop):
    """The name is reserved by somebody, who gives up."""
    for laptop, seed in ((anna, 1), (bert, 2)):
        (laptop.work / "clip.mov").write_bytes(noise(LARGE, seed=seed))
    killed(team, bert, "clip.mov", "--jobs", "1")
    assert anna.run("upload", "clip.mov").exit_code == 6
    assert orders(anna) == 1
    assert anna.run("resume").exit_code == 6
    assert bert.run("cancel", "--yes", "clip.mov").exit_code == 0
    assert anna.run("resume").exit_code == 0
    assert (orders(anna), len(team.objects())) == (0, 1)


def test_one_is_named_by_its_id_its_short_id_or_its_name(team: Team, anna: Laptop):
    for name in ("a.mov", "b.mov", "c.mov"):
        (anna.work / name).write_bytes(noise(LARGE))
        killed(team, anna, name, "--jobs", "1")
    a, b = (anna.run("--json", "history", name).records[0]["operation_id"] for name in ("a.mov", "b.mov"))
    short = anna.run("history", "b.mov").stdout.splitlines()[1].split()[0]
    for name, expected in ((a, "a.mov"), (short, "b.mov"), ("c.mov", "c.mov")):
        run = anna.run("--json", "resume", name)
        assert [each["target_path"] for each in run.records] == [expected], run.stderr
    done = anna.run("--json", "resume", b)
    assert (done.exit_code, errors_of(done)[0]["code"]) == (4, "nothing-left")
    unknown = anna.run("--json", "resume", "nothing.mov")
    assert (unknown.exit_code, errors_of(unknown)[0]["code"]) == (4, "not-found")


def test_a_source_that_is_gone_stays_unfinished_and_one_that_changed_goes_as_it_is_now(team: Team, anna: Laptop):
    clip = anna.work / "clip.mov"
    clip.write_bytes(noise(LARGE))
    killed(team, anna, "clip.mov", "--jobs", "1")
    clip.rename(anna.work / "away")
    gone = anna.run("--json", "resume")
    assert (gone.exit_code, errors_of(gone)[0]["code"]) == (4, "source-missing")
    assert str(clip) in errors_of(gone)[0]["message"]
    clip.write_bytes(noise(LARGE, seed=2))
    run = anna.run("--json", "resume")
    assert run.exit_code == 0, run.stderr
    assert [line["code"] for line in run.lines if line["type"] == "notice"] == ["changed-since"]
    assert sorted(each["status"] for each in anna.run("--json", "history").records) == ["failed", "success"]
    assert (len(team.objects()), team.multipart_uploads(), anna.left_overs()) == (1, 0, [])


def test_what_a_running_command_is_at_is_left_to_it(team: Team, anna: Laptop):
    for name in ("big.mov", "waiting.mov"):
        (anna.work / name).write_bytes(noise(LARGE))
    team.storage.fault = lambda put: "stall" if put.part_number == 1 else "none"
    process = anna.begin("upload", "big.mov", "waiting.mov")
    try:
        assert team.storage.stalled.wait(30)
        run = anna.run("--json", "resume")
    finally:
        process.kill()
        process.communicate()
    assert (run.exit_code, run.records) == (0, [])
    assert [line["code"] for line in run.lines if line["type"] == "notice"] == ["busy-here", "busy-here"]


def test_what_somebody_else_began_on_this_machine_is_refused(team: Team, anna: Laptop, bert: Laptop):
    (anna.work / "clip.mov").write_bytes(noise(LARGE))
    killed(team, anna, "clip.mov", "--jobs", "1")
    run = anna.run("--json", "resume", MGMT_TOKEN=bert.environment["MGMT_TOKEN"])
    assert (run.exit_code, errors_of(run)[0]["code"]) == (6, "not-allowed")
    assert "begun by anna" in errors_of(run)[0]["message"]
    assert [each["actor"] for each in anna.run("--json", "history").records] == ["anna"]
    operation_id = anna.run("--json", "history").records[0]["operation_id"]
    theirs = bert.run("--json", "resume", operation_id)
    assert (theirs.exit_code, errors_of(theirs)[0]["code"]) == (6, "not-allowed")


def test_another_machine_takes_over_where_the_source_is_once_the_lease_has_lapsed(team: Team, anna: Laptop, tmp_path):
    body = noise(LARGE)
    (anna.work / "clip.mov").write_bytes(body)
    os.utime(anna.work / "clip.mov", (1_700_000_000, 1_700_000_000))
    killed(team, anna, "clip.mov", "--jobs", "1", "--tag", "shoot=7")
    operation_id = anna.run("--json", "history").records[0]["operation_id"]
    other = team.laptop(tmp_path / "other", "anna")
    absent = other.run("--json", "resume", operation_id)
    assert (absent.exit_code, errors_of(absent)[0]["code"]) == (4, "not-here")
    (other.work / "clip.mov").write_bytes(body)
    os.utime(other.work / "clip.mov", (1_700_000_000, 1_700_000_000))
    early = other.run("--json", "resume", operation_id)
    assert (early.exit_code, errors_of(early)[0]["code"]) == (6, "name-reserved")
    team.ahead += timedelta(hours=1)
    run = other.run("--json", "resume", operation_id)
    assert run.exit_code == 0, run.stderr
    assert {put.part_number for put in team.storage.puts} == {3}, "the parts that were there are kept"
    [record] = run.records
    assert (record["operation_id"], record["status"], record["tags"]) == (operation_id, "success", {"shoot": "7"})
    assert (len(team.objects()), team.multipart_uploads(), other.left_overs()) == (1, 0, [])
    late = anna.run("--json", "resume")
    assert (late.exit_code, len(anna.run("--json", "history").records)) == (0, 1), late.stderr
    assert (anna.left_overs(), orders(anna)) == ([], 0)


def test_without_its_journal_nothing_is_taken_for_ours_and_the_id_still_leads_to_the_upload(team: Team, anna: Laptop):
    (anna.work / "clip.mov").write_bytes(noise(LARGE))
    killed(team, anna, "clip.mov", "--jobs", "1")
    operation_id = anna.run("--json", "history").records[0]["operation_id"]
    archive = anna.work / "clip.mov.tar.gz"
    before = archive.read_bytes()
    for path in (anna.folder / "state").glob("journal.sqlite*"):
        path.unlink()
    assert "nothing left to resume" in anna.run("resume").stderr
    for arguments in (["upload", "clip.mov"], ["resume", operation_id]):
        refused = anna.run("--json", *arguments)
        assert (refused.exit_code, errors_of(refused)[0]["code"]) == (4, "archive-exists")
    assert archive.read_bytes() == before, "it may be somebody else's"
    archive.unlink()
    run = anna.run("--json", "resume", operation_id)
    assert [(each["operation_id"], each["status"]) for each in run.records] == [(operation_id, "success")], run.stderr
    assert {put.part_number for put in team.storage.puts} == {3}
    assert (len(team.objects()), team.multipart_uploads(), anna.left_overs(), orders(anna)) == (1, 0, [], 0)


def test_an_interrupted_command_and_the_history_name_what_goes_on_with_it(team: Team, anna: Laptop, bert: Laptop):
    (anna.work / "clip.mov").write_bytes(noise(LARGE))
    team.storage.fault = lambda put: "stall" if put.part_number == 1 else "none"
    process = anna.begin("upload", "clip.mov")
    assert team.storage.stalled.wait(30)
    hint = "`mgmt resume` finishes what this machine has begun"
    assert hint not in anna.run("history").stderr, "it is under way"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "`mgmt resume` goes on with all of it, in any folder." in said
    assert hint in anna.run("history").stderr
    assert hint not in bert.run("history").stderr, "another machine cannot"


def test_another_machine_whose_source_packs_otherwise_begins_the_upload_anew(team: Team, anna: Laptop, tmp_path):
    """The same content with another time: no part fits."""
    for seconds, laptop in ((1_700_000_000, anna), (1_600_000_000, team.laptop(tmp_path / "other", "anna"))):
        (laptop.work / "clip.mov").write_bytes(noise(LARGE))
        os.utime(laptop.work / "clip.mov", (seconds, seconds))
    killed(team, anna, "clip.mov", "--jobs", "1", stalls=lambda put: put.part_number == 2)
    operation_id = anna.run("--json", "history").records[0]["operation_id"]
    team.ahead += timedelta(hours=1)
    run = laptop.run("--json", "resume", operation_id)
    assert (run.exit_code, run.records[-1]["status"]) == (0, "success"), run.stderr
    ends = {each["operation_id"]: each["error_code"] for each in anna.run("--json", "history").records}
    assert ends == {operation_id: "superseded", run.records[-1]["operation_id"]: None}
    assert (len(team.objects()), team.multipart_uploads(), laptop.left_overs()) == (1, 0, [])


def test_folders_that_the_command_named_from_its_own_are_found_from_any_other(team: Team, anna: Laptop):
    for name in ("archives", "done", "elsewhere"):
        (anna.work / name).mkdir()
    (anna.work / "clip.mov").write_bytes(noise(LARGE))
    options = ["--archive-dir", "archives", "--move-completed", "--completed-dir", "done"]
    killed(team, anna, "clip.mov", "--jobs", "1", *options)
    assert anna.left_overs() == ["archives/clip.mov.tar.gz"]
    assert anna.run("resume", cwd=anna.work / "elsewhere").exit_code == 0
    assert {put.part_number for put in team.storage.puts} == {3}
    assert (anna.left_overs(), list((anna.work / "elsewhere").iterdir())) == ([], [])
    assert not (anna.work / "clip.mov").exists()
    assert (anna.work / "done" / "clip.mov").read_bytes() == noise(LARGE)


def test_an_upload_that_was_recorded_as_done_without_its_client_is_tidied_up_also_where_its_source_is_gone(
    team: Team, anna: Laptop
):
    """The person has seen it in the history, and has erased the card; an archive that is not what is stored stays."""
    names = ["a.mov", "b.mov", "c.mov", "d.mov"]
    for name in names:
        (anna.work / name).write_bytes(noise(1000))
        killed(team, anna, *name_options(name), name, stalls=lambda put: put.attempt == 1, first="lose-answer")
        assert anna.run("--json", "cancel", "--yes", name).exit_code == 6, "all of it had arrived"
    assert {each["status"] for each in anna.run("--json", "history").records} == {"success"}
    for name in ("a.mov", "b.mov", "c.mov"):
        (anna.work / name).unlink()
    (anna.work / "d.mov").write_bytes(b"another take")
    archive = anna.work / "b.mov.tar.gz"
    found = archive.stat()
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    os.utime(archive, ns=(found.st_atime_ns, found.st_mtime_ns))
    run = anna.run("--json", "resume")
    assert run.exit_code == 0, run.stderr
    records = {each["target_path"]: each for each in run.records}
    assert {name: each["compressed_file_record"]["status"] for name, each in records.items()} == {
        "a.mov": "deleted", "b.mov": "completed", "c.mov": "completed", "d.mov": "deleted",
    }  # fmt: skip
    codes = sorted(line["code"] for line in run.lines if line["type"] == "notice")
    assert codes == ["archive-kept", "archive-kept", "changed-since"]
    assert anna.left_overs() == ["b.mov.tar.gz", "c.mov.tar.gz"]
    assert "nothing left to resume" in anna.run("resume").stderr
    assert len(team.objects()) == 4
    reported = anna.run("--json", "history").records
    assert {each["target_path"]: each["compressed_file_record"]["status"] for each in reported}["a.mov"] == "deleted"


UNREADABLE = """
import errno, io, os
open_file = io.open
def fail(path, *given, **named):
    if not isinstance(path, int) and os.fspath(path).endswith(".tar.gz"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return open_file(path, *given, **named)
io.open = fail
from mgmt.__main__ import run
run()
"""
"""The command on a medium that does not give the archive just now."""


def test_an_archive_that_cannot_be_compared_just_now_goes_when_it_can_be(team: Team, anna: Laptop):
    (anna.work / "clip").write_bytes(noise(1000))
    killed(team, anna, "clip", stalls=lambda put: put.attempt == 1, first="lose-answer")
    assert anna.run("--json", "cancel", "--yes", "clip").exit_code == 6, "all of it had arrived"
    (anna.work / "clip").unlink()
    run = anna.run("--json", "resume", program=UNREADABLE)
    assert run.exit_code == 0, run.stderr
    assert [line["code"] for line in run.lines if line["type"] == "notice"] == ["archive-not-deleted"]
    assert anna.left_overs() == ["clip.tar.gz"]
    again = anna.run("--json", "resume")
    assert [line["code"] for line in again.lines if line["type"] == "notice"] == ["archive-deleted"], again.stderr
    assert anna.left_overs() == []


@pytest.mark.parametrize("is_source_there", [True, False])
def test_an_archive_on_a_disk_that_is_away_when_its_upload_is_found_stored_goes_when_it_is_back(
    team: Team, anna: Laptop, is_source_there
):
    disk = anna.work / "disk"
    disk.mkdir()
    (anna.work / "clip").write_bytes(noise(1000))
    options = ("--archive-dir", os.fspath(disk))
    killed(team, anna, *options, "clip", stalls=lambda put: put.attempt == 1, first="lose-answer")
    assert anna.run("--json", "cancel", "--yes", "clip").exit_code == 6, "all of it had arrived"
    (anna.work / "clip").rename(anna.work / "away")
    disk.rename(anna.work / "unplugged")
    run = anna.run("--json", "resume")
    assert run.exit_code == 0, run.stderr
    assert [line["code"] for line in run.lines if line["type"] == "notice"] == ["archive-not-deleted"]
    assert "nothing left to resume" in anna.run("resume").stderr
    (anna.work / "unplugged").rename(disk)
    if is_source_there:
        (anna.work / "away").rename(anna.work / "clip")
    run = anna.run("--json", "resume")
    assert (run.exit_code, list(disk.iterdir())) == (0, []), run.stderr
    assert [line["code"] for line in run.lines if line["type"] == "notice"] == ["archive-deleted"]
    [record] = anna.run("--json", "history").records
    assert record["compressed_file_record"]["status"] == "deleted"


def name_options(name: str) -> list[str]:
    return ["--keep-archive"] if name == "c.mov" else []


def test_more_uploads_than_fit_into_a_call_are_resumed(team: Team, anna: Laptop):
    names = [f"{number:03}.bin" for number in range(120)]
    for name in names:
        (anna.work / name).write_bytes(name.encode())
    first, last, both = "000.bin", "119.bin", threading.Event()

    def stall(put):
        if last in put.path:
            both.set()
        return "stall" if first in put.path or last in put.path else "none"

    team.storage.fault = stall
    process = anna.begin("upload", *names)
    assert both.wait(60)
    process.kill()
    process.communicate()
    team.storage.reset()
    run = anna.run("--json", "resume")
    assert (run.exit_code, len(run.records), orders(anna)) == (0, 120, 0), run.stderr
    assert (len(team.objects()), anna.left_overs()) == (120, [])
    assert len(anna.run("--json", "history", "--all").records) == 120


def test_two_uploads_of_one_source_or_to_one_name_do_not_keep_each_other_away(team: Team, anna: Laptop):
    for folder, name in (("x", "a.bin"), ("y", "b.bin")):
        (anna.work / folder).mkdir()
        (anna.work / folder / name).write_bytes(name.encode())
    for prefix in ("one", "two"):
        killed(team, anna, "--prefix", prefix, "x/a.bin", stalls=lambda _: True)
    killed(team, anna, "--as", "name", "x/a.bin", stalls=lambda _: True)
    with open_database(anna.folder / "state" / "journal.sqlite") as database:  # as a command that was not come to
        row = "service, ?, destination, options, run_id, given_at FROM orders WHERE destination = '/name'"
        database.execute(f"INSERT INTO orders SELECT {row}", [os.fsencode(anna.work / "y" / "b.bin")])
    run = anna.run("--json", "resume")
    assert run.exit_code == 3, run.stderr
    assert [error["code"] for error in errors_of(run)] == ["name-taken"], "what was begun first comes first"
    assert len([each for each in run.records if each["status"] == "success"]) == 3
    assert (orders(anna), anna.left_overs()) == (0, [])


def test_what_is_left_for_another_service_is_named(team: Team, anna: Laptop):
    (anna.work / "clip.mov").write_bytes(noise(LARGE))
    killed(team, anna, "clip.mov", "--jobs", "1")
    with open_database(anna.folder / "state" / "journal.sqlite") as database:
        for name in ("local ", "https://elsewhere"):
            database.execute(
                "INSERT INTO orders SELECT ?, source_path, destination, options, run_id, given_at FROM orders LIMIT 1",
                [name],
            )
    said = anna.run("resume").stderr
    assert "another service of this machine too: `mgmt --local resume`" in said
    assert "MGMT_API_URL=https://elsewhere mgmt resume" in said


def test_what_was_not_begun_is_named_by_its_name_or_path(team: Team, anna: Laptop):
    (anna.work / "big.mov").write_bytes(noise(LARGE))
    for name in ("a.bin", "b.bin"):
        (anna.work / name).write_bytes(name.encode())
    killed(team, anna, "big.mov", "a.bin", "b.bin", "--jobs", "1", stalls=lambda put: put.part_number == 1)
    for given, name in (("b.bin", "b.bin"), (os.fspath(anna.work / "a.bin"), "a.bin")):
        run = anna.run("--json", "resume", given, given)
        assert [each["target_path"] for each in run.records] == [name], run.stderr
    assert orders(anna) == 1


def test_a_damaged_journal_is_named_and_a_damaged_order_is_done_as_far_as_it_is_known(team: Team, anna: Laptop):
    for name in ("big.mov", "waiting.mov"):
        (anna.work / name).write_bytes(noise(LARGE))
    killed(team, anna, "--prefix", "day1", "big.mov", "waiting.mov", "--jobs", "1")
    journal = anna.folder / "state" / "journal.sqlite"
    with open_database(journal) as database:
        database.execute("UPDATE orders SET options = '{\"prefix\": 5'")
    run = anna.run("--json", "resume")
    ends = [(each["s3_object_key"], each["error_code"]) for each in run.records]
    assert (run.exit_code, ends) == (9, [("", "journal-damaged"), ("day1/big.mov.tar.gz", None)]), run.stderr
    assert errors_of(run)[0]["code"] == "journal-damaged"
    journal.write_bytes(b"no journal" * 1000)
    for command in (["resume"], ["cancel", "--yes", "big.mov"]):
        refused = anna.run("--json", *command)
        assert (refused.exit_code, errors_of(refused)[-1]["code"]) == (9, "journal-damaged")


# --- downloads -----------------------------------------------------------------------------------------


def interrupted_download(team: Team, laptop: Laptop, *arguments: str, first: int = LARGE // 2) -> None:
    """Kill a download where it asks for bytes from somewhere on."""
    team.storage.get_fault = lambda get: "stall" if get.first > first else "none"
    process = laptop.begin("download", "--jobs", "1", *arguments)
    assert team.storage.stalled.wait(30)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    team.storage.reset()


def download_orders(laptop: Laptop) -> int:
    with open_database(laptop.folder / "state" / "journal.sqlite") as database:
        return database.execute("SELECT count(*) FROM download_orders").fetchone()[0]


def stored_clips(laptop: Laptop) -> None:
    for name, size in (("big.mov", LARGE), ("small.mov", 1000)):
        (laptop.work / name).write_bytes(noise(size))
        assert laptop.run("upload", name).exit_code == 0


@pytest.mark.parametrize("options", [[], ["--extract"]], ids=["archive", "extract"])
def test_a_download_goes_on_in_its_own_folder_and_so_does_what_its_command_had_not_come_to(team, anna, bert, options):
    stored_clips(anna)
    for name in ("out", "elsewhere"):
        (bert.work / name).mkdir()
    interrupted_download(team, bert, "big.mov", "small.mov", "--to", "out", *options)
    assert download_orders(bert) == 2
    (anna.work / "big.mov").write_bytes(b"another take")
    assert anna.run("upload", "--replace", "big.mov").exit_code == 0
    run = bert.run("--json", "resume", cwd=bert.work / "elsewhere")
    assert (run.exit_code, [each["status"] for each in run.records]) == (0, ["success"] * 2), run.stderr
    assert run.lines[-1] == {"type": "summary", "succeeded": 2, "failed": 0, "skipped": 0}
    assert min(get.first for get in team.storage.gets if get.first) > 0
    suffix = "" if options else ".tar.gz"
    assert sorted(path.name for path in (bert.work / "out").iterdir()) == [f"big.mov{suffix}", f"small.mov{suffix}"]
    assert list((bert.work / "elsewhere").iterdir()) == []
    if options:
        assert (bert.work / "out" / "big.mov").read_bytes() == noise(LARGE), "the upload that it was begun with"
    records = bert.run("--json", "history", "--type", "download").records
    assert sorted(each["target_path"] for each in records) == [f"out/big.mov{suffix}", f"out/small.mov{suffix}"]
    assert download_orders(bert) == 0
    assert "nothing left to resume" in bert.run("resume").stderr


def add_option_of_tomorrow(laptop: Laptop, table: str) -> None:
    """Have the journal's orders say something that this mgmt does not know."""
    with open_database(laptop.folder / "state" / "journal.sqlite") as database:
        changed = database.execute(f"UPDATE {table} SET options = json_set(options, '$.of_tomorrow', json('true'))")  # noqa: S608
        assert changed.rowcount == 1
    database.close()


def test_a_download_that_a_newer_mgmt_began_is_left_to_it(team: Team, anna: Laptop):
    stored_clips(anna)
    (anna.work / "out").mkdir()
    interrupted_download(team, anna, "big.mov", "--to", "out")
    add_option_of_tomorrow(anna, "download_orders")
    left = sorted(path.name for path in (anna.work / "out").iterdir())
    run = anna.run("--json", "resume")
    [error] = errors_of(run)
    assert (run.exit_code, error["code"]) == (9, "written-by-newer")
    assert "by a newer mgmt" in error["message"]
    assert "damaged" not in error["message"]
    assert (download_orders(anna), sorted(path.name for path in (anna.work / "out").iterdir())) == (1, left)


def test_an_upload_that_a_newer_mgmt_began_is_left_to_it(team: Team, anna: Laptop):
    (anna.work / "clip.mov").write_bytes(noise(LARGE))
    killed(team, anna, "clip.mov", "--jobs", "1")
    add_option_of_tomorrow(anna, "orders")
    left = anna.left_overs()
    run = anna.run("--json", "resume")
    [error] = errors_of(run)
    assert (run.exit_code, error["code"]) == (9, "written-by-newer")
    assert "by a newer mgmt" in error["message"]
    assert anna.left_overs() == left != []
    assert [each["status"] for each in anna.run("--json", "history").records] == ["pending"]
    assert anna.run("upload", "clip.mov").exit_code == 0, "the same command says anew what is wanted"


@pytest.mark.parametrize("options", [["--no-limits"], []], ids=["lifted", "held"])
def test_a_download_without_limits_goes_on_without_them(team: Team, anna: Laptop, options):
    stored_clips(anna)
    (anna.work / "out").mkdir()
    interrupted_download(team, anna, "big.mov", "--to", "out", "--extract", *options)
    run = anna.run("resume", program=LOW_LIMITS)
    assert run.exit_code == (0 if options else 8), run.stderr
    assert options == [] or (anna.work / "out" / "big.mov").read_bytes() == noise(LARGE)


@pytest.mark.parametrize("options", [[], ["--extract"]], ids=["archive", "extract"])
def test_of_two_downloads_with_one_place_the_second_does_not_take_it_once_the_first_has_ended(
    team: Team, anna: Laptop, bert: Laptop, options: list[str]
):
    for day in ("day1", "day2"):
        (anna.work / "clip.mov").write_bytes(day.encode())
        assert anna.run("upload", "--prefix", day, "clip.mov").exit_code == 0
    stored_clips(anna)
    names = ("day1/clip.mov.tar.gz", "big.mov", "day2/clip.mov.tar.gz")
    interrupted_download(team, bert, *names, "--replace", *options)
    place = bert.work / ("clip.mov" if options else "clip.mov.tar.gz")
    first = place.read_bytes()
    run = bert.run("--json", "resume")
    assert (run.exit_code, [each["status"] for each in run.records]) == (0, ["success"]), run.stderr
    assert (place.read_bytes(), download_orders(bert)) == (first, 0)


def test_one_download_is_named_by_its_id_and_its_folder_may_be_away(team: Team, anna: Laptop, tmp_path):
    stored_clips(anna)
    disk = tmp_path / "disk"
    disk.mkdir()
    interrupted_download(team, anna, "big.mov", "small.mov", "--to", os.fspath(disk))
    [record] = anna.run("--json", "history", "--type", "download").records
    disk.rename(tmp_path / "away")
    gone = anna.run("--json", "resume", record["operation_id"])
    assert (gone.exit_code, errors_of(gone)[0]["code"]) == (4, "no-folder")
    (tmp_path / "away").rename(disk)
    run = anna.run("--json", "resume", record["operation_id"])
    assert [(each["operation_id"], each["status"]) for each in run.records] == [(record["operation_id"], "success")]
    assert sorted(path.name for path in disk.iterdir()) == ["big.mov.tar.gz"]
    assert download_orders(anna) == 1


def test_a_download_that_ended_is_not_resumed_whatever_its_end(team: Team, anna: Laptop):
    stored_clips(anna)
    (anna.work / "small.mov.tar.gz").write_bytes(b"mine")
    assert anna.run("download", "big.mov", "nothing").exit_code == 3
    assert anna.run("download", "small.mov").exit_code == 9, "something is there"
    assert anna.run("upload", "--prefix", "twice", "--archive-dir", "..", "big.mov").exit_code == 0
    assert anna.run("download", "big.mov").exit_code == 2, "the name fits two"
    assert download_orders(anna) == 0


def test_what_has_come_is_not_replaced_by_what_an_earlier_command_meant(team: Team, anna: Laptop):
    """The two commands differ in words alone; between them the name got another upload."""
    stored_clips(anna)
    (anna.work / "out").mkdir()
    interrupted_download(team, anna, "big.mov", "--to", "out", "--replace")
    (anna.work / "big.mov").write_bytes(b"new")
    assert anna.run("upload", "--replace", "big.mov").exit_code == 0
    assert anna.run("download", "big.mov", "--replace", cwd=anna.work / "out").exit_code == 0
    newest = (anna.work / "out" / "big.mov.tar.gz").read_bytes()
    assert download_orders(anna) == 0
    assert anna.run("resume").exit_code == 0
    assert (anna.work / "out" / "big.mov.tar.gz").read_bytes() == newest


@pytest.mark.parametrize("way", [[], ["--extract"], ["--only", "*"]], ids=["archive", "extract", "only"])
def test_what_has_come_is_not_replaced_by_an_older_version_that_was_named_otherwise(team: Team, anna: Laptop, way):
    """By its ID, in a folder that was named through a link, and for files by another way."""
    stored_clips(anna)
    [first] = anna.run("--json", "history", "big.mov").records
    (anna.work / "out").mkdir()
    (anna.work / "link").symlink_to("out")
    options = ["--extract"] if way else []
    interrupted_download(team, anna, first["operation_id"], "--to", "link", "--replace", *options)
    (anna.work / "big.mov").write_bytes(b"new")
    assert anna.run("upload", "--replace", "big.mov").exit_code == 0
    run = anna.run("--json", "download", "big.mov", "--to", "out", *way)
    assert (run.exit_code, download_orders(anna)) == (0, 0), run.stderr
    place = anna.work / "out" / ("big.mov" if way else "big.mov.tar.gz")
    newest = place.read_bytes()
    assert anna.run("resume").exit_code == 0
    assert place.read_bytes() == newest


def stored_card(laptop: Laptop) -> None:
    (laptop.work / "card").mkdir()
    for name, size in (("a.mov", LARGE), ("notes.txt", 1000)):
        (laptop.work / "card" / name).write_bytes(noise(size))
    assert laptop.run("upload", "card").exit_code == 0


@pytest.mark.parametrize("way", [[], ["--extract"], ["--only", "*"]], ids=["archive", "extract", "only"])
@pytest.mark.parametrize("changes", [False, True], ids=["as it was", "changed since"])
def test_what_an_order_is_to_replace_is_what_was_there_then_and_no_later_work(team: Team, anna: Laptop, way, changes):
    """It may be weeks old: `resume` without names does all that is left."""
    stored_card(anna)
    out = anna.work / "out"
    place = out / "card" / "notes.txt" if way else out / "card.tar.gz"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"old")
    interrupted_download(team, anna, "card", "--to", "out", "--replace", *way)
    if changes:
        place.write_bytes(b"mine")
    run = anna.run("--json", "resume")
    assert (run.exit_code, place.read_bytes() == b"mine") == ((9, True) if changes else (0, False)), run.stderr
    if changes:
        [error] = errors_of(run)
        assert (error["code"], "Run that command again" in error["message"]) == ("target-exists", True)
    assert download_orders(anna) == 0
    assert anna.run("download", "card", "--to", "out", "--replace", *way).exit_code == 0
    assert place.read_bytes() not in (b"old", b"mine")


def test_an_order_that_replaces_nothing_or_goes_elsewhere_outlives_a_download_of_another_version(team, anna):
    stored_clips(anna)
    [first] = anna.run("--json", "history", "big.mov").records
    for name in ("out", "other"):
        (anna.work / name).mkdir()
    interrupted_download(team, anna, first["operation_id"], "--to", "out", "--extract")
    interrupted_download(team, anna, first["operation_id"], "--to", "other", "--replace")
    interrupted_download(team, anna, first["operation_id"], "--to", "out", "--replace")
    (anna.work / "big.mov").write_bytes(b"new")
    assert anna.run("upload", "--replace", "big.mov").exit_code == 0
    assert anna.run("download", "big.mov", "--to", "out", "--extract").exit_code == 0
    assert download_orders(anna) == 3


def test_a_download_that_was_given_up_is_not_resumed_and_is_tidied_up_from_any_folder(team: Team, anna: Laptop):
    stored_clips(anna)
    (anna.folder / "far").mkdir()
    interrupted_download(team, anna, "big.mov", "small.mov", "--to", "../far")
    assert list((anna.folder / "far").iterdir())
    not_begun = anna.run("--json", "cancel", "--yes", "small.mov", cwd=anna.folder)
    assert (not_begun.exit_code, not_begun.lines[0]["type"], download_orders(anna)) == (0, "not_fetched", 1)
    [record] = anna.run("--json", "history", "--type", "download").records
    run = anna.run("--json", "cancel", "--yes", record["operation_id"], cwd=anna.folder)
    assert (run.exit_code, run.records[0]["error_code"]) == (0, "cancelled"), run.stderr
    assert (list((anna.folder / "far").iterdir()), download_orders(anna)) == ([], 0)
    assert "nothing left to resume" in anna.run("resume").stderr
