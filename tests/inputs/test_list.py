"""The list stands once, as data; here it is held against the tests."""

from pathlib import Path

import pytest

from support.inputs_list import ENTRIES


def test_every_entry_of_the_list_has_a_test(collected):
    files = {path.name for path in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).name}
    if not files <= collected.keys():
        pytest.skip("only a part of the tests of inputs was asked for")
    found = set().union(*collected.values())
    assert [entry for entry in ENTRIES if entry not in found] == []
