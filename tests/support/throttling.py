"""At how many small uploads a second a partition of the table would throttle: real uploads, set on a clock.

Real calls of the service, on the real adapter, say which partition keys of the table and of each index one upload
writes and reads, and with how many units. The simulation lets such uploads begin at random moments, each with an id,
a name and a shard of its own, and adds up what falls on each partition key in each second.

It is stricter than DynamoDB: unused capacity of the seconds before is not counted. That a partition is split where it
is hot does not help here: sort keys grow with the time, so that all new entries come at the same end.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from mgmt_api.adapters.dynamodb import DynamoDBRecordStore
from mgmt_api.adapters.table import shard_of
from mgmt_contract.messages.uploads import CleanUp
from support.moto_table import create_table, moto_dynamodb
from support.studio import SETTINGS, Machine, Studio, content_of, item_for
from support.write_units import Charge, WriteUnits

PARTITION_WRITE_UNITS_PER_SECOND = 1000
PARTITION_READ_UNITS_PER_SECOND = 3000
"""Source: Amazon DynamoDB Developer Guide, "Partitions and data distribution", read 2026-11."""
TABLE_WRITE_UNITS_AT_FIRST = 4000
"""What a new table, and each new index, serves a second in all; later twice the highest load so far.
Source: Amazon DynamoDB Developer Guide, "On-demand capacity mode: initial throughput", read 2026-11."""
STAGES = ("start", "complete", "clean-up")
SHARDS = (1, 2, 4, 8)
LIST_MAX = 100
"""Uploads that one call of `mgmt upload all` starts."""

_BODY = b"bytes"
_PEOPLE = 20
_SECONDS = 20
"""How long a simulation lasts, by its own clock."""
_SHARDED = ("feed", "open")


class Stage(NamedTuple):
    """What one call of a small upload writes and reads."""

    writes: list[Charge]
    reads: list[Charge]


class _Kind(NamedTuple):
    stage: str
    target: str
    place: str
    """What uploads have the partition key in common: `kind_of`."""
    write_units: int
    read_units: int


Recording = dict[str, Stage]
"""One upload's stages."""


class Recordings(NamedTuple):
    """Uploads, one after the other."""

    first: list[Recording]
    """The first of each person, which notes the person."""
    later: list[Recording]
    largest_item_bytes: int


def record_uploads(uploads: int, people: int, shards: int) -> Recordings:
    """Have people upload small files, each to the end: one each, and so many more."""
    units = WriteUnits()
    with moto_dynamodb() as client:
        create_table(client, "records")
        studio = Studio(replace(SETTINGS, feed_shards=shards))
        studio.serve(DynamoDBRecordStore(units.listen(client), "records", shards), studio.objects)
        machines = [studio.person(f"person{number}") for number in range(people)]
        recordings = [_record_upload(machines[number % people], number, units) for number in range(uploads + people)]
    return Recordings(recordings[:people], recordings[people:], units.largest_item_bytes)


def _record_upload(machine: Machine, number: int, units: WriteUnits) -> Recording:
    item = item_for(f"A001_C{number:04}_0415AB.mov", _BODY, prefix="shoots/2026-11/day1")
    recording = {}

    def note(stage: str) -> None:
        recording[stage] = Stage(list(units.charges), list(units.reads))
        units.charges.clear()
        units.reads.clear()

    started = machine.start(item)
    note("start")
    machine.carry(started, _BODY)
    assert machine.complete(started, content_of(_BODY)).outcome == "done"
    note("complete")
    assert machine.clean_up(CleanUp(item.operation_id, "completed", "deleted"))[0].outcome == "record"
    note("clean-up")
    return recording


# --- the clock -----------------------------------------------------------------------------------------


class Load(NamedTuple):
    """The busiest second of any partition key of each table or index, in units."""

    writes: Counter[str]
    reads: Counter[str]

    @property
    def throttled(self) -> set[str]:
        """The tables and indexes of which a partition would throttle."""
        return {target for target, units in self.writes.items() if units > PARTITION_WRITE_UNITS_PER_SECOND} | {
            target for target, units in self.reads.items() if units > PARTITION_READ_UNITS_PER_SECOND
        }


