"""What a small upload costs in DynamoDB, and at how many a second its partitions would throttle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from mgmt_api.adapters.dynamodb import DynamoDBRecordStore
from mgmt_api.domain.settings import Settings
from mgmt_contract.messages import CleanUp
from support.moto_table import create_table, moto_dynamodb
from support.studio import SETTINGS, Studio, content_of, item_for
from support.write_units import PARTITION_UNITS_PER_SECOND, UNIT_BYTES, WriteUnits

BODY = b"bytes"
UNITS_OF_A_SMALL_UPLOAD = {
    "start": {"table": 2, "feed": 1, "by_actor_id": 1, "by_name": 1, "open": 1},
    "complete": {"table": 2, "open": 1},
    "clean-up": {"table": 1},
}
"""The name, the operation and its entry in each index; the name, the operation and its vanishing from `open`; what
became of the local files."""


@contextmanager
def counted_uploads(uploads: int, people: int, shards: int) -> Iterator[WriteUnits]:
    """Have people upload small files, each to the end."""
    units = WriteUnits()
    with moto_dynamodb() as client:
        create_table(client, "records")
        studio = Studio(replace(SETTINGS, feed_shards=shards))
        studio.serve(DynamoDBRecordStore(units.listen(client), "records", shards), studio.objects)
        machines = [studio.person(f"person{number}") for number in range(people)]
        for number in range(uploads):
            machine = machines[number % people]
            item = item_for(f"A001_C{number:04}_0415AB.mov", BODY, prefix="shoots/2026-11/day1")
            assert machine.upload(item, BODY).outcome == "done"
            assert machine.clean_up(CleanUp(item.operation_id, "completed", "deleted"))[0].outcome == "record"
        yield units


def hottest(units: WriteUnits, uploads: int) -> dict[str, float]:
    """Units per upload that fall on the busiest partition of the table and of each index."""
    found: Counter[str] = Counter()
    for (target, _), count in units.by_partition.items():
        found[target] = max(found[target], count)
    return {target: count / uploads for target, count in found.items()}


def test_a_small_upload_costs_ten_units():
    """Of a person whom the table knows; a person's first upload costs one more, and the table's first as well."""
    with moto_dynamodb() as client:
        create_table(client, "records")
        studio, units = Studio(), WriteUnits()
        studio.serve(DynamoDBRecordStore(units.listen(client), "records", 4), studio.objects)
        ada, spent = studio.person("ada"), []
        for number in range(2):
            item = item_for(f"A001_C{number:04}_0415AB.mov", BODY, prefix="shoots/2026-11/day1")
            before = Counter(units.by_target)
            started = ada.start(item)
            ada.carry(started, BODY)
            after_start = Counter(units.by_target)
            assert ada.complete(started, content_of(BODY)).outcome == "done"
            after_completion = Counter(units.by_target)
            assert ada.clean_up(CleanUp(item.operation_id, "completed", "deleted"))[0].outcome == "record"
            spent.append(
                {
                    "start": after_start - before,
                    "complete": after_completion - after_start,
                    "clean-up": units.by_target - after_completion,
                }
            )
    assert spent[1] == UNITS_OF_A_SMALL_UPLOAD
    assert sum(sum(each.values()) for each in UNITS_OF_A_SMALL_UPLOAD.values()) == 10
    assert spent[0]["start"] == Counter(UNITS_OF_A_SMALL_UPLOAD["start"]) + Counter(table=2)
    assert units.largest_item_bytes <= UNIT_BYTES


def test_50_and_1000_uploads_a_second_fit_into_the_partitions_of_a_team_by_default():
    """With the default of 4 partitions and 20 people; each person's own index would throttle at 1,000 of theirs."""
    uploads = 80
    with counted_uploads(uploads, 20, Settings("b", "t", "r").feed_shards) as units:
        share = hottest(units, uploads)
    for rate in (50, 1000):
        assert {target for target, part in share.items() if rate * part > PARTITION_UNITS_PER_SECOND} == set()


def test_one_partition_would_throttle_at_500_a_second():
    """The index of what is pending: each upload appears there and vanishes."""
    with counted_uploads(10, 5, 1) as units:
        share = hottest(units, 10)
    begins = {target: PARTITION_UNITS_PER_SECOND / part for target, part in share.items()}
    assert min(begins, key=lambda target: begins[target]) == "open"
    assert begins["open"] == 500
