"""A tree to pack, a folder to extract it to, and the two ways in which trees are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from mgmt.machine import filling
from support.trees import awkward_tree


@pytest.fixture(params=[True, False], ids=["by descriptor", "by path"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test with both ways to make a tree."""
    monkeypatch.setattr(filling, "HAS_DESCRIPTORS", request.param)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a folder of everything that trips archivers."""
    return awkward_tree(tmp_path / "P")


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """Make a folder to extract to."""
    folder = tmp_path / "to"
    folder.mkdir()
    return folder
