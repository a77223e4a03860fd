"""Which clock stands still while the machine sleeps, on each system."""

import ctypes
import sys
import time
from types import SimpleNamespace

import pytest

from mgmt.machine import awake_seconds, elapsed_seconds


def test_both_go_on_while_the_machine_is_awake():
    for clock in (awake_seconds, elapsed_seconds):
        first = clock()
        while clock() == first:
            pass
        assert 0 < clock() - first < 60


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="only Linux has one that counts sleep by that name")
def test_on_linux_the_one_that_goes_on_counts_since_the_start_and_the_other_leaves_sleep_out(monkeypatch):
    times = {time.CLOCK_BOOTTIME: 7300.0, time.CLOCK_MONOTONIC: 100.0}
    monkeypatch.setattr(time, "clock_gettime", times.__getitem__)
    monkeypatch.setattr(time, "monotonic", lambda: times[time.CLOCK_MONOTONIC])
    assert elapsed_seconds() - awake_seconds() == 7200


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such clocks")
def test_on_macos_the_one_that_goes_on_is_the_systems_monotonic_clock(monkeypatch):
    """Python's own one is another there, which leaves sleep out."""
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_MONOTONIC: 7300.0}.__getitem__)
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    assert elapsed_seconds() - awake_seconds() == 7200


def test_on_windows_the_one_that_stands_still_is_the_unbiased_one(monkeypatch):
    """Python's own one counts sleep there: patience would end at the first failure after it."""

    def tell(ticks):
        ticks._obj.value = 100 * 10_000_000

    kernel = SimpleNamespace(QueryUnbiasedInterruptTime=tell)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(time, "monotonic", lambda: 7300.0)
    assert (awake_seconds(), elapsed_seconds()) == (100, 7300)
