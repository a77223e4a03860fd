"""The examples of docs/scripts.md, run as they are printed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.team import Laptop, Team

PAGE = Path(__file__).parents[2] / "docs" / "scripts.md"
LOOP, TABLE, IN_PYTHON = re.findall(r"^```(?:sh|python)\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def card(anna: Laptop) -> Path:
    folder = anna.work / "DCIM"
    folder.mkdir()
    (folder / "clip.mov").write_bytes(b"footage")
    return folder


def run(laptop: Laptop, *command: str) -> subprocess.CompletedProcess[str]:
    bin_folder = Path(sys.executable).parent
    environment = laptop.whole_environment()
    environment["PATH"] = f"{bin_folder}:{environment['PATH']}"
    return subprocess.run(
        command, cwd=laptop.work, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_loop_ends_with_the_uploads_exit_code(team: Team, anna: Laptop, card: Path):
    done = run(anna, "sh", "-eu", "-c", LOOP)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"type":"summary","succeeded":1' in (anna.work / "upload.jsonl").read_text("utf-8")
    (card / "clip.mov").write_bytes(b"other footage")
    assert run(anna, "sh", "-eu", "-c", LOOP).returncode == 6


def test_the_loop_goes_on_where_the_service_was_out_of_reach(tmp_path: Path):
    program = tmp_path / "mgmt"
    program.write_text("#!/bin/sh\necho again\n[ $(grep -c again upload.jsonl) -ge 3 ] || exit 7\n")
    program.chmod(0o755)
    done = subprocess.run(
        ["sh", "-eu", "-c", LOOP], cwd=tmp_path, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False
    )
    assert (done.returncode, (tmp_path / "upload.jsonl").read_text()) == (0, "again\n" * 3)


@pytest.mark.skipif(shutil.which("jq") is None, reason="there is no jq")
def test_the_table_has_a_row_for_each_upload(team: Team, anna: Laptop, card: Path):
    anna.run("upload", "DCIM")
    done = run(anna, "sh", "-c", TABLE)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"20\S+Z\tDCIM\.tar\.gz\t\d+\n", done.stdout)


def test_what_keeps_a_card_from_being_erased_is_printed(team: Team, anna: Laptop, card: Path):
    anna.run("upload", "DCIM")
    text = IN_PYTHON.replace("/media/CARD_A", "DCIM")
    assert run(anna, sys.executable, "-c", text).stdout == "safe to erase\n"
    (card / "new.mov").write_bytes(b"new")
    assert run(anna, sys.executable, "-c", text).stdout == "DCIM/new.mov\tnot-stored\nNOT safe to erase\n"
