"""Every call of the service, and its worker, in any order, by several people, with crashes: the rules always hold.

`MGMT_ANY_ORDER=1000` makes so many walks instead of the few of `make test`.
"""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mgmt_api.domain.entities import Delete, Name, Operation, Restore, Undelete
from mgmt_api.domain.work import ROUND_SECONDS, Work
from mgmt_api.ports import RecordStore, StoredObject
from mgmt_contract.messages.downloads import DownloadResult
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import CleanUp
from mgmt_contract.names import OWN_FOLDER, fold_key
from mgmt_contract.records import UploadRecord
from mgmt_contract.storage import EXPIRED_TAG
from mgmt_local.records import SQLiteRecordStore
from support.fakes import FakeRecordStore
from support.interposed import Crash, CrashError, interpose_objects, interpose_records
from support.ledger import Ledger, LedgerObjects, note_records
from support.operations import make_id
from support.studio import SETTINGS, Attempt, Machine, RefusedError, Studio, content_of, index_of, item_for, part_of

WALKS = int(os.environ.get("MGMT_ANY_ORDER", "80"))
STEPS = 50
NAMES = ("clip", "Clip", "reel", "card")
BODIES = (b"one", b"two", b"three")
INDEX = b"index"
ENDED = ("done", "failed")
VERBS = ("delete", "delete", "undelete")
DAY = 24 * 3600
QUARTER_OF_A_DAY_ROUNDS = DAY // 4 // ROUND_SECONDS + 1
WAITS_SECONDS = (1, 300, 600, 900, 3600, -300, 8 * DAY, 31 * DAY, 31 * DAY)
ROUNDS = (Work("pending"), Work("deleted"), Work("orphans"))


@dataclass
class Fetch:
    """One download as its client knows it."""

    machine: Machine
    opened: DownloadResult


