"""The scenes of whole uploads: packed, sent and confirmed, to storages near and far."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.comparison import Bench, against_peers, faster, fastest_peer, race
from bench.contenders import ANCESTOR, MGMT
from bench.processes import Command, measure
from bench.report import at_least, at_most
from bench.stages import MEGABYTE, Link, Stage, discarding_stage, engine_stage

_CALLS_PER_HUNDRED: Final = 2
_CALLS_BESIDE: Final = 2
"""Asking the service to describe itself, and the last clean-up."""


def upload_footage(bench: Bench) -> None:
    """Upload footage to a storage that costs nothing."""
    _upload_plain(bench, "footage", bench.material.footage)


def upload_text(bench: Bench) -> None:
    """Upload text likewise."""
    _upload_plain(bench, "text", bench.material.text)


def upload_tree(bench: Bench) -> None:
    """Upload many small files as one archive likewise."""
    _upload_plain(bench, "small files", bench.material.tree)


def _upload_plain(bench: Bench, what: str, source: Path) -> None:
    with discarding_stage(bench.fresh_folder(f"upload {what}")) as stage:
        costs = race(bench, bench.arena.uploaders(source, stage))
    bench.report.add_costs(f"upload {what}, fast storage", costs)
    row = at_least(f"upload {what}, fast storage: as fast as the ancestor", faster(costs, ANCESTOR), 15)
    bench.report.add_rows([row, *against_peers(f"upload {what}, fast storage", costs)])


def upload_to_engine(bench: Bench) -> None:
    """Upload a project to SeaweedFS, which checks and stores it on the same machine."""
    with engine_stage(bench.fresh_folder("upload to engine")) as stage:
        costs = race(bench, bench.arena.uploaders(bench.material.mixed, stage))
    bench.report.add_costs("upload the mixed project, SeaweedFS", costs)
    bench.report.add_rows(against_peers("upload the mixed project, SeaweedFS", costs))


def upload_slowly(bench: Bench) -> None:
    """Upload footage through 12 MB/s."""
    _upload_throttled(bench, "footage", bench.material.far_clip, 12)


def upload_moderately(bench: Bench) -> None:
    """Upload a project through 50 MB/s."""
    _upload_throttled(bench, "the mixed project", bench.material.mixed, 50)


def _upload_throttled(bench: Bench, what: str, source: Path, megabytes_per_second: int) -> None:
    packed = measure(bench.arena.pack(source))
    rate = megabytes_per_second * MEGABYTE
    title = f"upload {what}, {megabytes_per_second} MB/s"
    with discarding_stage(bench.fresh_folder(title.replace("/", " ")), Link(bytes_per_second=rate)) as stage:
        costs = race(bench, bench.arena.uploaders(source, stage))
    least_seconds = max(packed.wall_seconds, (packed.output_bytes or 0) / rate)
    bench.report.add_costs(title, costs)
    bench.report.add_rows(
        [
            at_most(f"{title}: time of max(pack, bytes / rate)", costs[MGMT].wall_seconds / least_seconds, 1.03),
            at_most(f"{title}: time of the fastest peer", 1 / faster(costs, fastest_peer(costs)), 1),
        ]
    )


def upload_all_far_away(bench: Bench) -> None:
    """Upload a folder of files of 100 kB one by one, with 50 ms there and back."""
    title = f"upload all, {bench.scale.photos:,} files of 100 kB, 50 ms"
    folder = bench.material.photos
    calls: list[int] = []
    with discarding_stage(bench.fresh_folder("upload all"), Link(round_trip_seconds=0.05)) as stage:
        uploaders = bench.arena.batch_uploaders(folder, stage)
        costs = race(bench, {**uploaders, MGMT: lambda: _counting(stage, calls, uploaders[MGMT]())})
    most_calls = _CALLS_PER_HUNDRED * -(-bench.scale.photos // 100) + _CALLS_BESIDE
    bench.report.add_costs(title, costs)
    bench.report.add_rows(
        [
            at_least(f"{title}: as fast as the ancestor", faster(costs, ANCESTOR), 10),
            at_most(f"{title}: service calls", max(calls), most_calls, "calls"),
            *against_peers(title, costs),
        ]
    )


def _counting(stage: Stage, calls: list[int], command: Command) -> Command:
    before = stage.count_calls()

    def note_calls() -> None:
        calls.append(stage.count_calls() - before)
        command.after()

    return Command(command.words, command.environment, command.folder, command.output, note_calls)
