"""Starting, finding and stopping the backend from a command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import psutil
import pytest

from mgmt_contract.messages.history import HistoryResponse
from mgmt_contract.routes import DESCRIBE, HISTORY
from mgmt_local import control
from mgmt_local.control import Endpoint
from mgmt_local.engine.seaweedfs import OPEN_FILES_MIN
from mgmt_local.errors import InUseError, LocalBackendError
from mgmt_local.gateway.owner import own_secret
from mgmt_local.process.alive import list_holders
from mgmt_local.process.processes import describe_process
from mgmt_local.process.state import StateFolder, open_state_folder, write_private_json
from support.local_backend import Person, gateway_process, listeners, local_backend, processes_in, request, wait_until
from support.sign_in import make_authorizer

START_AND_PRINT = """
import sys
from pathlib import Path
from mgmt_local import control
print(control.start(Path(sys.argv[1])).url)
"""


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("local")


@pytest.fixture(scope="module")
def endpoint(state_dir: Path) -> Iterator[Endpoint]:
    with local_backend(state_dir) as running:
        yield running


def test_starting_it_again_finds_it(state_dir: Path, endpoint: Endpoint):
    assert control.start(state_dir) == endpoint
    status = control.status(state_dir)
    assert (status.running, status.url, status.state_dir) == (True, endpoint.url, state_dir)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", status.started_at)
    assert psutil.pid_exists(status.pid)


def test_answers_as_the_service_to_the_users_own_token(endpoint: Endpoint):
    assert Person(endpoint).call(HISTORY, HistoryResponse).records == []
    status, text = request(endpoint.url, *DESCRIBE[:2])
    assert (status, json.loads(text)["bucket"]) == (200, "mgmt-local")


def test_another_person_is_known_at_once(state_dir: Path, endpoint: Endpoint):
    token = control.issue_token("ada", admin=False, state_dir=state_dir)
    assert request(endpoint.url, *HISTORY[:2], token=token)[0] == 200
    assert request(endpoint.url, *HISTORY[:2], token=token[:-1])[0] == 401


def test_every_listening_socket_is_on_loopback(state_dir: Path, endpoint: Endpoint):
    found = listeners(gateway_process(state_dir).pid)
    assert {each.laddr.ip for each in found} == {"127.0.0.1"}
    assert len(found) > 2, "the gateway's and the engine's"


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_everything_it_keeps_is_for_the_user_only(state_dir: Path, endpoint: Endpoint):
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in state_dir.iterdir()}
    assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}


def test_is_detached_from_the_terminal_and_the_working_directory(state_dir: Path, endpoint: Endpoint):
    gateway = gateway_process(state_dir)
    assert os.getsid(gateway.pid) == gateway.pid
    assert gateway.terminal() is None
    assert Path(gateway.cwd()) == state_dir


def test_neither_secrets_nor_settings_of_the_caller_are_visible_in_it(state_dir: Path, endpoint: Endpoint):
    secret = json.loads((state_dir / "endpoint.json").read_text("utf-8"))["secret"]
    for process in processes_in(state_dir):
        command = " ".join(process.cmdline())
        assert endpoint.token not in command
        assert secret not in command
    assert endpoint.token not in repr(endpoint)


def test_the_callers_aws_settings_and_proxy_do_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "aws").write_text("[profile other]\nendpoint_url = http://127.0.0.1:1\n")
    for name, value in {
        "AWS_PROFILE": "missing",
        "AWS_CONFIG_FILE": str(tmp_path / "aws"),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
        "MGMT_TOKEN": "secret",
        "PYTHONWARNINGS": "error",
    }.items():
        monkeypatch.setenv(name, value)
    with local_backend(tmp_path / "local") as endpoint:
        assert Person(endpoint).upload("clip.mp4", b"bytes").outcome == "done", "S3 was asked"
        assert "MGMT_TOKEN" not in gateway_process(tmp_path / "local").environ()


def test_several_commands_at_once_share_one(tmp_path: Path):
    command = [sys.executable, "-c", START_AND_PRINT, str(tmp_path)]
    try:
        with ThreadPoolExecutor(4) as commands:
            urls = commands.map(lambda _: subprocess.check_output(command, timeout=120), range(4))
            assert len(set(urls)) == 1
        assert len(processes_in(tmp_path)) == 2
    finally:
        control.stop(tmp_path)
    assert processes_in(tmp_path) == []


@pytest.mark.parametrize(
    ("moment", "command", "left"),
    [("backend.log", control.start, 2), ("engine.json", control.start, 2), ("engine.json", control.stop, 0)],
)
def test_a_command_killed_while_it_starts_one_hinders_no_other(tmp_path: Path, moment: str, command, left: int):
    """What it had begun is used, or ended; never doubled."""
    with subprocess.Popen([sys.executable, "-c", START_AND_PRINT, str(tmp_path)], stdout=subprocess.PIPE) as starter:
        wait_until(lambda: has_file(tmp_path, moment))
        starter.kill()
    try:
        assert command(tmp_path)
        wait_until(lambda: len(processes_in(tmp_path)) == left)
    finally:
        control.stop(tmp_path)
    assert processes_in(tmp_path) == []


def has_file(folder: Path, name: str) -> bool:
    with contextlib.suppress(FileNotFoundError):  # a folder went while it was walked: the next look tells
        return next(folder.rglob(name), None) is not None
    return False


def test_nothing_runs_before_the_start_and_after_the_stop(tmp_path: Path):
    assert not control.stop(tmp_path)
    assert not control.status(tmp_path).running
    with local_backend(tmp_path):
        assert control.stop(tmp_path)
        assert not (tmp_path / "endpoint.json").exists()
        assert processes_in(tmp_path) == []
        assert not control.stop(tmp_path)
        status = control.status(tmp_path)
    assert (status.running, status.url, status.pid) == (False, None, None)
    assert status.log == tmp_path / "backend.log"
    assert "told to end" in status.log.read_text("utf-8")


def test_a_stale_endpoint_whose_id_belongs_to_somebody_else_by_now(tmp_path: Path):
    """Neither is the stranger taken for the backend, nor ended in its place."""
    stranger = {**describe_process(os.getpid()), "created_at": 1.0, "command": ["python", "-m", "mgmt_local"]}
    stale = {"url": "http://127.0.0.1:1", "secret": "s", "started_at": "2026-11-01T12:00:00Z", **stranger}
    write_private_json(tmp_path / "endpoint.json", stale)
    assert not control.status(tmp_path).running
    assert not control.stop(tmp_path)
    write_private_json(tmp_path / "endpoint.json", stale)
    with local_backend(tmp_path) as endpoint:
        assert endpoint.url != stale["url"]


@pytest.mark.parametrize("answer", ["HTTP/1.1 204 No Content\r\nmgmt-local-proof: é\r\n\r\n", "HTTP/1.1 204 "])
def test_somebody_else_at_a_dead_gateways_port_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
):
    """The other program answers a bad proof, or a few bytes only: it is asked once, and another port is taken."""
    asked = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                asked.append(connection)
                connection.recv(4096)
                connection.sendall(answer.encode())

    with socket.create_server(("127.0.0.1", 0)) as listener, local_backend(tmp_path) as former:
        kill_all(processes_in(tmp_path))
        endpoint = json.loads((tmp_path / "endpoint.json").read_text("utf-8"))
        assert endpoint["url"] == former.url
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        write_private_json(tmp_path / "endpoint.json", endpoint | {"url": url})
        stranger = threading.Thread(target=serve, daemon=True)
        stranger.start()
        monkeypatch.setattr(control, "PROBE_TIMEOUT_SECONDS", 0.5)  # an answer that never ends is not waited for longer
        running = control.start(tmp_path)
        assert running.url not in (url, former.url)
        assert Person(running).call(HISTORY, HistoryResponse).records == []
        assert len(asked) == 1
        listener.shutdown(socket.SHUT_RDWR)
        stranger.join(10)
        for connection in asked:
            connection.close()


def kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=30)


WRONG = {"secret": "s", "pid": 10**400, "created_at": 10**400, "started_at": "", "ports": [10**400] * 5, "token": 1}
DAMAGED = ["{", "[]", "{}", "null", '{"url": 1}', '{"url": "http://127.0.0.1:1"}', "[" * 100_000, "\x00\xff"]
DAMAGED += [json.dumps(WRONG | {"url": url}) for url in ("http://127.0.0.1:99999", "http://127.0.0.1:1", "é")]
DAMAGED += ['{"logins": {"a": {"hash": "é", "name": "a", "is_admin": 1, "scopes": [2], "until": 3}, "b": 1}}']


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_files_of_a_backend_that_has_ended_are_no_hindrance(tmp_path: Path, content: str):
    """They say nothing that can be true, so they are as good as none."""
    folder = open_state_folder(tmp_path)
    (tmp_path / "engine").mkdir()
    for path in (
        folder.endpoint,
        tmp_path / "engine" / "engine.json",
        folder.issuer_key,
        folder.logins,
        folder.own_token,
    ):
        path.write_text(content, "latin-1")
    assert not control.status(tmp_path).running
    assert not control.stop(tmp_path, unless_in_use=True)
    assert control.issue_token("ada", state_dir=tmp_path)
    assert make_authorizer(folder).authorize(own_secret(folder)).is_owner


def test_a_damaged_announcement_is_written_anew_by_the_backend_that_runs(tmp_path: Path):
    with local_backend(tmp_path, idle_seconds=3) as endpoint, control.hold(endpoint):
        for content in DAMAGED:
            (tmp_path / "endpoint.json").write_text(content, "latin-1")
            assert control.start(tmp_path) == endpoint


def test_one_in_use_is_not_stopped_unless_that_is_asked_for(tmp_path: Path):
    with local_backend(tmp_path) as endpoint, control.hold(endpoint, "mgmt --local upload all"):
        wait_until(lambda: list_holders(endpoint.url, endpoint.token, 5))
        with pytest.raises(InUseError, match=rf"`mgmt --local upload all` \(process {os.getpid()}\)"):
            control.stop(tmp_path, unless_in_use=True)
        assert control.status(tmp_path).running
        assert control.stop(tmp_path)
        assert processes_in(tmp_path) == []


def test_why_it_cannot_start_is_told_with_the_place_of_its_log(tmp_path: Path):
    (tmp_path / "engine").write_text("a file where the engine's folder should be")
    with pytest.raises(LocalBackendError, match="could not start") as caught:
        control.start(tmp_path)
    assert "engine" in str(caught.value)
    assert str(tmp_path / "backend.log") in str(caught.value)
    assert processes_in(tmp_path) == []
    assert not (tmp_path / "endpoint.json").exists()


@pytest.mark.skipif(os.name != "posix", reason="limits are of POSIX")
def test_too_few_open_files_for_the_engine_are_named_in_one_line(tmp_path: Path):
    limit = OPEN_FILES_MIN - 1
    code = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n{START_AND_PRINT}"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, capture_output=True, text=True)
    said = done.stderr.splitlines()[-1]
    assert f"the system allows {limit} here" in said
    assert "ulimit -n 1024" in said
    assert str(tmp_path / "backend.log") in said
    assert processes_in(tmp_path) == []


def test_one_that_does_not_answer_in_time_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is ended with all that it has begun by then, however far that is."""
    monkeypatch.setattr(control, "_find_running", lambda _: None)
    try:
        with pytest.raises(LocalBackendError, match="did not answer in time"):
            control.start(tmp_path, timeout_seconds=1)
        assert processes_in(tmp_path) == []
    finally:
        control.stop(tmp_path)


