"""One suite for the fake, SQLite and DynamoDB: what the service may rely on, whichever stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mgmt_api.domain.entities import CurrentVersion, HistoryQuery, Name, Operation, PendingUpload, Recorded, RecordedT
from mgmt_api.ports import ConflictError, RecordStore
from mgmt_contract.messages.uploads import Content, IndexFile, Part
from mgmt_contract.names import fold_key, fold_person
from mgmt_contract.records import FileRecord, Phase
from mgmt_contract.texts import TEXT_MAX_BYTES, is_short
from mgmt_contract.wire import to_json
from support.fakes import FakeRecordStore
from support.operations import (
    START,
    make_delete,
    make_download,
    make_id,
    make_operation,
    make_restore,
    make_undelete,
)

ADAPTERS = ("sqlite", "dynamodb", "dynamodb-of-4-shards")
every_store = pytest.mark.parametrize("record_store_maker", ["fake", *ADAPTERS], indirect=True)
every_adapter = pytest.mark.parametrize("record_store_maker", ADAPTERS, indirect=True)

KEY = "team/Clip.mp4.tar.gz"
PENDING = PendingUpload(make_id(1), "machine-1", "kim", "subject-of-kim", START)
CURRENT = CurrentVersion(make_id(2), "lee", START, 2**45, "AAAAAAAAAAA=", "blake3:" + "0" * 64, '"e"', None)


def find_all(store: RecordStore, query: HistoryQuery) -> list[Recorded]:
    """Read every page of a query, as a client with a cursor does."""
    found: list[Recorded] = []
    while True:
        page = store.find_operations(query)
        assert len(page.operations) <= query.limit
        found += page.operations
        if page.after is None:
            return found
        if query.after is not None:
            assert (page.after > query.after) == query.oldest_first, "each page goes further"
        query = replace(query, after=page.after)


def count_wins(attempts: Sequence[Callable[[], object]]) -> int:
    """Run every attempt at the same moment in a thread of its own and count those not refused."""
    barrier = Barrier(len(attempts))

    def run(attempt: Callable[[], object]) -> bool:
        barrier.wait()
        try:
            attempt()
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(len(attempts)) as pool:
        return sum(pool.map(run, attempts))


@every_store
class TestRemovals:
    def test_a_delete_its_upload_and_its_name_are_stored_together(self, store: RecordStore):
        upload, name = store.create_operation(make_operation(1, phase="done")), store.put_name(Name(KEY, CURRENT))
        marked = replace(name, current=replace(CURRENT, is_deleted=True))
        delete, deleted = store.create_with_upload(make_delete(2), deletion_of(upload), marked)
        assert (delete, deleted) == (replace(make_delete(2), revision=1), replace(deletion_of(upload), revision=2))
        assert store.get_operations([delete.id, upload.id]) == {delete.id: delete, upload.id: deleted}
        assert store.get_names([KEY]) == {fold_key(KEY): replace(marked, revision=2)}
        assert find_all(store, HistoryQuery(10, operation_type="delete", base_name="clip.mp4.tar.gz")) == [delete]

    @pytest.mark.parametrize("lost", ["delete", "upload", "name"])
    def test_where_one_of_the_three_has_changed_none_is_stored(self, store: RecordStore, lost: str):
        upload, name = store.create_operation(make_operation(1, phase="done")), store.put_name(Name(KEY, CURRENT))
        if lost == "delete":
            store.create_operation(make_delete(2, seconds=5))
        elif lost == "upload":
            upload = replace(store.update_operation(upload), revision=1)
        else:
            name = replace(store.put_name(name), revision=1)
        before = store.get_operations_and_names([make_id(1), make_id(2)], [KEY])
        with pytest.raises(ConflictError):
            store.create_with_upload(make_delete(2), deletion_of(upload), replace(name, current=None))
        assert store.get_operations_and_names([make_id(1), make_id(2)], [KEY]) == before

    def test_what_was_never_stored_cannot_be_changed_beside_it(self, store: RecordStore):
        with pytest.raises(ConflictError):
            store.create_with_upload(make_delete(2), deletion_of(make_operation(1, phase="done")), Name(KEY))
        assert store.get_operations_and_names([make_id(1), make_id(2)], [KEY]) == ({}, {})

    def test_a_name_that_was_not_stored_is_created(self, store: RecordStore):
        upload = store.create_operation(make_operation(1, phase="done"))
        store.create_with_upload(make_delete(2), deletion_of(upload), Name(KEY))
        assert store.get_names([KEY]) == {fold_key(KEY): Name(KEY, revision=1)}

    def test_uploads_that_await_their_removal_are_found_until_they_are_back_or_removed(self, store: RecordStore):
        uploads = [store.create_operation(make_operation(n, phase="done", seconds=n)) for n in range(1, 7)]
        store.create_operation(make_operation(7))
        deleted = [
            store.create_with_upload(make_delete(20 + n), deletion_of(upload), Name(f"{n}"))[1]
            for n, upload in enumerate(uploads[:5])
        ]
        assert find_all(store, HistoryQuery(2, is_deleted=True)) == deleted[::-1]
        back = deleted[0].advance("done", deleted_at=None, recoverable_until=None)
        store.create_with_upload(make_undelete(30), back, Name("0", revision=1))
        store.update_operation(deleted[1].advance("done", removed_at=START))
        assert find_all(store, HistoryQuery(2, is_deleted=True)) == deleted[:1:-1]

    def test_of_several_at_once_one_wins(self, store: RecordStore):
        upload = store.create_operation(make_operation(1, phase="done"))

        def attempt(number: int) -> Callable[[], object]:
            return lambda: store.create_with_upload(make_delete(number), deletion_of(upload), Name(KEY))

        assert count_wins([attempt(number) for number in range(2, 6)]) == 1
        assert len(find_all(store, HistoryQuery(10, operation_type="delete"))) == 1


@every_store
class TestOperationsWithTheirNames:
    def test_an_operation_and_its_name_are_stored_together(self, store: RecordStore):
        operation, name = store.create_operation(make_operation(1)), store.put_name(Name(KEY, pending=PENDING))
        failed = store.update_with_name(operation.advance("failed", error_code="cancelled"), name)
        assert failed == replace(operation.advance("failed", error_code="cancelled"), revision=2)
        assert store.get_operations([operation.id]) == {operation.id: failed}
        assert store.get_names([KEY]) == {fold_key(KEY): replace(name, revision=2)}
        assert find_all(store, HistoryQuery(10, status="failed")) == [failed]

    @pytest.mark.parametrize("lost", ["operation", "name"])
    def test_where_one_of_the_two_has_changed_neither_is_stored(self, store: RecordStore, lost: str):
        operation, name = store.create_operation(make_operation(1)), store.put_name(Name(KEY))
        if lost == "operation":
            operation = replace(store.update_operation(operation), revision=1)
        else:
            name = replace(store.put_name(name), revision=1)
        before = store.get_operations_and_names([make_id(1)], [KEY])
        with pytest.raises(ConflictError):
            store.update_with_name(operation.advance("failed"), replace(name, pending=PENDING))
        assert store.get_operations_and_names([make_id(1)], [KEY]) == before

    @pytest.mark.parametrize("revision", [0, 1])
    def test_what_was_never_stored_is_not_stored_with_its_name(self, store: RecordStore, revision: int):
        with pytest.raises(ConflictError):
            store.update_with_name(replace(make_operation(1, phase="failed"), revision=revision), Name(KEY))
        assert store.get_operations_and_names([make_id(1)], [KEY]) == ({}, {})

    def test_a_name_that_was_not_stored_is_created_with_it(self, store: RecordStore):
        store.update_with_name(store.create_operation(make_operation(1)), Name(KEY))
        assert store.get_names([KEY]) == {fold_key(KEY): Name(KEY, revision=1)}


def deletion_of(upload: Operation) -> Operation:
    """The upload as a deletion leaves it."""
    until = START + timedelta(days=30)
    return upload.advance("done", deleted_at=START, deleted_by="kim", recoverable_until=until)


@every_store
class TestOperations:
    def test_what_was_stored_is_read_back_whole(self, store: RecordStore):
        plain = make_operation(1)
        record = replace(
            plain.record,
            compressed_file_record=FileRecord(
                "ü.tar.gz", "ü.tar.gz", "local", 2**45, is_directory=False, status="deleted"
            ),
            s3_file_record=FileRecord("ü.tar.gz", "k/ü.tar.gz", "s3", 2**45, is_directory=False, status="completed"),
            tags={"shoot": "día 1", "empty": ""},
            finished_at=START + timedelta(milliseconds=1),
            error_message="",
            member_count=0,
        )
        rich = replace(
            plain,
            record=record,
            multipart_upload_id="upload-1",
            part_size=2**24,
            upper_bound=2**45,
            content=Content(2**45, "AAAAAAAAAAA=", "blake3:" + "0" * 64, 2**45, 1_000_000),
            index=IndexFile(1432, "AAAAAAAAAAA="),
            replaces_etag='"etag"',
        )
        for operation in (plain, replace(rich, record=replace(record, operation_id=make_id(2)))):
            stored = store.create_operation(operation)
            assert stored == replace(operation, revision=1)
            assert store.get_operations([operation.id]) == {operation.id: stored}

    def test_a_download_is_read_back_whole_and_found_beside_the_uploads_of_its_name(self, store: RecordStore):
        """Uploads and downloads share one space of ids, one history and its filters."""
        upload = store.create_operation(make_operation(1))
        download = store.create_operation(make_download(2, actor="lee", seconds=1))
        assert store.get_operations([upload.id, download.id]) == {upload.id: upload, download.id: download}
        ended = store.update_operation(download.advance("done", received_bytes=0, result_path="restored"))
        assert store.get_operations([ended.id]) == {ended.id: ended}
        assert find_all(store, HistoryQuery(10, base_name="clip.mp4.tar.gz")) == [ended, upload]
        assert find_all(store, HistoryQuery(10, folder="team/", status="success")) == [ended]
        assert find_all(store, HistoryQuery(10, operation_type="download", actor="lee")) == [ended]
        assert find_all(store, HistoryQuery(10, operation_type="upload")) == [upload]
        for other in (make_download(1), make_operation(2)):
            with pytest.raises(ConflictError):
                store.create_operation(other)

    def test_a_restore_is_read_back_whole_and_found_by_its_type(self, store: RecordStore):
        asked = store.create_operation(make_restore(1))
        done = store.update_operation(asked.advance("done", finished_at=START))
        assert store.get_operations([asked.id]) == {asked.id: done}
        query = HistoryQuery(10, base_name="clip.mp4.tar.gz", key="team/clip.mp4.tar.gz", operation_type="restore")
        assert find_all(store, query) == [done]

    def test_an_undelete_is_read_back_whole_and_found_by_its_type(self, store: RecordStore):
        undelete = store.create_operation(make_undelete(1))
        assert store.get_operations([undelete.id]) == {undelete.id: undelete}
        assert find_all(store, HistoryQuery(10, operation_type="undelete")) == [undelete]
        assert find_all(store, HistoryQuery(10, operation_type="delete")) == []

    def test_what_is_longer_than_a_text_may_be_is_read_back_cut(self, store: RecordStore):
        """A record from before there were bounds, or one that was written past the service."""
        hostile = "\x1b" * 8 * 1024
        file = FileRecord(hostile, hostile, "local", 3, is_directory=False, status="pending")
        plain = make_operation(1, phase="failed", key=f"team/{'x' * 1000}.tar.gz")
        texts = {"target_path": hostile, "compressed_file_path": hostile, "error_message": hostile}
        files = {"source_file_record": file, "compressed_file_record": file, "s3_file_record": file}
        stored = store.create_operation(replace(plain, record=replace(plain.record, **texts, **files)))
        [found] = store.find_operations(HistoryQuery(limit=10)).operations
        assert store.get_operations([stored.id]) == {stored.id: found}
        assert len(to_json(found.record)) < 12 * TEXT_MAX_BYTES
        assert is_short(found.record.target_path)
        assert found.record.target_path.startswith("\x1b")
        assert found.record.s3_object_key == plain.record.s3_object_key
        assert store.update_operation(found).revision == 2

    def test_only_those_that_exist_are_read(self, store: RecordStore):
        first = store.create_operation(make_operation(1))
        assert store.get_operations([make_id(9), first.id, first.id]) == {first.id: first}
        assert store.get_operations([]) == {}

    def test_a_hundred_are_read_at_once(self, store: RecordStore):
        stored = [store.create_operation(make_operation(number)) for number in range(100)]
        assert store.get_operations([each.id for each in stored]) == {each.id: each for each in stored}

    def test_an_id_is_taken_once(self, store: RecordStore):
        stored = store.create_operation(make_operation(1))
        with pytest.raises(ConflictError):
            store.create_operation(make_operation(1, actor="lee"))
        with pytest.raises(ConflictError):
            store.create_operation(stored)
        assert store.get_operations([stored.id]) == {stored.id: stored}

    def test_each_update_is_the_next_revision(self, store: RecordStore):
        first = store.create_operation(make_operation(1))
        second = store.update_operation(first.advance("completing"))
        third = store.update_operation(second.advance("done", result_path=KEY))
        assert [first.revision, second.revision, third.revision] == [1, 2, 3]
        assert store.get_operations([first.id]) == {first.id: third}

    def test_a_field_set_to_nothing_is_gone(self, store: RecordStore):
        first = store.create_operation(replace(make_operation(1), multipart_upload_id="upload-1"))
        second = store.update_operation(replace(first, multipart_upload_id=None))
        assert store.get_operations([first.id])[first.id] == second
        assert second.multipart_upload_id is None

    def test_an_update_over_another_revision_is_refused(self, store: RecordStore):
        first = store.create_operation(make_operation(1))
        second = store.update_operation(first.advance("completing"))
        for stale in (first, replace(first, revision=0), replace(first, revision=3)):
            with pytest.raises(ConflictError):
                store.update_operation(stale.advance("failed"))
        assert store.get_operations([first.id]) == {first.id: second}

    @pytest.mark.parametrize("revision", [0, 1])
    def test_an_update_of_nothing_is_refused(self, store: RecordStore, revision: int):
        with pytest.raises(ConflictError):
            store.update_operation(replace(make_operation(1), revision=revision))
        assert store.get_operations([make_id(1)]) == {}


@every_store
class TestNames:
    def test_what_was_stored_is_read_back_whole(self, store: RecordStore):
        names = (
            Name("a/plain.tar.gz"),
            Name("a/reserved.tar.gz", pending=PENDING),
            Name("a/stored.tar.gz", current=CURRENT),
            Name("a/both.tar.gz", current=replace(CURRENT, version_id="v1"), pending=PENDING),
        )
        for name in names:
            stored = store.put_name(name)
            assert stored == replace(name, revision=1)
            assert store.get_names([name.key]) == {fold_key(name.key): stored}

    @pytest.mark.parametrize("asked", ["team/CLIP.mp4.tar.gz", KEY, "TEAM/clip.MP4.TAR.GZ"])
    def test_a_name_is_found_in_any_case(self, store: RecordStore, asked: str):
        stored = store.put_name(Name(KEY, current=CURRENT))
        assert store.get_names([asked, "team/other.tar.gz"]) == {fold_key(asked): stored}
        assert stored.key == KEY

    def test_a_name_is_found_in_any_normalization(self, store: RecordStore):
        stored = store.put_name(Name("caf\u00e9.tar.gz"))
        assert store.get_names(["cafe\u0301.tar.gz", "CAFE\u0301.tar.gz"]) == {fold_key(stored.key): stored}

    def test_a_name_that_differs_only_by_case_cannot_be_created_beside_it(self, store: RecordStore):
        stored = store.put_name(Name(KEY, pending=PENDING))
        with pytest.raises(ConflictError):
            store.put_name(Name(KEY.upper(), pending=replace(PENDING, actor="lee")))
        assert store.get_names([KEY]) == {fold_key(KEY): stored}

    def test_only_the_revision_that_was_read_is_replaced(self, store: RecordStore):
        first = store.put_name(Name(KEY, pending=PENDING))
        second = store.put_name(replace(first, pending=None, current=CURRENT))
        assert second == Name(KEY, current=CURRENT, revision=2)
        for stale in (first, replace(first, revision=0), replace(first, revision=3)):
            with pytest.raises(ConflictError):
                store.put_name(stale)
        assert store.get_names([KEY]) == {fold_key(KEY): second}

    def test_a_name_never_stored_has_no_revision_to_replace(self, store: RecordStore):
        with pytest.raises(ConflictError):
            store.put_name(Name(KEY, revision=1))
        assert store.get_names([KEY]) == {}

    @pytest.mark.parametrize("key", ["x" * 1024, "\u0587" * 512], ids=["plain", "doubled by case folding"])
    def test_the_longest_keys_fit(self, store: RecordStore, key: str):
        stored = store.put_name(Name(key, pending=PENDING))
        assert store.get_names([key, key[:-1]]) == {fold_key(key): stored}


@every_store
class TestOperationsAndNames:
    def test_both_are_read_as_each_is_alone(self, store: RecordStore):
        operations = [store.create_operation(make_operation(number)) for number in range(60)]
        names = [store.put_name(Name(f"Team/{number}.tar.gz", pending=PENDING)) for number in range(60)]
        ids, keys = [each.id for each in operations], [each.key.lower() for each in names]
        found = store.get_operations_and_names([make_id(99), *ids, ids[0]], [*keys, "nothing", KEY, names[0].key])
        assert found == (store.get_operations(ids), store.get_names(keys))
        assert found == ({each.id: each for each in operations}, {fold_key(each.key): each for each in names})

    def test_either_may_be_left_out(self, store: RecordStore):
        operation, name = store.create_operation(make_operation(1)), store.put_name(Name(KEY))
        assert store.get_operations_and_names([operation.id], []) == ({operation.id: operation}, {})
        assert store.get_operations_and_names([], [KEY]) == ({}, {fold_key(KEY): name})
        assert store.get_operations_and_names([], []) == ({}, {})


@every_store
class TestSignedParts:
    def test_an_operation_begins_with_none(self, store: RecordStore):
        assert store.get_signed_parts(make_id(1)) == {}

    def test_parts_of_an_operation_add_up(self, store: RecordStore):
        first, second = Part(1, 5, "AAAAAAAAAAA="), Part(2, 7, "AAAAAAAAAAE=")
        store.add_signed_parts(make_id(1), [second])
        store.add_signed_parts(make_id(1), [first])
        store.add_signed_parts(make_id(2), [Part(3, 6, "AAAAAAAAAAI=")])
        assert store.get_signed_parts(make_id(1)) == {1: first, 2: second}

    def test_the_same_part_again_is_no_change(self, store: RecordStore):
        parts = [Part(number, 5, "AAAAAAAAAAA=") for number in range(1, 4)]
        for _ in range(2):
            store.add_signed_parts(make_id(1), parts)
        assert store.get_signed_parts(make_id(1)) == {part.number: part for part in parts}

    @pytest.mark.parametrize("other", [Part(2, 6, "AAAAAAAAAAA="), Part(2, 5, "AAAAAAAAAAE=")])
    def test_other_bytes_are_refused_and_nothing_of_the_call_is_kept(self, store: RecordStore, other: Part):
        signed = Part(2, 5, "AAAAAAAAAAA=")
        store.add_signed_parts(make_id(1), [signed])
        for parts in ([Part(1, 5, "AA=="), other, Part(300, 5, "AA==")], [Part(300, 5, "AA=="), other]):
            with pytest.raises(ConflictError):
                store.add_signed_parts(make_id(1), parts)
        assert store.get_signed_parts(make_id(1)) == {2: signed}

    def test_one_call_cannot_sign_a_part_twice_for_different_bytes(self, store: RecordStore):
        with pytest.raises(ConflictError):
            store.add_signed_parts(make_id(1), [Part(1, 5, "AA=="), Part(1, 6, "AA==")])
        assert store.get_signed_parts(make_id(1)) == {}

    @pytest.mark.parametrize("numbers", [range(1, 101), range(51, 151), range(100, 10_001, 100)])
    def test_a_hundred_parts_wherever_they_lie(self, store: RecordStore, numbers: range):
        parts = {number: Part(number, 5 + number, "AAAAAAAAAAA=") for number in numbers}
        store.add_signed_parts(make_id(1), list(parts.values()))
        assert store.get_signed_parts(make_id(1)) == parts

    def test_all_parts_of_an_operation_are_read_at_once(self, store: RecordStore):
        parts = {number: Part(number, 2**33, "AAAAAAAAAAA=") for number in range(9_001, 10_001)}
        for begin in range(9_001, 10_001, 100):
            store.add_signed_parts(make_id(1), [parts[number] for number in range(begin, begin + 100)])
        assert store.get_signed_parts(make_id(1)) == parts


@every_adapter
class TestManyAtOnce:
    """The fake is left out: it serves one thread."""

    def test_of_two_that_create_one_operation_one_wins(self, store: RecordStore):
        for number in range(10):
            rivals = [make_operation(number, actor=actor) for actor in ("kim", "lee", "max")]
            assert count_wins([lambda rival=rival: store.create_operation(rival) for rival in rivals]) == 1

    def test_of_two_writers_of_one_revision_one_wins(self, store: RecordStore):
        operation = store.create_operation(make_operation(1))
        for _ in range(10):
            rivals = [replace(operation, machine_id=machine) for machine in ("a", "b", "c")]
            assert count_wins([lambda rival=rival: store.update_operation(rival) for rival in rivals]) == 1
            [operation] = store.get_operations([operation.id]).values()
        assert operation.revision == 11

    def test_of_two_that_reserve_a_name_one_wins(self, store: RecordStore):
        for number in range(10):
            rivals = [
                Name(f"Clip{number}.tar.gz", pending=PENDING),
                Name(f"clip{number}.TAR.GZ", pending=replace(PENDING, actor="lee")),
            ]
            assert count_wins([lambda rival=rival: store.put_name(rival) for rival in rivals]) == 1

    def test_parts_signed_at_once_are_all_kept(self, store: RecordStore):
        parts = {number: Part(number, number, "AAAAAAAAAAA=") for number in range(96, 106)}
        pairs = [[parts[number], parts[number + 5]] for number in range(96, 101)]
        assert count_wins([lambda p=p: store.add_signed_parts(make_id(1), p) for p in pairs]) == 5
        assert store.get_signed_parts(make_id(1)) == parts

    def test_of_two_that_sign_one_part_for_different_bytes_one_wins(self, store: RecordStore):
        for number in range(1, 400, 99):
            rivals = [
                [Part(number, length, "AAAAAAAAAAA="), Part(number + 1, length, "AAAAAAAAAAA=")] for length in (1, 2)
            ]
            wins = count_wins([lambda r=r: store.add_signed_parts(make_id(1), r) for r in rivals])
            signed = store.get_signed_parts(make_id(1))
            assert wins == 1
            assert list(signed.values())[-2:] in rivals


# --- history -------------------------------------------------------------------------------------------

ACTORS = ("kim", "Lee")
PEOPLE = (("kim", "subject-of-kim"), ("Lee", "subject-of-Lee"), ("KIM", "another-kim"), ("Lee", "subject-of-kim"))
"""Two of one name, and one of two names."""
KEYS = ("a/clip.tar.gz", "b/clip.tar.gz", "b/Clip.tar.gz", "b/other.tar.gz")
PHASES: tuple[Phase, ...] = ("reserved", "carrying", "completing", "done", "failed")
MOMENTS = st.integers(0, 5).map(lambda seconds: START + timedelta(seconds=seconds, microseconds=500))

FILTERS = {
    "actor": st.sampled_from([*map(fold_person, ACTORS), "nobody"]),
    "actor_id": st.sampled_from([f"subject-of-{actor}" for actor in ACTORS]),
    "status": st.sampled_from(["pending", "success", "failed"]),
    "operation_type": st.sampled_from(["upload", "delete"]),
    "base_name": st.sampled_from(["clip.tar.gz", "Clip.tar.gz", "missing.tar.gz"]),
    "key": st.sampled_from(KEYS),
    "folder": st.sampled_from(["a/", "b/", "clip/"]),
    "since": MOMENTS,
    "until": MOMENTS,
}


def by(person: tuple[str, str], operation: RecordedT) -> RecordedT:
    """The same operation by another person: a name and a subject."""
    return replace(operation, record=replace(operation.record, actor=person[0], actor_id=person[1]))


@st.composite
def queries(draw: st.DrawFn) -> HistoryQuery:
    """Few filters at once: with many, hardly anything is found."""
    names = draw(st.lists(st.sampled_from(sorted(FILTERS)), unique=True, max_size=2))
    filters = {name: draw(FILTERS[name]) for name in names}
    return HistoryQuery(limit=draw(st.integers(1, 5)), oldest_first=draw(st.booleans()), **filters)


facts = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE),
        st.sampled_from(KEYS),
        st.sampled_from(PHASES),
        st.sampled_from([0, 0.001, 1, 2, 3, 3.999, 4]),
    ),
    max_size=12,
)


@every_adapter
@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(facts=facts, asked=st.lists(queries(), min_size=1, max_size=3))
def test_every_store_finds_what_the_fake_finds(record_store_maker, facts, asked):
    """For any operations and filters the pages together are the fake's answer, in its order, each once."""
    store, fake = record_store_maker(), FakeRecordStore()
    for number, (person, key, phase, seconds) in enumerate(facts):
        operation = by(person, make_operation(number, key=key, phase=phase, seconds=seconds))
        assert store.create_operation(operation) == fake.create_operation(operation)
    for query in asked:
        everything = fake.find_operations(replace(query, limit=100)).operations
        assert find_all(store, query) == everything


