"""Parts handed from the packing to the sending thread: in order, whole, and with what went wrong."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from mgmt.errors import LocalStateError
from mgmt.upload.parts import PartFeed
from mgmt_contract.messages.uploads import Content, Part

WHOLE = [Part(number, 100, "AAAAAAAAAAA=") for number in (1, 2, 3)]
SHORT = Part(4, 7, "AAAAAAAAAAA=")
CONTENT = Content(307, "AAAAAAAAAAA=", "blake3:" + "0" * 64, 300, 1)


def test_the_last_part_comes_with_the_content_and_no_other_does():
    feed = PartFeed(100)
    for part in (*WHOLE, SHORT):
        feed.put(part)
    assert feed.take(2) == (WHOLE[:2], None)
    assert feed.take(2) == (WHOLE[2:], None), "the short one is the last, and what the whole is may follow it"
    feed.close(CONTENT)
    assert feed.take(2) == ([SHORT], CONTENT)
    assert feed.take(2) == ([], CONTENT)


def test_who_takes_waits_until_there_is_something():
    feed = PartFeed(100)
    is_waiting = threading.Event()

    class Watched(threading.Condition):
        def wait(self, timeout=None):
            is_waiting.set()
            return super().wait(timeout)

    def take():
        while not (taken := feed.take(10))[0]:
            pass  # word that nothing has come for a second
        return taken

    feed._changed = Watched()
    with ThreadPoolExecutor(1) as beside:
        taken = beside.submit(take)
        try:
            assert is_waiting.wait(10)
        finally:
            feed.put(WHOLE[0])
        assert taken.result(10) == ([WHOLE[0]], None)


def test_parts_that_come_fast_are_taken_together():
    feed = PartFeed(100)
    feed.put(WHOLE[0])
    with ThreadPoolExecutor(1) as beside:
        taken = beside.submit(feed.take, 10, enough=2, gathering_seconds=60)
        assert not wait([taken], 0.1).done, "one is not enough"
        feed.put(WHOLE[1])
        assert taken.result(10) == (WHOLE[:2], None)


def test_nobody_waits_longer_than_said_for_parts_to_be_taken_together():
    feed = PartFeed(100)
    feed.put(WHOLE[0])
    with ThreadPoolExecutor(1) as beside:
        taken = beside.submit(feed.take, 10, enough=2, gathering_seconds=0.01)
        assert taken.result(4) == (WHOLE[:1], None)


def test_the_end_of_the_packing_ends_the_gathering():
    feed = PartFeed(100)
    feed.put(WHOLE[0])
    with ThreadPoolExecutor(1) as beside:
        taken = beside.submit(feed.take, 10, enough=2, gathering_seconds=60)
        feed.close(CONTENT)
        assert taken.result(10) == (WHOLE[:1], CONTENT)


def test_who_waits_gets_word_though_nothing_comes():
    """Otherwise the lease would lapse while packing takes long."""
    began = time.monotonic()
    assert PartFeed(100).take(10) == ([], None)
    assert time.monotonic() - began >= 0.9, "nor is asked again and again"


def test_what_ended_the_packing_ends_the_sending():
    feed = PartFeed(100)
    feed.put(WHOLE[0])
    feed.close(None, LocalStateError("the disk is full"))
    with pytest.raises(LocalStateError, match="the disk is full"):
        feed.take(10)
