"""The scenes of the way back: objects are fetched, archives extracted, files read again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.comparison import Bench, faster, fastest_peer
from bench.contenders import CAT, MGMT, MGMT_ONLY, MGMT_SAFE, RCLONE_TAR, UNTAR, Make
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
            _memory(title, costs),
            at_most(f"{title}, and extract it: time of {RCLONE_TAR}", 1 / faster(extracting, RCLONE_TAR), 0.8),
            _memory(f"{title}, and extract it", extracting),
        ]
    )


def download_one(bench: Bench) -> None:
    """Bring the footage out of an archive with more in it, beside a download of an archive of it alone."""
    folder = bench.fresh_folder("download one")
    card = folder / "card"
    card.mkdir()
    for source in (bench.material.footage, bench.material.far_clip):
        os.link(source, card / source.name)
    with keeping_stage(folder) as stage:
        card_key, key = (_upload(bench, stage, source) for source in (card, bench.material.footage))
        costs = _race(
            bench,
            {
                MGMT_ONLY: lambda: bench.arena.download(stage, card_key, "--only", bench.material.footage.name),
                MGMT: lambda: bench.arena.download(stage, key),
            },
        )
    title = "download footage out of an archive"
    bench.report.add_costs(title, costs)
    bench.report.add_rows(
        [
            at_most(f"{title}: time of downloading it alone", 1 / faster(costs, MGMT, MGMT_ONLY), 1.3),
            _memory(title, costs, MGMT_ONLY),
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
        [told(f"{title}: time of {RCLONE_TAR}", 1 / faster(costs, RCLONE_TAR)), _memory(title, costs)]
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
                _memory(title, costs),
            ]
        )


def read_again(bench: Bench) -> None:
    """Read files again from their medium, with a digest of each; alone, and as `mgmt safe` does."""
    files = f"{bench.scale.tree_files:,} files"
    for what, source in ({"footage": bench.material.footage, files: bench.material.tree}).items():
        with keeping_stage(bench.fresh_folder(f"read {what}")) as stage:
            _upload(bench, stage, source)
            costs = _race(bench, bench.arena.readers(source, stage))
        title = f"read {what} again, not in the cache"
        bench.report.add_costs(title, costs)
        for name in (MGMT, MGMT_SAFE):
            named = f"{title}, with {MGMT_SAFE}" if name == MGMT_SAFE else title
            bench.report.add_rows(
                [at_least(f"{named}: as fast as {CAT}", faster(costs, CAT, name), 0.8), _memory(named, costs, name)]
            )


def _upload(bench: Bench, stage: Stage, source: Path) -> str:
    """Upload something with mgmt, and return its key."""
    prefix = bench.arena.fresh_prefix()
    measure(bench.arena.upload(stage, source.parent, source.name, prefix=prefix))
    return f"{prefix}/{source.name}.tar.gz"


def _race(bench: Bench, contenders: Mapping[str, Make]) -> dict[str, Costs]:
    return interleave({name: (bench.often, make) for name, make in contenders.items()})


def _memory(title: str, costs: Mapping[str, Costs], name: str = MGMT) -> Row:
    return at_most(f"{title}: memory", costs[name].peak_bytes / MIB, _MEMORY_MIB, "MiB")