@every_store
class TestHistory:
    def test_nothing_is_found_where_nothing_is(self, store: RecordStore):
        page = store.find_operations(HistoryQuery(limit=50))
        assert (page.operations, page.after) == ([], None)

    @pytest.mark.parametrize("limit", [1, 7, 100])
    def test_pages_are_full_and_the_last_one_knows_it_is(self, store: RecordStore, limit: int):
        count = 2 * limit if limit < 100 else limit + 3
        stored = [store.create_operation(make_operation(n, seconds=n // 3)) for n in range(count)]
        page = store.find_operations(HistoryQuery(limit=limit))
        assert page.operations == stored[::-1][:limit]
        assert page.after == page.operations[-1].order
        assert find_all(store, HistoryQuery(limit=limit)) == stored[::-1]

    def test_a_page_that_ends_where_the_history_ends_has_no_successor(self, store: RecordStore):
        stored = [store.create_operation(make_operation(number)) for number in range(5)]
        page = store.find_operations(HistoryQuery(limit=5))
        assert (page.operations, page.after) == (stored[::-1], None)

    def test_a_page_shows_operations_as_they_are_now(self, store: RecordStore):
        first = store.create_operation(make_operation(1))
        second = store.update_operation(first.advance("completing"))
        third = store.update_operation(second.advance("done", etag='"etag"'))
        for query in (
            HistoryQuery(limit=5),
            HistoryQuery(limit=5, actor="kim"),
            HistoryQuery(limit=5, base_name="clip.mp4.tar.gz"),
            HistoryQuery(limit=5, status="success"),
        ):
            assert store.find_operations(query).operations == [third]

    def test_an_operation_moves_between_the_statuses(self, store: RecordStore):
        first = store.create_operation(make_operation(1))
        other = store.create_operation(make_operation(2))

        def found() -> list[list[Operation]]:
            statuses = ("pending", "failed", "success")
            return [find_all(store, HistoryQuery(limit=5, status=status)) for status in statuses]

        assert found() == [[other, first], [], []]
        failed = store.update_operation(first.advance("failed"))
        assert found() == [[other], [failed], []]
        done = store.update_operation(store.update_operation(other.advance("completing")).advance("done"))
        assert found() == [[], [failed], [done]]

    def test_what_is_stored_between_two_pages_moves_nothing(self, store: RecordStore):
        stored = [store.create_operation(make_operation(number, seconds=number)) for number in range(6)]
        page = store.find_operations(HistoryQuery(limit=3))
        store.create_operation(make_operation(100, seconds=100))
        store.update_operation(stored[3].advance("completing"))
        rest = store.find_operations(HistoryQuery(limit=3, after=page.after))
        assert rest.operations == stored[2::-1]

    def test_a_span_begins_with_since_and_ends_before_until(self, store: RecordStore):
        stored = [store.create_operation(make_operation(number, seconds=number)) for number in range(5)]
        span = HistoryQuery(limit=9, since=stored[1].record.started_at, until=stored[4].record.started_at)
        assert find_all(store, span) == stored[3:0:-1]
        assert find_all(store, replace(span, since=span.until, until=span.since)) == []

    def test_a_person_is_found_however_the_name_is_written(self, store: RecordStore):
        stored = store.create_operation(make_operation(1, actor="Zoë Müller"))
        store.create_operation(make_operation(2, actor="Zo"))
        for written in ("ZOË MÜLLER", " zoë müller ", "Zoe\u0308 Mu\u0308ller"):
            assert find_all(store, HistoryQuery(limit=5, actor=fold_person(written))) == [stored]

    @pytest.mark.parametrize("oldest_first", [False, True])
    @pytest.mark.parametrize("people", [2, 25])
    def test_people_of_one_name_are_found_together_in_order(self, store: RecordStore, people: int, oldest_first: bool):
        stored = [
            store.create_operation(by(("Kim", f"kim-{n % people}"), make_operation(n, seconds=n // 4)))
            for n in range(max(12, people))
        ]
        store.create_operation(by(("Lee", "kim-0"), make_operation(100, seconds=1)))
        expected = stored if oldest_first else stored[::-1]
        for limit in (5, 100):
            query = HistoryQuery(limit=limit, actor="kim", oldest_first=oldest_first)
            assert find_all(store, query) == expected
        both = HistoryQuery(limit=5, actor="kim", actor_id="kim-0", oldest_first=oldest_first)
        assert find_all(store, both) == [each for each in expected if each.record.actor_id == "kim-0"]

    def test_a_renamed_person_is_found_under_each_name_with_what_was_done_under_it(self, store: RecordStore):
        before, other, after = (
            store.create_operation(by(person, make_operation(n, seconds=n)))
            for n, person in enumerate([("kim", "s"), ("lee", "t"), ("kim larsen", "s")])
        )
        assert find_all(store, HistoryQuery(limit=1, actor="kim")) == [before]
        assert find_all(store, HistoryQuery(limit=1, actor="kim larsen")) == [after]
        assert find_all(store, HistoryQuery(limit=1, actor_id="s")) == [after, before]
        assert find_all(store, HistoryQuery(limit=1, actor="lee")) == [other]
        assert find_all(store, HistoryQuery(limit=1, actor="larsen")) == []

    def test_one_who_only_deletes_or_downloads_is_found_by_name(self, store: RecordStore):
        upload = store.create_operation(make_operation(1, phase="done"))
        delete, _ = store.create_with_upload(by(("chief", "c"), make_delete(2)), deletion_of(upload), Name(KEY))
        download = store.create_operation(make_download(3, actor="lee"))
        assert find_all(store, HistoryQuery(limit=5, actor="chief")) == [delete]
        assert find_all(store, HistoryQuery(limit=5, actor="lee")) == [download]

    def test_a_folder_holds_the_keys_that_begin_with_it(self, store: RecordStore):
        """Whatever a database takes for a pattern is plain text in a name."""
        keys = ["day1/a.tar.gz", "day1/cam/b.tar.gz", "day10/c.tar.gz", "Day1/d.tar.gz", "x/day1/e.tar.gz"]
        stored = [store.create_operation(make_operation(n, key=key)) for n, key in enumerate(keys)]
        odd = store.create_operation(make_operation(9, key="50%_*/f.tar.gz"))
        assert find_all(store, HistoryQuery(limit=1, folder="day1/")) == [stored[1], stored[0]]
        assert find_all(store, HistoryQuery(limit=5, folder="50%_*/")) == [odd]
        assert find_all(store, HistoryQuery(limit=5, folder="5%/")) == []

    def test_a_page_that_was_hard_to_fill_has_a_successor_too(self, store: RecordStore):
        wanted = [store.create_operation(make_operation(number, actor="lee")) for number in range(2)]
        store.create_operation(make_operation(2))
        query = HistoryQuery(limit=1, actor_id="subject-of-lee")
        page = store.find_operations(query)
        assert (page.operations, page.after) == ([wanted[1]], wanted[1].order)
        assert find_all(store, query) == wanted[::-1]

    @pytest.mark.parametrize("limit", [1, 100])
    def test_the_needle_at_the_bottom_is_found_by_reading_on(self, store: RecordStore, limit: int):
        """Filters that no index serves may leave pages short, but lose nothing."""
        needle = store.create_operation(make_operation(0, actor="lee", key="a/needle.tar.gz"))
        for number in range(1, 130):
            store.create_operation(make_operation(number, actor="kim", key=f"a/{number}.tar.gz", seconds=1))
        assert find_all(store, HistoryQuery(limit=limit, actor_id="subject-of-lee")) == [needle]
