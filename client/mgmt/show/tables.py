"""Rows of text: aligned for a person, separated by commas for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final

from mgmt.text import display_width, pad, printable, shorten
from mgmt_contract.values import Value

_MEASURED_ROWS: Final = 500
"""Rows that decide the columns' widths: a long list is shown as it arrives."""
_LAST_WIDTH_MIN: Final = 20
_GAP: Final = "  "
_FORMULA_SIGNS: Final = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""Also in full width: some spreadsheets take them for the same."""


class Column(Value):
    """One column of a table."""

    title: str
    is_number: bool = False
    drop_order: int | None = None
    """Order in which columns are left out on a narrow terminal; None stays."""
    color_of: Callable[[str], str | None] = lambda _: None


def lay_out_table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    *,
    width: int | None = None,
    paint: Callable[[str, str], str] = lambda text, _: text,
) -> Iterator[str]:
    """Align rows under a header by the columns that text takes on a terminal.

    No line is wider than `width`: columns that matter less are left out, and the last one is shortened in the
    middle. Without a width nothing is cut.

    Args:
        columns: The rows' columns; the last one takes the remaining room.
        rows: Cells as they are; control characters are escaped here.
        width: Columns of the terminal.
        paint: Colours a text.
    """
    escaped = ([printable(cell) for cell in row] for row in rows)
    measured = list(islice(escaped, _MEASURED_ROWS))
    titles = [column.title for column in columns]
    widths = [max(map(display_width, cells)) for cells in zip(titles, *measured, strict=True)]
    shown = _choose_columns(columns, widths, width)
    if width is not None:
        room = width - sum(widths[index] + len(_GAP) for index in shown[:-1])
        widths[shown[-1]] = max(1, min(widths[shown[-1]], room))
    yield paint(_join(columns, titles, shown, widths), "bold")
    for row in chain(measured, escaped):
        yield _join(columns, row, shown, widths if width is not None else [*widths[:-1], 0], paint)


def _choose_columns(columns: Sequence[Column], widths: Sequence[int], width: int | None) -> list[int]:
    """Leave out columns until the last one has some room."""
    shown = list(range(len(columns)))
    order = sorted((column.drop_order, index) for index, column in enumerate(columns) if column.drop_order is not None)
    for _, index in order:
        others = sum(widths[each] + len(_GAP) for each in shown[:-1])
        if width is None or others + min(widths[-1], _LAST_WIDTH_MIN) <= width:
            break
        shown.remove(index)
    return shown


def _join(
    columns: Sequence[Column],
    row: Sequence[str],
    shown: Sequence[int],
    widths: Sequence[int],
    paint: Callable[[str, str], str] = lambda text, _: text,
) -> str:
    cells = []
    for index in shown:
        column, text = columns[index], row[index]
        cell = shorten(text, widths[index]) if widths[index] else text
        cell = pad(cell, widths[index], right=column.is_number) if index != shown[-1] else cell
        color = column.color_of(text)
        cells.append(paint(cell, color) if color else cell)
    return _GAP.join(cells).rstrip()


def lay_out_csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    r"""Write rows as RFC 4180 has it, without line ends; no cell can act as a formula in a spreadsheet.

    >>> list(lay_out_csv(["a", "b"], [["x,y", "=1+1"]]))
    ['a,b', '"x,y",\'=1+1']
    """
    for row in chain([header], rows):
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="").writerow([_disarm(printable(cell)) for cell in row])
        yield buffer.getvalue()


def _disarm(cell: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would take for a formula, or that looks as if it had one."""
    return f"'{cell}" if cell.replace("'", " ").lstrip().startswith(_FORMULA_SIGNS) else cell
