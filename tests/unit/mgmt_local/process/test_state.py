from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from mgmt_local.errors import LocalBackendError
from mgmt_local.process import state
from mgmt_local.process.state import (
    STATE_DIR_VARIABLE,
    Claim,
    StateFolder,
    find_reason,
    hold_lock,
    open_state_folder,
    read_json,
    remove_state_file,
    tail_log,
    trim_log,
    write_private_json,
)

posix_only = pytest.mark.skipif(os.name != "posix", reason="modes and owners are of POSIX")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix_only
def test_folder_is_made_for_its_owner_only(tmp_path: Path):
    assert mode_of(open_state_folder(tmp_path / "new" / "local").path) == 0o700


@posix_only
@pytest.mark.parametrize("mode", [0o755, 0o777, 0o500])
def test_an_open_folder_is_closed_to_others(tmp_path: Path, mode: int):
    tmp_path.chmod(mode)
    assert mode_of(open_state_folder(tmp_path).path) == 0o700


@posix_only
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(LocalBackendError, match="belongs to another user"):
        open_state_folder(tmp_path)


def test_a_file_in_its_place_is_an_error_with_its_name(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalBackendError, match=r"cannot use its folder .*file"):
        open_state_folder(tmp_path / "file")


def test_environment_names_the_folder_unless_the_caller_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(STATE_DIR_VARIABLE, str(tmp_path / "environment"))
    assert open_state_folder().path == tmp_path / "environment"
    assert open_state_folder(tmp_path / "caller").path == tmp_path / "caller"


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname == "Darwin", reason="the place is the system's own")
def test_without_either_it_is_in_the_users_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(STATE_DIR_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert open_state_folder().path == tmp_path / "mgmt" / "local"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("x ERROR no room\nIts log:\n  of the engine\n", "no room"),
        ("Traceback:\n  File\nOSError: no room\n\n", "OSError: no room"),
        ("", "it ended without a word, as on a full disk"),
    ],
)
def test_why_it_ended_is_what_its_log_says_since_it_was_started(tmp_path: Path, said: str, reason: str):
    log = tmp_path / "backend.log"
    log.write_text("x ERROR of another day\n")
    before_bytes = log.stat().st_size
    with log.open("a") as file:
        file.write(said)
    assert find_reason(log, before_bytes) == reason
    assert find_reason(tmp_path / "missing", 0) == "it ended without a word, as on a full disk"


@posix_only
def test_private_json_is_private_and_replaces_what_was_there(tmp_path: Path):
    path = tmp_path / "file.json"
    path.write_text("{}")
    path.chmod(0o644)
    write_private_json(path, {"a": 1})
    assert (read_json(path), mode_of(path)) == ({"a": 1}, 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path: Path):
    path = tmp_path / "file.json"
    write_private_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_private_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, "", "{", "[]", "\x00"])
def test_what_is_no_whole_document_reads_as_none(tmp_path: Path, content: str | None):
    path = tmp_path / "file.json"
    if content is not None:
        path.write_text(content)
    assert read_json(path) is None


def test_a_log_that_grew_too_large_begins_anew_for_its_writer(tmp_path: Path):
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"first\n" * 10)
        trim_log(log, size_max_bytes=60)
        assert log.stat().st_size == 60
        writer.write(b"one more\n")
        trim_log(log, size_max_bytes=60)
        writer.write(b"after\n")
    assert log.read_bytes() == b"after\n"
    assert (tmp_path / "a.log.old").read_bytes().endswith(b"first\none more\n")
    assert (tmp_path / "a.log.old").stat().st_size == 60


def test_tail_is_the_last_lines_or_nothing(tmp_path: Path):
    log = tmp_path / "a.log"
    assert tail_log(log) == ""
    log.write_bytes(b"\n".join(b"line %d" % number for number in range(20)) + b"\xff")
    assert tail_log(log, 2) == "line 18\nline 19\ufffd"


def test_a_disk_that_takes_no_file_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(LocalBackendError, match=rf"cannot write .*tokens.json: No space left.*{STATE_DIR_VARIABLE}"):
        write_private_json(tmp_path / "tokens.json", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("refused", ["replace", "read_text", "unlink"])
def test_a_file_that_somebody_else_has_open_on_windows_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
):
    """Each poll for the address of a backend that is starting may meet the moment in which that is written."""
    path, real, refusals = tmp_path / "endpoint.json", getattr(Path, refused), iter([True, True])

    def do(*arguments: object, **options: object) -> object:
        if next(refusals, False):
            raise PermissionError(errno.EACCES, "The process cannot access the file because another one uses it")
        return real(*arguments, **options)

    monkeypatch.setattr(state, "_TRIES", 3)
    monkeypatch.setattr(state, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(Path, refused, do)
    write_private_json(path, {"url": "x"})
    assert read_json(path) == {"url": "x"}
    remove_state_file(path)
    assert not path.exists()
    assert not next(refusals, False), "it was refused twice"


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path):
    """As on a disk that is mounted read-only; a folder in its place is refused to everybody, the superuser too."""
    (tmp_path / "control.lock").mkdir()
    with (
        pytest.raises(LocalBackendError, match=r"cannot write .*control\.lock"),
        hold_lock(tmp_path / "control.lock", 0.1, "taken"),
    ):
        pass


@posix_only
def test_a_folder_is_another_one_once_it_was_moved_or_made_anew(tmp_path: Path):
    folder = StateFolder(tmp_path / "backend")
    folder.path.mkdir()
    with hold_lock(folder.server_lock, 0, "taken"):
        claim = Claim(folder)
        assert claim.stands()
        folder.path.rename(tmp_path / "elsewhere")
        assert not claim.stands()
        folder.path.mkdir()
        assert not claim.stands()
        folder.server_lock.touch()
        assert not claim.stands()
        shutil.rmtree(folder.path)
        (tmp_path / "elsewhere").rename(folder.path)
        assert claim.stands()


def test_a_disk_that_does_not_answer_is_no_other_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = StateFolder(tmp_path)
    folder.server_lock.touch()
    claim = Claim(folder)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "stat", fail)
    assert claim.stands()
