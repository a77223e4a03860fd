"""What a person or a program is told about targets that are not as plain as they look."""

import io
import json
import os
import tarfile
from datetime import datetime, timedelta, timezone

import pytest

NFC, NFD = "caf\u00e9", "cafe\u0301"


def strict_lines(text):
    """Read JSON lines as a strict reader does: half characters are no text."""
    lines = [json.loads(line) for line in text.splitlines()]
    json.dumps(lines, ensure_ascii=False).encode("utf-8")
    return lines


def test_names_that_look_the_same_are_explained(team, anna):
    for name in (NFC, NFD):
        (anna.work / name).write_text(name)
    if len(list(anna.work.iterdir())) == 1:
        pytest.skip("this disk takes them for one name")
    run = anna.run("upload", NFC, NFD)
    assert run.exit_code == 3
    assert "look the same" in run.stderr
    assert len(team.objects()) == 1


def test_all_that_is_skipped_is_counted_right(team, anna):
    (anna.work / "card").mkdir()
    for number in range(1_100):
        os.mkfifo(anna.work / "card" / f"{number:04}")
    (anna.work / "card" / ".DS_Store").touch()
    run = anna.run("upload", "--dry-run", "card")
    assert run.exit_code == 0
    assert run.stderr.count("is skipped: a named pipe") == 20
    assert "1080 more entries of card are skipped." in run.stderr


def test_a_folder_without_any_file_is_told(team, anna):
    """A card that is not mounted leaves an empty folder: its upload must not look like the card's."""
    for name in ("card/100", "linked", "full"):
        (anna.work / name).mkdir(parents=True)
    (anna.work / "linked" / "latest").symlink_to("elsewhere")
    (anna.work / "full" / "empty.txt").touch()
    for options in (["--dry-run"], []):
        run = anna.run("--json", "upload", *options, "card", "linked", "full")
        assert run.exit_code == 0
        [said] = [line["message"] for line in run.lines if line["type"] == "notice"]
        assert said.startswith("No file is in card: only folders are uploaded.")
    assert len(team.objects()) == 3


def test_all_leaves_out_what_is_excluded(team, anna):
    for name in ("clip", "notes.xml"):
        (anna.work / name).write_text(name)
    assert anna.run("upload", "all", "--exclude", "*.xml").exit_code == 0
    assert list(team.objects()) == ["clip.tar.gz"]


def test_the_folder_above_with_mgmts_state_in_it_goes_without_it(team, anna):
    (anna.work / "clip").write_text("x")
    run = anna.run("upload", "..")
    assert run.exit_code == 0
    assert "anna/state is skipped: mgmt's own journal and logs." in run.stderr
    [(key, archive)] = team.objects().items()
    assert key == "anna.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        names = members.getnames()
    assert "anna/work/clip" in names
    assert not [name for name in names if name.startswith("anna/state")]


def test_bytes_that_are_no_text_become_valid_json(team, anna):
    name = os.fsdecode(b"caf\xe9")
    (anna.work / name).write_text("x")
    refused = anna.run("--json", "upload", name)
    assert refused.exit_code == 4
    [error] = strict_lines(refused.stderr)
    assert "caf\\xe9" in error["message"]
    assert "\\\\" not in error["message"], "escaped once"
    assert "udc" not in error["message"], "spelled in one way"
    assert "udc" not in anna.run("upload", name).stderr
    [record, _] = strict_lines(refused.stdout)
    assert record["source_file_record"]["name"] == "caf\\xe9"
    (anna.work / f"{name}2.tar.gz").write_text("somebody's")
    (anna.work / f"{name}2").write_text("x")
    run = anna.run("--json", "upload", name, "--as", "good")
    assert run.exit_code == 0
    assert strict_lines(run.stdout)[0]["source_file_record"]["name"] == "caf\\xe9"
    assert strict_lines(anna.run("--json", "history").stdout)[0]["source_file_record"]["name"] == "caf\\xe9"


def test_what_never_became_an_operation_has_no_id(team, anna):
    run = anna.run("--json", "upload", "missing")
    [error], [record, _] = strict_lines(run.stderr), strict_lines(run.stdout)
    assert (run.exit_code, record["type"], record["status"]) == (4, "record", "failed")
    assert record["operation_id"] is None
    assert error["operation_id"] is None


def test_whose_object_is_in_the_way_is_told_in_local_time(team, anna, bert):
    for person, content in ((anna, "x"), (bert, "y")):
        (person.work / "clip").write_text(content)
    assert anna.run("upload", "clip").exit_code == 0
    record = anna.run("--json", "show", "clip").records[0]
    refused = bert.run("upload", "clip", TZ="Asia/Tokyo")
    assert refused.exit_code == 6
    finished = datetime.fromisoformat(record["finished_at"]).astimezone(timezone(timedelta(hours=9)))
    assert f"anna on {finished:%Y-%m-%d %H:%M}" in " ".join(refused.stderr.split())
    assert "UTC" not in refused.stderr
