"""`--move-completed`: originals go to their folder after success, by a rename, and stay on any doubt."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def make_card(work):
    (work / "DCIM").mkdir()
    (work / "DCIM" / "a.jpg").write_bytes(b"x" * 1000)


def source_status(laptop, name):
    [record] = laptop.run("--json", "history", name).records
    return record["source_file_record"]["status"]


def test_files_and_folders_are_moved_and_the_record_says_so(team, anna):
    make_card(anna.work)
    (anna.work / "clip.mp4").write_bytes(b"x")
    run = anna.run("--json", "upload", "--move-completed", "--completed-dir=done/day1", "DCIM", "clip.mp4")
    assert (run.exit_code, run.stderr) == (0, "")
    assert [record["source_file_record"]["status"] for record in run.records] == ["moved", "moved"]
    assert names_in(anna.work) == ["done"]
    assert (anna.work / "done" / "day1" / "DCIM" / "a.jpg").read_bytes() == b"x" * 1000
    assert (anna.work / "done" / "day1" / "clip.mp4").read_bytes() == b"x"
    assert source_status(anna, "DCIM") == source_status(anna, "clip.mp4") == "moved"


def test_the_flag_takes_the_configured_folder_and_the_command_may_name_another(team, anna):
    """The argument after the flag stays a target."""
    (anna.work / "clip").write_bytes(b"x")
    run = anna.run("upload", "--move-completed", "clip", MGMT_COMPLETED_DIR="done")
    assert run.exit_code == 0, run.stderr
    assert f"moved to {anna.work / 'done' / 'clip'}" in run.stdout
    assert (anna.work / "done" / "clip").exists()
    (anna.work / "clip2").write_bytes(b"x")
    bare = anna.run("upload", "clip2", "--move-completed")
    assert bare.exit_code == 10
    assert "mgmt config" in bare.stderr
    assert "--completed-dir DIR" in bare.stderr
    assert anna.run("upload", "clip2", "--move-completed", "--completed-dir=").exit_code == 2
    assert "--completed-dir DIR" in anna.run("upload", "--help").stdout
    named = anna.run("upload", "--move-completed", "--completed-dir", "here", "clip2", MGMT_COMPLETED_DIR="done")
    assert named.exit_code == 0, named.stderr
    assert (anna.work / "here" / "clip2").exists()


def test_what_is_there_already_is_not_moved(team, anna):
    (anna.work / "clip").write_bytes(b"x")
    assert anna.run("upload", "clip").exit_code == 0
    assert anna.run("upload", "clip", "--move-completed", "--completed-dir=done").exit_code == 0
    assert names_in(anna.work) == ["clip"]


@pytest.mark.parametrize(
    ("option", "said", "exit_code"),
    [
        ("--completed-dir=DCIM", "lies in", 4),
        ("--completed-dir=DCIM/sub", "lies in", 4),
        ("--completed-dir=.", "already", 4),
        ("--completed-dir=full", "exists already", 4),
        ("--completed-dir=file", "is no folder", 9),
        ("--completed-dir=file/sub", "is no folder", 9),
        ("--completed-dir=/dev/shm/mgmt-none", "another disk", 4),
    ],
)
def test_what_cannot_be_moved_is_refused_before_anything_is_packed(team, anna, option, said, exit_code):
    make_card(anna.work)
    (anna.work / "file").write_text("x")
    (anna.work / "full" / "DCIM").mkdir(parents=True)
    if "shm" in option and Path("/dev/shm").stat().st_dev == anna.work.stat().st_dev:
        pytest.skip("one disk only")
    run = anna.run("upload", "DCIM", "--move-completed", option)
    assert run.exit_code == exit_code
    assert said in run.stderr
    assert team.objects() == {}
    assert names_in(anna.work) == ["DCIM", "file", "full"]
    assert anna.run("--json", "history").records == []


def test_all_leaves_the_folder_of_completed_originals_out(team, anna):
    """With the option and, where it is configured, without it."""
    for name in ("a", "b"):
        (anna.work / name).write_text(name)
    first = anna.run("upload", "all", "--move-completed", "--completed-dir=done")
    assert first.exit_code == 0, first.stderr
    assert sorted(team.objects()) == ["a.tar.gz", "b.tar.gz"]
    (anna.work / "c").write_text("c")
    assert anna.run("upload", "all", "--move-completed", "--completed-dir=./done/").exit_code == 0
    assert anna.run("upload", "all", MGMT_COMPLETED_DIR="done").exit_code == 0
    assert sorted(team.objects()) == ["a.tar.gz", "b.tar.gz", "c.tar.gz"]
    nested = anna.run("upload", "all", "--move-completed", "--completed-dir=done/deep")
    assert nested.exit_code == 0
    assert "done is skipped" in nested.stderr
    assert sorted(team.objects()) == ["a.tar.gz", "b.tar.gz", "c.tar.gz"]


@pytest.mark.skipif(sys.platform == "win32", reason="links are privileged there")
def test_all_leaves_the_folder_out_that_a_link_names(team, anna):
    """And the link, and what the folder lies in."""
    (anna.work / "kept" / "done").mkdir(parents=True)
    (anna.work / "link").symlink_to("kept/done")
    (anna.work / "a").write_text("a")
    nested = anna.run("upload", "all", "--move-completed", "--completed-dir=link")
    assert nested.exit_code == 0, nested.stderr
    assert "kept is skipped" in nested.stderr
    (anna.work / "direct").symlink_to("kept")
    assert anna.run("upload", "all", "--move-completed", "--completed-dir=direct", "--exclude", "link").exit_code == 0
    assert list(team.objects()) == ["a.tar.gz"]
    assert (anna.work / "kept" / "done" / "a").read_text() == "a"


def test_a_link_is_uploaded_and_neither_it_nor_its_end_is_moved(team, anna):
    (anna.work / "clip").write_text("x")
    (anna.work / "latest").symlink_to("clip")
    run = anna.run("--json", "upload", "latest", "--move-completed", "--completed-dir=done")
    assert run.exit_code == 0
    assert run.lines[0]["code"] == "not-moved"
    assert names_in(anna.work) == ["clip", "latest"]
    assert source_status(anna, "latest") == "completed"


def test_a_source_that_changed_since_it_was_packed_stays(team, anna):
    def change(put):
        (anna.work / "clip").write_text("changed")
        return "none"

    (anna.work / "clip").write_text("x")
    team.storage.fault = change
    run = anna.run("--json", "upload", "clip", "--move-completed", "--completed-dir=done")
    assert run.exit_code == 0
    [notice] = [line for line in run.lines if line["type"] == "notice"]
    assert (notice["code"], "changed" in notice["message"]) == ("not-moved", True)
    assert (anna.work / "clip").read_text() == "changed"
    assert source_status(anna, "clip") == "completed"
    assert anna.left_overs() == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_place_that_was_taken_meanwhile_is_not_overwritten(team, anna, kind):
    def take(put):
        (anna.work / "done" / "DCIM").mkdir(parents=True)
        (anna.work / "done" / "DCIM" / "theirs").write_text("theirs")
        return "none"

    if kind == "folder":
        make_card(anna.work)
    else:
        (anna.work / "DCIM").write_text("x")
    team.storage.fault = take
    run = anna.run("upload", "DCIM", "--move-completed", "--completed-dir=done")
    assert run.exit_code == 0
    assert "but the original was not moved" in run.stderr
    assert (anna.work / "DCIM").exists()
    assert (anna.work / "done" / "DCIM" / "theirs").read_text() == "theirs"


@pytest.mark.parametrize("again", [["upload", "clip", "--move-completed", "--completed-dir=done"], ["resume"]])
@pytest.mark.parametrize("kept", [(), ("--keep-archive",)])
def test_an_original_that_could_not_be_moved_is_moved_when_its_place_is_free_again(team, anna, again, kept):
    def take(put):
        (anna.work / "done").mkdir()
        (anna.work / "done" / "clip").write_text("theirs")
        return "none"

    (anna.work / "clip").write_text("x")
    team.storage.fault = take
    command = ["upload", "clip", "--move-completed", "--completed-dir=done", *kept]
    assert "but the original was not moved" in anna.run(*command).stderr
    assert source_status(anna, "clip") == "completed"
    (anna.work / "done" / "clip").unlink()
    run = anna.run("--json", *again)
    assert run.exit_code == 0, run.stderr
    assert ((anna.work / "done" / "clip").read_text(), (anna.work / "clip").exists()) == ("x", False)
    [record] = run.records
    statuses = record["source_file_record"]["status"], record["compressed_file_record"]["status"]
    assert statuses == ("moved", "completed" if kept else "deleted")
    assert anna.left_overs() == (["clip.tar.gz"] if kept else [])
    assert (len(team.objects()), journal_rows(anna)) == (1, [1 if kept else 0, 0])
    assert source_status(anna, "clip") == "moved"


def test_a_kept_archive_stays_where_another_upload_follows_a_move_that_could_not_be_made(team, anna):
    def take(put):
        (anna.work / "done").mkdir()
        (anna.work / "done" / "clip").write_text("theirs")
        return "none"

    (anna.work / "clip").write_text("x")
    (anna.work / "archives").mkdir()
    team.storage.fault = take
    command = ["upload", "clip", "--move-completed", "--completed-dir=done", "--keep-archive"]
    assert anna.run(*command, "--archive-dir=archives").exit_code == 0
    team.storage.reset()
    (anna.work / "clip").write_text("changed")
    assert anna.run("upload", "clip", "--replace").exit_code == 0
    assert names_in(anna.work / "archives") == ["clip.tar.gz"]
    assert names_in(anna.work) == ["archives", "clip", "done"]


KILLS = {
    "before the move": "import mgmt.upload.originals as c; c.rename_without_replacing = lambda *_: kill()",
    "after the move": "import mgmt.upload.originals as c; r = c.rename_without_replacing; "
    "c.rename_without_replacing = lambda *a: (r(*a), kill())",
    "between a file's two names": "import mgmt.archive.unfinished as u; l = os.link; n = []\n"
    "def link(a, b):\n l(a, b)\n if 'done' in os.fspath(b): kill()\n"
    "os.link = link",
    "before the proof is known": "import mgmt.upload.ending as e; e.check_proof = lambda *_: kill()",
}


def killed(laptop, how, *arguments):
    """Run mgmt until it kills itself with -9 at one point."""
    code = (
        "import os, signal, sys\ndef kill(): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{KILLS[how]}\nfrom mgmt.cli.main import main\nsys.exit(main({list(arguments)!r}))"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MGMT_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=laptop.work, env={**inherited, **laptop.environment}, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL


def journal_rows(laptop):
    database = sqlite3.connect(laptop.folder / "state" / "journal.sqlite")
    try:
        queries = [f"SELECT count(*) FROM {table}" for table in ("uploads", "clean_ups")]  # noqa: S608  our own names
        return [database.execute(query).fetchone()[0] for query in queries]
    finally:
        database.close()


@pytest.mark.parametrize(
    ("how", "name"),
    [
        (how, name)
        for how in KILLS
        for name in ("clip", "DCIM")
        if (how, name) != ("between a file's two names", "DCIM")
    ],
)
def test_kill_9_around_the_move_then_the_same_command_finishes(team, anna, how, name):
    """One object, one record that says moved, the original in its place, nothing left in the journal."""
    if name == "DCIM":
        make_card(anna.work)
    else:
        (anna.work / "clip").write_bytes(b"x" * 1000)
    command = ("--json", "upload", name, "--move-completed", "--completed-dir=done")
    killed(anna, how, *command)
    run = anna.run(*command)
    assert (run.exit_code, run.stderr) == (0, "")
    assert [record["source_file_record"]["status"] for record in run.records] == ["moved"]
    assert run.lines[-1]["succeeded"] == 1
    assert names_in(anna.work) == ["done"]
    assert names_in(anna.work / "done") == [name]
    assert (anna.work / "done" / name).stat().st_nlink == (1 if name == "clip" else 2)
    assert source_status(anna, name) == "moved"
    assert team.versions(f"{name}.tar.gz") == 1
    assert journal_rows(anna) == [0, 0]


@pytest.mark.parametrize("how", ["after the move", "between a file's two names"])
def test_a_dry_run_knows_the_move_that_a_killed_run_made(team, anna, how):
    """It says what the real one comes to, and leaves the move for that to finish."""
    (anna.work / "clip").write_bytes(b"x" * 1000)
    command = ("--json", "upload", "clip", "--move-completed", "--completed-dir=done")
    killed(anna, how, *command)
    before = journal_rows(anna), sorted(anna.work.rglob("*"))
    dry = anna.run(*command, "--dry-run")
    assert (journal_rows(anna), sorted(anna.work.rglob("*"))) == before
    [plan] = [line for line in dry.lines if line["type"] == "plan"]
    assert (dry.exit_code, plan["outcome"], plan["s3_object_key"]) == (0, "already_there", "clip.tar.gz"), dry
    assert (plan["s3_bucket"], plan["existing"]["actor"], plan["target_path"]) == (team.bucket, "anna", "clip")
    assert "clip is already there as s3://" in anna.run(*command[1:], "--dry-run").stdout
    assert anna.run(*command).exit_code == 0
    assert source_status(anna, "clip") == "moved"


@pytest.mark.parametrize("how", ["before the move", "between a file's two names", "before the proof is known"])
def test_a_dry_run_tells_of_the_move_that_a_killed_run_was_to_make(team, anna, how):
    """Nothing would be sent, and the original is still moved; what another upload has stored stays where it is."""
    for name in ("clip", "other"):
        (anna.work / name).write_bytes(b"x" * 1000)
    assert anna.run("upload", "other").exit_code == 0
    command = ("upload", "clip", "other", "--move-completed", "--completed-dir=done")
    killed(anna, how, *command)
    dry = anna.run("--json", *command, "--dry-run")
    place = anna.work / "done" / "clip"
    told = [(line["outcome"], line["moves_to"]) for line in dry.lines if line["type"] == "plan"]
    assert told == [("already_there", str(place)), ("already_there", None)]
    assert f"nothing would be sent; the original would move to {place}\n" in anna.run(*command, "--dry-run").stdout
    assert anna.run(*command).exit_code == 0
    assert names_in(anna.work) == ["done", "other"]
    assert names_in(anna.work / "done") == ["clip"]


@pytest.mark.skipif(sys.platform == "win32", reason="links are privileged there")
def test_a_move_that_a_killed_run_made_is_known_over_a_link_too(team, anna):
    (anna.work / "D").mkdir()
    (anna.work / "link").symlink_to("D")
    (anna.work / "D" / "clip").write_bytes(b"x")
    killed(anna, "after the move", "upload", "D/clip", "--move-completed", "--completed-dir=done")
    command = ("--json", "upload", "link/clip", "--move-completed", "--completed-dir=done")
    dry = anna.run(*command, "--dry-run")
    assert [line["outcome"] for line in dry.lines if line["type"] == "plan"] == ["already_there"]
    run = anna.run(*command)
    assert (run.exit_code, [record["source_file_record"]["status"] for record in run.records]) == (0, ["moved"])


def test_kill_9_after_the_move_is_told_by_any_later_upload(team, anna):
    (anna.work / "clip").write_bytes(b"x")
    killed(anna, "after the move", "upload", "all", "--move-completed", "--completed-dir=done")
    (anna.work / "other").write_bytes(b"y")
    run = anna.run("upload", "all", "--move-completed", "--completed-dir=done")
    assert run.exit_code == 0
    assert "was uploaded by an earlier run, and moved" in run.stderr
    assert source_status(anna, "clip") == "moved"
    assert journal_rows(anna) == [0, 0]


def test_a_kept_archive_is_remembered_as_such_after_a_kill(team, anna):
    (anna.work / "clip").write_bytes(b"x")
    command = ("--json", "upload", "clip", "--move-completed", "--completed-dir=done", "--keep-archive")
    killed(anna, "after the move", *command)
    run = anna.run(*command)
    assert run.exit_code == 0
    [record] = run.records
    assert record["compressed_file_record"]["status"] == "completed"
    assert names_in(anna.work) == ["clip.tar.gz", "done"]
    assert anna.run("upload", "all").exit_code == 0, "ours, known, and left out"
    assert "clip.tar.gz.tar.gz" not in team.objects()


def test_an_archive_that_cannot_be_kept_is_said(team, anna):
    """The upload had succeeded unnoticed and the archive is gone: none is made again only to be kept."""
    (anna.work / "big").write_bytes(os.urandom(17_000_000))
    killed(anna, "before the proof is known", "upload", "big", "--keep-archive")
    (anna.work / "big.tar.gz").unlink()
    run = anna.run("upload", "big", "--keep-archive")
    assert run.exit_code == 0
    assert "there is no archive to keep" in run.stderr
    assert names_in(anna.work) == ["big"]


def test_both_gone_is_no_entry_for_ever_but_an_unplugged_disk_is_waited_for(team, anna):
    (anna.work / "disk").mkdir()
    (anna.work / "disk" / "clip").write_bytes(b"x")
    killed(anna, "after the move", "upload", "disk/clip", "--move-completed", "--completed-dir=disk/done")
    (anna.work / "disk").rename(anna.work / "unplugged")
    (anna.work / "other").write_bytes(b"y")
    assert anna.run("upload", "other").exit_code == 0
    assert journal_rows(anna) == [1, 0]
    (anna.work / "unplugged").rename(anna.work / "disk")
    (anna.work / "disk" / "done" / "clip").unlink()
    assert anna.run("upload", "other").exit_code == 0
    assert journal_rows(anna) == [0, 0]
    assert source_status(anna, "clip") == "completed"


@pytest.mark.skipif(sys.platform == "win32", reason="links are privileged there")
def test_a_link_to_the_moved_original_does_not_cost_it_its_name(team, anna):
    """Killed before it could say that it had moved it; the original has another name elsewhere, such as a backup's."""
    (anna.work / "clip").write_bytes(b"footage")
    os.link(anna.work / "clip", anna.folder / "backup")
    command = ("upload", "clip", "--move-completed", "--completed-dir=done")
    killed(anna, "after the move", *command)
    (anna.work / "clip").symlink_to("done/clip")
    assert anna.run(*command).exit_code == 0
    assert (anna.work / "done" / "clip").read_bytes() == b"footage"
    assert (anna.work / "clip").is_symlink()


