"""Starts, stops and finds the embedded backend. Light: a command imports it and nothing of the service.

with no backend running:   start() -> a background process -> endpoint.json -> Endpoint
with one running:          start() -> endpoint.json, one request -> Endpoint
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import field
from pathlib import Path
from typing import IO, Any, Final

from mgmt_contract.values import Value
from mgmt_local.engine.room import Room, read_room
from mgmt_local.errors import BadNameError, InUseError, LocalBackendError
from mgmt_local.gateway.owner import own_secret
from mgmt_local.issuer import ISSUER_PATH
from mgmt_local.issuer.people import check_person
from mgmt_local.issuer.tickets import make_ticket as write_ticket
from mgmt_local.process.alive import hold_open, is_alive, list_holders
from mgmt_local.process.state import (
    StateFolder,
    find_reason,
    hold_lock,
    open_log,
    open_state_folder,
    read_endpoint,
    remove_state_file,
)

IDLE_SECONDS: Final = 600.0
START_TIMEOUT_SECONDS: Final = 90.0
TOKEN_LIFE_SECONDS: Final = 3600.0
PROBE_TIMEOUT_SECONDS: Final = 5.0

_STOP_TIMEOUT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02
_ISSUER_WITHOUT_ADDRESS: Final = "mgmt-local"
"""The issuer in tokens that are made while no backend needs to run; the gateway knows it by its key."""
_NOT_PASSED_ON: Final = ("AWS_", "MGMT_")
"""Prefixes of variables that mean something to this process, and something else to the background one."""
_NO_AWS: Final = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""The user's own AWS settings are for AWS."""
__all__ = [
    "BadNameError",
    "Endpoint",
    "InUseError",
    "LocalBackendError",
    "Room",
    "Status",
    "find_room",
    "hold",
    "issue_token",
    "make_ticket",
    "start",
    "status",
    "stop",
]

_launched: Final[list[subprocess.Popen[bytes]]] = []
"""Kept until they end: Python warns about a dropped process object whose process goes on, as these are meant to."""


class Endpoint(Value):
    """Where the embedded backend answers, and the token of this machine's user, who is an admin there."""

    url: str
    token: str = field(repr=False)

    @property
    def issuer(self) -> str:
        """Where the backend's issuer answers."""
        return f"{self.url}{ISSUER_PATH}"


class Status(Value):
    """Whether the embedded backend runs, and where its files are."""

    running: bool
    state_dir: Path
    log: Path
    url: str | None = None
    pid: int | None = None
    started_at: str | None = None


def start(
    state_dir: Path | None = None,
    *,
    idle_seconds: float = IDLE_SECONDS,
    timeout_seconds: float = START_TIMEOUT_SECONDS,
) -> Endpoint:
    """Return the running backend, started if need be, once it answers.

    Several callers at once share one. It outlives this process and its terminal, and ends by itself after
    some time without use.

    Args:
        state_dir: Where it keeps everything, instead of the user's data directory.
        idle_seconds: After how long without use a backend started by this call ends.
        timeout_seconds: How long to wait for it.

    Raises:
        LocalBackendError: If it cannot be started or does not answer.
    """
    folder = open_state_folder(state_dir)
    url = _find_running(folder)
    if url is None:
        deadline = time.monotonic() + timeout_seconds
        with _lock(folder, timeout_seconds):
            url = _await_leaving(folder, deadline) or _launch(folder, idle_seconds, deadline)
            return Endpoint(url, own_secret(folder))
    return Endpoint(url, own_secret(folder))


def hold(endpoint: Endpoint, command: str = "") -> contextlib.AbstractContextManager[None]:
    """Keep a running backend from ending while the context or this process lasts, also if the process crashes.

    Args:
        endpoint: As it was started.
        command: The running command line, shown to a user who wants to stop the backend meanwhile.
    """
    return hold_open(endpoint.url, endpoint.token, PROBE_TIMEOUT_SECONDS, command)


def stop(state_dir: Path | None = None, *, unless_in_use: bool = False) -> bool:
    """End the backend and anything that a crashed one has left; False where nothing runs.

    Args:
        state_dir: Where it keeps everything, instead of the user's data directory.
        unless_in_use: Do nothing while commands use it.

    Raises:
        InUseError: If it is in use and `unless_in_use` is set.
        LocalBackendError: If it does not end.
    """
    from mgmt_local.process.leftovers import end_left_engine
    from mgmt_local.process.processes import end_process, find_process

    folder = open_state_folder(state_dir)
    if unless_in_use:
        _refuse_while_in_use(folder)
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    with _lock(folder, START_TIMEOUT_SECONDS):
        was_running = False
        while _server_lives(folder):
            was_running = True
            # A backend whose starter was killed announces itself later; one that is ending has removed the file.
            if process := find_process(read_endpoint(folder)):
                end_process(process, _STOP_TIMEOUT_SECONDS)
            elif time.monotonic() > deadline:
                raise LocalBackendError(f"the embedded backend does not end; its log is {folder.log}")
            time.sleep(_POLL_SECONDS)
        _launched[:] = [process for process in _launched if process.poll() is None]
        remove_state_file(folder.endpoint)
        return end_left_engine(folder.engine) or was_running


def status(state_dir: Path | None = None) -> Status:
    """Say whether the backend runs; asking does not count as use, and starts nothing."""
    folder = open_state_folder(state_dir)
    with _lock(folder, START_TIMEOUT_SECONDS):
        endpoint = read_endpoint(folder) if _server_lives(folder) else None
    if endpoint is None:
        return Status(running=False, state_dir=folder.path, log=folder.log)
    return Status(
        running=True,
        state_dir=folder.path,
        log=folder.log,
        url=endpoint["url"],
        pid=endpoint["pid"],
        started_at=endpoint["started_at"],
    )


