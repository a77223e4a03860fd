"""What a small upload costs in DynamoDB, write by write."""

from __future__ import annotations

from support.throttling import Recording, record_uploads
from support.write_units import UNIT_BYTES, Charge, sum_by_target

UNITS_OF_A_SMALL_UPLOAD = {
    "start": {"table": 2, "feed": 1, "by_actor_id": 1, "by_name": 1, "open": 1},
    "complete": {"table": 2, "open": 1},
    "clean-up": {"table": 1},
}
"""The name, the operation and its entry in each index; the name, the operation and its vanishing from `open`; what
became of the local files."""


def test_a_small_upload_costs_ten_write_units():
    recordings = record_uploads(2, 1, 4)
    for recording in recordings.later:
        assert written_in(recording) == UNITS_OF_A_SMALL_UPLOAD
    assert sum(sum(units.values()) for units in UNITS_OF_A_SMALL_UPLOAD.values()) == 10
    assert recordings.largest_item_bytes <= UNIT_BYTES


def test_a_persons_first_upload_costs_one_more_and_the_tables_first_another():
    first, second = (written_in(recording) for recording in record_uploads(0, 2, 4).first)
    start = UNITS_OF_A_SMALL_UPLOAD["start"]
    assert second == UNITS_OF_A_SMALL_UPLOAD | {"start": start | {"table": 3}}
    assert first == UNITS_OF_A_SMALL_UPLOAD | {"start": start | {"table": 4}}


def test_each_call_of_a_small_upload_reads_only_what_is_its_own():
    [recording] = record_uploads(1, 1, 4).later
    assert {stage: kinds_of(done.reads) for stage, done in recording.items()} == {
        "start": [("NAME", 1), ("OP", 1)],
        "complete": [("NAME", 1), ("OP", 1)],
        "clean-up": [("OP", 1)],
    }


def written_in(recording: Recording) -> dict[str, dict[str, int]]:
    """The write units of each stage, by table and index."""
    return {stage: dict(sum_by_target(done.writes)) for stage, done in recording.items()}


def kinds_of(charges: list[Charge]) -> list[tuple[str, int]]:
    return sorted((charge.partition.partition("#")[0], charge.units) for charge in charges)