def test_an_interrupted_run_that_had_moved_some_goes_on_with_the_others(team, anna):
    """The same command names them all again: those that lie in their new place are no mistake."""
    (anna.work / "big").write_bytes(os.urandom(17_000_000))  # goes first, and to its end
    (anna.work / "clip").write_bytes(b"x")
    command = ("--json", "upload", "big", "clip", "--move-completed", "--completed-dir=done")
    team.storage.fault = lambda put: "stall" if "/clip.tar.gz" in put.path else "none"
    process = anna.begin(*command)
    assert team.storage.stalled.wait(60)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert names_in(anna.work / "done") == ["big"]
    team.storage.reset()
    dry = anna.run(*command, "--dry-run")
    told = [(line["target_path"], line["outcome"]) for line in dry.lines if line["type"] == "plan"]
    assert (dry.exit_code, told) == (0, [("big", "already_there"), ("clip", "upload")])
    run = anna.run(*command)
    assert (run.exit_code, run.stderr) == (0, "")
    [known] = [line for line in run.lines if line["type"] == "already_there"]
    assert (known["s3_object_key"], known["actor"]) == ("big.tar.gz", "anna")
    assert known["moved_to"] == str(anna.work / "done" / "big")
    assert run.lines[-1] == {"type": "summary", "succeeded": 1, "failed": 0, "skipped": 1}
    assert names_in(anna.work) == ["done"]
    again = anna.run(*command[1:])
    assert (again.exit_code, again.stdout.count("the original was moved to")) == (0, 2)


