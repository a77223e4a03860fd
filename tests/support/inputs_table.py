"""The inputs as a table: what was given, what mgmt did, exit code, and the sentence; at the end of a test run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from support.inputs_list import ENTRIES

ROW: Final = "input-row"
"""Under this name a test's report carries its row, also from another process."""
TITLE: Final = "inputs: what mgmt does with each"
_HEADER: Final = ("input", "what mgmt does", "exit", "what it says")
_WIDTHS: Final = (52, 36, 4)


@dataclass(frozen=True)
class Row:
    """What came of one input."""

    entry: str
    given: str
    does: str
    exit_code: int
    sentence: str
    outcome: str = "passed"

    def to_json(self) -> str:
        """Write it as text, so that it can travel with a report."""
        return json.dumps(asdict(self))

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The row as the table shows it."""
        name = f"{self.entry}: {self.given}" if self.given else self.entry
        does = self.does if self.outcome == "passed" else f"{self.outcome.upper()}: {self.does}"
        return name, does, str(self.exit_code), self.sentence.strip()


def collect_rows(reports: Iterable[Any]) -> list[Row]:
    """Find the rows among reports, in the order of the list."""
    rows = [
        Row(**{**json.loads(str(value)), "outcome": report.outcome})
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == ROW
    ]
    return sorted(rows, key=lambda row: (ENTRIES.index(row.entry), row.given))


def as_lines(rows: Sequence[Row], width: int) -> list[str]:
    """Write the table for a terminal, a line per row; what does not fit is cut."""
    return [_line(_HEADER, width), *(_line(row.cells, width) for row in rows)]


def _line(cells: Sequence[str], width: int) -> str:
    *first, last = cells
    columns = [_cut(cell, size).ljust(size) for cell, size in zip(first, _WIDTHS, strict=True)]
    room = max(40, width - sum(_WIDTHS) - 2 * len(_WIDTHS))
    return "  ".join([*columns, _cut(last, room)]).rstrip()


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1] + "…"


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write the whole table as Markdown."""
    lines = ["| " + " | ".join(_HEADER) + " |", "| --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row.cells) + " |" for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
