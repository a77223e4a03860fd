"""What `make try` runs: everything on one machine, in one folder, with nothing left running."""

import os
import subprocess
import sys

from mgmt_local import control, demo
from support.local_backend import processes_in

DEMO = [sys.executable, "-m", "mgmt_local.demo"]


def run(folder, *arguments):
    return subprocess.run([*DEMO, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=90)


def test_a_file_is_uploaded_shown_and_listed_and_nothing_runs_afterwards(tmp_path):
    """The source stays as it was, and whatever was made lies in the folder `try`."""
    clip = tmp_path / "footage" / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(os.urandom(10_000))
    before = clip.read_bytes()
    for said in ("clip.mp4.tar.gz", "already there"):
        done = run(tmp_path, "footage/clip.mp4")
        assert (done.returncode, done.stderr) == (0, "")
        assert said in done.stdout
        assert "crc64nvme" in done.stdout
        assert not control.status(tmp_path / "try" / "backend").running
    assert clip.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["footage", "try"]
    assert list((tmp_path / "try" / "archives").iterdir()) == []
    assert list(clip.parent.iterdir()) == [clip]
    assert processes_in(tmp_path) == []


def test_a_file_that_is_not_there_ends_with_the_uploads_exit_code(tmp_path):
    done = run(tmp_path, "nothing.mp4")
    assert done.returncode == 4
    assert "nothing.mp4" in done.stderr
    assert "mgmt --local history" not in done.stdout
    assert processes_in(tmp_path) == []


def test_stopping_what_does_not_run_is_fine(tmp_path):
    done = run(tmp_path, "--stop")
    assert done.returncode == 0
    assert "It was not running." in done.stdout


def test_the_sample_is_the_same_every_time_and_one_that_is_whole_is_kept(tmp_path, monkeypatch, capsys):
    """Its bytes and times are fixed, so that the same archive comes of it on every machine."""
    monkeypatch.chdir(tmp_path)
    made = [demo.make_sample(tmp_path / each / "sample") for each in ("a", "b")]
    contents = [
        {path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime) for path in folder.rglob("*.*")}
        for folder in made
    ]
    assert contents[0] == contents[1]
    assert 40_000_000 < sum(len(content) for content, _ in contents[0].values()) < 80_000_000
    note = made[0] / "notes" / "empty.txt"
    note.write_text("mine")
    demo.make_sample(made[0])
    assert note.read_text() == "mine"
    (tmp_path / "a" / "sample.whole").unlink()  # as if making it had been interrupted
    demo.make_sample(made[0])
    assert note.read_text() == ""
    assert capsys.readouterr().out.count("making a sample") == 3