@pytest.mark.parametrize("how", ["another command", "the place is empty by now", "another prefix"])
def test_a_moved_original_is_known_to_the_same_command_alone(team, anna, how):
    (anna.work / "clip").write_bytes(b"x")
    command = ["upload", "clip", "--move-completed", "--completed-dir=done"]
    assert anna.run(*command).exit_code == 0
    if how == "another command":
        command = command[:2]
    elif how == "another prefix":
        command.append("--prefix=p")
    else:
        (anna.work / "done" / "clip").unlink()
    assert anna.run(*command).exit_code == 4


def test_a_killed_move_that_another_command_has_told_of_is_known_to_its_own(team, anna):
    (anna.work / "clip").write_bytes(b"x")
    killed(anna, "after the move", "upload", "clip", "--move-completed", "--completed-dir=done")
    (anna.work / "other").write_bytes(b"y")
    assert anna.run("upload", "other").exit_code == 0
    run = anna.run("--json", "upload", "clip", "--move-completed", "--completed-dir=done")
    assert (run.exit_code, run.stderr) == (0, "")
    assert (run.lines[0]["type"], run.lines[0]["s3_object_key"]) == ("already_there", "clip.tar.gz")


def edit_in_place(path, content):
    """Change a file so that neither its size nor its times tell."""
    before = path.stat()
    assert len(content) == before.st_size
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_an_original_that_was_edited_after_a_kill_is_not_moved(team, anna):
    """What is stored is as it was before; size and times say nothing."""
    (anna.work / "clip").write_bytes(b"old bytes")
    command = ("--json", "upload", "clip", "--move-completed", "--completed-dir=done")
    killed(anna, "before the proof is known", *command)
    edit_in_place(anna.work / "clip", b"new bytes")
    run = anna.run(*command)
    assert run.exit_code == 0
    [notice] = [line for line in run.lines if line["type"] == "notice"]
    assert (notice["code"], "differs from what is stored" in notice["message"]) == ("not-moved", True)
    assert (anna.work / "clip").read_bytes() == b"new bytes"
    assert names_in(anna.work) == ["clip"]


