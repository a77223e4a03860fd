"""An archive that several threads bring and one reads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mgmt.download.arriving import _MEMORY_BYTES, Arriving
from mgmt.download.unfinished import Opened, Unfinished
from mgmt.errors import CancelledError
from mgmt.stored.archive import RANGE_SIZE_BYTES
from mgmt_contract.parts import MIB
from support.trees import noise

OPENED = Opened("01a2041b-befb-730e-9a3c-9ad5ec9c7240", "x.tar.gz")
BLOCKS = _MEMORY_BYTES // MIB
SIZE = BLOCKS * MIB + RANGE_SIZE_BYTES + 5
"""More than fits into the memory, also without the first range."""
CONTENT = noise(SIZE)
SECONDS = 20


class Delivery:
    """An archive that arrives by the test's own hand."""

    def __init__(self, unfinished, jobs):
        self.unfinished = unfinished
        self.told = []
        self.arriving = Arriving(unfinished, jobs, self.told.append)
        self.bringing = [self.arriving.bring() for _ in range(jobs)]
        self.spans = list(unfinished.missing())
        self.pieces = []
        self.is_anybody_waiting = threading.Event()
        self._wait_for = self.arriving._has_changed.wait_for
        self.arriving._has_changed.wait_for = self.wait_for

    def wait_for(self, predicate, timeout_seconds=None):
        """Tell the test that a thread waits, and wait."""
        if not predicate():
            self.is_anybody_waiting.set()
        return self._wait_for(predicate, timeout_seconds)

    def bring_all(self, first=0, by=0):
        """Bring all ranges from one on."""
        for number in range(first, len(self.spans)):
            self.bring(number, by)

    def bring(self, number, by=0):
        """Bring a range, in pieces that are no whole blocks."""
        span = self.spans[number]
        place, offset, stop = self.bringing[by].begin(span), span.offset, span.offset + span.length
        while offset < stop:
            piece = CONTENT[offset : min(offset + 300_000, stop)][: len(place.room())]
            place.room()[: len(piece)] = piece
            place.note(len(piece))
            offset += len(piece)
        self.arriving.note_whole(span)

    def read(self):
        """Read it to its end."""
        while piece := bytes(self.arriving.read(MIB)):
            self.pieces.append(piece)
        return b"".join(self.pieces)


@pytest.fixture
def unfinished(tmp_path):
    with Unfinished(tmp_path, "x.tar.gz", "upload", SIZE) as found:
        found.open(OPENED)
        yield found


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def deliver(unfinished, threads):
    """Make deliveries; in the end nobody waits for one any more."""
    made = []

    def make(jobs, of=unfinished):
        made.append(Delivery(of, jobs))
        return made[-1]

    yield make
    for each in made:
        each.arriving.close()


@pytest.mark.parametrize("jobs", [1, 4, 16, 64])
def test_it_is_read_in_order_in_whichever_order_it_comes(unfinished, deliver, threads, jobs):
    delivery = deliver(jobs)
    reading = threads.submit(delivery.read)
    last, *others = reversed(range(len(delivery.spans)))
    for number in [*others, last]:
        assert not reading.done()
        threads.submit(delivery.bring, number, by=number % jobs).result(SECONDS)
    assert reading.result(SECONDS) == CONTENT
    assert unfinished.path.read_bytes() == CONTENT
    assert sum(delivery.told) == SIZE


def test_what_has_just_come_is_not_read_from_the_file(deliver, threads, monkeypatch):
    monkeypatch.setattr(Unfinished, "read", None)
    delivery = deliver(1)
    reading = threads.submit(delivery.read)
    delivery.bring_all()
    assert reading.result(SECONDS) == CONTENT


def test_what_an_earlier_run_has_brought_is_read_from_the_file(unfinished, deliver, threads):
    delivery = deliver(1)
    reading = threads.submit(delivery.read)
    delivery.bring_all()
    reading.result(SECONDS)
    unfinished.sync()
    unfinished.close()
    with Unfinished(unfinished.path.parent, "x.tar.gz", "upload", SIZE) as found:
        found.open(OPENED)
        assert deliver(4, of=found).read() == CONTENT


