"""The OpenAPI document that is kept is the one the routes make."""

from __future__ import annotations

import json

from openapi_spec_validator import validate

from mgmt_api.openapi import OPENAPI_PATH, make_openapi
from mgmt_contract.routes import ROUTES


def test_the_kept_document_is_the_generated_one():
    """If this fails: run `python -m mgmt_api.openapi` and look at the difference."""
    assert OPENAPI_PATH.read_text(encoding="utf-8") == make_openapi()


def test_the_document_is_valid_and_holds_exactly_the_routes():
    document = json.loads(make_openapi())
    validate(document)
    calls = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert calls == {(route.method, route.path) for route in ROUTES}


def test_every_call_says_whether_it_needs_a_sign_in_and_how_it_fails():
    document = json.loads(make_openapi())
    for route in ROUTES:
        call = document["paths"][route.path][route.method.lower()]
        assert ("security" in call) == route.needs_sign_in
        assert set(call["responses"]) == {"200", "default"}
        assert set(call["responses"]["default"]["content"]) == {"application/problem+json", "application/json"}