def test_an_original_that_is_edited_while_it_is_sent_is_not_moved(team, anna):
    def edit(put):
        edit_in_place(anna.work / "clip", b"new bytes")
        return "none"

    (anna.work / "clip").write_bytes(b"old bytes")
    team.storage.fault = edit
    run = anna.run("--json", "upload", "clip", "--move-completed", "--completed-dir=done")
    assert run.exit_code == 0
    assert [line["code"] for line in run.lines if line["type"] == "notice"] == ["not-moved"]
    assert (anna.work / "clip").read_bytes() == b"new bytes"


def test_an_original_that_was_only_looked_at_differently_is_moved(team, anna):
    """Such as after `chmod` there and back, or a copy that was put in its place: its bytes are compared."""

    def touch(put):
        (anna.work / "clip").chmod(0o600)
        (anna.work / "clip").chmod(mode)
        return "none"

    (anna.work / "clip").write_bytes(b"x")
    mode = (anna.work / "clip").stat().st_mode & 0o777
    team.storage.fault = touch
    assert anna.run("upload", "clip", "--move-completed", "--completed-dir=done").exit_code == 0
    assert names_in(anna.work) == ["done"]


def test_an_empty_file_of_somebody_else_in_the_originals_new_place_stays(team, anna):
    (anna.work / "clip").write_bytes(b"x")
    command = ("upload", "clip", "--move-completed", "--completed-dir=done")
    killed(anna, "before the move", *command)
    (anna.work / "done").mkdir(exist_ok=True)
    (anna.work / "done" / "clip").touch()
    run = anna.run(*command)
    assert (run.exit_code, "exists already" in run.stderr) == (4, True)
    assert (anna.work / "done" / "clip").read_bytes() == b""
    assert (anna.work / "clip").read_bytes() == b"x"


