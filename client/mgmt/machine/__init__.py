"""This machine while a command runs: what interrupts the command, what keeps the machine awake, and two clocks.

Interrupts (Ctrl-C, SIGTERM, a closed terminal) stop a run, except in steps that must not be interrupted. Nobody sets
the clocks; one stands still while the machine sleeps, the other goes on. What Python calls monotonic is the first on
Linux and macOS, and the second on Windows. So patience would end there with the first failure after two hours of sleep,
and elsewhere a URL that has ended meanwhile would seem to be good.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

from mgmt.errors import INTERRUPTED, CancelledError

_Handlers = Mapping[int, Callable[..., object] | signal.Handlers]


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Yield the event that stops a run: set by any interrupt and by an error, so that every thread ends.

    Raises:
        CancelledError: In place of the interrupt.
    """
    stop = threading.Event()
    try:
        with _handling(_endings()):
            yield stop
    except KeyboardInterrupt as error:
        stop.set()
        raise CancelledError(INTERRUPTED) from error
    except BaseException:
        stop.set()
        raise


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore interrupts for a moment; they only reach the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handling(dict.fromkeys([signal.SIGINT, *_endings()], signal.SIG_IGN)):
        yield


def _endings() -> _Handlers:
    """Choose the handlers of signals that end a process: like Ctrl-C, so that everything stays resumable."""
    handlers: dict[int, Callable[..., object]] = {signal.SIGTERM: _interrupt}
    if hasattr(signal, "SIGBREAK"):  # Windows: Ctrl-Break, and how programs end a group of processes
        handlers[signal.SIGBREAK] = _interrupt
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` wants it to go on
        handlers[signal.SIGHUP] = partial(_hang_up, [each for each in (1, 2) if os.isatty(each)])
    return handlers


def _interrupt(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: reporting and tidying up take a moment
    raise KeyboardInterrupt


def _hang_up(terminals: list[int], number: int, frame: object) -> None:
    """End silently: the terminal is gone, and writing to it would be another error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in terminals:
        os.dup2(nowhere, descriptor)
    _interrupt(number, frame)


@contextmanager
def _handling(handlers: _Handlers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, former in before.items():
            if signal.getsignal(number) is handlers[number]:
                signal.signal(number, former)


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


_TICKS_PER_SECOND: Final = 10_000_000
"""Of QueryUnbiasedInterruptTime, "Windows API reference", read 2026-11: without the time that the system sleeps."""


def awake_seconds() -> float:
    """Tell a time that stands still while the machine sleeps."""
    if sys.platform == "win32":
        import ctypes

        ticks = ctypes.c_ulonglong()
        ctypes.windll.kernel32.QueryUnbiasedInterruptTime(ctypes.byref(ticks))
        return ticks.value / _TICKS_PER_SECOND
    return time.monotonic()


def elapsed_seconds() -> float:
    """Tell a time that goes on while the machine sleeps.

    Source: clock_gettime(2) on Linux; "clock_gettime_nsec_np" in Apple's manual: CLOCK_MONOTONIC counts sleep there,
    read 2026-11.
    """
    if sys.platform == "win32":
        return time.monotonic()
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
