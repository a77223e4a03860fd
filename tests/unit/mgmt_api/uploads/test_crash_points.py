"""The service dies at its n-th call of a store, before or after the effect, for every n: the client just goes on.

Whatever the point, in the end there is one object with the right bytes, one success record for it, and no
multipart upload left behind (but for the one point where nobody knows of it yet).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mgmt_api.ports import RecordsUnavailableError, StorageUnavailableError
from mgmt_contract.messages.uploads import CleanUp, StartItem
from support.fakes import StrictRecordStore
from support.interposed import CrashError, interpose_objects, interpose_records
from support.studio import Machine, RefusedError, Studio, content_of, index_of, item_for, part_of

LEASE_SECONDS = 600
JOIN_PATIENCE_SECONDS = 600
WORTH_ASKING_AGAIN = {"internal-error", "storage-unavailable", "changed-meanwhile"}
OBJECT_CALLS = {
    "create_multipart_upload",
    "list_parts",
    "complete_multipart_upload",
    "abort_multipart_upload",
    "head_object",
}


class OneCrash:
    """Lets one call in a run fail, and remembers which."""

    def __init__(self, number: int, when: str, kind: str) -> None:
        self._left = number
        self._when = when
        self._kind = kind
        self.point: tuple[str, str] | None = None

    def hook(self, when: str) -> Callable[[str], None]:
        def meet(name: str) -> None:
            if when != self._when or name.startswith("presign"):
                return
            self._left -= 1
            if self._left == 0:
                self.point = (when, name)
                raise self._error(name)

        return meet

    def _error(self, name: str) -> Exception:
        if self._kind == "crash":
            return CrashError(name)
        return StorageUnavailableError(name) if name in OBJECT_CALLS else RecordsUnavailableError(name)


def persist(machine, call):
    """Make one call until it has another answer than a problem worth asking again.

    Time passes between the two: a join that was asked for before the crash is only looked at for a while.
    """
    for attempt in range(4):
        machine.studio.clock.advance(JOIN_PATIENCE_SECONDS / 2 if attempt else 0)
        try:
            result = call()
        except RefusedError as error:
            if error.code not in WORTH_ASKING_AGAIN:
                raise
            continue
        if result.outcome == "completing" or (result.problem and result.problem.code in WORTH_ASKING_AGAIN):
            continue
        return result
    raise AssertionError(f"it never recovered: {result}")


def finish(machine: Machine, item: StartItem, body: bytes) -> None:
    """Do what a client does, from the start on, until the upload is done."""
    assert any(go_through(machine, item, body) for _ in range(3)), "it never came to an end"
    cleaned = persist(machine, lambda: machine.clean_up(CleanUp(item.operation_id, "completed", "deleted"))[0])
    assert cleaned.record.compressed_file_record.status == "deleted"


def go_through(machine: Machine, item: StartItem, body: bytes) -> bool:
    started = persist(machine, lambda: machine.start(item))
    if started.outcome == "done":
        return True
    send(machine, started, body)
    return persist(machine, lambda: machine.complete(started, content_of(body))).outcome == "done"


def send(machine: Machine, started, body: bytes) -> None:
    if started.request is not None:
        assert machine.send(started, body) in (200, 412)
        return
    part_size = started.multipart.part_size
    if 1 not in started.multipart.received_parts:
        signed = persist(machine, lambda: machine.sign(started, [part_of(1, body)], content_of(body)))
        assert machine.send_parts(signed, body, part_size) == [200]


def upload_whole(studio: Studio) -> None:
    finish(studio.person("ada"), item_for("clip", b"bytes"), b"bytes")


def upload_in_parts(studio: Studio) -> None:
    finish(studio.person("ada"), item_for("clip", upper_bound=100), b"bytes")


def upload_with_its_index(studio: Studio) -> None:
    """The index was stored before the archive was whole: whatever dies after that, the record has it."""
    ada, index = studio.person("ada"), b"what is in it"
    item = item_for("clip", None, upper_bound=100)
    started = persist(ada, lambda: ada.start(item))
    part, content = part_of(1, b"bytes"), content_of(b"bytes")
    signed = persist(ada, lambda: ada.sign(started, [part], content, index=index_of(index)))
    assert studio.objects.put(signed.index_request, index) == 200
    assert ada.send_parts(signed, b"bytes", started.multipart.part_size) == [200]
    finish(ada, item, b"bytes")
    assert studio.operation(item.operation_id).record.index_size == len(index)


def replace_another(studio: Studio) -> None:
    studio.objects.place("clip.tar.gz", b"old")
    finish(studio.person("ada"), item_for("clip", b"bytes", replace=True), b"bytes")


def take_a_lapsed_name_over(studio: Studio) -> None:
    ada = studio.person("ada")
    item = item_for("clip", upper_bound=100)
    send(ada, persist(ada, lambda: ada.start(item)), b"never completed")
    studio.clock.advance(LEASE_SECONDS)
    finish(studio.person("bob"), item_for("clip", b"bytes"), b"bytes")


def take_over_from_another_machine(studio: Studio) -> None:
    ada = studio.person("ada")
    item = item_for("clip", upper_bound=100)
    send(ada, persist(ada, lambda: ada.start(item)), b"bytes")
    studio.clock.advance(LEASE_SECONDS)
    finish(ada.elsewhere(), item, b"bytes")


def give_up_and_start_again(studio: Studio) -> None:
    ada = studio.person("ada")
    started = persist(ada, lambda: ada.start(item_for("clip", upper_bound=100)))
    send(ada, started, b"first")
    persist(ada, lambda: ada.fail(started))
    finish(ada, item_for("clip", b"bytes"), b"bytes")


def settle_what_was_sent(studio: Studio) -> None:
    """Ada's bytes arrive, she vanishes, Bob replaces them."""
    ada = studio.person("ada")
    started = persist(ada, lambda: ada.start(item_for("clip", b"adas")))
    assert ada.send(started, b"adas") == 200
    studio.clock.advance(LEASE_SECONDS)
    finish(studio.person("bob"), item_for("clip", b"bytes", replace=True), b"bytes")
    assert studio.operation(started.operation_id).record.status == "success"


