"""How many parts go at a time, on lines of a simulation: whole parts early on slow ones, all streams on fast ones."""

from __future__ import annotations

import queue
import threading
from contextlib import ExitStack

import pytest

from mgmt.errors import CancelledError
from mgmt.upload.pace import Pace
from mgmt_contract.parts import MIB

PART_BYTES = 16 * MIB
BLOCK_BYTES = MIB // 4
WORKERS = 4


class Line:
    """A line that all streams share, each with a speed of its own at most; time passes only as bytes go."""

    def __init__(self, bytes_per_second, *, of_one_stream=None):
        self.bytes_per_second = bytes_per_second
        self.of_one_stream = of_one_stream or bytes_per_second
        self.now = 0.0

    def upload(self, part_count):
        """Send parts; return the seconds, how many were whole at half of the bytes, and how many went at a time."""
        pace = Pace(WORKERS, part_count, lambda: self.now, lambda: None)
        waiting, left, turns = list(range(1, part_count + 1)), {}, {}
        sent_bytes, whole_at_half, most = 0, None, 0
        while waiting or left:
            while waiting and len(left) < pace.streams:
                number = waiting.pop(0)
                turns[number] = ExitStack()
                turns[number].enter_context(pace.turn(number))
                left[number] = PART_BYTES
            most = max(most, len(left))
            rate = min(self.of_one_stream, self.bytes_per_second / len(left))
            self.now += BLOCK_BYTES / rate
            for number in list(left):
                left[number] -= BLOCK_BYTES
                pace.note_bytes(BLOCK_BYTES)
                sent_bytes += BLOCK_BYTES
                if left[number] == 0:
                    del left[number]
                    turns.pop(number).close()
            if whole_at_half is None and 2 * sent_bytes >= part_count * PART_BYTES:
                whole_at_half = part_count - len(waiting) - len(left)
        return self.now, whole_at_half, most


@pytest.mark.parametrize("mib_per_second", [0.1, 1, 5])
@pytest.mark.parametrize("part_count", [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 40])
def test_at_half_of_the_bytes_about_half_of_the_parts_are_whole_on_a_slow_line(mib_per_second, part_count):
    seconds, whole, _ = Line(mib_per_second * MIB).upload(part_count)
    assert whole >= min(0.4 * part_count, part_count // 2)
    assert seconds == pytest.approx(part_count * 16 / mib_per_second)


def test_a_fast_line_gets_all_streams_after_a_moment():
    """Each stream alone fills a quarter of it."""
    seconds, _, most = Line(100 * MIB, of_one_stream=25 * MIB).upload(64)
    assert most == WORKERS
    assert seconds < 1.03 * 64 * 16 / 100


def test_a_slow_line_that_one_stream_does_not_fill_gets_more_of_them_one_after_the_other():
    seconds, _, most = Line(4 * MIB, of_one_stream=MIB).upload(64)
    assert most == WORKERS
    assert seconds < 1.2 * 64 * 16 / 4


def test_bytes_that_only_fill_the_systems_buffers_make_no_line_a_fast_one():
    line = Line(MIB)
    pace = Pace(WORKERS, 10, lambda: line.now, lambda: None)
    with pace.turn(1):
        for _ in range(16):  # at once
            pace.note_bytes(BLOCK_BYTES)
        for _ in range(48):
            line.now += 0.25
            pace.note_bytes(BLOCK_BYTES)
            assert pace.streams == 1


def test_a_line_that_becomes_slow_has_its_parts_one_after_the_other_again():
    line = Line(100 * MIB)
    pace = Pace(WORKERS, 10, lambda: line.now, lambda: None)
    with pace.turn(1):
        pace.note_bytes(BLOCK_BYTES)
        pace.note_bytes(3 * MIB)
        line.now += 0.1
        pace.note_bytes(PART_BYTES)
    assert pace.streams == WORKERS
    with ExitStack() as turns:
        for number in range(2, 2 + WORKERS):
            turns.enter_context(pace.turn(number))
        pace.note_bytes(WORKERS * PART_BYTES)
        line.now += 60
    assert pace.streams == 1


def test_the_earliest_part_goes_first():
    waiting: queue.Queue[int] = queue.Queue()
    pace, order = Pace(1, 10, lambda: 0.0, lambda: waiting.put(threading.get_ident())), []

    def go(number):
        with pace.turn(number):
            order.append(number)

    with pace.turn(1):
        threads = [threading.Thread(target=go, args=[number]) for number in (4, 2, 3)]
        for thread in threads:
            thread.start()
        seen = set()
        while len(seen) < len(threads):
            seen.add(waiting.get(timeout=20))
    for thread in threads:
        thread.join(20)
    assert order == [2, 3, 4]


def test_waiting_for_a_turn_ends_when_the_command_is_stopped():
    def check_stopped():
        raise CancelledError("stopped")

    pace = Pace(1, 10, lambda: 0.0, check_stopped)
    with pace.turn(1), pytest.raises(CancelledError), pace.turn(2):
        pass
    with pace.turn(3):
        pass