def test_a_thread_waits_for_a_reader_that_has_enough_to_read(deliver, threads):
    delivery = deliver(1)
    bringing = threads.submit(delivery.bring_all)
    assert delivery.is_anybody_waiting.wait(SECONDS)
    assert sum(delivery.told) == BLOCKS * MIB
    assert threads.submit(delivery.read).result(SECONDS) == CONTENT
    bringing.result(SECONDS)


class SlowFile:
    """Writes to the file that wait for the test, where they begin at an offset."""

    def __init__(self, monkeypatch, offset):
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        write = Unfinished.write

        def write_slowly(unfinished, at, data):
            if at == offset:
                self.has_begun.set()
                assert self.may_go_on.wait(SECONDS)
            write(unfinished, at, data)

        monkeypatch.setattr(Unfinished, "write", write_slowly)


def test_what_has_come_is_read_while_it_is_written(deliver, threads, monkeypatch):
    disk = SlowFile(monkeypatch, 0)
    delivery = deliver(1)
    bringing = threads.submit(delivery.bring_all)
    try:
        assert disk.has_begun.wait(SECONDS)
        assert bytes(threads.submit(delivery.arriving.read, MIB).result(SECONDS)) == CONTENT[:MIB]
        assert sum(delivery.told) == MIB
    finally:
        disk.may_go_on.set()
    assert threads.submit(delivery.read).result(SECONDS) == CONTENT[MIB:]
    bringing.result(SECONDS)


def test_what_was_read_before_it_was_written_gets_into_the_file(unfinished, deliver, threads, monkeypatch):
    disk = SlowFile(monkeypatch, RANGE_SIZE_BYTES - MIB)
    delivery = deliver(2)
    reading = threads.submit(delivery.read)
    slow = threads.submit(delivery.bring, 0)
    try:
        assert disk.has_begun.wait(SECONDS)
        threads.submit(delivery.bring_all, 1, by=1).result(SECONDS)
        assert reading.result(SECONDS) == CONTENT
    finally:
        disk.may_go_on.set()
    slow.result(SECONDS)
    assert unfinished.path.read_bytes() == CONTENT


def test_no_thread_waits_long_while_the_reader_has_nothing_to_read(deliver, threads):
    delivery = deliver(2)
    reading = threads.submit(delivery.read)
    assert delivery.is_anybody_waiting.wait(SECONDS)
    threads.submit(delivery.bring_all, 1, by=1).result(SECONDS)
    delivery.bring(0)
    assert reading.result(SECONDS) == CONTENT


def test_the_thread_that_the_reader_waits_for_gets_a_block_though_all_hold_bytes_that_come_later(deliver, threads):
    delivery = deliver(2)
    ahead = threads.submit(delivery.bring_all, 1, by=1)
    assert delivery.is_anybody_waiting.wait(SECONDS)  # nobody reads yet
    assert sum(delivery.told) == (BLOCKS - 1) * MIB
    first = threads.submit(delivery.bring, 0)
    assert threads.submit(delivery.read).result(SECONDS) == CONTENT
    first.result(SECONDS)
    ahead.result(SECONDS)


def test_a_thread_that_brings_it_is_sent_away_when_it_is_closed(deliver, threads):
    delivery = deliver(1)
    bringing = threads.submit(delivery.bring_all)
    assert delivery.is_anybody_waiting.wait(SECONDS)
    delivery.arriving.close()
    with pytest.raises(CancelledError):
        bringing.result(SECONDS)


def test_the_reader_is_sent_away_when_it_is_closed(deliver, threads):
    delivery = deliver(1)
    reading = threads.submit(delivery.read)
    assert delivery.is_anybody_waiting.wait(SECONDS)
    delivery.arriving.close()
    with pytest.raises(CancelledError):
        reading.result(SECONDS)


@pytest.mark.parametrize("jobs", [1, 4, 16, 64])
def test_the_memory_is_the_same_for_any_number_of_jobs(unfinished, deliver, jobs):
    rooms = [bringing.begin(next(unfinished.missing())).room() for bringing in deliver(jobs).bringing]
    assert sum(map(len, rooms)) < _MEMORY_BYTES + MIB
    assert RANGE_SIZE_BYTES % len(rooms[0]) == 0