def simulate(rate_per_second: float, shards: int, *, in_lists_of: int = 1, people: int = _PEOPLE) -> Load:
    """Let uploads begin at random moments, so many a second on the average, and find the busiest seconds.

    Args:
        rate_per_second: Uploads that begin in a second.
        shards: Partitions of the feed and of what is open.
        in_lists_of: So many uploads of one person begin, and are completed, in one call.
        people: Who upload, as much each as the other.
    """
    chance = random.Random(f"{rate_per_second} {shards} {in_lists_of} {people}")  # noqa: S311 - a simulation
    shared = [kind for kind in _kinds() if kind.place != "own"]
    writes: Counter[tuple[str, int, int]] = Counter()
    calls_per_second = rate_per_second / in_lists_of
    moment = chance.expovariate(calls_per_second)
    while moment < _SECONDS:
        person = chance.randrange(people)
        moments = dict(zip(STAGES, map(int, _draw_moments(chance, moment)), strict=True))
        for _ in range(in_lists_of):
            shard = shard_of(f"{chance.getrandbits(128):032x}", shards)
            for kind in shared:
                partition = shard if kind.place == "shard" else person
                writes[kind.target, partition, moments[kind.stage]] += kind.write_units
        moment += chance.expovariate(calls_per_second)
    return _find_busiest(writes)


def _draw_moments(chance: random.Random, begun_at: float) -> Iterator[float]:
    """Yield when an upload is started, completed, and reported as cleaned up."""
    yield begun_at
    completed_at = begun_at + 0.2 + chance.expovariate(1)
    yield completed_at
    yield completed_at + 0.1 + chance.expovariate(1)


def _find_busiest(units: Counter[tuple[str, int, int]]) -> Load:
    """Find the busiest second; a partition key of one upload alone never has more than all units of that upload."""
    busiest: Counter[str] = Counter()
    own, own_reads = Counter[str](), Counter[str]()
    for kind in _kinds():
        if kind.place == "own":
            own[kind.target] += kind.write_units
        own_reads[kind.target] += kind.read_units
    for (target, _, second), count in units.items():
        if second < _SECONDS:
            busiest[target] = max(busiest[target], count)
    return Load(busiest | own, own_reads)


@cache
def _kinds() -> list[_Kind]:
    """Say what each upload does, from real ones."""
    logging.disable(logging.INFO)  # each call logs a line
    try:
        recordings = record_uploads(40, 4, 4).later
    finally:
        logging.disable(logging.NOTSET)
    [kinds, *others] = [list(_kinds_of(recording)) for recording in recordings]
    assert all(other == kinds for other in others), "small uploads cost the same, whoever makes them"
    return kinds


def _kinds_of(recording: Recording) -> Iterator[_Kind]:
    for stage, (writes, reads) in recording.items():
        found: dict[tuple[str, str], list[int]] = {}
        for column, charges in enumerate((writes, reads)):
            for charge in charges:
                found.setdefault((charge.target, kind_of(charge)), [0, 0])[column] += charge.units
        for (target, place), (written, read) in sorted(found.items()):
            yield _Kind(stage, target, place, written, read)


def kind_of(charge: Charge) -> str:
    """Say what uploads have a partition key in common: a shard's, a person's, or none but this one."""
    if charge.target in _SHARDED:
        return "shard"
    return "person" if charge.target == "by_actor_id" else "own"


# --- where it begins -----------------------------------------------------------------------------------


def find_beginning(shards: int, *, in_lists_of: int = 1, people: int = _PEOPLE) -> int:
    """Return the least uploads a second, in steps of 50, at which a partition would throttle."""
    low, high = 0, shards * PARTITION_WRITE_UNITS_PER_SECOND // 50  # in steps; the limit itself lies between
    while high - low > 1:
        middle = (low + high) // 2
        if simulate(middle * 50, shards, in_lists_of=in_lists_of, people=people).throttled:
            high = middle
        else:
            low = middle
    return high * 50


def throttling_table() -> str:
    """Write the table of where throttling begins."""
    rows = [
        f"| {shards} | {find_beginning(shards):,} | {find_beginning(shards, in_lists_of=LIST_MAX):,} |"
        for shards in SHARDS
    ]
    head = ["| `feed_shards` | begun one by one | begun in lists of 100 |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows])
