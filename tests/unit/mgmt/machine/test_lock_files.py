"""Lock files: one process at a time, and nothing that stays."""

import errno
import os

import pytest

from mgmt.machine import lock_files
from mgmt.machine.lock_files import hold_file


def test_one_holds_it_and_nothing_is_left(tmp_path):
    path = tmp_path / "lock"
    with hold_file(path):
        assert path.exists()
        with pytest.raises(BlockingIOError), hold_file(path):
            pass
        assert path.exists(), "the one that came second has removed nothing"
    assert not path.exists()
    with hold_file(path):
        pass


def test_what_a_crash_has_left_keeps_nobody_away(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    with hold_file(path):
        pass
    assert not path.exists()


def test_one_that_was_removed_before_it_was_locked_is_opened_anew(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    lock = lock_files._lock
    removals = iter([True])

    def lock_late(descriptor):
        if next(removals, False):
            path.unlink()
        lock(descriptor)

    monkeypatch.setattr(lock_files, "_lock", lock_late)
    with hold_file(path), pytest.raises(BlockingIOError), hold_file(path):
        pass
    assert not path.exists()


def test_a_disk_without_locks_keeps_nobody_away_and_no_file(tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(lock_files, "_lock", refuse)
    with hold_file(tmp_path / "lock"), hold_file(tmp_path / "lock"):
        assert not (tmp_path / "lock").exists()


def test_a_folder_that_takes_no_file_keeps_nobody_away(tmp_path):
    with hold_file(tmp_path / "nowhere" / "lock"):
        pass


def test_a_disk_that_fails_while_it_is_held_is_no_error_of_the_work(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    path = tmp_path / "lock"
    with hold_file(path):
        monkeypatch.setattr(os, "fstat", fail)
    monkeypatch.undo()
    with hold_file(path):
        pass
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any file")
def test_that_of_another_user_is_respected(tmp_path):
    path = tmp_path / "lock"
    path.touch(0o444)
    with hold_file(path), pytest.raises(BlockingIOError), hold_file(path):
        pass
