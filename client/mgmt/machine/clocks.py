"""Two clocks that nobody sets: one that stands still while the machine sleeps, and one that goes on.

What Python calls monotonic is the first on Linux and macOS, and the second on Windows. So patience would end there with
the first failure after two hours of sleep, and elsewhere a URL that has ended meanwhile would seem to be good.
"""

from __future__ import annotations

import sys
import time
from typing import Final

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
