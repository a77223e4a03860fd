"""The worker's thread: woken by its queue and by the clock, and stopped by no failure."""

from __future__ import annotations

import queue
import threading

import pytest

from mgmt_api.domain.work import Work
from mgmt_local import worker
from mgmt_local.worker import LocalQueue, WorkerThread

SOON = 10
"""Seconds within which what is due at once is done; nothing here waits for time to pass."""


class HandClock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.queues: list[LocalQueue] = []

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        for each in self.queues:
            each.wake()


class Bench:
    """A thread whose work is noted, and fails where told to."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.queue = LocalQueue(self.clock)
        self.clock.queues.append(self.queue)
        self.done: queue.Queue[Work] = queue.Queue()
        self.faults: list[Exception] = []
        self.synced = 0
        self.thread = WorkerThread(self.queue, self._do, after_each=self._sync, round_seconds=60)
        assert self.next() == Work("pending"), "the first round is made at once"

    def _do(self, work: Work) -> None:
        self.done.put(work)
        if self.faults:
            raise self.faults.pop()

    def _sync(self) -> None:
        self.synced += 1

    def next(self) -> Work:
        return self.done.get(timeout=SOON)

    def settled(self) -> None:
        assert self.queue.wait_until_done(SOON)
        assert self.done.empty()


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.thread.close()


def test_what_is_sent_is_done_at_once(bench):
    bench.queue.send(Work("settle", "a"))
    assert bench.next() == Work("settle", "a")
    bench.settled()
    assert bench.synced == 2


def test_a_delay_is_waited_for_and_the_earliest_comes_first(bench):
    bench.queue.send(Work("settle", "late"), delay_seconds=50)
    bench.queue.send(Work("settle", "early"), delay_seconds=40)
    bench.settled()
    bench.clock.advance(55)
    assert [bench.next(), bench.next()] == [Work("settle", "early"), Work("settle", "late")]


def test_a_round_is_made_every_minute_however_much_else_is_done(bench):
    for _ in range(3):
        bench.clock.advance(30)
        bench.queue.send(Work("settle", "a"))
        assert bench.next() == Work("settle", "a")
        bench.settled()
        bench.clock.advance(30)
        assert bench.next() == Work("pending")
        bench.settled()


def test_what_fails_comes_again_a_few_times(bench, caplog):
    bench.faults = [OSError(f"fault {number}") for number in range(worker.TRIES_MAX)]
    bench.queue.send(Work("settle", "a"))
    for _ in range(worker.TRIES_MAX):
        assert bench.next() == Work("settle", "a")
        bench.settled()
        bench.clock.advance(worker.TRY_AGAIN_AFTER_SECONDS)
    bench.settled()
    assert sum("tried again" in line.message for line in caplog.records) == worker.TRIES_MAX - 1
    assert caplog.records[-1].levelname == "ERROR"
    bench.queue.send(Work("settle", "b"))
    assert bench.next() == Work("settle", "b"), "the thread lives"


def test_a_failed_round_is_not_piled_up_on_the_next(bench):
    bench.faults = [OSError("fault")]
    bench.clock.advance(60)
    assert bench.next() == Work("pending")
    bench.settled()
    bench.clock.advance(worker.TRY_AGAIN_AFTER_SECONDS)
    bench.settled()


def test_the_last_round_is_waited_for(bench):
    bench.thread.finish()
    assert bench.next() == Work("pending")
    assert not bench.thread.is_busy()


def test_it_is_busy_while_it_works():
    begun, may_end = threading.Event(), threading.Event()

    def work(_: Work) -> None:
        begun.set()
        assert may_end.wait(SOON)

    its_queue = LocalQueue()
    thread = WorkerThread(its_queue, work)
    assert begun.wait(SOON)
    assert thread.is_busy()
    may_end.set()
    assert its_queue.wait_until_done(SOON)
    thread.close()


def test_a_call_that_asks_for_work_gets_its_answer_when_it_is_done(bench):
    awaited = worker.AwaitedQueue(bench.queue, SOON)
    assert awaited.send(Work("settle", "a"))
    assert list(bench.done.queue) == [Work("settle", "a")]
    assert bench.synced == 2, "it is on the disk"


def test_a_call_does_not_wait_for_what_is_to_be_done_later(bench):
    assert not worker.AwaitedQueue(bench.queue, SOON).send(Work("settle", "a"), delay_seconds=900)
    bench.settled()


def test_a_call_waits_a_moment_only():
    may_end = threading.Event()
    its_queue = LocalQueue()
    thread = WorkerThread(its_queue, lambda _: may_end.wait(SOON))
    assert not worker.AwaitedQueue(its_queue, 0.01).send(Work("settle", "a"))
    may_end.set()
    thread.close()


def test_closing_drops_what_has_not_begun():
    its_queue, done = LocalQueue(), []
    thread = WorkerThread(its_queue, done.append)
    assert its_queue.wait_until_done(SOON)
    its_queue.send(Work("settle", "a"), delay_seconds=900)
    thread.close()
    assert done == [Work("pending")]
