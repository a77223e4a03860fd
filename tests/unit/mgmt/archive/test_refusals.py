"""Every way in which packing can end badly: its code, its exit code, and a sentence that can be read."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from mgmt.archive import pack, why_unwritable
from mgmt.archive.checksums import read_archive
from mgmt.archive.unfinished import UnfinishedArchive
from mgmt.errors import MgmtError, source_changed, source_unreadable
from mgmt.source import look
from mgmt_contract.parts import MIB
from support.sentences import sentence_faults

NAME = "clip.mov"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "P").mkdir()
    (tmp_path / "P" / NAME).write_bytes(b"footage")
    return tmp_path


def refusal(call: Callable[[], object]) -> MgmtError:
    with pytest.raises(MgmtError) as caught:
        call()
    assert not list(sentence_faults(caught.value.message)), caught.value.message
    return caught.value


def failing(number: int) -> Callable[..., object]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_name_that_is_taken(folder):
    (folder / "P.tar.gz").write_bytes(b"not ours")
    error = refusal(lambda: pack(look(folder / "P"), folder / "P.tar.gz"))
    assert (error.code, error.exit_code) == ("archive-exists", 4)
    assert f"'{folder / 'P.tar.gz'}'" in error.message
    assert "--archive-dir" in error.message


def test_a_name_that_is_taken_at_the_last_moment(folder):
    with UnfinishedArchive(folder / "P.tar.gz", 100) as archive:
        (folder / "P.tar.gz").write_bytes(b"not ours")
        error = refusal(archive.publish)
    assert (error.code, error.exit_code) == ("archive-exists", 4)
    assert (folder / "P.tar.gz").read_bytes() == b"not ours"


def test_an_unfinished_archive_bears_the_token_it_was_given(folder):
    with UnfinishedArchive(folder / "P.tar.gz", 100, "0f12ab34") as archive:
        assert archive.path == folder / ".P.tar.gz.mgmt-0f12ab34.part"


def test_a_folder_that_is_not_there(folder):
    error = refusal(lambda: pack(look(folder / "P"), folder / "gone" / "P.tar.gz"))
    assert (error.code, error.exit_code) == ("archive-unwritable", 9)
    assert f"'{folder / 'gone'}'" in error.message
    assert os.strerror(errno.ENOENT) in error.message


@pytest.mark.parametrize("inside", [".", "sub"])
def test_a_folder_inside_the_source(folder, inside):
    (folder / "P" / "sub").mkdir()
    source = look(folder / "P")
    error = refusal(lambda: pack(source, folder / "P" / inside / "P.tar.gz"))
    assert (error.code, error.exit_code) == ("archive-inside-source", 4)
    assert "--archive-dir" in error.message
    assert pack(look(folder / "P" / NAME), folder / "P" / "beside.tar.gz").content.member_count == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(("free_bytes", "more"), [(0, "4 MiB"), (3 * MIB, "1 MiB"), (10 * MIB, "1 MiB")])
def test_a_disk_that_is_full(folder, monkeypatch, number, free_bytes, more):
    """3 MiB and a byte may still come: what is free is taken off, and the rest is whole MiB, at least one."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_bytes))
    with UnfinishedArchive(folder / "P.tar.gz", 5 * MIB + 1) as archive:
        archive.write([bytes(MIB), bytes(MIB)])
        monkeypatch.setattr(os, "writev", failing(number))
        error = refusal(lambda: archive.write([b"x"]))
    assert (error.code, error.exit_code) == ("disk-full", 9)
    assert f"may need {more} more" in error.message
    assert [path.name for path in folder.iterdir()] == ["P"]


def test_a_full_disk_that_does_not_say_what_is_free(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", failing(errno.ENOENT))
    with UnfinishedArchive(folder / "P.tar.gz", 3_000 * MIB) as archive:
        monkeypatch.setattr(os, "writev", failing(errno.ENOSPC))
        assert "3,000 MiB more" in refusal(lambda: archive.write([b"x"])).message


def test_a_disk_that_takes_no_such_large_file(folder, monkeypatch):
    with UnfinishedArchive(folder / "P.tar.gz", 5 * MIB) as archive:
        monkeypatch.setattr(os, "writev", failing(errno.EFBIG))
        error = refusal(lambda: archive.write([b"x"]))
    assert (error.code, error.exit_code) == ("archive-too-large", 9)
    assert "up to 5 MiB" in error.message
    assert f"'{folder}'" in error.message


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_disk_that_fails_at_the_last_step_leaves_nothing(folder, monkeypatch, step):
    with UnfinishedArchive(folder / "P.tar.gz", 5) as archive:
        archive.write([b"x"])
        monkeypatch.setattr(os, step, failing(errno.EIO))
        monkeypatch.setattr(Path, "replace", failing(errno.EIO))
        assert refusal(archive.publish).code == "archive-unwritable"
    assert [path.name for path in folder.iterdir()] == ["P"]


def test_an_archive_that_is_gone(folder):
    error = refusal(lambda: read_archive(folder / "gone.tar.gz"))
    assert (error.code, error.exit_code) == ("archive-unreadable", 9)
    assert f"'{folder / 'gone.tar.gz'}'" in error.message
    assert os.strerror(errno.ENOENT) in error.message


def test_a_stop(folder):
    stop = threading.Event()
    stop.set()
    error = refusal(lambda: pack(look(folder / "P"), folder / "P.tar.gz", stop=stop))
    assert error.exit_code == 130
    assert [path.name for path in folder.iterdir()] == ["P"]


def test_a_source_that_changed_is_named_with_its_youngest(folder):
    source = look(folder / "P")
    (folder / "P" / NAME).write_bytes(b"other footage")
    error = refusal(lambda: pack(source, folder / "P.tar.gz"))
    assert (error.code, error.exit_code) == ("source-changed", 4)
    assert f"'P/{NAME}'" in error.message


def test_a_plan_that_is_none(folder):
    error = refusal(lambda: pack(look(folder / "P"), folder / "P.tar.gz", plan="harder"))
    assert error.exit_code == 2
    assert "'harder'" in error.message


@pytest.mark.parametrize(
    ("error", "code"),
    [(source_changed(b"P/a"), "source-changed"), (source_unreadable(b"P/a", "no right"), "source-unreadable")],
)
def test_a_source_that_fails_is_named(error, code):
    assert (error.code, error.exit_code) == (code, 4)
    assert not list(sentence_faults(error.message))
    assert "'P/a'" in error.message


def test_where_a_system_says_of_every_folder_that_it_can_be_written_a_file_is_tried_that_vanishes(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "O_TEMPORARY", 0, raising=False)
    assert why_unwritable(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("mgmt.archive.packing._ASK", lambda *_: True)
    assert why_unwritable(tmp_path / "none") == "No such file or directory"


def test_a_disk_that_does_not_answer_any_more_is_said_and_no_bug(tmp_path, monkeypatch):
    monkeypatch.setattr("mgmt.archive.packing._ASK", lambda *_: False)

    def fail(_):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "statvfs", fail)
    assert why_unwritable(tmp_path) == os.strerror(errno.ESTALE)
