"""Writes `edges.json`: what every pinned package asks for, by the reports of `pip install --dry-run --report`.

    python requirements/edges.py REPORT...

The test that resolves the requirements files without a network makes its packages from that. Kept are facts that the
pins can lead to: a requirement of an extra only if somebody asks for that extra.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EDGES: Final = Path(__file__).with_name("edges.json")


def main(reports: Sequence[str]) -> None:
    """Read the reports and write the file."""
    packages: dict[str, list[str]] = {}
    asked: set[tuple[str, str]] = set()
    for report in reports:
        for installed in json.loads(Path(report).read_text("utf-8"))["install"]:
            name, metadata = canonicalize_name(installed["metadata"]["name"]), installed["metadata"]
            packages[f"{name}=={metadata['version']}"] = metadata.get("requires_dist", [])
            asked |= {(name, extra) for extra in installed.get("requested_extras", [])}
    edges = _keep_asked(packages, asked)
    EDGES.write_text(json.dumps(edges, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


def _keep_asked(packages: dict[str, list[str]], asked: set[tuple[str, str]]) -> dict[str, list[str]]:
    """Keep what is required without an extra, or by one that is asked for; what that asks for counts as well."""
    while True:
        kept = {
            package: [text for text in required if _is_asked(text, package.partition("==")[0], asked)]
            for package, required in packages.items()
        }
        found = set(_extras(text for required in kept.values() for text in required))
        if found <= asked:
            return kept
        asked |= found


def _is_asked(text: str, name: str, asked: set[tuple[str, str]]) -> bool:
    marker = str(Requirement(text).marker or "")
    return "extra ==" not in marker or any(f'"{extra}"' in marker for owner, extra in asked if owner == name)


def _extras(texts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for requirement in map(Requirement, texts):
        yield from ((canonicalize_name(requirement.name), extra) for extra in requirement.extras)


if __name__ == "__main__":
    main(sys.argv[1:])
