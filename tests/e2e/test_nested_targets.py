"""Targets inside one another: each is uploaded, and what mgmt itself puts into a folder is no part of it."""

import io
import os
import signal
import tarfile

import pytest


@pytest.fixture
def card(anna):
    (anna.work / "DAY1").mkdir()
    for name in ("IMG_0001.JPG", "IMG_0002.JPG"):
        (anna.work / "DAY1" / name).write_bytes(os.urandom(1000))
    return anna.work / "DAY1"


def members_of(team, key):
    with tarfile.open(fileobj=io.BytesIO(team.objects()[key])) as archive:
        return sorted(archive.getnames())


WHOLE = ["DAY1", "DAY1/IMG_0001.JPG", "DAY1/IMG_0002.JPG"]


@pytest.mark.parametrize("targets", [("DAY1/IMG_0001.JPG", "DAY1"), ("DAY1", "DAY1/IMG_0001.JPG")])
def test_a_file_and_the_folder_it_lies_in_are_both_uploaded(team, anna, card, targets):
    """The file's archive comes and goes in the folder: that is no change of the folder."""
    run = anna.run("--json", "upload", *targets)
    assert (run.exit_code, run.stderr) == (0, "")
    assert sorted(team.objects()) == ["DAY1.tar.gz", "IMG_0001.JPG.tar.gz"]
    assert members_of(team, "DAY1.tar.gz") == WHOLE
    assert anna.left_overs() == []


def test_an_archive_that_was_kept_in_a_folder_is_left_out_and_that_is_said(team, anna, card):
    assert anna.run("upload", "DAY1/IMG_0001.JPG", "--keep-archive").exit_code == 0
    (card / "theirs.tar.gz").write_bytes(b"theirs")
    run = anna.run("upload", "DAY1")
    assert run.exit_code == 0
    assert "DAY1/IMG_0001.JPG.tar.gz is skipped: an archive of mgmt's own" in run.stderr
    assert members_of(team, "DAY1.tar.gz") == [*WHOLE, "DAY1/theirs.tar.gz"]
    assert (card / "IMG_0001.JPG.tar.gz").exists()


def test_an_archive_that_a_killed_run_has_left_in_a_folder_is_no_part_of_it(team, anna, card):
    team.storage.fault = lambda _: "stall"
    process = anna.begin("upload", "DAY1/IMG_0001.JPG")
    assert team.storage.stalled.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    team.storage.reset()
    assert anna.left_overs() == ["DAY1/IMG_0001.JPG.tar.gz"]
    assert anna.run("upload", "DAY1").exit_code == 0
    assert members_of(team, "DAY1.tar.gz") == WHOLE
    assert anna.run("upload", "DAY1/IMG_0001.JPG").exit_code == 0
    assert anna.left_overs() == []


@pytest.fixture
def large_card(card):
    """Its folder is sent as soon as it is named, and does not wait for others."""
    (card / "IMG_0003.MOV").write_bytes(os.urandom(17_000_000))
    return card


MOVE = ("upload", "DAY1", "DAY1/IMG_0001.JPG", "--move-completed", "--completed-dir=done")


def test_a_target_in_a_folder_that_is_to_be_moved_is_refused_before_anything_is_sent(team, anna, large_card):
    """It cannot be moved by itself and with its folder: the folder goes, with all that is in it."""
    run = anna.run("--json", *MOVE)
    assert run.exit_code == 3
    assert "'DAY1/IMG_0001.JPG' lies in 'DAY1'" in run.stderr
    told = [(record["target_path"], record["status"]) for record in run.records]
    assert told == [("DAY1/IMG_0001.JPG", "failed"), ("DAY1", "success")]
    assert list(team.objects()) == ["DAY1.tar.gz"]
    assert members_of(team, "DAY1.tar.gz") == [*WHOLE, "DAY1/IMG_0003.MOV"]
    assert len(list((anna.work / "done" / "DAY1").iterdir())) == 3


def test_a_dry_run_refuses_a_target_in_a_folder_that_would_be_moved(team, anna, card):
    run = anna.run(*MOVE, "--dry-run")
    assert run.exit_code == 3
    assert "'DAY1/IMG_0001.JPG' lies in 'DAY1'" in run.stdout + run.stderr
