"""Rounds and arrivals: what nobody asks about any more is brought to its true end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from mgmt_api.domain.work import Work
from mgmt_api.ports import ConflictError, StorageError, StorageUnavailableError
from mgmt_api.upkeep import rounds
from mgmt_contract.messages.uploads import CleanUp
from mgmt_contract.wire import MessageError
from support.interposed import fail_at, interpose_objects, interpose_records, refuse_some
from support.studio import BODY, CONTENT, item_for, part_of

MINUTE, DAY = 60, 24 * 3600
PENDING = Work("pending")
ARRIVED = Work("arrival", key="clip.tar.gz")


def sent(machine, **changes):
    """A small upload whose object has arrived, and whose client then is gone for ever."""
    started = machine.start(item_for("clip", BODY, **changes))
    assert machine.send(started, BODY) == 200
    return started


class TestConfirming:
    def test_an_object_that_arrived_is_recorded_without_its_client(self, studio, ada):
        started = sent(ada)
        studio.work(ARRIVED)
        record = studio.operation(started.operation_id).record
        assert (record.phase, record.status, record.settled_by) == ("done", "success", "worker")
        assert studio.records.names["clip.tar.gz"].current.operation_id == started.operation_id

    def test_a_round_finds_it_as_soon_as_its_lease_has_lapsed(self, studio, ada):
        started = sent(ada)
        studio.work(PENDING)
        assert studio.operation(started.operation_id).phase == "carrying", "its client may be at work"
        studio.clock.advance(10 * MINUTE)
        studio.work(PENDING)
        assert studio.operation(started.operation_id).phase == "done"

    def test_what_the_client_has_confirmed_is_left_as_it_is(self, studio, ada):
        done = ada.upload(item_for("clip", BODY), BODY)
        before = studio.operation(done.operation_id)
        studio.work(ARRIVED, ARRIVED, replace(ARRIVED, version_id=done.record.version_id))
        assert studio.operation(done.operation_id) == before
        assert before.record.settled_by is None

    def test_a_client_that_was_only_slow_is_answered_done_and_cleans_up(self, studio, ada):
        started = sent(ada)
        studio.work(ARRIVED)
        assert ada.complete(started, CONTENT).outcome == "done"
        assert ada.clean_up(CleanUp(started.operation_id, "completed", "deleted"))[0].outcome == "record"

    def test_events_may_come_twice_late_and_in_any_order(self, studio, ada):
        first = ada.upload(item_for("clip", BODY), BODY)
        second = ada.start(item_for("clip", b"others", replace=True))
        ada.send(second, b"others")
        old = replace(ARRIVED, version_id=first.record.version_id)
        new = replace(ARRIVED, version_id=studio.objects.head_object("clip.tar.gz").version_id)
        studio.work(new, old, new, old)
        assert studio.operation(second.operation_id).phase == "done"
        assert studio.records.names["clip.tar.gz"].current.operation_id == second.operation_id

    def test_an_object_that_is_gone_again_is_nothing_to_record(self, studio, ada):
        started = sent(ada)
        version_id = studio.objects.head_object("clip.tar.gz").version_id
        studio.objects.destroy("clip.tar.gz", version_id)
        studio.work(ARRIVED, replace(ARRIVED, version_id=version_id))
        assert studio.operation(started.operation_id).phase == "carrying"

    def test_other_bytes_than_promised_fail_the_upload(self, studio, ada):
        started = ada.start(item_for("clip", BODY))
        studio.objects.place("clip.tar.gz", b"other", operation_id=started.operation_id)
        studio.work(ARRIVED)
        record = studio.operation(started.operation_id).record
        assert (record.phase, record.error_code, record.settled_by) == ("failed", "content-differs", "worker")

    def test_somebody_elses_object_fails_nothing_that_may_still_go_on(self, studio, ada):
        started = ada.start(item_for("clip", BODY))
        studio.objects.place("clip.tar.gz", b"other", operation_id="")
        studio.clock.advance(10 * MINUTE)
        studio.work(PENDING, ARRIVED)
        assert studio.operation(started.operation_id).phase == "carrying"

    def test_an_object_that_no_record_knows_is_counted_and_told(self, studio, caplog):
        studio.objects.place("clip.tar.gz", BODY, operation_id="01a2041b-befb-730e-9a3c-9ad5ec9c722f")
        studio.work(ARRIVED)
        assert studio.metrics.counts["Orphans"] == 1
        assert any(getattr(line, "key", None) == "clip.tar.gz" for line in caplog.records)

    def test_an_object_that_names_an_upload_of_another_key_is_not_taken_for_its(self, studio, ada):
        started = ada.start(item_for("other", BODY))
        studio.objects.place("clip.tar.gz", BODY, operation_id=started.operation_id)
        studio.work(ARRIVED)
        assert studio.operation(started.operation_id).phase == "carrying"
        assert studio.metrics.counts["Orphans"] == 1


class TestEnding:
    def test_an_upload_that_nobody_goes_on_with_fails_after_7_days_and_its_parts_are_thrown_away(self, studio, ada):
        started = ada.start(item_for("clip", upper_bound=10**9))
        ada.send_parts(ada.sign(started, [part_of(1, bytes(16 << 20))]), bytes(16 << 20), 16 << 20)
        studio.clock.advance(10 * MINUTE + 7 * DAY - 1)
        studio.work(PENDING)
        assert studio.operation(started.operation_id).phase == "carrying"
        studio.clock.advance(1)
        studio.work(PENDING)
        record = studio.operation(started.operation_id).record
        assert (record.phase, record.error_code, record.settled_by) == ("failed", "abandoned", "worker")
        assert "for 7 days" in record.error_message
        assert studio.objects.uploads == {}

    @pytest.mark.parametrize("call", ["abort_multipart_upload", "update_operation"])
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_worker_that_dies_over_ending_it_leaves_no_parts_to_the_next(self, studio, ada, call, when):
        started = ada.start(item_for("clip", upper_bound=10**9))
        dying = {when: fail_at(call, RuntimeError("its process is gone"))}
        studio.serve(interpose_records(studio.records, **dying), interpose_objects(studio.objects, **dying))
        studio.clock.advance(10 * MINUTE + 7 * DAY)
        studio.work(PENDING)
        studio.work(PENDING)
        assert studio.operation(started.operation_id).record.error_code == "abandoned"
        assert studio.objects.uploads == {}

    def test_parts_that_the_storage_does_not_throw_away_now_are_thrown_away_in_a_later_round(self, studio, ada):
        ada.start(item_for("clip", upper_bound=10**9))
        refusing = fail_at("abort_multipart_upload", StorageUnavailableError("down"))
        studio.serve(studio.records, interpose_objects(studio.objects, before=refusing))
        studio.clock.advance(10 * MINUTE + 7 * DAY)
        studio.work(PENDING)
        studio.work(PENDING)
        assert studio.objects.uploads == {}

    def test_the_days_are_a_setting(self, studio, ada):
        studio.settings = replace(studio.settings, resume_days=2)
        started = ada.start(item_for("clip", BODY))
        studio.clock.advance(10 * MINUTE + 2 * DAY)
        studio.work(PENDING)
        assert studio.operation(started.operation_id).phase == "failed"

    def test_each_call_that_signs_puts_it_off(self, studio, ada):
        started = ada.start(item_for("clip", upper_bound=10**9))
        for _ in range(3):
            studio.clock.advance(6 * DAY)
            ada.sign(started, [part_of(1, bytes(16 << 20))])
        studio.work(PENDING)
        assert studio.operation(started.operation_id).phase == "carrying"

    def test_bytes_that_are_all_there_are_never_thrown_away(self, studio, ada):
        """Though nothing was heard for a year."""
        small = sent(ada)
        large = ada.start(item_for("large", upper_bound=100))
        ada.carry(large, BODY)
        studio.queue.take_due()
        studio.clock.advance(365 * DAY + 10 * MINUTE)
        studio.work(PENDING)
        studio.work()
        assert {studio.operation(each.operation_id).phase for each in (small, large)} == {"done"}

    def test_parts_that_the_storage_refuses_to_join_are_kept_for_as_long_as_it_keeps_them(self, studio, ada):
        started = ada.start(item_for("clip", upper_bound=100))
        ada.carry(started, BODY)
        refusing = fail_at("complete_multipart_upload", StorageError("no", code="InvalidPart"), times=9)
        studio.serve(studio.records, interpose_objects(studio.objects, before=refusing))
        studio.clock.advance(29 * DAY + 10 * MINUTE)
        studio.work(PENDING)
        assert studio.operation(started.operation_id).phase == "carrying"
        assert len(studio.objects.uploads) == 1
        studio.objects.uploads.clear()  # the bucket's own rule, after 30 days
        studio.clock.advance(1 * DAY)
        studio.work(PENDING)
        assert studio.operation(started.operation_id).record.error_code == "abandoned"

    def test_a_name_that_was_only_reserved_is_free_again(self, studio, ada, bob):
        studio.serve(
            studio.records,
            interpose_objects(
                studio.objects, before=fail_at("create_multipart_upload", StorageUnavailableError("down"), times=9)
            ),
        )
        started = ada.start(item_for("clip", upper_bound=100))
        studio.serve(studio.records, studio.objects)
        assert started.outcome == "problem"
        studio.clock.advance(8 * DAY + 10 * MINUTE)
        studio.work(PENDING)
        assert studio.operation(started.operation_id).record.error_code == "abandoned"
        assert bob.start(item_for("clip", BODY)).outcome == "put"

    def test_a_download_that_nobody_goes_on_with_fails(self, studio, ada):
        stored = ada.upload(item_for("clip", BODY), BODY)
        opened = ada.open_download(stored.operation_id)
        studio.clock.advance(6 * DAY)
        ada.open_download(stored.operation_id, opened.operation_id)
        studio.clock.advance(6 * DAY)
        studio.work(PENDING)
        assert studio.operation(opened.operation_id).phase == "carrying", "gone on with in between"
        studio.clock.advance(1 * DAY)
        studio.work(PENDING)
        record = studio.operation(opened.operation_id).record
        assert (record.phase, record.error_code) == ("failed", "abandoned")
        assert record.finished_at == studio.clock()

    def test_opening_again_writes_once_a_day(self, studio, ada):
        stored = ada.upload(item_for("clip", BODY), BODY)
        opened = ada.open_download(stored.operation_id)
        revisions = []
        for _ in range(4):
            studio.clock.advance(DAY / 2)
            ada.open_download(stored.operation_id, opened.operation_id)
            revisions.append(studio.operation(opened.operation_id).revision)
        assert revisions == [1, 2, 2, 3]


class TestRestores:
    @pytest.fixture
    def restore_id(self, studio, ada):
        self.upload = ada.upload(item_for("clip", BODY, storage_class="GLACIER"), BODY)
        self.version_id = self.upload.record.version_id
        studio.objects.state("clip.tar.gz", self.version_id, storage_class="GLACIER")
        asked = ada.restore(self.upload.operation_id)
        assert asked.outcome == "asked"
        return asked.operation_id

    def test_one_that_is_under_way_is_left(self, studio, restore_id):
        studio.clock.advance(30 * DAY)
        studio.work(PENDING)
        assert studio.operation(restore_id).phase == "carrying"

    def test_one_that_has_become_readable_is_done(self, studio, restore_id):
        until = studio.clock() + timedelta(days=7)
        studio.objects.state("clip.tar.gz", self.version_id, is_restoring=False, restored_until=until)
        studio.work(PENDING)
        record = studio.operation(restore_id).record
        assert (record.phase, record.result_path) == ("done", "clip.tar.gz")

    def test_one_that_the_storage_was_never_asked_for_fails_after_an_hour(self, studio, restore_id):
        studio.objects.state("clip.tar.gz", self.version_id, is_restoring=False)
        studio.work(PENDING)
        assert studio.operation(restore_id).phase == "carrying"
        studio.clock.advance(3600)
        studio.work(PENDING)
        assert studio.operation(restore_id).record.error_code == "restore-lapsed"

    def test_one_whose_object_is_gone_fails(self, studio, restore_id):
        studio.objects.destroy("clip.tar.gz", self.version_id)
        studio.work(PENDING)
        assert studio.operation(restore_id).record.error_code == "object-gone"


class TestLate:
    """An object that arrives after its upload was recorded as failed."""

    @pytest.fixture
    def late(self, ada):
        started = ada.start(item_for("clip", BODY))
        ada.fail(started)
        assert ada.send(started, BODY) == 200
        return started

    def test_it_is_adopted_where_nobody_else_has_the_name(self, studio, ada, late):
        studio.work(ARRIVED)
        record = studio.operation(late.operation_id).record
        assert (record.phase, record.status, record.error_code) == ("done", "success", None)
        assert record.late_at == studio.clock()
        assert record.late_version_id == record.version_id == studio.objects.head_object("clip.tar.gz").version_id
        assert ada.start(item_for("clip", BODY)).outcome == "already_there"

    def test_it_is_only_named_where_its_upload_was_cancelled(self, studio, ada):
        started = ada.start(item_for("clip", BODY))
        ada.fail(started, code="cancelled")
        ada.send(started, BODY)
        studio.work(ARRIVED)
        record = studio.operation(started.operation_id).record
        assert (record.phase, record.error_code, record.late_at) == ("failed", "cancelled", studio.clock())

    def test_it_is_only_named_where_somebody_else_is_uploading_that_name(self, studio, bob, late):
        studio.objects.delete("clip.tar.gz")
        other = bob.start(item_for("clip", b"others"))
        assert other.outcome == "put"
        studio.objects._deleted.clear()
        studio.work(ARRIVED)
        record = studio.operation(late.operation_id).record
        assert (record.phase, record.late_version_id) == (
            "failed",
            studio.objects.head_object("clip.tar.gz").version_id,
        )

    def test_it_is_only_named_where_it_has_been_replaced_since(self, studio, bob, late):
        version_id = studio.objects.head_object("clip.tar.gz").version_id
        bob.upload(item_for("clip", b"others", replace=True), b"others")
        studio.work(replace(ARRIVED, version_id=version_id))
        record = studio.operation(late.operation_id).record
        assert (record.phase, record.late_version_id) == ("failed", version_id)
        assert studio.records.names["clip.tar.gz"].current.actor == "bob"

    def test_twice_is_written_once(self, studio, ada):
        started = ada.start(item_for("clip", BODY))
        ada.fail(started, code="cancelled")
        ada.send(started, BODY)
        studio.work(ARRIVED)
        before = studio.operation(started.operation_id)
        studio.clock.advance(1)
        studio.work(ARRIVED)
        assert studio.operation(started.operation_id) == before

    @pytest.mark.parametrize("write", ["put_name", "update_operation"])
    def test_an_interrupted_adoption_is_finished_by_the_next(self, studio, late, write):
        failing = interpose_records(studio.records, after=fail_at(write, RuntimeError("killed")))
        studio.serve(failing, studio.objects)
        with pytest.raises(RuntimeError):
            studio.work(ARRIVED)
        studio.serve(studio.records, studio.objects)
        studio.work(ARRIVED)
        assert studio.operation(late.operation_id).phase == "done"
        assert studio.records.names["clip.tar.gz"].current.operation_id == late.operation_id


class TestRounds:
    def test_many_pages_are_gone_through(self, studio, ada, monkeypatch):
        monkeypatch.setattr(rounds, "PAGE", 3)
        for number in range(10):
            ada.send(ada.start(item_for(f"clip{number}", BODY)), BODY)
        studio.clock.advance(10 * MINUTE)
        studio.work(PENDING)
        assert {each.phase for each in studio.records.operations.values()} == {"done"}

    def test_the_oldest_come_first(self, studio, ada):
        for number in range(3):
            ada.send(ada.start(item_for(f"clip{number}", BODY)), BODY)
            studio.clock.advance(1)
        studio.clock.advance(10 * MINUTE)
        looked = []
        heads = interpose_objects(studio.objects)
        head = studio.objects.head_object
        studio.objects.head_object = lambda key, *more: (looked.append(key), head(key, *more))[1]
        studio.serve(studio.records, heads)
        studio.work(PENDING)
        assert list(dict.fromkeys(looked)) == [f"clip{number}.tar.gz" for number in range(3)]

    def test_a_round_that_runs_out_of_time_goes_on_where_it_was(self, studio, ada, monkeypatch):
        monkeypatch.setattr(rounds, "PAGE", 2)
        for number in range(5):
            ada.send(ada.start(item_for(f"clip{number}", BODY)), BODY)
            studio.clock.advance(1)
        studio.clock.advance(10 * MINUTE)
        left = [100, 100, 100, 10]
        worker = studio.worker()
        backends = replace(worker._handing_over, remaining_seconds=lambda: left.pop(0))
        worker._handing_over = backends
        worker.do(PENDING)
        assert [each.phase for each in studio.records.operations.values()] == ["done"] * 3 + ["carrying"] * 2
        (rest,) = studio.queue.take_due()
        third = sorted(each.order for each in studio.records.operations.values())[2]
        assert rest == Work("pending", after=third)
        studio.work(rest)
        assert {each.phase for each in studio.records.operations.values()} == {"done"}

    def test_one_that_cannot_be_settled_keeps_none_of_the_others_waiting(self, studio, ada):
        for number in range(3):
            ada.send(ada.start(item_for(f"clip{number}", BODY)), BODY)
            studio.clock.advance(1)
        studio.clock.advance(10 * MINUTE)
        for error in (StorageUnavailableError("down"), RuntimeError("a fault")):
            hook = fail_at("head_object", error)
            studio.serve(studio.records, interpose_objects(studio.objects, before=hook))
            studio.work(PENDING)
        phases = [each.phase for each in studio.records.operations.values()]
        assert phases == ["carrying", "done", "done"]

    def test_a_name_that_cannot_be_read_keeps_no_other_upload_waiting(self, studio, ada):
        """As a hand in the table, or a version to come, may leave it."""
        for number in range(3):
            ada.send(ada.start(item_for(f"clip{number}", BODY)), BODY)
        studio.clock.advance(10 * MINUTE)
        unreadable = {"clip1.tar.gz": MessageError("of a type to come")}
        studio.serve(refuse_some(studio.records, unreadable), studio.objects)
        studio.work(PENDING)
        assert [each.phase for each in studio.records.operations.values()] == ["done", "carrying", "done"]

    def test_a_lost_write_is_looked_at_again(self, studio, ada):
        started = sent(ada)
        studio.clock.advance(10 * MINUTE)
        studio.serve(
            interpose_records(studio.records, before=fail_at("update_operation", ConflictError("lost"))), studio.objects
        )
        studio.work(PENDING)
        assert studio.operation(started.operation_id).phase == "done"

    def test_a_silent_upload_is_looked_at_often_at_first_and_seldom_later(self, studio, ada):
        """Each look asks the storage: for 7 days, every 5 minutes would be 2,000 times."""
        started = ada.start(item_for("clip", BODY))
        studio.clock.advance(10 * MINUTE)
        looks = []
        hook = looks.append
        studio.serve(studio.records, interpose_objects(studio.objects, before=hook))
        for _ in range(7 * 24 * 12 - 1):
            studio.work(PENDING)
            studio.clock.advance(5 * MINUTE)
        assert 12 + 24 < len(looks) < 12 + 2 * 28 + 2
        assert studio.operation(started.operation_id).phase == "carrying"