def test_one_that_holds_the_folder_without_answering_is_named(tmp_path: Path):
    folder = StateFolder(tmp_path)
    with filelock.FileLock(folder.server_lock):
        with pytest.raises(LocalBackendError, match="does not answer"):
            control.start(tmp_path, timeout_seconds=0.1)
        assert subprocess.run(
            [sys.executable, "-m", "mgmt_local", "serve", "--state-dir", str(tmp_path)],
            check=False,
            capture_output=True,
            timeout=60,
            text=True,
            env=os.environ | {"MGMT_LOCAL_STATE_DIR": ""},
        ).stderr.endswith(f"another embedded backend runs on {tmp_path}\n")


def test_commands_import_nothing_of_the_service():
    """What every `mgmt` with a local backend pays for is a few modules of the standard library."""
    code = "import sys; from mgmt_local import control, errors; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    heavy = {"boto3", "botocore", "mgmt_api", "pydantic", "aws_lambda_powertools", "cryptography", "psutil", "filelock"}
    assert heavy.isdisjoint(name.partition(".")[0] for name in loaded)


def test_on_windows_the_backend_gets_a_console_that_nobody_sees(monkeypatch: pytest.MonkeyPatch):
    """Detached from any, each program that it starts would open a window of its own."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    monkeypatch.setattr(subprocess, "CREATE_NO_WINDOW", 0x08000000, raising=False)
    assert control._detachment() == {"creationflags": 0x08000200}
