"""The scenes that pack and send nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.comparison import Bench, faster, larger
from bench.contenders import COPY, LEVEL_9, MGMT, PIGZ, TAR
from bench.processes import Costs, interleave
from bench.report import at_least, at_most, told

ONE_WORKER: Final = "mgmt, one worker"
TWO_WORKERS: Final = "mgmt, two workers"
NO_DIGEST: Final = "mgmt, no digest"
BEST: Final = "mgmt, best"


def pack_footage(bench: Bench) -> None:
    """Pack one file that does not shrink."""
    source = bench.material.footage
    packers = bench.arena.packers(source)
    costs = interleave(
        {
            MGMT: (bench.often, packers[MGMT]),
            NO_DIGEST: (bench.often, lambda: bench.arena.pack(source, "digest=no")),
            COPY: (bench.often, packers[COPY]),
            LEVEL_9: (bench.seldom, packers[LEVEL_9]),
        }
    )
    bench.report.add_costs("pack footage", costs)
    bench.report.add_rows(
        [
            at_least("pack footage: as fast as w:gz", faster(costs, LEVEL_9), 15),
            at_most("pack footage: time of cp", 1 / faster(costs, COPY), 3),
            at_most("pack footage, without the digest: time of cp", 1 / faster(costs, COPY, NO_DIGEST), 1.5),
            at_most("pack footage: size", costs[MGMT].output_bytes / source.stat().st_size, 1.001, "of the size"),
        ]
    )


def pack_text(bench: Bench) -> None:
    """Pack one file that shrinks."""
    source = bench.material.text
    packers = bench.arena.packers(source)
    costs = interleave(
        {
            MGMT: (bench.often, packers[MGMT]),
            ONE_WORKER: (bench.often, lambda: bench.arena.pack(source, "workers=1")),
            TWO_WORKERS: (bench.often, lambda: bench.arena.pack(source, "workers=2")),
            PIGZ: (bench.often, packers[PIGZ]),
            BEST: (bench.seldom, lambda: bench.arena.pack(source, "plan=best")),
            TAR: (bench.seldom, packers[TAR]),
            LEVEL_9: (bench.seldom, packers[LEVEL_9]),
        }
    )
    bench.report.add_costs("pack text", costs)
    bench.report.add_rows(
        [
            at_least("pack text: as fast as w:gz", faster(costs, LEVEL_9), 25),
            at_least("pack text: as fast as tar czf", faster(costs, TAR), 10),
            at_least("pack text: as fast as tar | pigz -1", faster(costs, PIGZ), 3),
            at_most("pack text: size by tar | pigz -1", larger(costs, PIGZ), 1, "of the size"),
            at_least("pack text: two workers as fast as one", faster(costs, ONE_WORKER, TWO_WORKERS), 1.4),
            at_least("pack text, best: as fast as level 9", faster(costs, LEVEL_9, BEST), 4),
            at_most("pack text, best: size by level 9's", larger(costs, LEVEL_9, BEST), 1.02, "of the size"),
        ]
    )


def pack_tree(bench: Bench) -> None:
    """Pack many small files."""
    costs = _race(bench, bench.material.tree, PIGZ)
    bench.report.add_costs("pack small files", costs)
    bench.report.add_rows(
        [
            at_least(f"pack {bench.scale.tree_files:,} files: as fast as w:gz", faster(costs, LEVEL_9), 25),
            at_least(f"pack {bench.scale.tree_files:,} files: as fast as tar | pigz -1", faster(costs, PIGZ), 2),
        ]
    )


def pack_mixed(bench: Bench) -> None:
    """Pack a project."""
    costs = _race(bench, bench.material.mixed)
    bench.report.add_costs("pack a mixed project", costs)
    bench.report.add_rows(
        [
            at_least("pack the mixed project: as fast as w:gz", faster(costs, LEVEL_9), 25),
            at_most("pack the mixed project: size by level 9's", larger(costs, LEVEL_9), 1.02, "of the size"),
        ]
    )


def pack_sound(bench: Bench) -> None:
    """Pack samples, which shrink a little."""
    costs = _race(bench, bench.material.sound, PIGZ)
    bench.report.add_costs("pack sound", costs)
    bench.report.add_rows(
        [
            told("pack sound: as fast as w:gz", faster(costs, LEVEL_9)),
            told("pack sound: as fast as tar | pigz -1", faster(costs, PIGZ)),
            told("pack sound: size by level 9's", larger(costs, LEVEL_9), "of the size"),
        ]
    )


def _race(bench: Bench, source: Path, *quick: str) -> dict[str, Costs]:
    """Have mgmt, the contenders that are as quick, and the ancestor's way pack a source in turns."""
    packers = bench.arena.packers(source)
    often = {name: (bench.often, packers[name]) for name in (MGMT, *quick)}
    return interleave({**often, LEVEL_9: (bench.seldom, packers[LEVEL_9])})
