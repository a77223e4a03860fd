"""Two machines that upload from one folder, as on a network disk: neither harms what the other has begun."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mgmt_contract.parts import MIB
from support.team import Laptop, Run, Team
from support.trees import noise


def error_of(run: Run) -> dict:
    return json.loads(run.stderr.splitlines()[-1])


@contextmanager
def uploading(team: Team, laptop: Laptop) -> Iterator[None]:
    """Have a machine upload a large clip, until the context is left: then it is killed."""
    (laptop.work / "clip.mov").write_bytes(noise(40 * MIB))
    team.storage.fault = lambda put: "stall" if put.part_number == 3 else "none"
    process = laptop.begin("upload", "--jobs", "1", "clip.mov")
    try:
        assert team.storage.stalled.wait(30)
        yield
    finally:
        process.kill()
        process.communicate()
        team.storage.reset()


@pytest.mark.parametrize("option", ["--dry-run", "--jobs=1"])
def test_an_archive_that_somebody_else_is_uploading_is_not_to_be_moved_away(
    team: Team, anna: Laptop, bert: Laptop, option: str
):
    """The second machine sees an archive that its journal does not know."""
    with uploading(team, anna):
        refused = bert.run("upload", option, "clip.mov", cwd=anna.work)
    said = " ".join((refused.stdout + refused.stderr).split())
    assert refused.exit_code == 4
    assert "anna's upload of clip.mov.tar.gz" in said
    assert "Wait until that has ended, or ask anna" in said
    assert "If it was kept" not in said
    assert anna.run("upload", "clip.mov").exit_code == 0
    assert bert.run("upload", option, "clip.mov", cwd=anna.work).exit_code == 0
    assert anna.left_overs() == []


def test_an_archive_that_nobody_is_uploading_may_be_moved_away(anna: Laptop, bert: Laptop):
    (anna.work / "clip.mov").write_bytes(noise(100))
    assert anna.run("upload", "--keep-archive", "clip.mov").exit_code == 0
    refused = bert.run("--json", "upload", "clip.mov", cwd=anna.work)
    assert (refused.exit_code, error_of(refused)["code"]) == (4, "archive-exists")
    assert "If it was kept or downloaded, move it away" in error_of(refused)["message"]
    assert (anna.work / "clip.mov.tar.gz").exists()


def test_an_upload_that_this_machine_has_begun_is_not_taken_for_somebody_elses(team: Team, anna: Laptop, bert: Laptop):
    """It has another archive, in another folder."""
    other = anna.work / "other"
    other.mkdir()
    (other / "clip.mov").write_bytes(noise(200))
    assert bert.run("upload", "--prefix", "b", "--keep-archive", "clip.mov", cwd=other).exit_code == 0
    with uploading(team, anna):
        pass
    refused = anna.run("--json", "upload", "clip.mov", cwd=other)
    assert "If it was kept or downloaded, move it away" in error_of(refused)["message"]
