"""Any file name and any path works: what no message can carry is written so that it can, on its way to the service."""

from __future__ import annotations

import io
import json
import os
import tarfile
from datetime import timedelta
from pathlib import Path

import pytest

from mgmt.machine.filling import remove_tree
from mgmt_contract.texts import TEXT_MAX_BYTES, size_as_json
from support.trees import deep_file, noise

NAME = "take\n1\x1b[31m\x7f.mov"
SHOWN = "take\\n1\\x1b[31m\\x7f.mov"


@pytest.mark.parametrize("size", [1000, 20_000_000], ids=["small", "large"])
def test_a_name_with_control_characters_is_uploaded_recorded_and_found(team, anna, size):
    (anna.work / "day\t1").mkdir()
    (anna.work / "day\t1" / NAME).write_bytes(noise(size))
    run = anna.run("--json", "upload", f"day\t1/{NAME}", "--as", "take.mov")
    assert (run.exit_code, run.stderr) == (0, "")
    [record] = run.records
    assert record["target_path"] == record["source_file_record"]["path"] == f"day\\t1/{SHOWN}"
    assert record["source_file_record"]["name"] == SHOWN
    assert record["compressed_file_path"] == "day\\t1/take.mov.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(team.objects()["take.mov.tar.gz"])) as archive:
        assert archive.getnames() == ["take.mov"]
    [found] = anna.run("--json", "history").records
    assert found.items() >= record.items()
    assert anna.left_overs() == []


def test_such_names_inside_a_folder_stay_as_they_are(team, anna):
    (anna.work / "card").mkdir()
    (anna.work / "card" / NAME).write_bytes(b"footage")
    assert anna.run("upload", "card").exit_code == 0
    with tarfile.open(fileobj=io.BytesIO(team.objects()["card.tar.gz"])) as archive:
        assert archive.getnames() == ["card", f"card/{NAME}"]


def test_a_path_that_is_longer_than_a_text_may_be_is_uploaded_and_recorded_without_its_middle(team, anna):
    folder = "/".join(["first", *["f" * 200] * 15, "last"])
    (anna.work / folder).mkdir(parents=True)
    (anna.work / folder / "clip.mov").write_bytes(b"footage")
    run = anna.run("--json", "upload", f"{folder}/clip.mov")
    assert (run.exit_code, run.stderr) == (0, "")
    [record] = run.records
    assert record["target_path"].startswith("first/fff")
    assert record["target_path"].endswith("fff/last/clip.mov")
    assert record["compressed_file_path"].endswith("last/clip.mov.tar.gz")
    assert size_as_json(record["target_path"]) <= TEXT_MAX_BYTES
    [found] = anna.run("--json", "history", "clip.mov").records
    assert found.items() >= record.items()
    assert found["target_path_cut"] is True
    assert anna.run("history", "--csv").stdout.splitlines()[1].endswith(",yes")
    shown = " ".join(anna.run("show", "clip.mov").stdout.split())
    assert "last/clip.mov (cut: too long for a record, which leaves out the middle of it, at …)" in shown


def test_a_path_that_was_cut_is_never_taken_for_another_file(team, anna, tmp_path):
    """There may be a file by that name, which nobody has uploaded."""
    folder = "/".join([*["f" * 200] * 15, "last"])
    (anna.work / folder).mkdir(parents=True)
    (anna.work / folder / "clip.mov").write_bytes(noise(20_000_000))
    team.storage.fault = lambda put: "stall"
    team.kill_stalled(anna.begin("upload", "--jobs", "1", f"{folder}/clip.mov"))
    [record] = anna.run("--json", "history").records
    assert record["target_path_cut"] is True
    other = team.laptop(tmp_path / "other", "anna")
    decoy = other.work / record["target_path"]
    decoy.parent.mkdir(parents=True)
    decoy.write_bytes(b"another clip")
    team.ahead += timedelta(hours=1)
    run = other.run("--json", "resume", record["operation_id"])
    error = json.loads(run.stderr.splitlines()[-1])
    assert (run.exit_code, error["code"]) == (4, "not-here")
    assert "too long for a record" in error["message"]
    assert anna.run("resume").exit_code == 0, "the machine that began it knows the whole path"


def test_a_failure_whose_message_names_such_a_file_is_recorded(team, anna):
    (anna.work / NAME).write_bytes(noise(1000))
    team.storage.fault = lambda put: "flip"
    run = anna.run("--json", "upload", NAME, "--as", "take.mov")
    assert run.exit_code == 8
    [record] = anna.run("--json", "history").records
    assert (record["status"], record["error_code"]) == ("failed", "corrupted")
    assert record["error_message"].startswith(f"{SHOWN}: part 1 was sent 5 times")
    assert record.items() >= run.records[0].items()


def test_a_tree_deeper_than_the_system_takes_in_one_path_comes_back_whole_and_in_part(anna, bert):
    """Deeper, too, than Python's functions may call one another."""
    card = anna.work / "card"
    card.mkdir()
    path = "card/" + deep_file(card, b"footage", "dd", 3_000).decode()
    try:
        assert anna.run("upload", "card").exit_code == 0
        *_, last, _ = anna.run("--json", "contents", "card").lines
        assert last["path"] == path
        for options in (["--extract"], ["--only", "bottom.txt"]):
            run = bert.run("download", *options, "card")
            assert run.exit_code == 0, run.stderr
            assert read_deep(bert.work, path) == b"footage"
            remove_tree(bert.work, b"card")
        (bert.work / "card").mkdir()  # what is there already is looked for, along the whole path
        assert bert.run("download", "--only", "bottom.txt", "card").exit_code == 0
        assert read_deep(bert.work, path) == b"footage"
    finally:
        remove_tree(anna.work, b"card")
        remove_tree(bert.work, b"card")


def read_deep(folder: Path, path: str) -> bytes:
    """Read a file whose path is longer than the system takes."""
    *names, name = path.split("/")
    descriptor = os.open(folder, os.O_RDONLY)
    for each in names:
        following = os.open(each, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = following
    file = os.open(name, os.O_RDONLY, dir_fd=descriptor)
    os.close(descriptor)
    try:
        return os.read(file, 1_000)
    finally:
        os.close(file)
