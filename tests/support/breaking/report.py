"""The report of `make faults`: one JSON file, and the tables that are made from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

GUARANTEES: Final[Mapping[str, tuple[str, str]]] = {
    "G1": (
        "Sources are sacred",
        "after {uploads_broken} broken or killed uploads the source was compared with what was stored: {differ} differ",
    ),
    "G2": (
        "Proof before delete",
        "each object of those was read back; {differ} were other than packed, and no archive was left",
    ),
    "G3": ("Files of others stay", "`tests/inputs`, `tests/faults/test_upload_faults.py`"),
    "G4": ("No silent overwrite", "versions counted after those uploads, and after {soak} soaked: {doubled} too many"),
    "G5": (
        "Kill anywhere",
        "{kills} kills over the {steps} steps of {commands} commands, then run again: {wrong} not as promised",
    ),
    "G6": ("Least authority", "`tests/infra`, `tests/contract`"),
    "G7": ("The actor comes from the token", "`tests/unit/mgmt_api/domain/test_access.py`"),
    "G8": ("Secrets stay secret", "`tests/faults/test_upload_faults.py`, `tests/unit/mgmt/test_redaction.py`"),
    "G9": ("Constant memory", "{soak} uploads: the process with the service grew from {mb_before} to {mb_after} MB"),
    "G10": (
        "The record is true",
        "{faults} fault cases; {soak} uploads with {broken} of {requests} requests broken: {lost} lost, {stuck} stuck",
    ),
    "G11": ("Safe means safe", "`tests/faults/test_safe.py`: 60 faults in `make test`, 1,000 in its long form"),
}
"""Each guarantee's name, and what a report says was tried for it."""


def guarantees_table(path: Path) -> str:
    """Write the table of what was tried for each guarantee, from a report."""
    figures = _figures_of(json.loads(path.read_text(encoding="utf-8")))
    rows = [f"| {name} | {tried.format(**figures)} |" for name, tried in GUARANTEES.values()]
    return "\n".join(["| | what was tried |", "| --- | --- |", *rows])


def _figures_of(report: Mapping[str, Any]) -> dict[str, str]:
    kills, cases, soaked = report["kills"], report["cases"], report["soak"]
    killed = kills["killed_in"]
    faults = [*kills["faults"], *cases["faults"]]
    uploads_killed = sum(count for name, count in killed.items() if name.startswith("upload"))
    numbers = {
        "kills": kills["points"],
        "wrong": len(kills["faults"]),
        "differ": sum("other bytes" in fault or "its source is not" in fault for fault in faults),
        "steps": sum(kills["steps"].values()),
        "commands": len(kills["steps"]),
        "faults": cases["cases"],
        "uploads_broken": uploads_killed + cases["uploads"],
        "soak": soaked["uploads"],
        "requests": soaked["requests"],
        "broken": soaked["broken_requests"],
        "mb_before": soaked["memory_mb_before"],
        "mb_after": soaked["memory_mb_after"],
        **{name: soaked[name] for name in ("lost", "doubled", "stuck", "own_5xx")},
    }
    return {name: f"{number:,}" for name, number in numbers.items()}


def lines_of(report: Mapping[str, Any]) -> list[str]:
    """Write a report for a person."""
    kills, cases, soaked = report["kills"], report["cases"], report["soak"]
    moved = {name: f"{soaked[f'{name}_before']} -> {soaked[f'{name}_after']}" for name in ("open_files", "memory_mb")}
    return [
        f"seed {report['seed']}, {report['seconds']} s",
        f"kills:  {kills['points']} at {sum(kills['steps'].values())} steps of {len(kills['steps'])} commands",
        f"faults: {cases['cases']} cases, {cases['broken_requests']} broken requests, {cases['got_over']} got over",
        f"        in the same run, exit codes {cases['exit_codes']}, own 5xx {cases['own_5xx']}",
        f"soak:   {soaked['uploads']} uploads, {soaked['broken_requests']} of {soaked['requests']} requests broken",
        f"        {soaked['lost']} lost, {soaked['doubled']} doubled, {soaked['stuck']} stuck, {soaked['own_5xx']} 5xx",
        f"        {soaked['resent_bytes']} bytes sent again, open files {moved['open_files']}, MB {moved['memory_mb']}",
        *(f"WRONG: {fault}" for part in (kills, cases, soaked) for fault in part["faults"]),
    ]
