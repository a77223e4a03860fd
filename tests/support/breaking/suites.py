"""Tests that `make faults` runs beside its own breaking: each suite is for one guarantee, and some have a long form.

How many tests there were and how they ended is counted from pytest's own report.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from support.breaking.kept import PROJECT

FAULTS_MAX: Final = 20
"""So many failed tests are named."""
_TEST_SECONDS_MAX: Final = 3600
"""A long form is one test."""


@dataclass(frozen=True)
class Suite:
    """Some tests, by pytest's words for them."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    tried: Mapping[str, int] = field(default_factory=dict)
    """What its tests do more than once, and how often: walks, faults."""


def plan_suites(*, seed: int, walks: int, faults: int) -> list[Suite]:
    """Make all suites.

    Args:
        seed: Chooses other walks and faults.
        walks: In how many orders the service's calls are made.
        faults: How many faults are injected under `mgmt safe`.
    """
    quarters = [walks // 4 + (number < walks % 4) for number in range(4)]
    any_order = (
        Suite(
            f"any order {number + 1}",
            ("tests/unit/mgmt_api/test_any_order.py", f"--hypothesis-seed={seed * 100 + number}"),
            {"MGMT_ANY_ORDER": str(count)},
            {"walks": count, "walks in SQLite": max(1, count // 6)},
        )
        for number, count in enumerate(quarters)
        if count
    )
    one_name = Suite(
        "one name",
        (
            "tests/unit/mgmt_api/uploads/test_one_name.py",
            "tests/unit/mgmt_api/uploads/test_races.py",
            "tests/faults/test_replacing.py",
            f"--hypothesis-seed={seed}",
        ),
        {"MGMT_ONE_NAME": str(walks)},
        {"walks": walks},
    )
    safe = Suite(
        "safe",
        ("tests/faults/test_safe.py",),
        {"MGMT_SAFE_FAULTS": str(faults), "MGMT_SAFE_SEED": str(seed)},
        {"faults": faults},
    )
    return [*(Suite(name, arguments) for name, arguments in PLAIN.items()), one_name, safe, *any_order, *LONG]


LONG: Final = (
    Suite(
        "sign-ins",
        ("tests/faults/test_sign_in_faults.py", "tests/unit/mgmt/credentials/test_provider.py"),
        {"MGMT_MANY_RENEWALS": "1"},
        {"renewals": 1000},
    ),
    Suite(
        "killed downloads",
        (
            "tests/e2e/test_download.py",
            "tests/faults/test_download_kills.py",
            "tests/unit/mgmt/archive/test_extraction_interrupted.py",
            "-k",
            "kill",
        ),
        {"MGMT_DOWNLOAD_KILLS": "50", "MGMT_EXTRACTION_KILLS": "50"},
        {"kills": 200},
    ),
    Suite(
        "faults of uploads",
        (
            "tests/faults/test_upload_faults.py",
            "tests/faults/test_index_faults.py",
            "tests/faults/test_altered_archives.py",
        ),
    ),
    Suite(
        "odd answers",
        ("tests/unit/mgmt/cli/test_fuzzed_answers.py",),
        {"MGMT_FUZZ_ANSWERS": "2000"},
        {"answers": 2000},
    ),
    Suite(
        "killed backend",
        (
            "tests/faults/test_killed_backend.py",
            "tests/faults/test_records_fail.py",
            "tests/faults/test_local_backend.py",
        ),
        {"MGMT_KILLED_JOINS": "1"},
    ),
    Suite("failing disks", ("tests/faults/test_disks.py",), {"MGMT_DISK_FAULTS": "150"}, {"disks": 150}),
)
"""Suites that take minutes: most do more by what is in their environment, and it is said how much that is."""
PLAIN: Final[Mapping[str, tuple[str, ...]]] = {
    "files of others": (
        "tests/unit/mgmt/upload/test_ours.py",
        "tests/unit/mgmt/upload/test_adopt.py",
        "tests/unit/mgmt/archive/test_unfinished.py",
    ),
    "presigned URLs": ("tests/contract/test_tampered_urls.py",),
    "roles": ("tests/infra/test_least_privilege.py", "tests/infra/test_bucket_policy.py"),
    "who may do what": ("tests/unit/mgmt_api/domain/test_access.py", "tests/unit/mgmt_api/domain/test_policy.py"),
    "secrets": ("tests/e2e/test_secrets.py", "tests/unit/mgmt/test_redaction.py"),
    "memory": (
        "tests/unit/mgmt/archive/test_packing.py",
        "tests/unit/mgmt/archive/test_hostile_archives.py",
        "tests/unit/mgmt/source/test_walk.py",
        "tests/unit/mgmt/team/test_contents.py",
        "-k",
        "memory",
    ),
    "worker": (
        "tests/faults/test_worker.py",
        "tests/unit/mgmt_api/upkeep",
        "tests/unit/mgmt_api/uploads/test_crash_points.py",
    ),
}
"""Suites that have no long form: the same tests as in `make test`."""


def run_suite(suite: Suite) -> dict[str, Any]:
    """Run a suite, and count."""
    with tempfile.TemporaryDirectory(prefix="mgmt-suite-") as folder:
        report = Path(folder) / "report.xml"
        run = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--timeout={_TEST_SECONDS_MAX}",
                f"--junitxml={report}", f"--basetemp={folder}/tmp", *suite.arguments,
            ],
            cwd=PROJECT,
            env={**_clean_environment(), **suite.environment},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )  # fmt: skip
        result = count(report) if report.exists() else {"tests": 0, "skipped": 0, "seconds": 0, "faults": []}
    if run.returncode != 0 and not result["faults"]:
        result["faults"] = [f"pytest ended with {run.returncode}: {run.stdout[-2000:]}{run.stderr[-2000:]}"]
    return result | {"tried": dict(suite.tried)}


def _clean_environment() -> dict[str, str]:
    """Leave out what `make faults` sets for itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MGMT_", "POWERTOOLS_"))}


def count(report: Path) -> dict[str, Any]:
    """Count the tests of a report in JUnit's form that passed, were left out or failed."""
    tests = skipped = 0
    seconds = 0.0
    faults = []
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314  pytest wrote it
        seconds += float(case.get("time", 0))
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        if case.find("skipped") is not None:
            skipped += 1
        elif bad is not None:
            faults.append(f"{case.get('classname')}::{case.get('name')}: {bad.get('message')}")
        else:
            tests += 1
    return {"tests": tests, "skipped": skipped, "seconds": round(seconds), "faults": faults[:FAULTS_MAX]}
