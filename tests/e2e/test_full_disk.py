"""The disk on which the embedded backend keeps what is stored is full: the real engine on a small disk of its own."""

import json
import shutil
from contextlib import contextmanager

import pytest

from support.local_backend import kill_backend, make_laptop
from support.trees import noise, small_disk

MB = 1_000_000
DISK_MIB = 128


@pytest.fixture
def laptop(tmp_path):
    """A machine whose embedded backend has a small disk of its own."""
    laptop = make_laptop(tmp_path)
    backend = tmp_path / "backend"
    with small_disk(backend, DISK_MIB) as disk:
        if disk is None:
            pytest.skip("this system does not let us mount a disk")
        yield laptop
        kill_backend(backend)


@contextmanager
def filled(laptop, left_bytes):
    """Fill the backend's disk with a file of somebody else's, until so much is free."""
    disk = laptop.folder / "backend"
    other = disk / "other"
    with other.open("wb") as file:
        while (free := shutil.disk_usage(disk).free) > left_bytes:
            try:
                file.write(bytes(min(MB, free - left_bytes)))
                file.flush()
            except OSError:
                break
    yield
    other.unlink()


def told(run):
    error = json.loads(run.stderr.splitlines()[-1])
    assert (run.exit_code, error["code"]) == (9, "storage-full"), run.stderr
    return error["message"]


def test_a_full_disk_is_told_at_once_and_the_same_command_goes_on_once_there_is_room(laptop):
    (laptop.work / "before.mov").write_bytes(noise(MB))
    (laptop.work / "clip.mov").write_bytes(noise(3 * MB))
    assert laptop.run("--local", "upload", "before.mov").exit_code == 0
    room = json.loads(laptop.run("--json", "local", "start").stdout)
    assert room["free_bytes"] > room["kept_free_bytes"] == -(-DISK_MIB * 2**20 // 100)
    with filled(laptop, MB):
        message = told(laptop.run("--local", "--json", "upload", "clip.mov"))
        assert f"({laptop.folder / 'backend' / 'engine'}) has 1 MB free of 134 MB." in message
        assert "it stores nothing while less than 1 % (1 MB) is free. Free at least 4 MB on that disk" in message
        status = laptop.run("local", "status")
        assert "note: The embedded backend has no room: " in status.stderr
        assert laptop.left_overs() == []
        assert laptop.run("--local", "delete", "before.mov", "--yes").exit_code == 0
        assert laptop.run("--local", "undelete", "before.mov", "--yes").exit_code == 0
    run = laptop.run("--local", "upload", "clip.mov", timeout_seconds=120)
    assert run.exit_code == 0, run.stderr
    [record] = laptop.run("--local", "--json", "history", "clip.mov").records
    assert record["status"] == "success", "it was gone on with, and not begun anew"


def test_a_disk_without_a_single_free_block_is_told_too(laptop):
    """Not even a record can be written then."""
    (laptop.work / "clip.mov").write_bytes(noise(MB))
    assert laptop.run("local", "start").exit_code == 0
    with filled(laptop, 0):
        message = told(laptop.run("--local", "--json", "upload", "clip.mov"))
        assert "on that disk, then run" in message or "Free some space on it, then run" in message
    assert laptop.run("--local", "upload", "clip.mov", timeout_seconds=120).exit_code == 0
