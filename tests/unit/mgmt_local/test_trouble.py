"""What stands in the backend's way: locks that others hold, processes that will not end, starts that break off."""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from pathlib import Path
from urllib.parse import urlsplit

import filelock
import psutil
import pytest

from mgmt_local import control, server
from mgmt_local.engine.seaweedfs import StorageEngine
from mgmt_local.errors import LocalBackendError
from mgmt_local.gateway import owner
from mgmt_local.gateway.server import Gateway
from mgmt_local.issuer import signing
from mgmt_local.process.activity import Activity
from mgmt_local.process.processes import has_outside_connections
from mgmt_local.process.state import StateFolder, open_state_folder
from support.local_backend import processes_in, request, wait_until
from support.sign_in import make_authorizer, make_token

_NOBODY = 65_534


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return open_state_folder(tmp_path)


def test_another_command_that_starts_or_stops_it_for_too_long_is_named(folder: StateFolder):
    with filelock.FileLock(folder.control_lock), pytest.raises(LocalBackendError, match="another command"):
        control.start(folder.path, timeout_seconds=0.1)
    assert processes_in(folder.path) == []


def test_a_backend_that_does_not_end_is_named_with_its_log(folder: StateFolder, monkeypatch: pytest.MonkeyPatch):
    """It holds the folder and has announced nothing: there is no process to end, only one to wait for."""
    monkeypatch.setattr(control, "_STOP_TIMEOUT_SECONDS", 0.1)
    with (
        filelock.FileLock(folder.server_lock),
        pytest.raises(LocalBackendError, match=f"does not end; its log is {folder.log}"),
    ):
        control.stop(folder.path)


def test_a_log_that_cannot_be_written_is_told_with_what_to_do(folder: StateFolder):
    """As on a full disk; a folder in its place refuses as surely."""
    folder.log.mkdir()
    with pytest.raises(LocalBackendError, match=rf"cannot write {folder.log}: .*Free some space"):
        control.start(folder.path)
    assert processes_in(folder.path) == []


def test_a_machine_that_starts_no_process_any_more_is_told_of(folder: StateFolder, monkeypatch: pytest.MonkeyPatch):
    """As where memory or the number of processes is at its end."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(LocalBackendError, match=r"could not start: .*No such file"):
        control.start(folder.path)


def test_secrets_that_another_process_keeps_locked_are_an_error(folder: StateFolder, monkeypatch: pytest.MonkeyPatch):
    for module in (owner, signing):
        monkeypatch.setattr(module, "_LOCK_TIMEOUT_SECONDS", 0.05)
    with filelock.FileLock(folder.issuer_lock), pytest.raises(LocalBackendError, match=r"keeps .* locked"):
        control.issue_token("kim", state_dir=folder.path)
    with filelock.FileLock(folder.own_token_lock), pytest.raises(LocalBackendError, match=r"keeps .* locked"):
        owner.own_secret(folder)
    assert not folder.issuer_key.exists()
    assert not folder.own_token.exists()


def test_a_start_that_is_interrupted_leaves_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C while the engine boots."""

    def interrupt(*_: object) -> bool:
        assert len(processes_in(tmp_path)) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(StorageEngine, "_answers", interrupt)
    with pytest.raises(KeyboardInterrupt):
        StorageEngine.start(tmp_path / "engine", access_key="a", secret_key="s")
    assert processes_in(tmp_path) == []


def test_a_bucket_that_cannot_be_made_leaves_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise LocalBackendError("no room")

    monkeypatch.setattr(StorageEngine, "ensure_bucket", refuse)
    with pytest.raises(LocalBackendError, match="no room"):
        server._start_engine(tmp_path / "engine")
    assert processes_in(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="users are of POSIX")
def test_where_the_system_does_not_tell_a_process_counts_as_connected():
    """Better a backend that lives too long than one that ends under somebody's upload."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(_NOBODY)
    try:
        with pytest.raises(psutil.AccessDenied):
            psutil.Process(1).net_connections("tcp")
        assert has_outside_connections(1, 1)
    finally:
        if is_root:
            os.seteuid(0)


def test_a_client_that_goes_away_in_the_middle_disturbs_no_other(folder: StateFolder, caplog: pytest.LogCaptureFixture):
    """A cut connection is logged at debug level without a traceback, and the next request is answered."""
    gateway = Gateway(lambda *_: {"statusCode": 200, "body": "ok"}, make_authorizer(folder), Activity(600))
    token = make_token(folder, "kim")
    try:
        with caplog.at_level(logging.DEBUG, "mgmt_local"):
            with socket.create_connection(("127.0.0.1", urlsplit(gateway.url).port)) as client:
                client.sendall(b"POST /v1/uploads/start HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-")
                # Closing with nothing to linger for sends a reset instead of an orderly end.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wait_until(lambda: "ended early" in caplog.text, seconds=10)
        assert "Traceback" not in caplog.text
        assert request(gateway.url, "GET", "/v1/history", token=token) == (200, "ok")
    finally:
        gateway.close()
