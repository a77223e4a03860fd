"""One name, two people at three machines, everything in any order, crashes included: the rules always hold."""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mgmt_api.domain.entities import Delete, Operation, Undelete
from support.fakes import StrictRecordStore
from support.interposed import Crash, interpose_objects, interpose_records
from support.studio import Attempt, Machine, RefusedError, Studio, content_of, item_for, part_of

KEY = "clip.tar.gz"
BODIES = (b"one", b"two", b"three")
ENDED = ("done", "failed")
WALKS = int(os.environ.get("MGMT_ONE_NAME", "60"))


class OneName(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.studio = Studio(records=StrictRecordStore())
        self.attempts: list[Attempt] = []
        self.confirmed: set[str] = set()
        self.ever_deleted: set[str] = set()
        self.crash = Crash()
        self.studio.serve(
            interpose_records(self.studio.records, **self.crash.hooks),
            interpose_objects(self.studio.objects, **self.crash.hooks),
        )

    def _call(self, call):
        """Make a call; None where the service died over it."""
        try:
            return call()
        except RefusedError as error:
            if error.code != "internal-error":
                raise
            return None
        finally:
            self.crash.call_off()

    @initialize()
    def sit_down(self) -> None:
        ada, bob = self.studio.person("ada"), self.studio.person("bob")
        self.machines = [ada, ada.elsewhere(), bob]

    @rule(
        who=st.integers(0, 2),
        body=st.sampled_from(BODIES),
        in_parts=st.booleans(),
        replace=st.booleans(),
    )
    def start(self, who, body, in_parts, replace) -> None:
        size = {"upper_bound": 10} if in_parts else {}
        attempt = Attempt(self.machines[who], item_for("clip", body, replace=replace, **size), body)
        self.attempts.append(attempt)
        self._start(attempt, attempt.machine)

    def _start(self, attempt: Attempt, machine: Machine) -> None:
        started = self._call(lambda: machine.start(attempt.item))
        if started is None:
            return
        if started.outcome in ("put", "multipart"):
            attempt.machine, attempt.started = machine, started
        elif started.outcome == "done":
            self._note_success(started.operation_id)
        elif started.outcome == "already_there":
            assert self.studio.objects.head_object(KEY).etag == started.existing.etag

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), elsewhere=st.booleans())
    def start_again(self, data, elsewhere) -> None:
        attempt = data.draw(st.sampled_from(self.attempts))
        machine = attempt.machine
        if elsewhere and machine.claims["username"] == "ada":
            machine = next(other for other in self.machines[:2] if other is not machine)
        self._start(attempt, machine)

    def _draw_started(self, data) -> Attempt | None:
        started = [attempt for attempt in self.attempts if attempt.started is not None]
        return data.draw(st.sampled_from(started)) if started else None

    @precondition(lambda self: any(attempt.started for attempt in self.attempts))
    @rule(data=st.data())
    def send(self, data) -> None:
        attempt = self._draw_started(data)
        if attempt.started.request is not None:
            assert attempt.machine.send(attempt.started, attempt.body) in (200, 403, 404, 412)
            return
        content = content_of(attempt.body)
        signed = self._call(lambda: attempt.machine.sign(attempt.started, [part_of(1, attempt.body)], content))
        if signed is not None and signed.outcome == "signed":
            statuses = attempt.machine.send_parts(signed, attempt.body, attempt.started.multipart.part_size)
            assert statuses in ([200], [404])

    @precondition(lambda self: any(attempt.started for attempt in self.attempts))
    @rule(data=st.data())
    def complete(self, data) -> None:
        attempt = self._draw_started(data)
        result = self._call(lambda: attempt.machine.complete(attempt.started, content_of(attempt.body)))
        if result is not None and result.outcome == "done":
            self._note_success(attempt.item.operation_id)

    def _note_success(self, operation_id: str) -> None:
        self.confirmed.add(operation_id)

    @precondition(lambda self: any(attempt.started for attempt in self.attempts))
    @rule(data=st.data())
    def fail(self, data) -> None:
        attempt = self._draw_started(data)
        self._call(lambda: attempt.machine.fail(attempt.started))

    @precondition(lambda self: self._stored)
    @rule(data=st.data())
    def delete(self, data) -> None:
        self._remove(data, "delete")

    @precondition(lambda self: any(record.deleted_at for record in self._stored))
    @rule(data=st.data())
    def undelete(self, data) -> None:
        self._remove(data, "undelete")

    def _remove(self, data, verb) -> None:
        record = data.draw(st.sampled_from(self._stored))
        owner = next(each for each in self.machines if each.claims["username"] == record.actor)
        self.ever_deleted.add(record.operation_id)
        result = self._call(lambda: getattr(owner, verb)(record.operation_id))
        if result is not None and result.problem is not None:
            assert result.problem.code == "internal-error"  # the service died over it
        elif result is not None:
            assert (result.upload.deleted_at is not None) == (verb == "delete")

    @rule(seconds=st.sampled_from([1, 300, 600, 900]))
    def wait(self, seconds) -> None:
        self.studio.clock.advance(seconds)

    @rule(number=st.integers(1, 8), when=st.sampled_from(["before", "after"]))
    def crash_in_the_next_call(self, number, when) -> None:
        self.crash.plan(number, when)

    # What always holds.

    @property
    def _records(self):
        return [each.record for each in self.studio.records.operations.values() if isinstance(each, Operation)]

    @property
    def _stored(self):
        return [record for record in self._records if record.status == "success"]

    @invariant()
    def every_success_is_its_own_object_and_like_it(self) -> None:
        versions = {stored.version_id: stored for stored, _ in self.studio.objects.versions.get(KEY, [])}
        successes = [record for record in self._records if record.status == "success"]
        assert len({record.version_id for record in successes}) == len(successes)
        for record in successes:
            stored = versions[record.version_id]
            assert (stored.operation_id, stored.size, stored.crc64nvme, stored.etag) == (
                record.operation_id,
                record.s3_file_record.size,
                record.crc64nvme,
                record.etag,
            )

    @invariant()
    def what_a_client_was_told_is_recorded(self) -> None:
        succeeded = {record.operation_id for record in self._records if record.status == "success"}
        assert self.confirmed <= succeeded

    @invariant()
    def an_object_is_overwritten_only_by_who_asked_to_replace_or_after_it_was_deleted(self) -> None:
        items = {attempt.item.operation_id: attempt.item for attempt in self.attempts}
        for stored, _ in self.studio.objects.versions.get(KEY, [])[1:]:
            operation = self.studio.operation(stored.operation_id)
            took_its_place = operation.replaces_deleted and operation.record.replaces in self.ever_deleted
            assert items[stored.operation_id].replace or took_its_place

    @invariant()
    def the_name_is_free_exactly_while_its_upload_is_deleted(self) -> None:
        name = self.studio.records.names.get(KEY)
        if name is not None and name.current is not None:
            upload = self.studio.operation(name.current.operation_id)
            assert name.current.is_deleted == (upload.record.deleted_at is not None)

    @invariant()
    def every_deletion_is_one_operation_of_the_history(self) -> None:
        """What is recorded as deleted is what the deletions and their ends come to, in their order."""
        balance = Counter()
        for each in self.studio.records.operations.values():
            if isinstance(each, (Delete, Undelete)):
                balance[each.record.upload_id] += 1 if isinstance(each, Delete) else -1
        deleted = {record.operation_id for record in self._records if record.deleted_at is not None}
        assert {upload_id for upload_id, count in balance.items() if count} == deleted
        assert set(balance.values()) <= {0, 1}

    @invariant()
    def at_most_one_upload_is_under_way(self) -> None:
        assert len([record for record in self._records if record.phase not in ENDED]) <= 1

    @invariant()
    def the_name_names_an_object_that_was_stored(self) -> None:
        name = self.studio.records.names.get(KEY)
        if name is not None and name.current is not None:
            versions = {stored.version_id: stored for stored, _ in self.studio.objects.versions[KEY]}
            assert versions[name.current.version_id].operation_id == name.current.operation_id
            operation = self.studio.operation(name.current.operation_id)
            # The service may have died between the two writes that end an upload: the name's, then the operation's.
            about_to_end = "carrying" if operation.part_size is None else "completing"
            assert operation.phase in (about_to_end, "done")

    def teardown(self) -> None:
        """Whatever happened, the next person gets through, and nothing stays pending."""
        self.crash.call_off()
        self.studio.clock.advance(3600)
        body = b"the last word"
        assert self.studio.person("eve").upload(item_for("clip", body, replace=True), body).outcome == "done"
        assert self.studio.objects.read(KEY) == body
        assert all(record.phase in ENDED for record in self._records)


TestOneName = OneName.TestCase
TestOneName.settings = settings(max_examples=WALKS, stateful_step_count=30, deadline=None, database=None)
