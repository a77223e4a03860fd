"""`make faults`: kills, faults, a soak and suites; a report as JSON, and a summary to read."""

from __future__ import annotations

import os

os.environ["POWERTOOLS_LOG_LEVEL"] = "CRITICAL"  # the service's log goes to stdout

import argparse
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support.breaking.kept import PROJECT, Kept, name_of_code
from support.breaking.pieces import KINDS, Amounts, Piece, join, plan_pieces
from support.breaking.report import find_faults, lines_of

KEPT = PROJECT / "build" / "faults.jsonl"


def break_everything(amounts: Amounts, kinds: Sequence[str], kept: Kept, *, only_kept: bool = False) -> dict[str, Any]:
    """Do all pieces, two at a time: one with commands at work and one beside it, then two of those beside."""
    at_work, beside = ([piece for piece in lane if piece.kind in kinds] for lane in plan_pieces(amounts))
    if not only_kept:
        _do_all(deque(at_work), deque(beside), kept)
    made: dict[str, Any] = {}
    for kind in kinds:
        done = {each.name: kept.results[_name(each)] for each in at_work + beside if _is_done(each, kind, kept)}
        if done:
            made[kind] = done if kind == "suites" else join([*done.values()])
    return made


def _do_all(at_work: deque[Piece], beside: deque[Piece], kept: Kept) -> None:
    with ThreadPoolExecutor(2) as pool:
        lanes = [pool.submit(_do_some, kept, at_work, beside), pool.submit(_do_some, kept, beside)]
        try:
            for lane in lanes:
                lane.result()
        except KeyboardInterrupt:  # it has reached the commands as well: what becomes of them now says nothing
            kept.close()
            raise
        finally:
            at_work.clear()
            beside.clear()


def _do_some(kept: Kept, *queues: deque[Piece]) -> None:
    for pieces in queues:
        for piece in _take(pieces):
            _do(piece, kept)


def _take(pieces: deque[Piece]) -> Iterator[Piece]:
    """Take pieces until none is left; another thread may take some as well."""
    while True:
        try:
            yield pieces.popleft()
        except IndexError:
            return


def _is_done(piece: Piece, kind: str, kept: Kept) -> bool:
    return piece.kind == kind and _name(piece) in kept.results


def _name(piece: Piece) -> str:
    return f"{piece.kind} {piece.name}"


def _do(piece: Piece, kept: Kept) -> None:
    name = _name(piece)
    began = time.monotonic()
    was_done = name in kept.results
    result = kept.do(name, lambda: piece.do() | {"piece_seconds": round(time.monotonic() - began, 1)})
    faults = len(result["faults"])
    _say(f"{name}: {'kept from before, ' if was_done else ''}{result['piece_seconds']} s, {faults} not as promised")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def main() -> int:
    """Run from the command line."""
    amounts, kinds, options = _read_options()
    asked = {"code": name_of_code(), **vars(amounts)}
    began = time.monotonic()
    kept = Kept(KEPT, asked)
    is_whole = not kept.results
    made = break_everything(amounts, kinds, kept, only_kept=options.only_kept)
    planned = [piece for lane in plan_pieces(amounts) for piece in lane]
    report = {
        "asked": asked,
        "seconds": round(time.monotonic() - began) if is_whole else None,
        "pieces": {"planned": len(planned), "done": sum(_name(piece) in kept.results for piece in planned)},
        **made,
    }
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(lines_of(report)) + "\n")
    return 1 if find_faults(report) else 0


def _read_options() -> tuple[Amounts, list[str], argparse.Namespace]:
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
    parser.add_argument("--only-kept", action="store_true", help="do nothing, report what an ended run has done")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"only these: {', '.join(KINDS)}")
    options = parser.parse_args()
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    chosen = {name: value for name, value in vars(options).items() if name in vars(usual)}
    return Amounts(**chosen), [kind for kind in KINDS if not options.kinds or kind in options.kinds], options


if __name__ == "__main__":
    sys.exit(main())
