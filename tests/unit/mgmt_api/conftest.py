"""One deployment and two people, fresh for each test."""

from __future__ import annotations

import pytest

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
