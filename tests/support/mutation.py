"""Mutation testing: how much of the code can be changed on purpose without a test that notices.

`make mutation` runs it. The tool takes sources from one folder named `src`, so it works in a copy under
build/, which also keeps what it has found out: a second run tests only what has changed. docs/mutation.md
says what the figures mean.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
STAGE: Final = ROOT / "build" / "mutation"
FLOOR_PERCENT: Final = 85.0

_SOURCES: Final = ("lambda/mgmt_contract", "lambda/mgmt_api", "client/mgmt", "client/mgmt_local")
_TESTS: Final = ("support", "contract", "unit/mgmt_contract", "unit/mgmt_api", "unit/mgmt/archive")
_ALIVE: Final = {0: "survived", 5: "no test", 33: "no test", None: "not run"}
"""The tool's exit codes of mutants that no test has noticed; all others are of a test that failed or hung."""


def stage() -> None:
    """Copy what is changed and what tests it to where the tool looks for it."""
    for name in ("src", "tests"):
        shutil.rmtree(STAGE / name, ignore_errors=True)
    skipped = shutil.ignore_patterns("__pycache__")
    for source in _SOURCES:
        shutil.copytree(ROOT / source, STAGE / "src" / Path(source).name, ignore=skipped)
    for folder in _TESTS:
        shutil.copytree(ROOT / "tests" / folder, STAGE / "tests" / folder, ignore=skipped)
    shutil.copy2(ROOT / "tests/unit/mgmt/conftest.py", STAGE / "tests/unit/mgmt")
    shutil.copy2(ROOT / "tests/support/mutation_setup.py", STAGE / "tests/conftest.py")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy2(ROOT / name, STAGE)


def read_results(folder: Path) -> dict[str, Counter[str]]:
    """Count by package how the mutants ended that the tool has written down under `folder`."""
    counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted(folder.rglob("*.py.meta")):
        module = path.relative_to(folder).with_suffix("").with_suffix("")
        codes: Mapping[str, int | None] = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        counted[_package_of(module)].update(_ALIVE.get(code, "killed") for code in codes.values())
    return {package: counts for package, counts in counted.items() if counts}


def report(results: Mapping[str, Counter[str]]) -> bool:
    """Print the share that was killed, by package and in all; tell whether each reaches the floor."""
    everything = sum(results.values(), Counter())
    reached = True
    for package, counts in [*sorted(results.items()), ("all", everything)]:
        tried = counts.total() - counts["not run"]
        if not tried:
            continue
        percent = 100 * counts["killed"] / tried
        reached = reached and percent >= FLOOR_PERCENT
        alive = ", ".join(f"{counts[kind]} {kind}" for kind in dict.fromkeys(_ALIVE.values()))
        print(f"{package:22} {percent:5.1f} % of {tried:5} killed; {alive}")  # noqa: T201  a person reads it
    return reached


def _package_of(module: Path) -> str:
    inner = module.parts[1] if len(module.parts) > 2 else ""
    return f"{module.parts[0]}.{inner}" if inner in ("adapters", "archive") else module.parts[0]


def main() -> None:
    """Copy, change, test, report; end with 1 where a package stays below the floor."""
    parser = argparse.ArgumentParser(description="Test mutants of the contract, the service and the archive.")
    parser.add_argument("patterns", nargs="*", help='only these, such as "mgmt_contract.names*"')
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    options = parser.parse_args()
    stage()
    tool = Path(sys.executable).with_name("mutmut")
    subprocess.run([tool, "run", "--max-children", str(options.jobs), *options.patterns], cwd=STAGE, check=True)
    reached = report(read_results(STAGE / "mutants" / "src"))
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
