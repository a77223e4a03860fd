"""What an earlier run left and this one cannot have: said with a way out, and never guessed about."""

import os
from pathlib import Path

import pytest

from mgmt.archive import pack
from mgmt.errors import LocalStateError, RefusedError
from mgmt.jobs import UploadOptions, prepare_job, unfinished_path
from mgmt.journal import Journal

SERVICE = "https://s.example"


def prepare(folder, journal):
    return prepare_job(os.fspath(folder / "work" / "clip"), UploadOptions(), journal, SERVICE, folder)


@pytest.fixture
def journal_of():
    opened = []

    def open_journal(folder):
        (folder / "work").mkdir()
        (folder / "work" / "clip").write_bytes(b"x" * 1000)
        opened.append(Journal(folder / "state"))
        return opened[-1]

    yield open_journal
    for journal in opened:
        journal.close()


def test_a_left_over_that_cannot_be_removed_is_named(somebody, journal_of):
    """A killed run's unfinished archive in a folder that may no longer be written: which one, and what to do."""
    journal = journal_of(somebody)
    job = prepare(somebody, journal)
    job.held.close()
    journal.put([job.entry(SERVICE)])
    unfinished_path(job.archive_path, job.operation_id).write_bytes(b"half an archive")
    job.archive_path.parent.chmod(0o555)
    try:
        with pytest.raises(LocalStateError, match="--archive-dir") as caught:
            prepare(somebody, journal)
    finally:
        job.archive_path.parent.chmod(0o755)
    assert str(job.archive_path) in caught.value.message
    prepare(somebody, journal).held.close()
    assert sorted(path.name for path in job.archive_path.parent.iterdir()) == ["clip"]


def test_who_failed_to_begin_holds_nothing(tmp_path, journal_of):
    """A refusal lets go of the archive's place: the next command may have it at once."""
    journal = journal_of(tmp_path)
    job = prepare(tmp_path, journal)
    with pytest.raises(RefusedError, match="Another mgmt"):
        prepare(tmp_path, journal)
    job.held.close()
    prepare(tmp_path, journal).held.close()


def test_an_archive_that_has_vanished_is_written_down_as_not_there(tmp_path, journal_of):
    journal = journal_of(tmp_path)
    job = prepare(tmp_path, journal)
    with job.held:
        job.archive = pack(job.source, job.archive_path)
        assert job.entry(SERVICE).content == job.content
        Path(job.archive_path).unlink()
        gone = job.entry(SERVICE)
    assert (gone.content, gone.archive_size, gone.archive_mtime_ns) == (None, None, None)
