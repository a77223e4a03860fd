"""The speed that is remembered: of bytes that arrived, over the time in which any were under way."""

from mgmt.storage import SpeedGauge
from mgmt.text import MEASURED_MIN_BYTES


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_pauses_do_not_count_and_what_overlaps_counts_once():
    clock = Clock()
    gauge = SpeedGauge(clock)
    with gauge.sending():
        clock.now += 1
        with gauge.sending():
            clock.now += 1
    clock.now += 100
    with gauge.sending():
        clock.now += 2
    gauge.add(MEASURED_MIN_BYTES)
    gauge.add(MEASURED_MIN_BYTES)
    assert gauge.bytes_per_second() == 2 * MEASURED_MIN_BYTES / 4


def test_too_little_says_nothing():
    clock = Clock()
    gauge = SpeedGauge(clock)
    assert gauge.bytes_per_second() is None
    with gauge.sending():
        clock.now += 1
    gauge.add(MEASURED_MIN_BYTES - 1)
    assert gauge.bytes_per_second() is None
