"""The table's form is fixed once it holds records: a later version must find what this one wrote."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from mgmt_api.adapters import table
from mgmt_api.domain.entities import CurrentVersion, Name, PendingUpload
from mgmt_contract.messages.uploads import Part
from support.operations import make_id, make_operation

MOMENT = datetime(2026, 11, 1, 12, tzinfo=UTC)
CURRENT = CurrentVersion("id", "kim", MOMENT, 5, "AAAAAAAAAAA=", "blake3:00", '"e"', None)


def test_an_operation_has_the_keys_of_the_table_and_of_every_index():
    operation = make_operation(1, actor="kim")
    item = table.operation_item(operation, 1)
    assert {name: value for name, value in item.items() if name.endswith(("pk", "sk", "order"))} == {
        "pk": f"OP#{make_id(1)}",
        "sk": "OP",
        "order": f"2026-11-01T12:00:00.000Z#{make_id(1)}",
        "feed_pk": "F#0",
        "actor_id_pk": "I#subject-of-kim",
        "name_pk": "N#clip.mp4.tar.gz",
        "open_pk": "S#pending#0",
    }


@pytest.mark.parametrize(
    ("phase", "partition"),
    [("reserved", "S#pending#0"), ("completing", "S#pending#0"), ("failed", "S#failed#0"), ("done", None)],
)
def test_only_what_is_pending_or_has_failed_is_in_the_index_of_what_is_open(phase, partition):
    assert table.operation_item(make_operation(1, phase=phase), 1).get("open_pk") == partition


def test_feed_and_open_operations_share_a_shard():
    for number in range(40):
        item = table.operation_item(make_operation(number), 4)
        shard = table.shard_of(make_id(number), 4)
        assert (item["feed_pk"], item["open_pk"]) == (f"F#{shard}", f"S#pending#{shard}")


def test_the_partitions_that_are_read_are_those_that_are_written():
    assert table.feed_partitions(3) == ["F#0", "F#1", "F#2"]
    assert table.open_partitions("failed", 2) == ["S#failed#0", "S#failed#1"]
    assert table.person_key(" Kim") == {"pk": "PERSON#kim", "sk": "PERSON"}
    assert table.actor_id_partition("sub") == "I#sub"
    assert table.base_name_partition("clip.tar.gz") == "N#clip.tar.gz"


def test_signed_parts_lie_in_buckets_of_a_hundred_beside_their_operation():
    assert [table.parts_bucket(number) for number in (1, 100, 101, 10_000)] == [0, 0, 1, 99]
    assert table.parts_key("x", 7) == {"pk": "OP#x", "sk": "PARTS#1#07"}
    part = Part(101, 5, "AAAAAAAAAAA=")
    item = table.parts_item(table.parts_key("x", 1), [part], 4)
    assert item == {"pk": "OP#x", "sk": "PARTS#1#01", "parts": {"101": [5, "AAAAAAAAAAA="]}, "revision": 4}
    assert table.read_parts({"parts": {"101": [Decimal(5), "AAAAAAAAAAA="]}}) == {101: part}


@pytest.mark.parametrize(
    ("key", "partition"),
    [
        ("Team/Clip.tar.gz", "NAME#team/clip.tar.gz"),
        ("x" * 2043, f"NAME#{'x' * 2043}"),
        ("x" * 2044, f"NAME#sha256:{hashlib.sha256(b'x' * 2044).hexdigest()}"),
    ],
    ids=["folded", "as long as a key may be", "longer"],
)
def test_a_name_is_found_under_its_folded_key_however_long_it_is(key, partition):
    assert table.name_key(key) == {"pk": partition, "sk": "NAME"}


@pytest.mark.parametrize("current", [None, CURRENT, replace(CURRENT, version_id="v1")])
@pytest.mark.parametrize("pending", [None, PendingUpload("id", "machine", "kim", "sub", MOMENT)])
def test_a_name_is_read_as_it_was_written(current, pending):
    name = Name("Team/Clip.tar.gz", current, pending, revision=3)
    assert table.read_name(table.name_item(name)) == name


def test_an_operation_is_read_as_it_was_written_with_dynamodbs_numbers():
    operation = replace(make_operation(1), part_size=16 * 2**20, upper_bound=2**40, revision=7)
    item = table.operation_item(operation, 4)
    item |= {"part_size": Decimal(item["part_size"]), "upper_bound": Decimal(2**40), "revision": Decimal(7)}
    item["record"]["source_file_record"]["size"] = Decimal(3)
    assert table.read_operation(item) == operation


def test_what_is_none_takes_no_room():
    item = table.operation_item(make_operation(1), 1)
    assert "multipart_upload_id" not in item
    assert "finished_at" not in item["record"]
    assert "current" not in table.name_item(Name("k"))
