"""Batches in flight: packed by one thread while others carry, each job let go of once, whatever ends the run."""

import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from mgmt.errors import CancelledError, LocalStateError, UnavailableError
from mgmt.in_flight import BATCHES_IN_FLIGHT_MAX, carry_beside
from mgmt_contract.parts import SINGLE_PUT_MAX_BYTES

WAIT_SECONDS = 20


class Scene:
    """Batches that do as they are told, and a note of everything that happened to them."""

    def __init__(self):
        self.stop = threading.Event()
        self.let_go = Counter()
        self.events = []

    def batch(self, name, *, pack=lambda: None, carry=lambda: None, size_bytes=1):
        job = SimpleNamespace(name=name, source=SimpleNamespace(upper_bound_bytes=size_bytes))
        return SimpleNamespace(
            jobs=[job], pack=lambda: self._note("pack", name, pack), carry=lambda: self._note("carry", name, carry)
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


def test_only_so_many_are_carried_at_a_time(scene):
    count = Counter()
    lock = threading.Lock()

    def carry():
        with lock:
            count["now"] += 1
            count["most"] = max(count["most"], count["now"])
        scene.stop.wait(0.01)
        with lock:
            count["now"] -= 1

    with scene.carrying() as in_flight:
        for number in range(12):
            in_flight.take(scene.batch(str(number), carry=carry))
    assert count["most"] <= BATCHES_IN_FLIGHT_MAX
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
