"""What `make try` runs: everything on one machine, in one folder, with nothing left running."""

import os
import shlex
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


def test_what_it_prints_can_be_typed_and_finds_the_same_store(tmp_path):
    """Each command again, by a shell, in the same folder, whatever the person's own settings are."""
    (tmp_path / "it's a clip.mp4").write_bytes(b"clip")
    said = run(tmp_path, "it's a clip.mp4").stdout
    commands = [line.removeprefix("$ ") for line in said.splitlines() if line.startswith("$ ")]
    assert [shlex.split(command)[:3] for command in commands] == [
        ["try/mgmt", "--local", "upload"],
        ["try/mgmt", "--local", "show"],
        ["try/mgmt", "--local", "history"],
        ["try/mgmt", "local", "stop"],
    ]
    own = {"MGMT_API_URL": "https://example.invalid", "MGMT_TOKEN": "secret", "MGMT_STATE_DIR": "elsewhere"}
    for command, expected in zip(commands, ("already there", "crc64nvme", "clip.mp4", "Stopped."), strict=True):
        typed = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=os.environ | own, capture_output=True, text=True, check=True
        )
        assert expected in typed.stdout
    assert not (tmp_path / "elsewhere").exists()
    assert processes_in(tmp_path) == []
    (tmp_path / "my films").symlink_to(tmp_path)
    for command in ("try/mgmt", "'my films/try/mgmt'"):
        typed = subprocess.run(
            ["sh", "-c", f"{command} history"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert f"Run `{command} login URL`" in typed.stderr


def test_it_ends_with_a_next_step(tmp_path):
    (tmp_path / "all").write_bytes(b"a file of this name, not everything here")
    done = run(tmp_path, "all")
    assert "all.tar.gz" in done.stdout
    assert "try/mgmt --local upload FILE..." in done.stdout.partition("Next:")[2]


def test_a_file_that_is_not_there_ends_with_the_uploads_exit_code_and_no_next_upload(tmp_path):
    done = run(tmp_path, "nothing.mp4")
    assert done.returncode == 4
    assert "nothing.mp4" in done.stderr
    assert "--local history" not in done.stdout
    assert "--local upload" not in done.stdout.partition("Next:")[2]
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
