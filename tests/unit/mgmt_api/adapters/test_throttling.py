"""Where throttling begins: real uploads, set on a clock, against the limit of a partition."""

from __future__ import annotations

from collections import Counter

import pytest

from mgmt_api.domain.settings import Settings
from support.throttling import (
    LIST_MAX,
    PARTITION_WRITE_UNITS_PER_SECOND,
    TABLE_WRITE_UNITS_AT_FIRST,
    find_beginning,
    kind_of,
    record_uploads,
    simulate,
)

DEFAULT_SHARDS = Settings("b", "t", "r").feed_shards


def test_uploads_share_no_partition_key_but_those_of_a_shard_and_of_a_person():
    uploads, people, shards = 60, 3, 4
    users: Counter[tuple[str, str, str]] = Counter()
    for recording in record_uploads(uploads, people, shards).later:
        charges = [charge for stage in recording.values() for charge in (*stage.writes, *stage.reads)]
        users.update({(kind_of(charge), charge.target, charge.partition) for charge in charges})
    by_kind = {kind: {key: count for key, count in users.items() if key[0] == kind} for kind, _, _ in users}
    assert set(by_kind["own"].values()) == {1}
    assert sorted(by_kind["person"].values()) == [uploads // people] * people
    assert set(by_kind["shard"]) == {
        ("shard", target, partition)
        for target, name in (("feed", "F"), ("open", "S#pending"))
        for partition in (f"{name}#{number}" for number in range(shards))
    }


@pytest.mark.parametrize("rate", [50, 1000])
@pytest.mark.parametrize("in_lists_of", [1, LIST_MAX])
def test_50_and_1000_uploads_a_second_throttle_no_partition_by_default(rate: int, in_lists_of: int):
    load = simulate(rate, DEFAULT_SHARDS, in_lists_of=in_lists_of)
    assert load.throttled == set(), load
    assert load.writes["open"] > rate / DEFAULT_SHARDS, "the simulation has a load at all"


def test_one_partition_throttles_at_1000_a_second_and_not_at_50():
    assert simulate(50, 1).throttled == set()
    assert simulate(1000, 1).throttled == {"open", "feed"}


def test_throttling_begins_with_the_index_of_what_is_pending_near_500_uploads_a_second_and_shard():
    """Each upload appears there and vanishes; random seconds are busier than the average one."""
    begins = find_beginning(DEFAULT_SHARDS)
    assert DEFAULT_SHARDS == 4
    assert 1600 <= begins <= 2000
    assert simulate(begins, DEFAULT_SHARDS).throttled == {"open"}
    assert find_beginning(1) <= 500
    assert 1000 < find_beginning(DEFAULT_SHARDS, in_lists_of=LIST_MAX) <= begins, "lists come in bursts"


def test_one_persons_own_index_throttles_at_1000_of_this_persons_uploads_a_second():
    shards = 32
    assert simulate(850, shards, people=1).throttled == set()
    assert simulate(1100, shards, people=1).throttled == {"by_actor_id"}


def test_a_new_table_throttles_as_a_whole_before_its_partitions_do():
    [recording] = record_uploads(1, 1, DEFAULT_SHARDS).later
    units = sum(charge.units for stage in recording.values() for charge in stage.writes if charge.target == "table")
    assert TABLE_WRITE_UNITS_AT_FIRST / units == 800 < find_beginning(DEFAULT_SHARDS)
    assert units < PARTITION_WRITE_UNITS_PER_SECOND
