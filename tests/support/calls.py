"""Calls of the protocol over HTTP, as any client could make them: for what has no command."""

from __future__ import annotations

from typing import TypeVar

import urllib3

from mgmt_contract.routes import Route
from mgmt_contract.wire import from_json, to_json
from support.team import Laptop

T = TypeVar("T")


def call(laptop: Laptop, route: Route, kind: type[T], request: object) -> T:
    """Make one call in the name of a laptop's person."""
    headers = {"authorization": f"Bearer {laptop.environment['MGMT_TOKEN']}", "content-type": "application/json"}
    url = laptop.environment["MGMT_API_URL"].rstrip("/") + route.path
    with urllib3.PoolManager(retries=False, timeout=20) as pool:
        answer = pool.request(route.method, url, body=to_json(request).encode(), headers=headers)
    assert answer.status == 200, answer.data
    return from_json(kind, answer.data)