def find_room(state_dir: Path | None = None) -> Room | None:
    """Look how much room the disk has on which the backend keeps what is stored; None where the disk does not say."""
    try:
        return read_room(open_state_folder(state_dir).engine)
    except OSError:
        return None


def make_ticket(name: str, *, admin: bool = False, state_dir: Path | None = None) -> str:
    """Make the proof with which one login as a person of this name is made at the backend's issuer, within a minute.

    It is handed over as `login_hint`.

    Raises:
        BadNameError: If `name` cannot be a person's name.
        LocalBackendError: If it cannot be written.
    """
    return write_ticket(open_state_folder(state_dir), check_person(name, is_admin=admin))


def issue_token(name: str, *, admin: bool = False, state_dir: Path | None = None) -> str:
    """Make an access token of another person, without a login, good for an hour.

    Raises:
        BadNameError: If `name` cannot be a person's name.
        LocalBackendError: If the key that signs it cannot be kept.
    """
    from mgmt_local.issuer.signing import Signer

    person = check_person(name, is_admin=admin)
    signer = Signer(open_state_folder(state_dir), _ISSUER_WITHOUT_ADDRESS)
    return signer.sign_access_token(person, life_seconds=TOKEN_LIFE_SECONDS)


def _find_running(folder: StateFolder) -> str | None:
    """Return the address of the backend that answers now; no process is looked for and no lock taken."""
    endpoint = read_endpoint(folder)
    if endpoint is None:
        return None
    url = str(endpoint["url"])
    return url if is_alive(url, str(endpoint["secret"]), PROBE_TIMEOUT_SECONDS) else None


def _refuse_while_in_use(folder: StateFolder) -> None:
    url = _find_running(folder)
    holders = list_holders(url, own_secret(folder), PROBE_TIMEOUT_SECONDS) if url else []
    if holders:
        named = ", ".join(f"`{holder.command or 'a command'}` (process {holder.pid})" for holder in holders)
        raise InUseError(
            f"The embedded backend is in use by {named}. Wait until that is done, or use --force: "
            "the same command then resumes what was interrupted."
        )


def _await_leaving(folder: StateFolder, deadline: float) -> str | None:
    """Wait while a process still holds the folder: it is ending, or slow to answer, or its starter was killed.

    Where none does, the address that a crashed backend left is not asked: another program may answer there.
    """
    while _server_lives(folder):
        if url := _find_running(folder):
            return url
        if time.monotonic() > deadline:
            raise LocalBackendError(
                f"the embedded backend runs but does not answer; its log is {folder.log}. "
                "Run `mgmt local stop` and try again"
            )
        time.sleep(_POLL_SECONDS)
    return None


def _launch(folder: StateFolder, idle_seconds: float, deadline: float) -> str:
    remove_state_file(folder.endpoint)
    own_secret(folder)
    with open_log(folder) as log:
        before_bytes = log.seek(0, os.SEEK_END)
        process = _spawn(folder, idle_seconds, log)
    _launched.append(process)
    while process.poll() is None:
        if url := _find_running(folder):
            return url
        if time.monotonic() > deadline:
            _give_up(folder, process)
            raise LocalBackendError(f"the embedded backend did not answer in time; its log is {folder.log}")
        time.sleep(_POLL_SECONDS)
    # A backend that a killed command had just begun to start may have been first.
    if url := _await_leaving(folder, deadline):
        return url
    reason = find_reason(folder.log, before_bytes)
    raise LocalBackendError(f"the embedded backend could not start: {reason}. Its log is {folder.log}")


def _give_up(folder: StateFolder, process: subprocess.Popen[bytes]) -> None:
    from mgmt_local.process.leftovers import end_left_engine

    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT_SECONDS)
    process.kill()
    process.wait()
    end_left_engine(folder.engine)


def _spawn(folder: StateFolder, idle_seconds: float, log: IO[bytes]) -> subprocess.Popen[bytes]:
    # -P: nothing is imported from the folder it runs in.
    command = [sys.executable, "-P", "-m", "mgmt_local", "serve"]
    command += ["--state-dir", os.fspath(folder.path), "--idle-seconds", str(idle_seconds)]
    try:
        return subprocess.Popen(
            command,
            cwd=folder.path,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            **_detachment(),
        )
    except OSError as error:
        raise LocalBackendError(f"the embedded backend could not start: {error}") from error


def _detachment() -> dict[str, Any]:
    if sys.platform == "win32":
        # Not DETACHED_PROCESS: with it CREATE_NO_WINDOW is ignored, and the programs that it starts in its turn, such
        # as the interpreter behind the one of a virtual environment, each open a window. Source: Microsoft, "Process
        # Creation Flags".
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True, "umask": 0o077}


def _environment() -> dict[str, str]:
    passed_on = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
    return passed_on | _NO_AWS


def _server_lives(folder: StateFolder) -> bool:
    """Say whether a background process holds the folder. Only under the control lock: asking takes its lock."""
    import filelock

    try:
        with filelock.FileLock(folder.server_lock, timeout=0, mode=0o600):
            return False
    except filelock.Timeout:
        return True


def _lock(folder: StateFolder, timeout_seconds: float) -> contextlib.AbstractContextManager[None]:
    if_taken = f"another command has been starting or stopping the backend for {timeout_seconds:.0f} s"
    return hold_lock(folder.control_lock, timeout_seconds, if_taken)
