"""One deployment and two people, fresh for each test, and what the service prints."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from mgmt_api import routes
from support.studio import Machine, Studio


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
def ada(studio: Studio) -> Machine:
    return studio.person("ada")


@pytest.fixture
def bob(studio: Studio) -> Machine:
    return studio.person("bob")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """Read the lines that the service prints, so far."""
    log = io.StringIO()
    for handler in routes.logger.handlers:
        monkeypatch.setattr(handler, "stream", log)
    return lambda: [json.loads(line) for line in log.getvalue().splitlines()]
