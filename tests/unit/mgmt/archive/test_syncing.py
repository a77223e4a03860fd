"""A large archive reaches the disk while it is written, and what the disk refuses on the way is not lost."""

import errno
import os
import threading

import pytest

from mgmt.archive import unfinished
from mgmt.archive.unfinished import UnfinishedArchive
from mgmt.errors import LocalStateError

CHUNK = bytes(1024)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr(unfinished, "EARLY_SYNC_BYTES", 2 * len(CHUNK))
    monkeypatch.setattr(unfinished, "LEAD_MAX_BYTES", 4 * len(CHUNK))


def replace_first_sync(monkeypatch, first):
    """Have the first sync do something else; return the sizes that the file has whenever a sync begins."""
    real = os.fsync
    sizes = []

    def sync(descriptor):
        sizes.append(os.fstat(descriptor).st_size)
        return first(descriptor) if len(sizes) == 1 else real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    return sizes


def test_the_disk_begins_before_the_end(tmp_path, monkeypatch):
    sizes = replace_first_sync(monkeypatch, os.fsync)
    with UnfinishedArchive(tmp_path / "x.tar.gz", 100) as archive:
        for _ in range(16):
            archive.write([CHUNK])
        archive._sync.stop()
        assert sizes[0] < 16 * len(CHUNK)
        archive._sync.finish()
    assert sizes[-1] == 16 * len(CHUNK)


def test_a_small_archive_starts_no_thread(tmp_path):
    before = set(threading.enumerate())
    with UnfinishedArchive(tmp_path / "x.tar.gz", 100) as archive:
        archive.write([CHUNK])
        assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("chunk_count", [2, 16])
def test_what_an_early_sync_met_with_ends_the_packing(tmp_path, monkeypatch, chunk_count):
    """The system tells of a failed write once: a later sync of the same file may well succeed."""

    def refuse(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write_all():
        with UnfinishedArchive(tmp_path / "x.tar.gz", 100) as archive:
            for _ in range(chunk_count):
                archive.write([CHUNK])
            archive.publish()

    replace_first_sync(monkeypatch, refuse)
    with pytest.raises(LocalStateError) as raised:
        write_all()
    assert raised.value.code == "disk-full"
    assert list(tmp_path.iterdir()) == []


def test_writing_waits_for_a_disk_that_is_far_behind(tmp_path, monkeypatch):
    is_all_written = threading.Event()
    written_meanwhile_bytes = []

    def hang(descriptor):
        is_all_written.wait(0.2)
        written_meanwhile_bytes.append(os.fstat(descriptor).st_size)

    replace_first_sync(monkeypatch, hang)
    with UnfinishedArchive(tmp_path / "x.tar.gz", 100) as archive:
        for _ in range(64):
            archive.write([CHUNK])
        is_all_written.set()
        archive.publish()
    step_bytes, lead_bytes = unfinished.EARLY_SYNC_BYTES, unfinished.LEAD_MAX_BYTES
    assert step_bytes <= written_meanwhile_bytes[0] <= step_bytes + lead_bytes
