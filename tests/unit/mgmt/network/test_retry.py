import random
import threading

import pytest

from mgmt.errors import CancelledError, UnavailableError
from mgmt.network.retry import Patience, read_date


class Clock:
    """Time that passes only while a test waits, or when it says so."""

    def __init__(self, patience_stop):
        self.now = 100.0
        self.waits = []
        patience_stop.wait = self._wait

    def _wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds
        return False

    def __call__(self):
        return self.now


@pytest.fixture
def stop():
    return threading.Event()


@pytest.fixture
def clock(stop):
    return Clock(stop)


def test_before_the_first_answer_it_gives_up_after_the_start_budget(stop, clock):
    patience = Patience(stop, start_budget_seconds=20, budget_seconds=900, monotonic=clock)
    with pytest.raises(UnavailableError, match=r"No progress for 20 s: no route\. .*same command again"):
        _wait_for_ever(patience, "no route")
    assert clock.now == pytest.approx(120)


def test_it_waits_in_steps_so_that_a_command_can_be_stopped_on_every_system(stop, clock):
    Patience(stop, budget_seconds=60, monotonic=clock).wait(0, "busy", retry_after_seconds=7.5)
    assert max(clock.waits) <= 1
    assert sum(clock.waits) == pytest.approx(7.5)


def test_after_progress_it_gives_up_after_the_budget_without_progress(stop, clock):
    patience = Patience(stop, start_budget_seconds=20, budget_seconds=900, monotonic=clock)
    clock.now += 15
    patience.note_progress()
    clock.now += 5000  # packing for long is no failure
    with pytest.raises(UnavailableError, match="15 minutes"):
        _wait_for_ever(patience, "gone")
    assert clock.now == pytest.approx(5115 + 900)


def test_any_progress_begins_the_budget_anew(stop, clock):
    patience = Patience(stop, budget_seconds=60, monotonic=clock)
    patience.note_progress()
    for _ in range(50):
        clock.now += 59
        patience.wait(0, "slow")
        patience.note_progress()


def test_what_does_not_move_is_given_up_whatever_else_moves(stop, clock):
    patience = Patience(stop, budget_seconds=900, monotonic=clock)
    since = patience.now()
    clock.now += 899
    patience.note_progress()
    patience.check_silence(since, "the storage refuses the connection")
    clock.now += 2
    with pytest.raises(UnavailableError, match="the storage refuses the connection"):
        patience.check_silence(since, "the storage refuses the connection")


def test_progress_of_another_thread_in_the_middle_of_a_wait_does_no_harm(stop, clock, monkeypatch):
    patience = Patience(stop, budget_seconds=900, monotonic=clock)

    def move_meanwhile(low, high):
        patience.note_progress()
        return high

    monkeypatch.setattr(random, "uniform", move_meanwhile)
    patience.wait(0, "slow")
    assert clock.waits == [0.5]


def test_delays_grow_and_stay_bounded(stop, clock):
    patience = Patience(stop, budget_seconds=10_000, monotonic=clock)
    patience.note_progress()
    pauses = []
    for attempt in range(200):
        began = clock.now
        patience.wait(attempt, "gone")
        pauses.append(clock.now - began)
    assert pauses[0] <= 0.5
    assert 20 < max(pauses) <= 30


def test_the_other_side_may_ask_for_a_longer_pause(stop, clock):
    patience = Patience(stop, budget_seconds=900, monotonic=clock)
    patience.note_progress()
    patience.wait(0, "throttled", retry_after_seconds=45)
    assert sum(clock.waits) == 45


def test_a_stopped_command_does_not_wait():
    stop = threading.Event()
    stop.set()
    with pytest.raises(CancelledError, match="run the same command to resume"):
        Patience(stop).wait(0, "gone")


def test_a_wait_ends_when_the_command_is_stopped():
    """With a real event and a real clock: stopping ends a pause of an hour at once."""
    stop = threading.Event()
    patience = Patience(stop, start_budget_seconds=3600)
    caught = []

    def wait():
        try:
            patience.wait(0, "gone", retry_after_seconds=3600)
        except CancelledError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    stop.set()
    thread.join(10)
    assert caught


def _wait_for_ever(patience, why):
    for attempt in range(1000):
        patience.wait(attempt, why)


def test_in_a_hurry_no_progress_and_no_answer_gives_more_time(stop, clock):
    """What is left is not worth more: neither its tries nor the waiting between them."""
    patience = Patience(stop, budget_seconds=900, monotonic=clock)
    patience.note_progress()
    assert patience.begin_try() is None
    patience.hurry(5)
    assert patience.begin_try() == 5
    patience.note_progress()
    began = clock.now
    with pytest.raises(UnavailableError):
        _wait_for_ever(patience, "gone")
    assert clock.now - began == pytest.approx(5)
    assert patience.begin_try() == 1
    patience.end_hurry()
    assert patience.begin_try() is None


@pytest.mark.parametrize("asked_seconds", [301.0, 10.0**9, float("inf")])
def test_a_pause_that_is_asked_for_has_its_bound(stop, clock, asked_seconds):
    """A pause of a year is cut to minutes; then the next answer decides."""
    patience = Patience(stop, start_budget_seconds=20, budget_seconds=900, monotonic=clock)
    patience.note_progress()
    patience.wait(0, "throttled", retry_after_seconds=asked_seconds)
    assert sum(clock.waits) == pytest.approx(300)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "now",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:99999999999999999999 GMT",
        "Mon, 01 Jan 2026 00:00:00 +99999999999999999999",
        "Mon, 01 Jan 0001 00:00:00 GMT",
    ],
)
def test_a_date_that_is_none_tells_no_time(said):
    assert read_date({"date": said}) is None
