import csv
import io

import pytest

from mgmt.show.history import HISTORY_COLUMNS
from mgmt.show.tables import Column, lay_out_csv, lay_out_table
from mgmt.text import display_width, fold, pad, printable, shorten

ROWS = [
    (
        "6h0w5d3vj",
        "2026-11-22 19:34",
        "anna",
        "success",
        "120 MB",
        "100 %",
        "shoots/day1/A001_C003_0826BQ_interview.mov.tar.gz",
    ),
    ("6h0w5d2ab", "2026-11-22 19:33", "bert", "failed", "-", "-", "映画/テイク 2 と とても長い名前.mov.tar.gz"),
    ("6h0w5d1yz", "2026-11-22 19:32", "陳", "pending", "-", "-", "🎬 take.txt.tar.gz"),
]


def test_a_table_is_aligned_and_its_cells_are_escaped():
    columns = (Column("A"), Column("N", is_number=True), Column("KEY"))
    lines = list(lay_out_table(columns, [("1", "5", "x\ny"), ("22", "10", "z")]))
    assert lines == ["A    N  KEY", "1    5  x\\ny", "22  10  z"]


def test_wide_characters_count_as_two_columns():
    lines = list(lay_out_table((Column("WHO"), Column("KEY")), [("陳", "a"), ("anna", "b")]))
    assert lines == ["WHO   KEY", "陳    a", "anna  b"]


@pytest.mark.parametrize("width", [20, 30, 40, 65, 80, 120])
def test_a_table_fits_the_terminal_and_keeps_what_matters_most(width):
    lines = list(lay_out_table(HISTORY_COLUMNS, ROWS, width=width))
    assert max(map(display_width, lines)) <= width
    assert "STATUS" in lines[0]
    assert "KEY" in lines[0]
    assert [name in lines[0] for name in ("ID", "WHEN", "WHO", "SIZE", "RATIO")] == [
        width >= 40, width >= 60, width >= 60, width >= 80, width >= 80,
    ]  # fmt: skip


def test_nothing_is_cut_where_there_is_no_terminal():
    lines = list(lay_out_table(HISTORY_COLUMNS, ROWS))
    assert all(row[-1] in line for row, line in zip(ROWS, lines[1:], strict=True))


def test_a_status_is_painted_and_stays_aligned():
    lines = list(lay_out_table(HISTORY_COLUMNS, ROWS, paint=lambda text, color: f"<{color}>{text}</>"))
    assert "<red>failed </>" in lines[2]


def test_a_list_without_end_is_shown_as_it_comes():
    def endless():
        while True:
            yield ("a", "b")

    lines = lay_out_table((Column("A"), Column("B")), endless())
    assert [next(lines) for _ in range(1000)][-1] == "a  b"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "＝", "＋", "－", "＠", "  ="])  # noqa: RUF001  full width is the point
def test_no_cell_of_a_spreadsheet_is_a_formula(sign):
    [_, line] = lay_out_csv(["name"], [[f"{sign}cmd|' /C calc'!A0"]])
    [[cell]] = csv.reader([line])
    assert cell.startswith("'")


def test_what_a_spreadsheet_reads_is_what_was_there():
    rows = [["a,b", 'say "hi"', "", "映画", "line\nbreak"], ["1", "2", "3", "4", "5"]]
    text = "\r\n".join(lay_out_csv(list("vwxyz"), rows)) + "\r\n"
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read[0] == list("vwxyz")
    assert read[1] == ["a,b", 'say "hi"', "", "映画", "line\\nbreak"], "no control character reaches a cell"


@pytest.mark.parametrize("text", ["A001_C003.mov", "映画 テイク.mov", "👩‍🎤 Café.mov", "x", ""])
@pytest.mark.parametrize("width", range(1, 16))
def test_a_shortened_text_fits(text, width):
    assert display_width(shorten(text, width)) <= width
    assert display_width(pad(shorten(text, width), width)) == width


@pytest.mark.parametrize("width", [1, 2, 5, 8, 18, 40])
@pytest.mark.parametrize("text", ["one two three", "  a word_that_is_much_longer_than_a_line b", "映画 テイク" * 5])
def test_a_folded_text_fits_and_loses_nothing(text, width):
    folded = fold(text, width, "  ")
    if width > 1:
        assert max(map(display_width, folded.split("\n"))) <= width
    assert folded.replace("\n", "").replace(" ", "") == text.replace(" ", "")
    assert fold(text, None) == text


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("at /Volumes/Card A/shoots/A001.mov.tar.gz.", 22, ["at /Volumes/Card", "A/shoots/A001.mov.tar.", "gz."]),
        ("s3://footage/shoots/day1/clip.mov", 20, ["s3://footage/shoots/", "day1/clip.mov"]),
        ("blake3:0123456789abcdef0123456789abcdef", 20, ["blake3:0123456789abc", "def0123456789abcdef"]),
    ],
)
def test_a_word_that_is_too_long_is_broken_after_a_sign(text, width, lines):
    assert fold(text, width).splitlines() == lines


def test_a_byte_that_is_no_text_is_spelled_as_everywhere():
    assert printable("caf\udce9\ud800") == "caf\\xe9\\ud800"
