"""Two calls at once: one runs whole before the n-th store call of the other, for every n."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.entities import Actor
from mgmt_api.ports import RecordsUnavailableError
from mgmt_api.uploads.completion import complete_uploads
from mgmt_api.uploads.ending import fail_uploads
from mgmt_api.uploads.signing import sign_parts
from mgmt_api.uploads.starting import start_uploads
from mgmt_contract.messages.uploads import (
    CompleteItem,
    CompleteRequest,
    FailItem,
    FailRequest,
    SignItem,
    SignRequest,
    StartItem,
    StartRequest,
    StartResult,
)
from support.fakes import FakeObjectStore, StrictRecordStore
from support.interposed import fail_at, interpose_objects, interpose_records
from support.studio import SETTINGS, Machine, Studio, content_of, item_for, part_of

KEY = "clip.tar.gz"
LEASE_SECONDS = 600
ENDED = ("done", "failed")


@dataclass
class Client:
    """A machine whose calls run on given backends: the resolver itself cannot be entered twice."""

    machine: Machine
    item: StartItem
    body: bytes
    started: StartResult | None = None

    @property
    def actor(self) -> Actor:
        return Actor(self.machine.claims["sub"], self.machine.claims["username"], "member")

    def start(self, backends: Backends) -> str:
        request = StartRequest(self.machine.machine_id, [self.item])
        result = start_uploads(backends, self.actor, request).results[0]
        if result.lease is not None:
            self.started = result
        return result.outcome

    def send(self, backends: Backends) -> None:
        studio = self.machine.studio
        if self.started.request is not None:
            assert studio.objects.put(self.started.request, self.body) in (200, 412)
            return
        part = part_of(1, self.body)
        item = SignItem(self.item.operation_id, self.started.lease.epoch, [part], content_of(self.body))
        result = sign_parts(backends, self.actor, SignRequest(self.machine.machine_id, [item])).results[0]
        for signed in result.parts:
            assert studio.objects.put_part(signed.request, self.body) in (200, 404)

    def complete(self, backends: Backends) -> str:
        item = CompleteItem(self.item.operation_id, self.started.lease.epoch, content_of(self.body))
        request = CompleteRequest(self.machine.machine_id, [item])
        return complete_uploads(backends, self.actor, request).results[0].outcome

    def fail(self, backends: Backends) -> str:
        item = FailItem(self.item.operation_id, self.started.lease.epoch, "gave-up", "gave up")
        request = FailRequest(self.machine.machine_id, [item])
        return fail_uploads(backends, self.actor, request).results[0].outcome


class Scene:
    """Ada and Bob want one name; what they do is up to the test."""

    def __init__(self, *, in_parts: bool, replace: bool) -> None:
        self.studio = Studio(records=StrictRecordStore())
        self.replace = replace
        size = {"upper_bound": 10} if in_parts else {}
        self.ada = Client(self.studio.person("ada"), item_for("clip", b"adas", **size), b"adas")
        self.bob = Client(self.studio.person("bob"), item_for("clip", b"bobs", replace=replace), b"bobs")
        self.twin = Client(self.ada.machine, self.ada.item, b"adas")
        other = self.ada.machine.elsewhere()
        self.elsewhere = Client(other, self.ada.item, b"adas")
        self.plain = Backends(SETTINGS, self.studio.records, self.studio.objects, self.studio.clock)

    def interrupted(self, number: int, inner: Callable[[], object]) -> tuple[Backends, list[str]]:
        """Backends with a step of another caller before their n-th store call."""
        met: list[str] = []

        def meet(name: str) -> None:
            met.append(name)
            if len(met) == number:
                inner()

        records = interpose_records(self.studio.records, before=meet)
        objects = interpose_objects(self.studio.objects, before=meet)
        return Backends(SETTINGS, records, objects, self.studio.clock), met

    def finish(self, *clients: Client) -> list[str]:
        """Let clients that were let in go on to their end."""
        outcomes = []
        for client in clients:
            if client.started is not None:
                client.send(self.plain)
                outcomes.append(client.complete(self.plain))
        return outcomes

    def check(self) -> None:
        versions = {stored.version_id: stored for stored, _ in self.studio.objects.versions.get(KEY, [])}
        assert self.replace or len(versions) <= 1
        records = [operation.record for operation in self.studio.records.operations.values()]
        successes = [record for record in records if record.status == "success"]
        assert len({record.version_id for record in successes}) == len(successes)
        for record in successes:
            assert versions[record.version_id].operation_id == record.operation_id
        current = self.studio.records.names[KEY].current
        last = self.studio.objects.head_object(KEY)
        if last is not None and last.version_id in {record.version_id for record in successes}:
            record = self.studio.operation(last.operation_id).record
            assert (current.operation_id, current.etag, current.finished_at) == (
                last.operation_id,
                last.etag,
                record.finished_at,
            )
        assert len([record for record in records if record.phase not in ENDED]) <= 1


def run_races(make_scene, prepare, outer, inner, after=lambda scene: None) -> None:
    for number in itertools.count(1):
        scene = make_scene()
        prepare(scene)
        backends, met = scene.interrupted(number, lambda scene=scene: inner(scene))
        outer(scene, backends)
        if len(met) < number:
            assert number > 3
            return
        scene.check()
        after(scene)
        scene.check()


both = pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
with_replace = pytest.mark.parametrize("replace", [False, True], ids=["create", "replace"])


@both
def test_of_two_starts_at_once_exactly_one_succeeds(in_parts):
    def after(scene):
        assert (scene.ada.started is None) != (scene.bob.started is None)
        assert scene.finish(scene.ada, scene.bob) == ["done"]

    run_races(
        lambda: Scene(in_parts=in_parts, replace=False),
        lambda scene: None,
        lambda scene, backends: scene.ada.start(backends),
        lambda scene: scene.bob.start(scene.plain),
        after,
    )


@both
def test_the_same_start_twice_at_once_is_one_upload(in_parts):
    def after(scene):
        assert len(scene.studio.records.operations) == 1
        assert len(scene.studio.objects.uploads) == int(in_parts)
        assert scene.finish(scene.ada, scene.twin) == ["done", "done"] if not in_parts else True

    run_races(
        lambda: Scene(in_parts=in_parts, replace=False),
        lambda scene: None,
        lambda scene, backends: scene.ada.start(backends),
        lambda scene: scene.twin.start(scene.plain),
        after,
    )


def let_ada_send(scene):
    assert scene.ada.start(scene.plain) in ("put", "multipart")
    scene.ada.send(scene.plain)


def let_ada_send_and_lapse(scene):
    let_ada_send(scene)
    scene.studio.clock.advance(LEASE_SECONDS)


@both
@with_replace
def test_completing_while_another_takes_the_lapsed_name(in_parts, replace):
    def after(scene):
        scene.finish(scene.bob)
        assert scene.studio.operation(scene.ada.item.operation_id).phase in ENDED

    run_races(
        lambda: Scene(in_parts=in_parts, replace=replace),
        let_ada_send_and_lapse,
        lambda scene, backends: scene.ada.complete(backends),
        lambda scene: scene.bob.start(scene.plain),
        after,
    )


@both
@with_replace
def test_taking_a_lapsed_name_while_it_is_completed(in_parts, replace):
    run_races(
        lambda: Scene(in_parts=in_parts, replace=replace),
        let_ada_send_and_lapse,
        lambda scene, backends: scene.bob.start(backends),
        lambda scene: scene.ada.complete(scene.plain),
        lambda scene: scene.finish(scene.bob),
    )


@with_replace
@both
def test_completing_while_another_takes_over_and_completes(in_parts, replace):
    def inner(scene):
        scene.bob.start(scene.plain)
        scene.finish(scene.bob)

    run_races(
        lambda: Scene(in_parts=in_parts, replace=replace),
        let_ada_send_and_lapse,
        lambda scene, backends: scene.ada.complete(backends),
        inner,
    )


@both
def test_completing_twice_at_once_is_done_twice_and_asked_of_the_storage_once(in_parts):
    """While the one has the storage join the parts, the other only looks."""

    def outer(scene, backends):
        assert scene.ada.complete(backends) == "done"

    def inner(scene):
        scene.studio.clock.advance(1)
        asked = []
        objects = interpose_objects(scene.studio.objects, before=asked.append)
        outcome = scene.ada.complete(dataclasses.replace(scene.plain, objects=objects))
        operation = scene.studio.operation(scene.ada.item.operation_id)
        if outcome == "completing":
            assert in_parts
            assert operation.join_asked_at is not None
            assert asked == ["head_object"]
        else:
            assert outcome == "done"

    def after(scene):
        assert scene.ada.complete(scene.plain) == "done"

    run_races(lambda: Scene(in_parts=in_parts, replace=False), let_ada_send, outer, inner, after)


@both
def test_a_success_has_one_time_even_where_two_calls_record_it(in_parts):
    """The second call comes as far as the name, and no further."""

    def inner(scene):
        scene.studio.clock.advance(1)
        error = RecordsUnavailableError("throttled")
        records = interpose_records(scene.studio.records, before=fail_at("update_operation", error))
        outcome = scene.ada.complete(dataclasses.replace(scene.plain, records=records))
        assert outcome in ("problem", "done", "completing")

    def outer(scene, backends):
        assert scene.ada.complete(backends) == "done"

    run_races(lambda: Scene(in_parts=in_parts, replace=False), let_ada_send, outer, inner)


@both
def test_completing_and_giving_up_at_once_have_one_end(in_parts):
    def inner(scene):
        scene.ada.fail(scene.plain)

    def outer(scene, backends):
        scene.outcome = scene.ada.complete(backends)

    def after(scene):
        phase = scene.studio.operation(scene.ada.item.operation_id).phase
        assert phase == ("done" if scene.outcome == "done" else "failed")

    run_races(lambda: Scene(in_parts=in_parts, replace=False), let_ada_send, outer, inner, after)


@both
def test_giving_up_and_completing_at_once_have_one_end(in_parts):
    def inner(scene):
        scene.outcome = scene.ada.complete(scene.plain)

    def after(scene):
        phase = scene.studio.operation(scene.ada.item.operation_id).phase
        assert phase == ("done" if scene.outcome == "done" else "failed")

    run_races(
        lambda: Scene(in_parts=in_parts, replace=False),
        let_ada_send,
        lambda scene, backends: scene.ada.fail(backends),
        inner,
        after,
    )


def find_current(scene) -> str | None:
    current = scene.studio.records.names[KEY].current
    return current and current.operation_id


def test_giving_up_what_arrives_meanwhile_and_is_recorded_half_is_a_success():
    """The look of giving up may find nothing: then the object arrives, and its completion dies over the records."""

    def inner(scene):
        scene.ada.send(scene.plain)
        error = RecordsUnavailableError("throttled")
        records = interpose_records(scene.studio.records, before=fail_at("update_operation", error))
        scene.ada.complete(dataclasses.replace(scene.plain, records=records))

    def after(scene):
        phase = scene.studio.operation(scene.ada.item.operation_id).phase
        assert find_current(scene) == (scene.ada.item.operation_id if phase == "done" else None)
        assert scene.ada.complete(scene.plain) == ("done" if phase == "done" else "problem")

    run_races(
        lambda: Scene(in_parts=False, replace=False),
        lambda scene: scene.ada.start(scene.plain),
        lambda scene, backends: scene.ada.fail(backends),
        inner,
        after,
    )


def test_completing_what_was_given_up_before_it_arrived_does_not_take_the_name():
    scene = Scene(in_parts=False, replace=False)
    let_ada_send(scene)
    given_up = []

    def give_up(name: str) -> None:
        if name == "put_name" and not given_up:
            given_up.append(scene.ada.fail(dataclasses.replace(scene.plain, objects=looked_before_it_arrived)))

    looked_before_it_arrived = FakeObjectStore(scene.studio.clock)
    records = interpose_records(scene.studio.records, before=give_up)
    assert scene.ada.complete(dataclasses.replace(scene.plain, records=records)) == "problem"
    assert given_up == ["record"]
    assert scene.studio.operation(scene.ada.item.operation_id).phase == "failed"
    assert find_current(scene) is None


@both
def test_two_machines_that_go_on_at_once_do_not_mix(in_parts):
    """The lease has lapsed, and both the old holder and another machine of the same person come back."""

    def after(scene):
        assert scene.studio.operation(scene.ada.item.operation_id).lease_epoch in (1, 2)
        assert len(scene.studio.objects.uploads) == int(in_parts)
        scene.finish(scene.ada)
        if scene.elsewhere.started is not None:
            scene.finish(scene.elsewhere)
        assert scene.studio.operation(scene.ada.item.operation_id).phase == "done"

    run_races(
        lambda: Scene(in_parts=in_parts, replace=False),
        lambda scene: (scene.ada.start(scene.plain), scene.studio.clock.advance(LEASE_SECONDS)),
        lambda scene, backends: scene.ada.start(backends),
        lambda scene: scene.elsewhere.start(scene.plain),
        after,
    )


def test_signing_while_another_takes_the_name_signs_for_nothing():
    def after(scene):
        assert scene.bob.started is None or scene.studio.operation(scene.ada.item.operation_id).phase == "failed"
        scene.finish(scene.ada, scene.bob)

    run_races(
        lambda: Scene(in_parts=True, replace=False),
        lambda scene: (scene.ada.start(scene.plain), scene.studio.clock.advance(LEASE_SECONDS)),
        lambda scene, backends: scene.ada.send(backends),
        lambda scene: scene.bob.start(scene.plain),
        after,
    )
