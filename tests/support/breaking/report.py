"""The report of `make faults`: one JSON file, and the tables that are made from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from support.breaking.soak import find_growth, thirds

SUITES: Final = "suites"


@dataclass(frozen=True)
class Guarantee:
    """What a report says of a guarantee."""

    name: str
    suites: str
    """Where it is tried: parts of `make faults`, and suites by their names, quoted."""
    tried: tuple[str, ...]
    """Sentences with figures; one whose figures a report does not have is left out."""


GUARANTEES: Final[Mapping[str, Guarantee]] = {
    "G1": Guarantee(
        "Sources are sacred",
        "kills, cases, soak",
        (
            "the source was compared after {uploads_broken} broken or killed uploads: {sources_differ} differ",
            "also after {soak_uploads} uploads of the soak: {soak_sources_differ} differ",
        ),
    ),
    "G2": Guarantee(
        "Proof before delete",
        "kills, cases, soak",
        (
            "each object of those {uploads_broken} was read back: {objects_differ} are other than packed",
            "files left behind, archives among them: {stray}",
            "{soak_downloads} downloads in the soak: {soak_fetched_otherwise} came back otherwise",
        ),
    ),
    "G3": Guarantee(
        "Files of others stay",
        "`files of others`",
        ("{files_of_others} tests with strangers' files in an archive's place, left-overs, and archives to be kept",),
    ),
    "G4": Guarantee(
        "No silent overwrite",
        "kills, cases, soak, `one name`",
        (
            "versions were counted after each upload: {doubled} too many",
            "{one_name} tests with several people and machines at one name",
            "{one_name_walks} walks of up to 30 calls about one name, with crashes: {one_name_wrong} wrong",
        ),
    ),
    "G5": Guarantee(
        "Kill anywhere",
        (
            "kills, cases, `killed downloads`, `failing disks`, `killed backend`, `faults of uploads`, `sign-ins`, "
            "`odd answers`"
        ),
        (
            (
                "{kills} kills over the {steps} steps of {commands} commands and kinds of the worker's work, "
                "then run again: {kills_wrong} not as promised"
            ),
            "{at_random_times} of the kills at random times",
            "at most {sent_again_1} parts sent again with one at a time, {sent_again_3} with three",
            "{cases} fault cases with {cases_broken} broken requests: {cases_wrong} not as promised",
            "{killed_downloads_kills} more kills of downloads and extractions, {killed_downloads_wrong} wrong",
            "{failing_disks_disks} disks that fail under a command: {failing_disks_wrong} not as promised",
            "{killed_backend} tests of an embedded backend that is killed, or whose records refuse",
            "{faults_of_uploads} tests of faults in uploads",
            "{sign_ins_renewals} renewals of a sign-in by many processes, {sign_ins_wrong} lost",
            "{odd_answers_answers} changed answers of the service: {odd_answers_wrong} taken for good",
        ),
    ),
    "G6": Guarantee(
        "Least authority",
        "requests, `presigned URLs`, `roles`",
        (
            "{presigned_urls} tests change each part of each kind of presigned URL before an engine that verifies",
            "{roles} hold the roles to the calls that were recorded",
            (
                "{requests} fuzzed requests to {routes} routes: {requests_5xx} answered with 500 or more, "
                "{undocumented} answered as is not documented, {leaks} with a secret"
            ),
        ),
    ),
    "G7": Guarantee(
        "The actor comes from the token",
        "`who may do what`",
        ("{who_may_do_what} tests of tokens, claims and bodies, and of each route for each role",),
    ),
    "G8": Guarantee(
        "Secrets stay secret",
        "`secrets`",
        ("{secrets} tests search what commands and the service wrote for the secrets that were used",),
    ),
    "G9": Guarantee(
        "Constant memory",
        "soak, `memory`",
        (
            "{soak_uploads} uploads by thirds: service {service_mb_first}, {service_mb_second}, {service_mb_last} MB",
            "open files {service_files_first}, {service_files_second}, {service_files_last}",
            "commands {commands_mb_first}, {commands_mb_second}, {commands_mb_last} MB",
            "{memory} tests of large inputs",
        ),
    ),
    "G10": Guarantee(
        "The record is true",
        "soak, `any order`, `worker`",
        (
            "{walks} walks of up to 50 calls in any order, with crashes: {walks_wrong} against the rules",
            (
                "{soak_uploads} uploads, {soak_downloads} downloads and {soak_removals} removals, with {soak_broken} "
                "of {soak_requests} requests broken: {soak_lost} lost, {soak_doubled} doubled, {soak_stuck} stuck"
            ),
            "{own_5xx} answers of 500 or more in all of it",
            "{worker} tests of the worker",
        ),
    ),
    "G11": Guarantee(
        "Safe means safe",
        "`safe`",
        ("{safe_faults} faults in cards, reads, records, objects and indexes: {safe_wrong} called safe",),
    ),
}


def guarantees_table(path: Path) -> str:
    """Write the table of what was tried for each guarantee, from a report."""
    report = json.loads(path.read_text(encoding="utf-8"))
    figures = figures_of(report)
    rows = [f"| {each.name} | {each.suites} | {_tell(each, figures)} |" for each in GUARANTEES.values()]
    table = ["| | tried by | what was tried |", "| --- | --- | --- |", *rows]
    return "\n".join([*table, *(["", said] if (said := _tell_ended(report)) else [])])


def _tell_ended(report: Mapping[str, Any]) -> str | None:
    pieces = report.get("pieces", {"planned": 0, "done": 0})
    if pieces["planned"] == pieces["done"]:
        return None
    return f"The run was ended after {pieces['done']} of its {pieces['planned']} pieces."


def _tell(guarantee: Guarantee, figures: Mapping[str, float]) -> str:
    said = []
    for sentence in guarantee.tried:
        try:
            said.append(sentence.format(**{name: _spell(number) for name, number in figures.items()}))
        except KeyError:
            continue
    return "; ".join(said) or "not tried in that run"


def _spell(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:.2g}"


def figures_of(report: Mapping[str, Any]) -> dict[str, float]:
    """Return all that a report counts, by the names that sentences use."""
    figures: dict[str, float] = {}
    for kind, count in (
        ("kills", _count_kills),
        ("cases", _count_cases),
        ("soak", _count_soak),
        ("requests", _count_requests),
    ):
        if report.get(kind):
            figures |= count(report[kind])
    if {"kills", "cases"} <= figures.keys():
        faults = [*report["kills"]["faults"], *report["cases"]["faults"]]
        figures |= {
            "uploads_broken": figures["uploads_killed"] + report["cases"]["uploads"],
            "sources_differ": _with(faults, "its source is not"),
            "objects_differ": _with(faults, "other bytes"),
            "stray": _with(faults, "stray:"),
        }
        if "soak" in report:
            figures["doubled"] = _with(faults, "versions of the object") + report["soak"]["doubled"]
    figures["own_5xx"] = sum(report.get(kind, {}).get("own_5xx", 0) for kind in ("kills", "cases", "soak"))
    return figures | _count_suites(report.get(SUITES, {}))


def _with(faults: list[str], words: str) -> int:
    return sum(words in fault for fault in faults)


def _count_kills(kills: Mapping[str, Any]) -> dict[str, float]:
    return {
        "kills": kills["points"],
        "kills_wrong": len(kills["faults"]),
        "steps": sum(kills["steps"].values()),
        "commands": len(kills["steps"]),
        "uploads_killed": sum(count for name, count in kills["killed_in"].items() if name.startswith("upload")),
        **_pick(kills, "", "at_random_times"),
        **{f"sent_again_{name[-1]}": most for name, most in kills.get("parts_sent_again", {}).items()},
    }


def _count_cases(cases: Mapping[str, Any]) -> dict[str, float]:
    return {"cases": cases["cases"], "cases_broken": cases["broken_requests"], "cases_wrong": len(cases["faults"])}


def _count_requests(fuzzed: Mapping[str, Any]) -> dict[str, float]:
    return {
        "routes": len(fuzzed["by_route"]),
        "requests_5xx": fuzzed["own_5xx"],
        **_pick(fuzzed, "", "requests", "undocumented", "leaks"),
    }


def _count_soak(soaked: Mapping[str, Any]) -> dict[str, float]:
    figures: dict[str, float] = {
        "soak_broken": soaked["broken_requests"],
        **_pick(soaked, "soak_", "requests", "uploads", "downloads", "lost", "doubled", "stuck"),
    }
    if "deletions" in soaked:
        figures |= {
            "soak_removals": soaked["deletions"] + soaked["undeletions"],
            "soak_sources_differ": _with(soaked["faults"], "its source is not"),
            "soak_fetched_otherwise": _with(soaked["faults"], "came back otherwise"),
        }
    for name, values in soaked.get("series", {}).items():
        who, what = name.split("_", 1)
        ends = zip(("first", "second", "last"), thirds(values), strict=True)
        figures |= {f"{who}_{_SHORT[what]}_{end}": round(value) for end, value in ends}
    return figures


def _pick(part: Mapping[str, Any], prefix: str, *names: str) -> dict[str, float]:
    """Take what a report has of these."""
    return {f"{prefix}{name}": part[name] for name in names if name in part}


_SHORT: Final = {"memory_mb": "mb", "open_files": "files"}


def _count_suites(results: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    figures: dict[str, int] = {}
    for name, result in results.items():
        word = name.replace(" ", "_").replace("-", "_").lower()
        figures |= {word: result["tests"], f"{word}_wrong": len(result["faults"])}
        figures |= {f"{word}_{what}": count for what, count in result.get("tried", {}).items()}
    if walked := [result for name, result in results.items() if name.startswith("any order")]:
        figures["walks"] = sum(count for result in walked for count in result["tried"].values())
        figures["walks_wrong"] = sum(len(result["faults"]) for result in walked)
    return figures


def find_faults(report: Mapping[str, Any]) -> list[str]:
    """Return everything that was not as promised."""
    parts = [report[kind] for kind in ("kills", "cases", "soak", "requests") if report.get(kind)]
    found = [fault for part in (*parts, *report.get(SUITES, {}).values()) for fault in part["faults"]]
    return [*found, *find_growth(report.get("soak", {}).get("series", {}))]


def lines_of(report: Mapping[str, Any]) -> list[str]:
    """Write a report for a person."""
    took = f"{report['seconds']} s" if report["seconds"] is not None else "in several goes"
    asked = ", ".join(f"{name} {value}" for name, value in report["asked"].items())
    ended = [said] if (said := _tell_ended(report)) else []
    return [f"{asked}: {took}", *ended, *_lines_of_parts(report), *(f"WRONG: {fault}" for fault in find_faults(report))]


def _lines_of_parts(report: Mapping[str, Any]) -> Iterator[str]:
    figures = figures_of(report)
    if cases := report.get("cases"):
        yield f"cases: {cases['got_over']} got over in the same run, exit codes {cases['exit_codes']}"
    if soaked := report.get("soak"):
        yield f"soak: {soaked['run_again']} commands run again, {soaked['resent_bytes']} bytes sent again"
    for guarantee in GUARANTEES.values():
        yield f"{guarantee.name}: {_tell(guarantee, figures)}"
    for name, result in report.get(SUITES, {}).items():
        yield f"suite {name}: {result['tests']} tests, {result['seconds']} s"