class Faults(logging.Handler):
    """Errors that the service keeps to itself and writes into its log."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what is no crash of a test's own."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, CrashError):
            self.found.append(f"{record.getMessage()}: {error!r}")


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[Attempt] = []
        self.fetches: list[Fetch] = []
        self.puts: list[tuple[SignedRequest, bytes]] = []
        self.part_puts: list[tuple[SignedRequest, bytes]] = []
        self.confirmed: set[str] = set()
        self.ever_deleted: set[str] = set()
        self.destroyed: set[str | None] = set()
        self.crash = Crash()
        # The same choices must make the same walk, whose order of operations is that of their ids.
        self.ids = patch("uuid.uuid4", map(make_id, itertools.count(1)).__next__)
        self.ids.start()
        self.faults = Faults()
        logging.getLogger("mgmt_api").addHandler(self.faults)

    def make_records(self) -> RecordStore:
        return FakeRecordStore()

    @initialize(has_worker=st.booleans(), replace_others=st.sampled_from(["members", "admins"]))
    def open_the_studio(self, has_worker, replace_others) -> None:
        self.studio = studio = Studio(replace(SETTINGS, replace_others=replace_others), has_worker=has_worker)
        self.ledger = Ledger(studio.clock)
        self.objects = studio.objects = LedgerObjects(studio.clock, self.ledger)
        self.records = self.make_records()
        studio.serve(
            interpose_records(note_records(self.records, self.ledger), **self.crash.hooks),
            interpose_objects(self.objects, **self.crash.hooks),
        )
        ada = studio.person("ada")
        chief = studio.person("chief", groups=("admins",))
        self.machines = [ada, ada.elsewhere(), studio.person("bob"), chief]
        self._upload(0, "clip", BODIES[0])
        self._upload(2, "reel", BODIES[1], upper_bound=10)
        self._work()

    # --- crashes, and answers in general ----------------------------------------------------------------

    def _call(self, call: Callable[[], Any]) -> Any:
        """Make a call; None where the service died over it. Nothing else may be its own fault."""
        earlier_crashes, result = self.crash.count, None
        try:
            result = call()
            problem = result.problem
        except RefusedError as refused:
            problem = refused.problem
        self.crash.call_off()
        if problem is not None and problem.code == "internal-error":
            assert self.crash.count > earlier_crashes, problem
            return None
        assert problem is None or problem.status < 500, problem
        return result

    @rule(number=st.integers(1, 8), when=st.sampled_from(["before", "after"]))
    def crash_in_the_next_call(self, number, when) -> None:
        self.crash.plan(number, when)

    @rule(seconds=st.sampled_from(WAITS_SECONDS), rounds=st.sampled_from(((), ROUNDS)), lays_marker=st.booleans())
    def wait(self, seconds, rounds, lays_marker) -> None:
        self.studio.clock.advance(seconds)
        self._work(*rounds)
        self._remove_what_is_tagged(lays_marker)

    # --- uploads ----------------------------------------------------------------------------------------

    @rule(
        who=st.integers(0, 3),
        name=st.sampled_from(NAMES),
        body=st.sampled_from(BODIES),
        size=st.sampled_from(({}, {"upper_bound": 10})),
        replaces=st.booleans(),
    )
    def start(self, who, name, body, size, replaces) -> None:
        attempt = Attempt(self.machines[who], item_for(name, body, replace=replaces, **size), body)
        self.attempts.append(attempt)
        self._start(attempt, attempt.machine)

    @rule(
        who=st.integers(0, 3),
        name=st.sampled_from(NAMES),
        body=st.sampled_from(BODIES),
        size=st.sampled_from(({}, {"upper_bound": 10})),
        is_confirmed=st.booleans(),
    )
    def send_and_perhaps_complete(self, who, name, body, size, is_confirmed) -> None:
        self._upload(who, name, body, is_confirmed=is_confirmed, replace=True, **size)

    def _upload(self, who: int, name: str, body: bytes, *, is_confirmed: bool = True, **more: Any) -> None:
        """Upload as a client does: from the start to the end, or only until the bytes are there."""
        attempt = Attempt(self.machines[who], item_for(name, body, **more), body)
        self.attempts.append(attempt)
        self._start(attempt, attempt.machine)
        if attempt.started is not None:
            self._send(attempt, body)
            if is_confirmed:
                self._complete(attempt, attempt.machine, content_of(body))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), who=st.integers(0, 3))
    def start_again(self, data, who) -> None:
        self._start(data.draw(st.sampled_from(self.attempts)), self.machines[who])

    def _start(self, attempt: Attempt, machine: Machine) -> None:
        known = self.ledger.operations.get(attempt.item.operation_id)
        started = self._call(lambda: machine.start(attempt.item))
        if started is None or started.outcome == "problem":
            return
        assert known is None or _is_own(machine, known.record), "nobody carries on for somebody else"
        if started.outcome in ("put", "multipart"):
            attempt.machine, attempt.started = machine, started
            if started.request is not None:
                self.puts.append((started.request, attempt.body))
        elif started.outcome == "done":
            self.confirmed.add(started.operation_id)
        elif started.outcome == "already_there":
            assert self.objects.head_object(started.s3_object_key).etag == started.existing.etag

    @rule(who=st.integers(0, 3), name=st.sampled_from(NAMES), body=st.sampled_from(BODIES))
    def preview(self, who, name, body) -> None:
        writes = self.ledger.writes
        self._call(lambda: self.machines[who].preview(item_for(name, body))[0])
        assert self.ledger.writes == writes

    @property
    def _started(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.started is not None]

    @precondition(lambda self: self._started)
    @rule(data=st.data(), body=st.sampled_from((None, *BODIES)), who=st.sampled_from((None, 0, 1, 2, 3)))
    def sign(self, data, body, who) -> None:
        attempt = data.draw(st.sampled_from(self._started))
        self._sign(attempt, body or attempt.body, attempt.machine if who is None else self.machines[who])

    def _sign(self, attempt: Attempt, body: bytes, machine: Machine) -> None:
        parts, final = [part_of(1, body)], content_of(body)
        signed = self._call(lambda: machine.sign(attempt.started, parts, final, index=index_of(INDEX)))
        if signed is not None and signed.outcome == "signed":
            self._require_holder(machine, attempt)
            self.part_puts += [(each.request, body) for each in signed.parts]
            self.puts.append((signed.index_request, INDEX))

    def _send(self, attempt: Attempt, body: bytes) -> None:
        if attempt.started.request is not None:
            self.objects.put(attempt.started.request, body)
            return
        known = len(self.part_puts)
        self._sign(attempt, body, attempt.machine)
        for request, part in self.part_puts[known:]:
            self.objects.put_part(request, part)
            self.objects.put(self.puts[-1][0], INDEX)

    @precondition(lambda self: self.puts)
    @rule(data=st.data(), other=st.sampled_from((None, *BODIES)))
    def put_to_any_url_ever_signed(self, data, other) -> None:
        request, body = data.draw(st.sampled_from(self.puts))
        status = self.objects.put(request, other or body)
        assert status in ((200, 403, 404, 412) if other in (None, body) else (400, 403))

    @precondition(lambda self: self.part_puts)
    @rule(data=st.data(), other=st.sampled_from((None, *BODIES)))
    def put_to_any_url_of_a_part_ever_signed(self, data, other) -> None:
        request, body = data.draw(st.sampled_from(self.part_puts))
        status = self.objects.put_part(request, other or body)
        assert status in ((200, 403, 404) if other in (None, body) else (400, 403))

    @precondition(lambda self: self._started)
    @rule(data=st.data(), body=st.sampled_from((None, *BODIES)), who=st.sampled_from((None, None, 0, 1, 2, 3)))
    def complete(self, data, body, who) -> None:
        attempt = data.draw(st.sampled_from(self._started))
        machine = attempt.machine if who is None else self.machines[who]
        self._complete(attempt, machine, content_of(body or attempt.body))

    def _complete(self, attempt: Attempt, machine: Machine, content: Any) -> None:
        result = self._call(lambda: machine.complete(attempt.started, content))
        if result is not None and result.problem is None:
            assert _is_own(machine, self.ledger.operations[result.operation_id].record)
            if result.outcome == "done":
                self.confirmed.add(result.operation_id)

    @precondition(lambda self: self._started)
    @rule(data=st.data(), who=st.sampled_from((None, 0, 1, 2, 3)), code=st.sampled_from(["unavailable", "cancelled"]))
    def fail(self, data, who, code) -> None:
        attempt = data.draw(st.sampled_from(self._started))
        machine = attempt.machine if who is None else self.machines[who]
        result = self._call(lambda: machine.fail(attempt.started, code=code))
        if result is not None and result.problem is None:
            assert _is_own(machine, result.record) or _is_admin(machine)
            assert result.record.phase in ENDED

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), who=st.integers(0, 3))
    def clean_up(self, data, who) -> None:
        id_ = data.draw(st.sampled_from(self.attempts)).item.operation_id
        result = self._call(lambda: self.machines[who].clean_up(CleanUp(id_, "moved", "deleted"))[0])
        if result is not None and result.problem is None:
            assert _is_own(self.machines[who], result.record)
            assert result.record.phase == "done"

    @rule(
        who=st.integers(0, 3),
        name=st.sampled_from(NAMES),
        body=st.sampled_from(BODIES),
        code=st.sampled_from(["unavailable", "cancelled"]),
        is_told=st.booleans(),
    )
    def send_after_it_has_failed(self, who, name, body, code, is_told) -> None:
        attempt = Attempt(self.machines[who], item_for(name, body, replace=True), body)
        self.attempts.append(attempt)
        self._start(attempt, attempt.machine)
        if attempt.started is None:
            return
        self._call(lambda: attempt.machine.fail(attempt.started, code=code))
        self._send(attempt, body)
        if is_told:
            self._work(*self._arrivals())

    @precondition(lambda self: self._started)
    @rule(data=st.data())
    def go_on_elsewhere(self, data) -> None:
        """The machine that had begun it does not know that yet."""
        attempt = data.draw(st.sampled_from(self._started))
        old, started = attempt.machine, attempt.started
        here = next((each for each in self.machines if each.claims == old.claims and each != old), None)
        if here is None:
            return
        self.studio.clock.advance(600)
        self._start(attempt, here)
        old_view = replace(attempt, machine=old, started=started)
        self._sign(old_view, attempt.body, old)
        self._complete(old_view, old, content_of(attempt.body))

    def _require_holder(self, machine: Machine, attempt: Attempt) -> None:
        operation = self.ledger.operations[attempt.item.operation_id]
        assert _is_own(machine, operation.record)
        assert operation.machine_id == machine.machine_id

    # --- deletions --------------------------------------------------------------------------------------

    @precondition(lambda self: self._uploads_done)
    @rule(data=st.data(), who=st.sampled_from((None, None, 0, 2, 3)), verb=st.sampled_from(VERBS))
    def delete_or_undelete(self, data, who, verb) -> None:
        self._remove(data, who, verb)

    @precondition(lambda self: self._uploads_done)
    @rule(data=st.data(), days=st.sampled_from([29, 30, 31]), who=st.sampled_from((None, 2)))
    def delete_and_undelete_later(self, data, days, who) -> None:
        upload = self._remove(data, who, "delete")
        self.studio.clock.advance(days * DAY)
        self._remove(data, None, "undelete", upload)

    def _remove(self, data: Any, who: int | None, verb: str, upload: UploadRecord | None = None) -> UploadRecord:
        upload = upload or data.draw(st.sampled_from(self._uploads_done)).record
        owner = next(each for each in self.machines if _is_own(each, upload))
        machine = owner if who is None else self.machines[who]
        self.ever_deleted.add(upload.operation_id)  # also where the service dies over its answer
        result = self._call(lambda: getattr(machine, verb)(upload.operation_id))
        if result is None:
            return upload
        may = _is_own(machine, upload) or _is_admin(machine)
        assert may == (result.problem is None or result.problem.code in ("not-recoverable", "object-gone"))
        if result.problem is None:
            assert (result.upload.deleted_at is not None) == (verb == "delete")
        return upload

    def _remove_what_is_tagged(self, lays_marker: bool) -> None:
        """As a lifecycle rule does: a current version gets a delete marker, or is gone at once."""
        for (key, version_id), tags in list(self.objects.tags.items()):
            if EXPIRED_TAG not in tags or version_id in self.destroyed:
                continue
            current = self.objects.head_object(key)
            if lays_marker and current is not None and current.version_id == version_id:
                self.objects.delete(key)
                continue
            self.objects.destroy(key, version_id)
            self.destroyed.add(version_id)

    # --- downloads, restores, looks ---------------------------------------------------------------------

    @precondition(lambda self: self._uploads)
    @rule(data=st.data(), who=st.integers(0, 3), again=st.booleans())
    def open_download(self, data, who, again) -> None:
        machine, upload_id, id_ = self.machines[who], None, None
        if again and self.fetches:
            fetch = data.draw(st.sampled_from(self.fetches))
            id_, upload_id = fetch.opened.operation_id, fetch.opened.upload.operation_id
        upload_id = upload_id or data.draw(st.sampled_from(self._uploads)).id
        opened = self._call(lambda: machine.open_download(upload_id, id_))
        if opened is None or opened.outcome != "opened":
            return
        assert _is_own(machine, self.ledger.operations[opened.operation_id].record)
        upload = self.ledger.operations[upload_id]
        assert (upload.phase, upload.record.removed_at) == ("done", None)
        body = self.ledger.bodies[upload.record.version_id]
        assert content_of(body).crc64nvme == upload.record.crc64nvme
        assert self.objects.get(opened.request) == (200, body)
        self.fetches.append(Fetch(machine, opened))

    @precondition(lambda self: self.fetches)
    @rule(data=st.data(), who=st.sampled_from((None, 0, 1, 2, 3)), has_failed=st.booleans())
    def end_download(self, data, who, has_failed) -> None:
        fetch = data.draw(st.sampled_from(self.fetches))
        machine = fetch.machine if who is None else self.machines[who]
        more = {"error_code": "unavailable", "error_message": "It went away."} if has_failed else {}
        known = self.ledger.operations[fetch.opened.operation_id]
        result = self._call(lambda: machine.end_download(fetch.opened, 3, **more))
        if result is not None and result.problem is None:
            assert _is_own(machine, result.record)
            expected = known.phase if known.phase in ENDED else "failed" if has_failed else "done"
            assert result.record.phase == expected

    @precondition(lambda self: self._uploads_done)
    @rule(data=st.data(), state=st.sampled_from(["archived", "readable"]))
    def change_the_storage_class_or_finish_a_restore(self, data, state) -> None:
        record = data.draw(st.sampled_from(self._uploads_done)).record
        if record.version_id in self.destroyed:
            return
        until = None if state == "archived" else self.studio.clock() + timedelta(days=7)
        states = {"storage_class": "GLACIER", "is_restoring": False, "restored_until": until}
        self.objects.state(record.s3_object_key, record.version_id, **states)

    @precondition(lambda self: self._uploads)
    @rule(data=st.data(), who=st.integers(0, 3))
    def restore(self, data, who) -> None:
        upload = data.draw(st.sampled_from(self._uploads))
        result = self._call(lambda: self.machines[who].restore(upload.id))
        if result is not None and result.outcome == "asked":
            stored = self.objects.head_object(upload.record.s3_object_key, upload.record.version_id)
            assert stored.reading == "restoring"
            assert _is_own(self.machines[who], result.record)

    @precondition(lambda self: self._uploads)
    @rule(data=st.data(), who=st.integers(0, 3))
    def look(self, data, who) -> None:
        upload = data.draw(st.sampled_from(self._uploads))
        writes = self.ledger.writes
        result = self._call(lambda: self.machines[who].look(upload.id, signs_indexes=True)[0])
        assert self.ledger.writes == writes
        if result is not None:
            is_there = upload.phase == "done" and upload.record.removed_at is None
            is_there = is_there and upload.record.version_id not in self.destroyed
            assert (result.outcome == "there") == is_there

    @rule(who=st.integers(0, 3), limit=st.integers(1, 9))
    def count(self, who, limit) -> None:
        """The lists say what was written, each once, and the statuses come to the whole."""
        self.crash.call_off()
        everything = list(self._list(self.machines[who], limit))
        assert {each.operation_id: each for each in everything} == {
            id_: each.record for id_, each in self.ledger.operations.items()
        }
        assert len(everything) == len(self.ledger.operations)
        of_each = {status: list(self._list(self.machines[who], limit, status=status)) for status in STATUSES}
        assert Counter(each.status for each in everything) == Counter(
            {status: len(found) for status, found in of_each.items() if found}
        )
        mine = list(self._list(self.machines[who], limit, mine="true"))
        assert mine == [each for each in everything if _is_own(self.machines[who], each)]

    def _list(self, machine: Machine, limit: int, **query: str) -> Iterator[Any]:
        cursor: dict[str, str] = {}
        while True:
            page = machine.history(limit=str(limit), **query, **cursor)
            yield from page.records
            if page.cursor is None:
                return
            cursor = {"cursor": page.cursor}

    # --- the worker -------------------------------------------------------------------------------------

    @rule(work=st.sampled_from(ROUNDS))
    def go_round(self, work) -> None:
        self._work(work)

    @precondition(lambda self: self.ledger.arrived)
    @rule(data=st.data())
    def tell_of_an_arrival(self, data) -> None:
        stored = data.draw(st.sampled_from(self.ledger.arrived)).stored
        self._work(Work("arrival", key=stored.key, version_id=stored.version_id))

    def _arrivals(self) -> list[Work]:
        return [Work("arrival", key=each.key, version_id=each.version_id) for _, each in self.ledger.arrived]

    @precondition(lambda self: self.ledger.operations)
    @rule(data=st.data())
    def settle(self, data) -> None:
        self._work(Work("settle", data.draw(st.sampled_from(list(self.ledger.operations)))))

    @rule()
    def do_what_is_due(self) -> None:
        self._work()

    def _work(self, *work: Work) -> None:
        """Have the worker do this and what is due; work over which it dies comes again."""
        waiting = [*work, *self.studio.queue.take_due()]
        worker = self.studio.worker()
        while waiting:
            try:
                worker.do(waiting[0])
            except CrashError:
                self.studio.queue.waiting += [(self.studio.clock(), each) for each in waiting]
                break
            finally:
                self.crash.call_off()
            waiting = [*waiting[1:], *self.studio.queue.take_due()]

    # --- what always holds ------------------------------------------------------------------------------

    @property
    def _uploads(self) -> list[Any]:
        return [each for each in self.ledger.operations.values() if isinstance(each, Operation)]

    @property
    def _uploads_done(self) -> list[Any]:
        return [each for each in self._uploads if each.phase == "done"]

    def _names(self) -> dict[str, Name]:
        return self.records.get_names([each.record.s3_object_key for each in self._uploads])

    def _versions(self) -> dict[str | None, StoredObject]:
        return {each.version_id: each for held in self.objects.versions.values() for each, _ in held}

    @invariant()
    def each_write_keeps_the_table_of_transitions_and_what_is_fixed(self) -> None:
        assert not self.ledger.faults

    @invariant()
    def the_service_keeps_no_error_to_itself(self) -> None:
        assert not self.faults.found

    @invariant()
    def nothing_is_ever_gone_but_what_was_deleted_and_whose_date_has_passed(self) -> None:
        there = self._versions()
        for _, stored in self.ledger.arrived:
            if stored.version_id not in self.destroyed:
                assert stored.version_id in there
                continue
            record = self.ledger.operations[stored.operation_id].record
            assert record.deleted_at is not None
            assert record.recoverable_until <= self.studio.clock() + timedelta(seconds=300 * STEPS)

    @invariant()
    def every_success_is_its_own_object_and_like_it(self) -> None:
        there = self._versions()
        successes = [each.record for each in self._uploads_done]
        assert len({record.version_id for record in successes}) == len(successes)
        for record in successes:
            if record.version_id in self.destroyed:
                continue
            stored = there[record.version_id]
            assert (stored.key, stored.operation_id, stored.size, stored.crc64nvme, stored.etag) == (
                record.s3_object_key,
                record.operation_id,
                record.s3_file_record.size,
                record.crc64nvme,
                record.etag,
            )
            if record.index_size is not None:
                assert there[record.index_version_id].operation_id == record.operation_id

    @invariant()
    def what_a_client_was_told_is_recorded(self) -> None:
        assert self.confirmed <= {each.id for each in self._uploads_done}

    @invariant()
    def an_object_takes_anothers_place_only_where_that_was_asked_for_or_deleted(self) -> None:
        attempts: dict[str | None, Attempt] = {attempt.item.operation_id: attempt for attempt in self.attempts}
        for before, stored in self.ledger.arrived:
            if before is None:
                continue
            operation = self.ledger.operations[stored.operation_id]
            assert before.etag == operation.replaces_etag
            took_deleted = operation.replaces_deleted and operation.record.replaces in self.ever_deleted
            assert attempts[stored.operation_id].item.replace or took_deleted
            if self.studio.settings.replace_others == "admins" and not took_deleted:
                is_own = self.ledger.operations[before.operation_id].record.actor_id == operation.record.actor_id
                assert is_own or operation.record.actor == "chief"

    @invariant()
    def a_name_names_a_stored_object_and_is_free_exactly_while_its_upload_is_deleted(self) -> None:
        for name in self._names().values():
            if name.current is not None:
                upload = self.ledger.operations[name.current.operation_id]
                under_way = "carrying" if upload.part_size is None else "completing"
                assert upload.phase in (under_way, "done", "failed" if upload.record.late_at else "done")
                assert self.ledger.bodies[name.current.version_id] is not None
                assert name.current.is_deleted == (upload.record.deleted_at is not None)

    @invariant()
    def every_deletion_is_one_operation_of_the_history(self) -> None:
        balance: Counter[str] = Counter()
        for each in self.ledger.operations.values():
            if isinstance(each, (Delete, Undelete)) and each.phase == "done":
                balance[each.record.upload_id] += 1 if isinstance(each, Delete) else -1
        deleted = {each.id for each in self._uploads if each.record.deleted_at is not None}
        assert {upload_id for upload_id, count in balance.items() if count} == deleted
        assert set(balance.values()) <= {0, 1}

    @invariant()
    def at_most_one_upload_of_a_name_is_under_way(self) -> None:
        under_way = Counter(fold_key(each.record.s3_object_key) for each in self._uploads if each.phase not in ENDED)
        assert not under_way or max(under_way.values()) == 1

    # --- the end ----------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Whatever happened: nothing stays pending, every object is in a record, and the next person gets through."""
        logging.getLogger("mgmt_api").removeHandler(self.faults)
        try:
            if hasattr(self, "studio"):
                self._come_to_the_end()
        finally:
            self.ids.stop()

    def _come_to_the_end(self) -> None:
        self.crash.call_off()
        self.studio.clock.advance(8 * DAY)
        self._work(*self._arrivals())
        for _ in range(QUARTER_OF_A_DAY_ROUNDS):  # in each of them one after another has its turn
            self._work(Work("pending"))
            if not self._pending:
                break
            self.studio.clock.advance(ROUND_SECONDS)
        assert self._pending == []
        for stored in self._versions().values():
            self._require_recorded(stored)
        if not self.crash.count:
            assert not self.objects.uploads
        self.studio.clock.advance(2 * DAY)
        self._work(Work("orphans"))
        assert not {each.multipart_upload_id for each in self._uploads} & set(self.objects.uploads)
        self._upload_the_last_word()
        assert not self.faults.found
        assert not self.ledger.faults

    @property
    def _pending(self) -> list[Any]:
        """What has not ended, but for restores, which the storage ends."""
        uploads_and_downloads = (each for each in self.ledger.operations.values() if not isinstance(each, Restore))
        return [each.record for each in uploads_and_downloads if each.phase not in ENDED]

    def _require_recorded(self, stored: StoredObject) -> None:
        upload = self.ledger.operations[stored.operation_id]
        if OWN_FOLDER in stored.key.split("/"):
            return
        record = upload.record
        assert isinstance(record, UploadRecord)
        if record.version_id != stored.version_id:
            assert record.late_at is not None or record.etag == stored.etag, (record, stored)

    def _upload_the_last_word(self) -> None:
        eve, body = self.studio.person("eve", groups=("admins",)), b"the last word"
        keys = {fold_key(name.key): name.key for name in self._names().values() if name.current is not None}
        for name in ("clip", "reel"):
            key = keys.get(fold_key(f"{name}.tar.gz"), f"{name}.tar.gz")
            item = item_for(key.removesuffix(".tar.gz"), body, replace=True)
            assert eve.upload(item, body).outcome == "done"
            assert self.objects.read(key) == body


STATUSES = ("pending", "success", "failed")


def _is_own(machine: Machine, record: Any) -> bool:
    return bool(record.actor_id == machine.claims["sub"])


def _is_admin(machine: Machine) -> bool:
    return "cognito:groups" in machine.claims


class AnyOrderInSQLite(AnyOrder):
    """The same with the records of the embedded backend."""

    def make_records(self) -> RecordStore:
        self.folder = tempfile.TemporaryDirectory()
        self.sqlite = SQLiteRecordStore(Path(self.folder.name) / "records.sqlite")
        return self.sqlite

    def teardown(self) -> None:
        """As above, and close the file."""
        try:
            super().teardown()
        finally:
            if hasattr(self, "sqlite"):
                self.sqlite.close()
                self.folder.cleanup()


_MANNER: dict[str, Any] = {
    "stateful_step_count": STEPS,
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=WALKS, **_MANNER)
TestAnyOrderInSQLite = AnyOrderInSQLite.TestCase
TestAnyOrderInSQLite.settings = settings(max_examples=max(1, WALKS // 6), **_MANNER)
