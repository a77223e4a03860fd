"""A deployment with a worker."""

from __future__ import annotations

import pytest

from support.fakes import StrictRecordStore
from support.studio import Studio


@pytest.fixture
def studio() -> Studio:
    """The calls hand joins over, and the store holds to the table of transitions."""
    return Studio(records=StrictRecordStore(), has_worker=True)
