"""Making files durable on macOS, whose own call for that is not enough. Its calls are replaced."""

import errno
import os
import sys

import pytest

from mgmt.archive.tree_sync import TreeSync
from mgmt.machine import files

fcntl = pytest.importorskip("fcntl")
F_FULLFSYNC = 51
"""Of Darwin's sys/fcntl.h."""


@pytest.fixture
def calls(monkeypatch):
    made = []
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", F_FULLFSYNC, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda _, command: made.append(command))
    monkeypatch.setattr(os, "fsync", lambda _: made.append("fsync"))
    return made


def test_the_disk_is_told_to_keep_the_bytes(calls, tmp_path):
    """After fsync alone they are in its own memory, and a power cut may leave the name of a file without them."""
    files.write_private(tmp_path / "a", "token")
    assert calls == [F_FULLFSYNC, F_FULLFSYNC], "the file, and the folder with its name"


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EINVAL, errno.ENOTTY])
def test_a_disk_that_does_not_know_that_is_asked_as_elsewhere(calls, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    files.sync(1)
    assert calls == ["fsync"]


def test_a_disk_that_fails_is_told(calls, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        files.sync(1)
    assert calls == []


def test_a_tree_of_many_files_waits_for_the_disk_once(calls, tmp_path):
    syncing = TreeSync(tmp_path)
    for _ in range(3):
        syncing.sync_file(1)
    syncing.finish()
    assert calls == ["fsync", "fsync", "fsync", F_FULLFSYNC]