SCENARIOS = [
    upload_whole,
    upload_in_parts,
    upload_with_its_index,
    replace_another,
    take_a_lapsed_name_over,
    take_over_from_another_machine,
    give_up_and_start_again,
    settle_what_was_sent,
]


@pytest.mark.parametrize("kind", ["crash", "unavailable"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_every_point_can_be_died_at(scenario, when, kind):
    number, points = 0, set()
    while True:
        number += 1
        crash = OneCrash(number, when, kind)
        studio = Studio(records=StrictRecordStore())
        hooks = {"before": crash.hook("before"), "after": crash.hook("after")}
        studio.serve(interpose_records(studio.records, **hooks), interpose_objects(studio.objects, **hooks))
        scenario(studio)
        assert_all_is_well(studio, crash, find_unreachable_uploads(scenario, kind))
        if crash.point is None:
            break
        points.add(crash.point[1])
    assert {"put_name", "create_operation", "update_operation", "head_object", "get_operations"} <= points


def assert_all_is_well(studio: Studio, crash: OneCrash, unreachable_uploads) -> None:
    stored, body = studio.objects.versions["clip.tar.gz"][-1]
    assert body == b"bytes"
    records = [operation.record for operation in studio.records.operations.values()]
    (success,) = [record for record in records if record.status == "success" and record.version_id == stored.version_id]
    assert (success.operation_id, success.crc64nvme) == (stored.operation_id, stored.crc64nvme)
    assert all(record.status != "pending" for record in records)
    current = studio.records.names["clip.tar.gz"].current
    assert (current.operation_id, current.finished_at) == (success.operation_id, success.finished_at)
    assert not studio.objects.uploads or crash.point in unreachable_uploads


def find_unreachable_uploads(scenario, kind):
    """After a crash at these points a multipart upload is left that only the bucket's expiry removes."""
    points = {("after", "create_multipart_upload")}  # created, and its id not known
    if kind == "crash":  # not stored
        points |= {("before", "update_operation")}
    if kind == "unavailable":  # the storage would not throw it away
        points |= {("before", "abort_multipart_upload")}
    return points
