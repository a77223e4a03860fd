"""Keeps the machine from falling asleep while an upload runs, where the system offers a way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# SetThreadExecutionState, Windows API reference, read 2026-11: keep the system up until told otherwise.
_ES_CONTINUOUS: Final = 0x80000000
_ES_SYSTEM_REQUIRED: Final = 0x00000001


@contextmanager
def stay_awake() -> Iterator[None]:
    """Keep the machine awake while the context lasts; where the system offers no way, nothing happens.

    The helpers of macOS and Linux watch this process, so that they end with it even if it is killed.
    """
    if sys.platform == "win32":
        _set_execution_state(_ES_CONTINUOUS | _ES_SYSTEM_REQUIRED)
        try:
            yield
        finally:
            _set_execution_state(_ES_CONTINUOUS)
        return
    helper = _start_helper()
    try:
        yield
    finally:
        if helper is not None:
            helper.terminate()
            helper.wait()


def _start_helper() -> subprocess.Popen[bytes] | None:
    command = _helper_command(os.getpid())
    if shutil.which(command[0]) is None:
        return None
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return None


def _helper_command(pid: int) -> list[str]:
    if sys.platform == "darwin":
        return ["caffeinate", "-i", "-w", str(pid)]
    inhibit = ["systemd-inhibit", "--what=sleep:idle", "--who=mgmt", "--why=An upload is running", "--mode=block"]
    return [*inhibit, "tail", f"--pid={pid}", "-f", os.devnull]


def _set_execution_state(state: int) -> None:
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.kernel32.SetThreadExecutionState(state)
