"""`make faults`: kills, faults, a soak; a report as JSON, and a summary to read."""

from __future__ import annotations

import os

os.environ["POWERTOOLS_LOG_LEVEL"] = "CRITICAL"  # the service's log goes to stdout

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from support.breaking import cases, kills, report, soak
from support.breaking.world import find_orphans, world_at
from support.engine import storage_engine


def break_everything(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all three, one after the other, on one team."""
    began = time.monotonic()
    with ExitStack() as stack:
        engine = stack.enter_context(storage_engine(folder / "engine"))
        storage = stack.enter_context(closing(soak.RandomlyBreaking(engine.endpoint_url, keeps_host=True)))
        world = stack.enter_context(world_at(folder / "world", engine, storage))
        service = stack.enter_context(
            closing(soak.RandomlyBreaking(world.team.url, keeps_host=False, seed=options.seed))
        )
        killed = kills.kill_everywhere(world, kills.SCENARIOS, points=options.kills, seed=options.seed)
        _say(f"{killed.points} kills, {len(killed.faults)} wrong")
        chosen = cases.choose_cases(options.cases, options.seed)
        broken = cases.break_all(world, service, storage, chosen)
        _say(f"{broken.cases} fault cases, {len(broken.faults)} wrong")
        service.requests = storage.requests = storage.put_bytes = 0
        soaked = soak.soak(world, service, storage, options.uploads, seed=options.seed)
        _say(f"{soaked.uploads} uploads soaked, {len(soaked.faults)} wrong")
        soaked.faults += find_orphans(world.team)
    return {
        "seed": options.seed,
        "seconds": round(time.monotonic() - began),
        "kills": vars(killed),
        "cases": {**vars(broken), "exit_codes": _sorted(broken.exit_codes), "by_fault": _sorted(broken.by_fault)},
        "soak": vars(soaked),
    }


def _sorted(counted: dict[Any, int]) -> dict[str, int]:
    return {str(key): counted[key] for key in sorted(counted)}


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=500, help="at how many steps commands are killed")
    parser.add_argument("--cases", type=int, default=300, help="how many fault cases")
    parser.add_argument("--uploads", type=int, default=2000, help="how many uploads the soak makes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the report goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mgmt-faults-") as folder:
        made = break_everything(options, Path(folder))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    lines = report.lines_of(made)
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if any(line.startswith("WRONG") for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
