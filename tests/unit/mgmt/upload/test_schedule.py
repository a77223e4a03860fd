"""Batches in flight: packed by one thread while others carry, each job let go of once, whatever ends the run."""

import os
import signal
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from mgmt.errors import CancelledError, LocalStateError, UnavailableError
from mgmt.upload.schedule import BATCHES_IN_FLIGHT_MAX, carry_beside, strategy_for
from mgmt_contract.parts import SINGLE_PUT_MAX_BYTES

WAIT_SECONDS = 20


class Scene:
    """Batches that do as they are told, and a note of everything that happened to them."""

    def __init__(self):
        self.stop = threading.Event()
        self.let_go = Counter()
        self.events = []

    def batch(self, name, *, pack=lambda: None, carry=lambda: None, size_bytes=1):
        job = SimpleNamespace(
            name=name, source=SimpleNamespace(upper_bound_bytes=size_bytes), whole_max_bytes=SINGLE_PUT_MAX_BYTES
        )
        strategy = strategy_for(job)
        return SimpleNamespace(
            is_begun=False,
            jobs=[job],
            strategy=strategy,
            pack=lambda: self._note("pack", name, pack),
            carry=lambda: self._note("carry", name, carry),
        )

    def _note(self, what, name, act):
        self.events.append(f"{what} {name}")
        act()
        self.events.append(f"{what} {name} ended")

    def carrying(self):
        return carry_beside(self, lambda job: self.let_go.update([job.name]))


@pytest.fixture
def scene():
    return Scene()


def wait_for(event):
    def wait():
        assert event.wait(WAIT_SECONDS)

    return wait


def fail_with(error):
    def fail():
        raise error

    return fail


def test_the_next_batch_is_packed_while_one_is_carried(scene):
    is_packing_b = threading.Event()
    with scene.carrying() as in_flight:
        in_flight.take(scene.batch("a", carry=wait_for(is_packing_b)))
        in_flight.take(scene.batch("b", pack=is_packing_b.set))
    assert scene.events.index("pack b") < scene.events.index("carry a ended")
    assert scene.let_go == {"a": 1, "b": 1}


def test_only_so_many_lie_on_the_disk_at_a_time(scene):
    """Those in flight and the one being packed: packing faster than the network does not fill the disk."""
    count = Counter()
    lock = threading.Lock()

    def pack():
        with lock:
            count["now"] += 1
            count["most"] = max(count["most"], count["now"])

    def carry():
        scene.stop.wait(0.01)
        with lock:
            count["now"] -= 1

    with scene.carrying() as in_flight:
        for number in range(12):
            in_flight.take(scene.batch(str(number), pack=pack, carry=carry))
    assert count["most"] <= BATCHES_IN_FLIGHT_MAX + 1
    assert set(scene.let_go.values()) == {1}


def test_a_large_source_is_carried_alone(scene):
    is_taken = threading.Event()
    with scene.carrying() as in_flight:
        in_flight.take(scene.batch("a", carry=wait_for(is_taken)))
        is_taken.set()
        in_flight.take(scene.batch("large", size_bytes=SINGLE_PUT_MAX_BYTES + 1))
        in_flight.take(scene.batch("c"))
    order = ["carry a ended", "pack large", "carry large", "carry large ended", "pack c"]
    assert [event for event in scene.events if event in order] == order
    assert scene.let_go == {"a": 1, "large": 1, "c": 1}


def test_what_stops_one_batch_is_raised_after_the_others_have_landed(scene):
    has_failed = threading.Event()
    error = UnavailableError("no network")

    def fail():
        has_failed.set()
        raise error

    def run():
        with scene.carrying() as in_flight:
            in_flight.take(scene.batch("a", carry=wait_for(has_failed)))
            in_flight.take(scene.batch("b", carry=fail))
            in_flight.take(scene.batch("c"))
            in_flight.take(scene.batch("d"))

    with pytest.raises(UnavailableError) as raised:
        run()
    assert raised.value is error
    assert "carry a ended" in scene.events
    assert not scene.stop.is_set()
    assert set(scene.let_go.values()) == {1}


def test_a_disk_that_fills_up_while_packing_lets_the_others_land(scene):
    is_packing_b = threading.Event()

    def fill_up():
        is_packing_b.set()
        raise LocalStateError("full")

    def run():
        with scene.carrying() as in_flight:
            in_flight.take(scene.batch("a", carry=wait_for(is_packing_b)))
            in_flight.take(scene.batch("b", pack=fill_up))

    with pytest.raises(LocalStateError):
        run()
    assert "carry a ended" in scene.events
    assert scene.let_go == {"a": 1, "b": 1}


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), CancelledError("stopped")])
def test_an_interrupt_stops_what_is_in_flight_and_lets_go_of_all(scene, interrupt):
    def run():
        with scene.carrying() as in_flight:
            in_flight.take(scene.batch("a", carry=wait_for(scene.stop)))
            in_flight.take(scene.batch("b", pack=fail_with(interrupt)))

    with pytest.raises(type(interrupt)):
        run()
    assert scene.stop.is_set()
    assert scene.let_go == {"a": 1, "b": 1}