@pytest.mark.parametrize("foreign", ["file", "folder", "link"])
def test_a_file_of_somebody_else_is_not_recorded_as_the_moved_original(team, anna, foreign):
    (anna.work / "clip").write_bytes(b"x")
    killed(anna, "before the move", "upload", "clip", "--move-completed", "--completed-dir=done")
    (anna.work / "clip").rename(anna.folder / "clip")
    place = anna.work / "done" / "clip"
    place.parent.mkdir(exist_ok=True)
    if foreign == "file":
        place.write_bytes(b"theirs")
    elif foreign == "folder":
        place.mkdir()
    else:
        place.symlink_to(anna.folder / "clip")
    (anna.work / "other").write_bytes(b"y")
    run = anna.run("upload", "other")
    assert (run.exit_code, "moved to" in run.stdout + run.stderr) == (0, False)
    assert source_status(anna, "clip") == "completed"
    assert os.path.lexists(place)
    assert journal_rows(anna) == [0, 0]


def test_what_was_left_out_of_a_folder_does_not_hide_that_it_was_moved(team, anna):
    make_card(anna.work)
    (anna.work / "DCIM" / "a.tmp").write_bytes(b"y")
    command = ("--json", "upload", "DCIM", "--exclude=*.tmp", "--move-completed", "--completed-dir=done")
    killed(anna, "after the move", *command)
    run = anna.run(*command)
    assert [record["source_file_record"]["status"] for record in run.records] == ["moved"]
