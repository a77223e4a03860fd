"""`delete` and `undelete` before the real service and engine: what they ask, what they do, and what all others see."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from mgmt_contract.parts import MIB
from support.person import people
from support.team import Laptop, Run, Team
from support.trees import noise

KEY = "clip.mov.tar.gz"
LARGE = 20 * MIB
"""Goes in parts."""


def upload(laptop: Laptop, body: bytes, *options: str, name: str = "clip.mov") -> dict:
    (laptop.work / name).write_bytes(body)
    run = laptop.run("--json", "upload", *options, name)
    assert run.exit_code == 0, run.stderr
    return run.records[0] if run.records else {}


def deleted(laptop: Laptop, *names: str) -> Run:
    run = laptop.run("--json", "delete", "--yes", *names)
    assert run.exit_code == 0, run.stderr
    return run


def error_of(run: Run) -> dict:
    return json.loads(run.stderr.splitlines()[-1])


def short_id_of(laptop: Laptop, record: dict) -> str:
    shown = laptop.run("show", record["operation_id"]).stdout
    return shown.partition("short id")[2].split()[0]


def test_a_deleted_upload_is_gone_from_its_name_and_back_again_with_all_that_knows_of_it(team: Team, anna: Laptop):
    body = noise(5_000)
    record = upload(anna, body)
    run = anna.run("delete", "--yes", "clip.mov")
    assert (run.exit_code, run.stderr) == (0, "")
    assert f"s3://{team.bucket}/{KEY} (" in run.stdout
    assert "uploaded by anna) is deleted. Until 20" in run.stdout
    assert f"`mgmt undelete {short_id_of(anna, record)}` brings it back." in run.stdout
    assert team.versions(KEY) == 1
    [first, second] = anna.run("--json", "history").records
    assert (first["operation_type"], first["upload_id"], second["deleted_by"]) == (
        "delete", record["operation_id"], "anna",
    )  # fmt: skip
    days = datetime.fromisoformat(first["recoverable_until"]) - datetime.fromisoformat(first["started_at"])
    assert days == timedelta(days=30)
    assert "deleted" in anna.run("history").stdout.splitlines()[2].split()
    assert f"; until {first['recoverable_until'][:10]}" in anna.run("show", "clip.mov", TZ="UTC").stdout
    (anna.work / "clip.mov").unlink()
    refused = anna.run("--json", "download", "--extract", "clip.mov")
    assert (refused.exit_code, error_of(refused)["code"]) == (4, "deleted")
    assert "deleted by anna on" in error_of(refused)["message"]
    by_id = anna.run("download", "--extract", record["operation_id"])
    assert (by_id.exit_code, (anna.work / "clip.mov").read_bytes()) == (0, body)
    assert "note: clip.mov.tar.gz was deleted by anna and can be fetched until" in by_id.stderr
    back = anna.run("undelete", "--yes", "clip.mov")
    assert (back.exit_code, back.stdout.endswith("uploaded by anna) is back.\n")) == (0, True)
    assert anna.run("--json", "download", "--extract", "--replace", "clip.mov").exit_code == 0
    assert anna.run("--json", "upload", "clip.mov").lines[0]["type"] == "already_there"


@pytest.mark.parametrize("size", [5_000, LARGE], ids=["whole", "in parts"])
def test_the_name_is_free_at_once_for_anybody_without_replace(team: Team, anna: Laptop, bert: Laptop, size: int):
    old, new = noise(size, seed=1), noise(size, seed=2)
    first = upload(anna, old)
    deleted(anna, "clip.mov")
    assert bert.run("--json", "upload", "--dry-run", "clip.mov", cwd=anna.work).lines[0]["outcome"] == "upload"
    second = upload(bert, new)
    assert (second["actor"], second["replaces"], team.versions(KEY)) == ("bert", first["operation_id"], 2)
    back = anna.run("undelete", "--yes", first["operation_id"])
    assert back.exit_code == 0
    assert "as a version that was replaced: bert has uploaded under its name since" in " ".join(back.stdout.split())
    for laptop, name, body in ((anna, first["operation_id"], old), (bert, "clip.mov", new)):
        fetched = laptop.run("download", "--extract", "--to", ".", "--replace", name)
        assert (fetched.exit_code, (laptop.work / "clip.mov").read_bytes() == body) == (0, True), fetched.stderr


def test_the_same_content_again_is_stored_anew(team: Team, anna: Laptop):
    body = noise(5_000)
    first = upload(anna, body)
    deleted(anna, "clip.mov")
    again = upload(anna, body)
    assert (again["status"], again["replaces"], team.versions(KEY)) == ("success", first["operation_id"], 2)


def test_a_name_means_its_newest_upload_and_never_an_older_one_behind_it(anna: Laptop):
    """The same command twice deletes once: what is left under the name goes only by its id."""
    first = upload(anna, noise(100, seed=1))
    upload(anna, noise(100, seed=2), "--replace")
    deleted(anna, "clip.mov")
    assert [line["type"] for line in deleted(anna, "clip.mov").lines] == ["unchanged", "summary"]
    assert anna.run("--json", "show", "clip.mov").records[0]["operation_id"] == first["operation_id"]
    fetched = anna.run("download", "--extract", "--replace", "clip.mov")
    assert (fetched.exit_code, (anna.work / "clip.mov").read_bytes()) == (0, noise(100, seed=1))
    said = "The newest upload of clip.mov.tar.gz, by anna, is deleted: this is the one of"
    assert said in fetched.stderr, "its content is not what the name meant before"
    assert said in anna.run("contents", "clip.mov").stderr
    assert said not in anna.run("contents", first["operation_id"]).stderr


def test_the_way_back_that_is_named_brings_this_very_upload_back(anna: Laptop):
    """Also where a newer one of its name was deleted later, which the name then means."""
    first = upload(anna, noise(100, seed=1))
    second = upload(anna, noise(100, seed=2), "--replace")
    said = anna.run("delete", "--yes", first["operation_id"]).stdout
    deleted(anna, "clip.mov")
    again = anna.run("delete", "--yes", first["operation_id"]).stdout
    shown = anna.run("show", first["operation_id"]).stdout
    way = f"`mgmt undelete {short_id_of(anna, first)}` brings it back"
    for text in (said, again, shown):
        assert way in " ".join(text.split())
    refused = anna.run("--json", "download", "clip.mov")
    way = f"`mgmt undelete {short_id_of(anna, second)}` brings it back, and"
    assert (error_of(refused)["code"], way in error_of(refused)["message"]) == ("deleted", True)
    [back] = anna.run("--json", "undelete", "--yes", short_id_of(anna, first)).records
    assert back["upload_id"] == first["operation_id"]


def test_somebody_elses_is_refused_and_an_admin_deletes_it(team: Team, anna: Laptop, bert: Laptop, tmp_path):
    upload(anna, noise(100))
    refused = bert.run("--json", "delete", "--yes", "clip.mov")
    assert (refused.exit_code, error_of(refused)["code"]) == (6, "not-allowed")
    [failed] = anna.run("--json", "history", "--type", "delete").records
    assert (failed["status"], failed["actor"], failed["error_code"]) == ("failed", "bert", "not-allowed")
    chief = team.laptop(tmp_path / "chief", "chief", is_admin=True)
    assert deleted(chief, "clip.mov").records[0]["actor"] == "chief"
    refused = bert.run("--json", "undelete", "--yes", "clip.mov")
    assert (refused.exit_code, error_of(refused)["code"]) == (6, "not-allowed")
    assert anna.run("undelete", "--yes", "clip.mov").exit_code == 0


def test_several_at_once_and_one_that_means_nothing(anna: Laptop):
    for name in ("a.mov", "b.mov"):
        upload(anna, noise(100), name=name)
    run = anna.run("--json", "delete", "--yes", "a.mov", "nothing", "b.mov", "a.mov")
    assert run.exit_code == 3
    assert [line["type"] for line in run.lines] == ["record", "record", "summary"]
    assert (run.lines[-1]["succeeded"], run.lines[-1]["failed"]) == (2, 1)
    assert error_of(run)["code"] == "not-found"
    assert anna.run("--json", "undelete", "--yes", "a.mov", "b.mov").exit_code == 0


@pytest.mark.parametrize("command", ["delete", "undelete"])
def test_a_name_longer_than_any_key_is_one_that_means_nothing(anna: Laptop, command: str):
    run = anna.run("--json", command, "--yes", "n" * 3000)
    assert (run.exit_code, error_of(run)["code"]) == (4, "not-found")
    assert "a key in S3 has 1,024 at most" in error_of(run)["message"]


def test_a_name_that_fits_several_keys_is_not_guessed(anna: Laptop):
    for prefix in ("day1", "day2"):
        upload(anna, noise(100), "--prefix", prefix)
    several = anna.run("--json", "delete", "--yes", "clip.mov")
    assert (several.exit_code, error_of(several)["code"]) == (2, "several-keys")
    assert len(anna.run("delete", "--yes", "clip.mov").stderr.splitlines()) > 3
    deleted(anna, f"day1/{KEY}")
    back = anna.run("--json", "undelete", "--yes", "clip.mov")
    assert (back.exit_code, back.records[0]["s3_object_key"]) == (0, f"day1/{KEY}"), "only one of them is deleted"


def test_the_date_passes(team: Team, anna: Laptop):
    record = upload(anna, noise(100))
    deleted(anna, "clip.mov")
    team.ahead = timedelta(days=31)
    late = anna.run("--json", "undelete", "--yes", record["operation_id"])
    assert (late.exit_code, error_of(late)["code"]) == (6, "not-recoverable")


@pytest.mark.parametrize("option", ["--json", "--no-input", "-q"])
def test_without_anybody_to_ask_nothing_is_deleted(anna: Laptop, option: str):
    run = anna.run(option, "delete", "clip.mov")
    assert (run.exit_code, "--yes" in run.stderr) == (2, True)
    assert anna.run(option, "undelete", "clip.mov").exit_code == 2


@pytest.fixture
def sit_down() -> Iterator:
    with people() as seat:
        yield seat


def test_a_person_sees_what_it_is_about_and_agrees_or_not(team: Team, anna: Laptop, sit_down):
    record = upload(anna, noise(5_000))
    environment = {**anna.whole_environment(), "NO_COLOR": "1"}
    for answer, exit_code in (("n\n", 130), ("\n", 130), ("y\n", 0)):
        person = sit_down("delete", "clip.mov", environment=environment, cwd=anna.work)
        person.answer("Delete 1 upload? For 30 days `mgmt undelete` brings back what is deleted. [y/N]:", answer)
        assert person.end() == exit_code, person.seen
        assert all(word in person.seen for word in ("WHO", "anna", KEY)), person.seen
        assert ("nothing was deleted" in person.seen) == (exit_code != 0)
        assert bool(anna.run("--json", "show", record["operation_id"]).records[0]["deleted_at"]) == (exit_code == 0)
    again = sit_down("delete", record["operation_id"], environment=environment, cwd=anna.work)
    assert again.end() == 0, again.seen
    assert "was deleted already" in again.seen
    assert "[y/N]" not in again.seen
    person = sit_down("undelete", "clip.mov", environment=environment, cwd=anna.work)
    person.answer("Bring back 1 upload? [y/N]:", "y\n")
    assert person.end() == 0


def test_an_interrupt_at_the_question_deletes_nothing(anna: Laptop, sit_down):
    record = upload(anna, noise(100))
    person = sit_down("delete", "clip.mov", environment=anna.whole_environment(), cwd=anna.work)
    person.read_until("[y/N]:")
    person.interrupt()
    assert person.end() == 130
    assert re.search(r"\n\S*mgmt:\S* Cancelled; nothing was deleted", person.seen), person.seen
    assert anna.run("--json", "show", record["operation_id"]).records[0]["deleted_at"] is None


STOPPED = """
import mgmt.removal
remove = mgmt.removal.remove
def stop_after_one(*given):
    yield next(remove(*given))
    raise KeyboardInterrupt
mgmt.removal.remove = stop_after_one
from mgmt.__main__ import run
run()
"""
"""The command, with Ctrl-C when the first of them is told."""


def test_stopped_in_between_a_program_reads_what_came_of_it(anna: Laptop):
    for name in ("a", "b"):
        upload(anna, noise(100), name=name)
    for verb in ("delete", "undelete"):
        run = anna.run("--json", verb, "--yes", "nowhere", "a", "b", program=STOPPED)
        assert (run.exit_code, error_of(run)["code"]) == (130, "interrupted")
        assert [line["type"] for line in run.lines] == ["record", "summary"]
        assert run.lines[-1] == {"type": "summary", "succeeded": 1, "failed": 1, "skipped": 0}