def test_a_batch_in_the_middle_of_a_call_does_not_hold_an_interrupt_up(scene):
    is_over = threading.Event()

    def run():
        with scene.carrying() as in_flight:
            in_flight.take(scene.batch("a", carry=wait_for(is_over)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert "carry a ended" not in scene.events
    assert scene.let_go == {"a": 1}
    is_over.set()


def test_a_job_that_cannot_be_let_go_of_does_not_keep_the_others(scene):
    """Such as where the journal's disk is full: the locks of all others are still given back."""
    jobs = [
        SimpleNamespace(name=name, source=SimpleNamespace(upper_bound_bytes=1), whole_max_bytes=1) for name in "abc"
    ]
    batch = SimpleNamespace(jobs=jobs, strategy=strategy_for(jobs[0]), pack=fail_with(KeyboardInterrupt()), carry=None)

    def let_go(job):
        scene.let_go.update([job.name])
        if job.name == "a":
            raise LocalStateError("full")

    def run():
        with carry_beside(scene, let_go) as in_flight:
            in_flight.take(batch)

    with pytest.raises(LocalStateError):
        run()
    assert set(scene.let_go) == {"a", "b", "c"}


def test_a_batch_that_the_disk_has_no_room_for_is_packed_when_those_in_flight_are_gone(scene):
    """Or a disk with room for one batch would not do, however often the command is run again."""
    is_asked = threading.Event()

    def pack_if_there_is_room():
        if not is_asked.is_set():
            is_asked.set()
            raise LocalStateError("full", code="disk-full")
        assert "carry a ended" in scene.events

    with scene.carrying() as in_flight:
        in_flight.take(scene.batch("a", carry=wait_for(is_asked)))
        in_flight.take(scene.batch("b", pack=pack_if_there_is_room))
    assert "carry b ended" in scene.events
    assert scene.let_go == {"a": 1, "b": 1}


def test_what_is_packed_goes_first_where_the_disk_has_no_room_for_the_rest(scene):
    """Or a disk smaller than a batch would never do, though it has room for each archive."""
    rounds = iter([True, True, False])

    def pack_as_much_as_fits():
        batch.is_begun = next(rounds)
        if batch.is_begun:
            raise LocalStateError("full", code="disk-full")

    batch = scene.batch("a", pack=pack_as_much_as_fits)
    with scene.carrying() as in_flight:
        in_flight.take(batch)
    assert [event for event in scene.events if "ended" not in event] == ["pack a", "carry a"] * 3
    assert scene.let_go == {"a": 1}


def test_an_interrupt_while_room_is_made_lets_go_when_the_carrying_was_told_to_stop(scene):
    """Otherwise archives and locks would vanish under threads that are still sending."""

    def carry():
        threading.Timer(0.1, signal.raise_signal, [signal.SIGINT]).start()
        assert scene.stop.wait(WAIT_SECONDS)
        assert not scene.let_go

    def pack():
        batch.is_begun = True
        raise LocalStateError("full", code="disk-full")

    batch = scene.batch("a", pack=pack, carry=carry)

    def run():
        with scene.carrying() as in_flight:
            in_flight.take(batch)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert scene.events == ["pack a", "carry a", "carry a ended"]
    assert scene.let_go == {"a": 1}


@pytest.mark.parametrize("pack_error", [None, LocalStateError("full", code="disk-full")])
def test_an_interrupt_in_the_moment_of_handing_over_stops_the_batch_in_flight(scene, pack_error):
    """Or it would go on with archives that others may use by then."""

    def carry():
        assert scene.stop.wait(WAIT_SECONDS)
        assert not scene.let_go

    def pack():
        if pack_error is not None:
            batch.is_begun = True
            raise pack_error

    batch = scene.batch("a", pack=pack, carry=carry)

    def run():
        with scene.carrying() as in_flight:
            submit = in_flight._threads.submit

            def submit_and_interrupt(*arguments):
                submit(*arguments)
                raise KeyboardInterrupt

            in_flight._threads.submit = submit_and_interrupt
            in_flight.take(batch)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert scene.events[-1] == "carry a ended"
    assert scene.let_go == {"a": 1}


def test_a_disk_that_is_full_with_nothing_in_flight_stops_the_run(scene):
    def run():
        with scene.carrying() as in_flight:
            in_flight.take(scene.batch("a", pack=fail_with(LocalStateError("full", code="disk-full"))))

    with pytest.raises(LocalStateError):
        run()
    assert scene.events == ["pack a"]


@pytest.mark.skipif(os.name == "nt", reason="there is no sending of Ctrl-C to oneself alone")
def test_a_second_ctrl_c_leaves_no_more_behind_than_one(scene):
    def let_go(job):
        os.kill(os.getpid(), signal.SIGINT)
        scene.let_go.update([job.name])

    def run():
        with carry_beside(scene, let_go) as in_flight:
            in_flight.take(scene.batch("a"))
            raise KeyboardInterrupt("the first")

    with pytest.raises(KeyboardInterrupt, match="the first"):
        run()
    assert scene.let_go == {"a": 1}
