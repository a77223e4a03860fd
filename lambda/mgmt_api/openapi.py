"""The OpenAPI document, generated from the routes and kept beside the contract.

`python -m mgmt_api.openapi` writes it; a test compares what is kept with what the routes say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, cast

import mgmt_contract
from mgmt_api.calls.backends import Backends
from mgmt_api.routes import HISTORY_FILTERS
from mgmt_api.wiring import build_resolver
from mgmt_contract.problems import PROBLEM_CONTENT_TYPE
from mgmt_contract.routes import HISTORY, ROUTES
from mgmt_contract.version import __version__

OPENAPI_PATH: Final = Path(mgmt_contract.__file__).with_name("openapi.json")

_FRAMEWORK_SCHEMAS: Final = ("HTTPValidationError", "ResponseValidationError", "ValidationError")
_PROBLEM: Final = {
    "description": "A problem (RFC 9457), or the gateway's own refusal: of a token, a large body, too many calls",
    "content": {
        PROBLEM_CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}},
        "application/json": {"schema": {"$ref": "#/components/schemas/GatewayRefusal"}},
    },
}
_GATEWAY_REFUSAL: Final = {
    "title": "GatewayRefusal",
    "description": "What the gateway answers before the service is asked.",
    "type": "object",
    "properties": {"message": {"title": "Message", "type": ["string", "null"]}},
    "required": ["message"],
}
"""Source: Amazon API Gateway answers `{"message": ...}` by itself, null where it has no words; read 2026-11."""


def make_openapi() -> str:
    """Write the document as JSON, the same text every time."""
    # No call is made: the document needs the routes' signatures only.
    resolver = build_resolver(Backends(*cast("tuple[Any, Any, Any, Any]", (None,) * 4)))
    document = json.loads(
        resolver.get_openapi_json_schema(title="mgmt", version=__version__, description="Media uploads for a team")
    )
    for route in ROUTES:
        _complete_call(document["paths"][route.path][route.method.lower()], needs_sign_in=route.needs_sign_in)
    document["paths"][HISTORY.path]["get"]["parameters"] = _describe_filters()
    schemas = document["components"]["schemas"]
    for name in _FRAMEWORK_SCHEMAS:
        schemas.pop(name, None)
    schemas["GatewayRefusal"] = _GATEWAY_REFUSAL
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _complete_call(call: dict[str, Any], *, needs_sign_in: bool) -> None:
    """Put problems in the place of the framework's own error bodies, and say who may call."""
    call["responses"] = {"200": call["responses"]["200"], "default": _PROBLEM}
    if needs_sign_in:
        call["security"] = [{"token": []}]


def _describe_filters() -> list[dict[str, Any]]:
    properties = HISTORY_FILTERS.json_schema()["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in properties.items()]


if __name__ == "__main__":
    OPENAPI_PATH.write_text(make_openapi(), encoding="utf-8")
