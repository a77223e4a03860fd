"""Looking records up and paging through them."""

from __future__ import annotations

import base64
import dataclasses
import json

import pytest

from support.fakes import FakeRecordStore
from support.studio import BODY, SETTINGS, RefusedError, Studio, item_for

NOWHERE = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def uploads(studio, ada, bob):
    """Five operations a minute apart, oldest first: done, failed, pending, done, done."""
    people = [(ada, "one"), (bob, "two"), (ada, "three"), (bob, "four"), (ada, "five")]
    ids = []
    for index, (person, name) in enumerate(people):
        item = item_for(name, BODY, prefix="day1" if index < 3 else "day2")
        started = person.start(item)
        if index == 1:
            person.fail(started)
        elif index != 2:
            person.carry(started, BODY)
            person.complete(started, item.content)
        ids.append(item.operation_id)
        studio.clock.advance(60)
    return ids


def ids_of(page):
    return [record.operation_id for record in page.records]


def test_records_of_others_are_found_by_id(uploads, bob):
    results = bob.look_up(uploads[0], NOWHERE, "nonsense", uploads[0])
    assert [result.outcome for result in results] == ["record", "problem", "problem", "record"]
    assert results[0].record.actor == "ada"
    assert [results[1].problem.code, results[2].problem.operation_id] == ["no-such-operation", "nonsense"]


@pytest.mark.parametrize("count", [0, 101])
def test_a_look_up_holds_1_to_100_ids(ada, count):
    with pytest.raises(RefusedError, match="invalid-request"):
        ada.look_up(*[NOWHERE] * count)


def test_history_is_everybodys_newest_first(uploads, bob):
    page = bob.history()
    assert ids_of(page) == uploads[::-1]
    assert page.cursor is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"actor": "bob"}, [3, 1]),
        ({"mine": "true"}, [4, 2, 0]),
        ({"mine": "false", "actor": "ada"}, [4, 2, 0]),
        ({"status": "failed"}, [1]),
        ({"status": "pending"}, [2]),
        ({"operation_type": "upload", "status": "success"}, [4, 3, 0]),
        ({"operation_type": "delete"}, []),
        ({"name": "three"}, [2]),
        ({"name": "three.tar.gz"}, [2]),
        ({"name": "day1/three.tar.gz"}, [2]),
        ({"name": "day1/three"}, [2]),
        ({"name": "/day1/three"}, [2]),
        ({"name": "day2/three"}, []),
        ({"name": "/three"}, []),
        ({"name": "day1/"}, [2, 1, 0]),
        ({"name": "/day1/"}, [2, 1, 0]),
        ({"name": "day/"}, []),
        ({"name": "day1/", "actor": "ada"}, [2, 0]),
        ({"actor": "BOB"}, [3, 1]),
        ({"since": "2026-11-01T12:03:00Z"}, [4, 3]),
        ({"until": "2026-11-01T12:03:00Z"}, [2, 1, 0]),
        ({"since": "2026-11-01T13:01:00+01:00", "until": "2026-11-01T12:02:00Z"}, [1]),
    ],
)
def test_filters(uploads, ada, query, expected):
    assert ids_of(ada.history(**query)) == [uploads[index] for index in expected]


def test_pages_follow_one_another_until_all_was_seen(uploads, ada):
    seen, cursor = [], None
    for _ in range(3):
        page = ada.history(limit="2", **({"cursor": cursor} if cursor else {}))
        seen.append(ids_of(page))
        cursor = page.cursor
    assert seen == [uploads[4:2:-1], uploads[2:0:-1], uploads[:1]]
    assert cursor is None


def test_a_page_may_be_empty_and_still_go_on(studio, uploads, ada):
    stored = studio.records
    studio.records = FakeRecordStore(examined_per_call=2)
    studio.records.operations = stored.operations
    studio.serve(studio.records, studio.objects)
    first = ada.history(status="failed")
    assert (ids_of(first), first.cursor is None) == ([], False)
    second = ada.history(status="failed", cursor=first.cursor)
    assert ids_of(second) == [uploads[1]]


def test_the_length_of_a_page_may_change_on_the_way(uploads, ada):
    cursor = ada.history(limit="1").cursor
    assert ids_of(ada.history(limit="100", cursor=cursor)) == uploads[3::-1]


