"""Who the tests are: the superuser may read everything, so some of them must be somebody else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_NOBODY = 65_534


@pytest.fixture
def somebody() -> Iterator[Path]:
    """Be an ordinary user in a folder of one's own; pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory(prefix="mgmt-test-") as name:
        folder = Path(name)
        if os.geteuid() != 0:
            yield folder
            return
        os.chown(folder, _NOBODY, _NOBODY)
        os.seteuid(_NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(0)
