"""Interrupts (Ctrl-C, SIGTERM, a closed terminal): they stop a run, except in steps that must not be interrupted."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

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
    """Say how to take being told to end: as Ctrl-C is taken, so that everything stays resumable."""
    handlers: dict[int, Callable[..., object]] = {signal.SIGTERM: _interrupt}
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