def test_a_cursor_goes_on_only_in_its_own_list(uploads, ada, bob):
    cursor = ada.history(limit="1", mine="true").cursor
    for person, query in ((ada, {}), (ada, {"mine": "true", "status": "failed"}), (bob, {"mine": "true"})):
        with pytest.raises(RefusedError, match="cursor was not made"):
            person.history(cursor=cursor, **query)


def forge(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


@pytest.mark.parametrize(
    "cursor", ["x", "", "!!!!", "\u00e4", forge(None), forge(["a"]), forge([1, "x"]), forge(["2026", "x"]), forge({})]
)
def test_a_cursor_that_is_none_is_refused(ada, cursor):
    with pytest.raises(RefusedError, match="invalid-request"):
        ada.history(cursor=cursor)


def test_a_cursor_nested_deeper_than_python_reads_is_refused(ada):
    with pytest.raises(RefusedError, match="invalid-request"):
        ada.history(cursor=base64.urlsafe_b64encode(b"[" * 6000).decode())


def test_a_forged_position_is_refused(uploads, ada):
    good = json.loads(base64.urlsafe_b64decode(ada.history(limit="1").cursor))
    for position in ("zzz", 5, None, good[0] + "\n", "2026-11-01T12:00:00.000Z#x"):
        with pytest.raises(RefusedError, match="cursor was not made"):
            ada.history(cursor=forge([position, good[1]]))


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "many"},
        {"status": "odd"},
        {"operation_type": "odd"},
        {"mine": "perhaps"},
        {"since": "yesterday"},
        {"since": "2026-11-01T12:00:00"},
        {"until": "2026-11-01"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"until": "0001-01-01T00:00:00+00:01"},
        {"since": "9999-12-31T23:59:59-14:00"},
        {"until": "9999-12-31T23:59:59.999999-00:01"},
        {"since": "1e999"},
        {"until": "9" * 5000},
        {"limit": "9" * 5000},
        {"limit": "1e400"},
        {"limit": "NaN"},
        {"unknown": "x"},
    ],
)
def test_a_filter_that_is_none_is_refused(ada, query):
    with pytest.raises(RefusedError, match="invalid-request"):
        ada.history(**query)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59.999999Z"}, [4, 3, 2, 1, 0]),
        ({"since": "0001-01-01T14:00:00+14:00"}, [4, 3, 2, 1, 0]),
        ({"until": "9999-12-31T09:59:59-14:00"}, [4, 3, 2, 1, 0]),
        ({"since": "9999-12-31T23:59:59Z"}, []),
        ({"until": "0001-01-01T00:00:00Z"}, []),
    ],
)
def test_the_first_and_the_last_time_there_is_are_taken(uploads, ada, query, expected):
    assert ids_of(ada.history(**query)) == [uploads[index] for index in expected]


def test_the_limits_of_a_page_are_taken(ada):
    assert ada.history(limit="1").records == []
    assert ada.history(limit="100").records == []


def test_a_page_tells_what_is_not_stored_any_more(studio, ada, bob):
    first, other = (item_for("clip", BODY, prefix=folder) for folder in ("day1", "day2"))
    ada.upload(first, BODY)
    ada.upload(other, BODY)
    studio.clock.advance(60)
    second = item_for("clip", b"other bytes", prefix="day1", replace=True)
    bob.upload(second, b"other bytes")
    page = ada.history()
    assert set(ids_of(page)) == {first.operation_id, other.operation_id, second.operation_id}
    assert page.replaced == (first.operation_id,)
    before = ada.history(actor="ada", until="2026-11-01T12:01:00Z")
    assert before.replaced == (first.operation_id,), "also where what replaced it is not on the page"


@pytest.mark.parametrize("root_prefix", ["team", "/team/"])
def test_names_may_leave_out_what_every_key_begins_with(root_prefix):
    person = Studio(dataclasses.replace(SETTINGS, root_prefix=root_prefix)).person("ada")
    item = item_for("clip", BODY, prefix="day1")
    person.upload(item, BODY)
    first = item.operation_id
    for name in ("day1/clip", "team/day1/clip.tar.gz", "day1/", "team/day1/", "team/"):
        assert ids_of(person.history(name=name)) == [first], name
    assert ids_of(person.history(name="/clip")) == []
