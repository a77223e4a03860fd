from __future__ import annotations

import threading

from mgmt_local.process.activity import Activity
from mgmt_local.process.alive import Holder

UPLOAD, HISTORY = Holder("mgmt --local upload all", 4711), Holder("mgmt --local history", 4712)


def test_a_running_request_is_never_idle():
    activity = Activity(0)
    with activity.admit() as admitted:
        assert admitted
        assert not activity.close_if_idle()
    assert activity.close_if_idle()


def test_after_closing_nothing_is_admitted():
    activity = Activity(0)
    assert activity.close_if_idle()
    with activity.admit() as admitted:
        assert not admitted


def test_what_may_not_answer_admits_nothing_while_that_is_so():
    answers = iter([True, False, True])
    activity = Activity(600, lambda: next(answers))
    for expected in (True, False, True):
        with activity.admit() as admitted:
            assert admitted is expected


def test_any_use_counts_from_anew():
    activity = Activity(600)
    assert not activity.close_if_idle()
    activity.touch()
    assert not activity.close_if_idle()
    with activity.admit() as admitted:
        assert admitted


def test_a_held_backend_is_never_idle_and_still_closes_at_once():
    activity = Activity(0)
    with activity.hold(UPLOAD):
        with activity.hold(HISTORY):
            assert activity.holders() == [UPLOAD, HISTORY]
        assert activity.holders() == [UPLOAD]
        assert not activity.close_if_idle()
        activity.close(60)  # returns at once
    assert activity.close_if_idle()


def test_closing_waits_for_what_runs():
    activity = Activity(600)
    entered, leave = threading.Event(), threading.Event()

    def run() -> None:
        with activity.admit():
            entered.set()
            leave.wait(10)

    worker = threading.Thread(target=run)
    worker.start()
    assert entered.wait(10)
    activity.close(0)
    closing = threading.Thread(target=activity.close, args=(10,))
    closing.start()
    leave.set()
    closing.join(10)
    assert not closing.is_alive()
    worker.join()
