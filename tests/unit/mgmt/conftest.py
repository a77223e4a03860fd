"""Fixtures of the client's tests: a machine without settings; an ordinary user, as the superuser may read all."""

from __future__ import annotations

import codecs
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_NOBODY = 65_534


@pytest.fixture
def machine_without_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with no setting, no upload and no embedded backend of before; return the folder."""
    for name in [name for name in os.environ if name.startswith("MGMT_")]:
        monkeypatch.delenv(name)
    for name, place in (("MGMT_CONFIG", "config"), ("MGMT_STATE_DIR", "state"), ("MGMT_LOCAL_STATE_DIR", "backend")):
        monkeypatch.setenv(name, str(tmp_path / place))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def somebody() -> Iterator[Path]:
    """Be an ordinary user in a folder of one's own; pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory(prefix="mgmt-test-") as name:
        folder = Path(name)
        if os.geteuid() != 0:
            yield folder
            return
        os.chown(folder, _NOBODY, _NOBODY)
        # Servers look it up. Python may lie where others cannot read, and remembers an encoding that it did not find.
        codecs.lookup("idna")
        os.seteuid(_NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(0)
