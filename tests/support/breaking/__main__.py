"""`make faults`: kills, faults, a soak and suites; a report as JSON, and a summary to read."""

from __future__ import annotations

import os

os.environ["POWERTOOLS_LOG_LEVEL"] = "CRITICAL"  # the service's log goes to stdout

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support.breaking.kept import PROJECT, Kept, name_of_code
from support.breaking.pieces import KINDS, Amounts, Piece, join, plan_pieces
from support.breaking.report import find_faults, lines_of

KEPT = PROJECT / "build" / "faults.jsonl"


def break_everything(amounts: Amounts, kinds: Sequence[str], kept: Kept) -> dict[str, Any]:
    """Do all pieces, two at a time: one with commands at work, one beside it."""
    lanes = [[piece for piece in lane if piece.kind in kinds] for lane in plan_pieces(amounts)]
    with ThreadPoolExecutor(len(lanes)) as pool:
        done = [pair for lane in pool.map(lambda lane: [_do(piece, kept) for piece in lane], lanes) for pair in lane]
    made: dict[str, Any] = {kind: join([result for piece, result in done if piece.kind == kind]) for kind in kinds}
    if "suites" in made:
        made["suites"] = {piece.name: result for piece, result in done if piece.kind == "suites"}
    return made


def _do(piece: Piece, kept: Kept) -> tuple[Piece, dict[str, Any]]:
    name = f"{piece.kind} {piece.name}"
    began = time.monotonic()
    was_done = name in kept.results
    result = kept.do(name, lambda: piece.do() | {"piece_seconds": round(time.monotonic() - began, 1)})
    faults = len(result["faults"])
    _say(f"{name}: {'kept from before, ' if was_done else ''}{result['piece_seconds']} s, {faults} not as promised")
    return piece, result


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def main() -> int:
    """Run from the command line."""
    amounts, kinds, path = _read_options()
    asked = {"code": name_of_code(), **vars(amounts)}
    began = time.monotonic()
    kept = Kept(KEPT, asked)
    is_whole = not kept.results
    made = break_everything(amounts, kinds, kept)
    report = {"asked": asked, "seconds": round(time.monotonic() - began) if is_whole else None, **made}
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(lines_of(report)) + "\n")
    return 1 if find_faults(report) else 0


def _read_options() -> tuple[Amounts, list[str], Path | None]:
    usual = Amounts()
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--kills", type=int, default=usual.kills, help="at how many points commands are killed")
    parser.add_argument("--cases", type=int, default=usual.cases, help="how many fault cases")
    parser.add_argument("--uploads", type=int, default=usual.uploads, help="how many uploads the soak makes")
    parser.add_argument("--requests", type=int, default=usual.requests, help="how many fuzzed requests")
    parser.add_argument("--walks", type=int, default=usual.walks, help="in how many orders the service is called")
    parser.add_argument("--safe-faults", type=int, default=usual.safe_faults, help="how many faults under mgmt safe")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the report goes")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"only these: {', '.join(KINDS)}")
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    chosen = {name: value for name, value in vars(options).items() if name in vars(usual)}
    return Amounts(**chosen), [kind for kind in KINDS if not options.kinds or kind in options.kinds], options.json


if __name__ == "__main__":
    sys.exit(main())
