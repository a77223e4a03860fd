"""Our processes, recognised by more than their id, which may be reused by another process."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Final

import psutil  # type: ignore[import-untyped]  # its types are a distribution of their own

from mgmt_local.errors import LocalBackendError

_CREATION_TOLERANCE_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.05


def describe_process(pid: int) -> dict[str, Any]:
    """Return a process's description for a state file, to find it again; empty if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return {"pid": pid, "created_at": process.create_time(), "command": process.cmdline()}
    return {}


def find_process(description: dict[str, Any] | None) -> psutil.Process | None:
    """Return the process that was described, or None if it has ended."""
    with contextlib.suppress(psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        if description is not None:
            process = psutil.Process(int(description["pid"]))
            if process.status() != psutil.STATUS_ZOMBIE and _is_described(process, description):
                return process
    return None


def _is_described(process: psutil.Process, description: dict[str, Any]) -> bool:
    """Compare the time of creation, or the command line: setting the clock changes the first only."""
    difference_seconds = abs(process.create_time() - float(description["created_at"]))
    return bool(difference_seconds <= _CREATION_TOLERANCE_SECONDS or process.cmdline() == description["command"])


def end_process(process: psutil.Process, timeout_seconds: float) -> None:
    """Ask a process to end, wait, and kill it if it does not.

    Raises:
        LocalBackendError: If even that does not end it.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        if _ends_within(process, timeout_seconds):
            return
        process.kill()
        if not _ends_within(process, timeout_seconds):
            raise LocalBackendError(f"process {process.pid} of the embedded backend does not end, even killed")


def _ends_within(process: psutil.Process, timeout_seconds: float) -> bool:
    """Wait for a process; one that has ended stays known as long as a starter that runs on does not ask for its end."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(_POLL_SECONDS)
            return True
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
    return False


def has_outside_connections(pid: int, port: int) -> bool:
    """Say whether anybody but this process, and `pid` itself, is connected to a port of the process `pid`.

    Where the system does not tell, the answer is yes.
    """
    try:
        theirs = psutil.Process(pid).net_connections("tcp")
        inside = {connection.laddr for connection in (*theirs, *psutil.Process().net_connections("tcp"))}
        return any(
            connection.status == psutil.CONN_ESTABLISHED
            and connection.laddr.port == port
            and connection.raddr not in inside
            for connection in theirs
        )
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
