"""Paths as text: whatever bytes a path has, JSON, CSV and records tell them apart from those of every other path."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mgmt.archive.index import IndexedMember
from mgmt.show import Output, Style
from mgmt.show.contents import ContentsView
from mgmt.text import printable, read_path, show_path, spell_path
from support.generated_docs import PROJECT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="names are text there")

PIECES = st.sampled_from(
    [b"\\", b"\\\\", b"x", b"\\x", b"e9", b"\\xe9", b"\xe9", b"a", "é".encode(), b"\n", b"\x1b", b"/"]
)
NAMES = st.one_of(st.binary(max_size=12), st.lists(PIECES, max_size=8).map(b"".join)).map(
    lambda name: name.replace(b"\0", b"")
)
DOCUMENTED = re.search(r"```python\n(.*?)```", (PROJECT / "docs/commands.md").read_text(), re.DOTALL)


def read_as_documented(text: str) -> bytes:
    assert DOCUMENTED is not None
    names: dict[str, Any] = {}
    exec(DOCUMENTED[1], names)  # noqa: S102  our own page
    result = names["path_bytes"](text)
    assert isinstance(result, bytes)
    return result


def without_apostrophe(cell: str) -> str:
    return cell[1:] if re.match(r"'[' ]*[=+\-@]", cell) else cell


class Listed:
    """Symlinks of some names, as a command lists them."""

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self.upload = SimpleNamespace(operation_id="id", s3_object_key="clip.tar.gz", content_digest="blake3:d")
        self.counts: Counter[str] = Counter()
        self.size_bytes = 0
        self._names = names

    def __iter__(self) -> Iterator[IndexedMember]:
        for name in self._names:
            yield IndexedMember(name, "symlink", 0, 0o777, 0, self._names[0], 0, None)


@given(NAMES)
@example(b"caf\xe9.mov")
@example(rb"caf\xe9.mov")
@example(rb"\\xe9" + b"\xe9")
def test_what_is_written_is_read_back_as_the_page_says(name: bytes):
    for is_one_line in (False, True):
        text = spell_path(name, is_one_line=is_one_line)
        assert read_as_documented(json.loads(json.dumps(text))) == name
        assert os.fsencode(read_path(text)) == name
        text.encode()
    assert printable(text) == text, "nothing in a table's line is left to be escaped"


@given(NAMES, NAMES)
def test_no_two_paths_look_the_same(one: bytes, other: bytes):
    assert (spell_path(one) == spell_path(other)) == (one == other)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\\0"), max_size=12))
def test_text_is_written_as_it_is(name: str):
    assert spell_path(name) == name
    assert spell_path(f"{name}\\x") == f"{name}\\x"


@given(st.lists(PIECES.filter(lambda piece: piece not in (b"/", b"\n")), min_size=1, max_size=6).map(b"".join))
def test_the_path_in_a_record_is_that_of_the_file(name: bytes):
    base = Path("/card")
    assert read_as_documented(show_path(os.fsdecode(b"/card/" + name), base)) == name


def test_a_mark_above_a_letter_does_not_join_the_digits_of_a_byte_before_it():
    text = show_path(os.fsdecode(b"/card/\x8e" + "\u0301".encode()), Path("/card"))
    assert read_as_documented(text) == b"\x8e" + "\u0301".encode()


@pytest.mark.parametrize(
    "names", [(b"caf\xe9.mov", rb"caf\xe9.mov"), (b"a\nb", rb"a\nb", rb"a\x0ab"), (b"=x", b"'=x", b" '=x")]
)
def test_members_of_odd_names_are_told_apart_in_json_and_csv(names: tuple[bytes, ...]):
    out = io.StringIO()
    listed: Any = Listed(names)
    ContentsView(Output(Style(as_json=True), out, io.StringIO())).show_json(listed)
    lines = [json.loads(line) for line in out.getvalue().splitlines()[:-1]]
    assert [read_as_documented(line["path"]) for line in lines] == [*names]
    out = io.StringIO()
    ContentsView(Output(Style(), out, io.StringIO())).show_csv(listed)
    rows = [*csv.DictReader(io.StringIO(out.getvalue()))]
    assert [read_as_documented(without_apostrophe(row["path"])) for row in rows] == [*names]
    assert {read_as_documented(without_apostrophe(each["target"])) for each in rows} == {names[0]}
    assert {read_as_documented(each["target"]) for each in lines} == {names[0]}
