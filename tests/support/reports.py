"""Reports of tests on their way from xdist's workers to its controller, which takes no text that is not UTF-8."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    r"""Escape half characters in a report: as they are, they would stop the whole run and hide the failure.

    pytest escapes those in a test's id by itself, but not those in a message, in the log or in a recorded property.
    """
    return spell_out((yield))


def spell_out(value: Any) -> Any:
    r"""Write each half character in texts, also in those within lists and mappings, as `\udcff`."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {spell_out(key): spell_out(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(spell_out, value))
    return value
