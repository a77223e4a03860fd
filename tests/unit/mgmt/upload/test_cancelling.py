"""Which uploads are meant where several names are given up at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mgmt.journal import Journal, Order
from mgmt.upload.cancelling import find_unwanted
from mgmt.upload.left import Left


@pytest.fixture
def session(tmp_path):
    journal = Journal(tmp_path / "state")
    yield SimpleNamespace(journal=journal)
    journal.close()


def not_begun(source_path: str, destination: str) -> Left:
    return Left(Order("https://s.example", source_path, destination, "{}", "run"))


def find_nothing(name: str, _: Any) -> Any:
    raise AssertionError(name)


def test_one_source_on_its_way_to_two_names_is_two_uploads(session):
    left = [not_begun("/card/DCIM", "/one"), not_begun("/card/DCIM", "/two"), not_begun("/card/clip.mov", "/clip.mov")]
    names: dict[str, list] = {name: [] for name in ("one", "two", "/card/clip.mov", "clip.mov")}
    targets = find_unwanted(names, find_nothing, session, left)
    assert [each.left for each in targets.unwanted] == left
    assert targets.errors == []
