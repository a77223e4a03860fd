"""The conftest of the copy in which mutants are tested: what makes it quick and right there."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools.event_handler.openapi import dependant
from hypothesis import Phase, settings

from support import studio

# The same examples for every mutant; and one that fails need not be made small.
settings.register_profile(
    "mutation", derandomize=True, database=None, deadline=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("mutation")

_BUILDING = {"test_access.py", "test_http.py", "test_logs.py"}


def _read_signature(call: Callable[..., Any]) -> inspect.Signature:
    """Read annotations where a function was written: the tool's wrapper lives in a module of its own."""
    return inspect.signature(call, eval_str=True)


dependant.get_typed_signature = _read_signature


@pytest.fixture(autouse=True)
def _app_of_its_own(request: pytest.FixtureRequest) -> None:
    """Build the app anew for some tests; otherwise only the first test of all would seem to reach the wiring."""
    if request.path.name in _BUILDING:
        studio._wire.cache_clear()
