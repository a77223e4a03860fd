"""Help pages that fit the terminal: click's own are never narrower than 50 columns."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Any, Final

import click

from mgmt.text import fold

_NARROW_COLUMNS: Final = 60
"""Two columns of text are no longer readable then: what an option does stands below it."""
_WIDTH_MAX: Final = 100


class _Formatter(click.HelpFormatter):
    def __init__(self, *_: Any, **__: Any) -> None:
        columns = shutil.get_terminal_size().columns
        self.columns = columns
        super().__init__(width=max(20, min(columns, _WIDTH_MAX) - 2))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write terms and what they mean."""
        if self.columns >= _NARROW_COLUMNS:
            super().write_dl(rows, col_max, col_spacing)
            return
        indent = " " * self.current_indent
        for term, meaning in rows:
            self.write(f"{indent}{term}\n{indent}    {meaning}\n")

    def getvalue(self) -> str:
        """Return the page; lines that were laid out by hand are broken where they would not fit."""
        return "\n".join(self._fit(line) for line in super().getvalue().split("\n"))

    def _fit(self, line: str) -> str:
        return fold(line, self.columns, " " * (len(line) - len(line.lstrip())))


class HelpContext(click.Context):
    """A context whose help pages fit."""

    formatter_class = _Formatter
