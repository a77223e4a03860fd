"""One deployment and two people, fresh for each test, and what the service prints."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from mgmt_api import routes
from support.studio import Machine, Studio


@pytest.fixture(autouse=True)
def no_keys_of_an_earlier_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget boto3's own session: it keeps the keys that were in the environment when it was first asked."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


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
