"""What every scene works with, and how what the contenders took is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import ANCESTOR, MGMT, Arena, Make
from bench.material import Material, Scale
from bench.processes import Costs, interleave
from bench.report import Report, Row, told


@dataclass(frozen=True)
class Bench:
    """Everything a scene works with."""

    material: Material
    scale: Scale
    arena: Arena
    report: Report
    folder: Path
    often: int
    """How often the quick contenders run."""
    seldom: int
    """How often those run that take long."""
    rivals: tuple[str, ...]
    """The contenders beside mgmt."""

    def fresh_folder(self, name: str) -> Path:
        """Make a folder for a scene."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder


def race(bench: Bench, uploaders: Mapping[str, Make]) -> dict[str, Costs]:
    """Have mgmt and its rivals upload in turns."""
    rivals = {name: (bench.seldom, uploaders[name]) for name in bench.rivals}
    return interleave({MGMT: (bench.often, uploaders[MGMT]), **rivals})


def faster(costs: Mapping[str, Costs], than: str, who: str = MGMT) -> float:
    """Say how many times as fast mgmt, or somebody else, is."""
    return costs[than].wall_seconds / costs[who].wall_seconds


def larger(costs: Mapping[str, Costs], than: str, who: str = MGMT) -> float:
    """Say how large what mgmt, or somebody else, makes is beside another's."""
    return costs[who].output_bytes / costs[than].output_bytes


def fastest_peer(costs: Mapping[str, Costs]) -> str:
    """Name the fastest contender beside mgmt."""
    return min((name for name in costs if name != MGMT), key=lambda name: costs[name].wall_seconds)


def against_peers(title: str, costs: Mapping[str, Costs]) -> list[Row]:
    """Compare with those of whom nothing is wanted."""
    return [told(f"{title}: as fast as {name}", faster(costs, name)) for name in costs if name not in (MGMT, ANCESTOR)]
