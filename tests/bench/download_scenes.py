"""The scenes of the way back: objects are fetched, archives extracted, files read again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.comparison import Bench, faster, fastest_peer
from bench.contenders import CAT, MGMT, RCLONE_TAR, UNTAR, Make
from bench.material import MIB
from bench.processes import Costs, interleave, measure
from bench.report import Row, at_least, at_most, told
from bench.stages import Stage, keeping_stage

_MEMORY_MIB: Final = 64


def download_footage(bench: Bench) -> None:
    """Download an archive of footage, and extract it while it is downloaded."""
    footage = bench.material.footage
    with keeping_stage(bench.fresh_folder("download footage")) as stage:
        key = _upload(bench, stage, footage)
        costs = _race(bench, bench.arena.downloaders(key, stage))
        extracting = _race(bench, bench.arena.extractors(key, stage))
    title = "download footage, fast storage"
    bench.report.add_costs(title, costs)
    bench.report.add_costs(f"{title}, and extract it", extracting)
    bench.report.add_rows(
        [
            at_most(f"{title}: time of the fastest peer", 1 / faster(costs, fastest_peer(costs)), 1.2),
            *(told(f"{title}: as fast as {name}", faster(costs, name)) for name in costs if name != MGMT),
            _memory(f"{title}: peak", costs),
            at_most(f"{title}, and extract it: time of {RCLONE_TAR}", 1 / faster(extracting, RCLONE_TAR), 0.8),
            _memory(f"{title}, and extract it: peak", extracting),
        ]
    )


def download_tree(bench: Bench) -> None:
    """Download and extract an archive of many small files.

    Without a journal, ext4 takes minutes before it gives out the numbers of removed files again, and looks for others
    at great length (its `recently_deleted`): to make files where as many were just removed would take ten times as
    long, whoever makes them. So all trees are kept to the end of the run.
    """
    with keeping_stage(bench.fresh_folder("download small files")) as stage:
        key = _upload(bench, stage, bench.material.tree)
        costs = _race(bench, bench.arena.extractors(key, stage, keeps=True))
    title = f"download and extract {bench.scale.tree_files:,} files, fast storage"
    bench.report.add_costs(title, costs)
    bench.report.add_rows(
        [told(f"{title}: time of {RCLONE_TAR}", 1 / faster(costs, RCLONE_TAR)), _memory(f"{title}: peak", costs)]
    )


def extract(bench: Bench) -> None:
    """Extract archives that are there; trees are kept, as above."""
    tree_title = f"extract {bench.scale.tree_files:,} files"
    for title, source, most in (("extract footage", bench.material.footage, 1.3), (tree_title, bench.material.tree, 3)):
        archive = bench.fresh_folder(title) / "packed.tar.gz"
        measure(bench.arena.pack_to(source, archive))
        costs = _race(bench, bench.arena.unpackers(archive, keeps=source.is_dir()))
        archive.unlink()
        bench.report.add_costs(title, costs)
        bench.report.add_rows(
            [
                at_most(f"{title}: time of {UNTAR}", 1 / faster(costs, UNTAR), most),
                _memory(f"{title}: peak", costs),
            ]
        )


def read_again(bench: Bench) -> None:
    """Read files again from their medium, with a digest of each."""
    files = f"{bench.scale.tree_files:,} files"
    for what, source in ({"footage": bench.material.footage, files: bench.material.tree}).items():
        costs = _race(bench, bench.arena.readers(source))
        title = f"read {what} again, not in the cache"
        bench.report.add_costs(title, costs)
        bench.report.add_rows(
            [at_least(f"{title}: as fast as {CAT}", faster(costs, CAT), 0.8), _memory(f"{title}: peak", costs)]
        )


def _upload(bench: Bench, stage: Stage, source: Path) -> str:
    """Upload something with mgmt, and return its key."""
    prefix = bench.arena.fresh_prefix()
    measure(bench.arena.upload(stage, source.parent, source.name, prefix=prefix))
    return f"{prefix}/{source.name}.tar.gz"


def _race(bench: Bench, contenders: Mapping[str, Make]) -> dict[str, Costs]:
    return interleave({name: (bench.often, make) for name, make in contenders.items()})


def _memory(figure: str, costs: Mapping[str, Costs]) -> Row:
    return at_most(f"{figure}, MiB", costs[MGMT].peak_bytes / MIB, _MEMORY_MIB, "MiB")
