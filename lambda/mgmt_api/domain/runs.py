"""Ids of a client's run and of a request: they tie the client's log, the service's log and the records together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from mgmt_contract.routes import RUN_ID_HEADER

_RUN_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


def read_run_id(event: Mapping[str, Any]) -> str | None:
    """Return the client's id of its run; None where there is none, or one that must not be written down.

    A malformed id is ignored and not refused: it only helps to find things, so no upload fails for it.
    """
    headers: Mapping[str, Any] = event.get("headers") or {}
    run_id = headers.get(RUN_ID_HEADER)
    return run_id if isinstance(run_id, str) and _RUN_ID.fullmatch(run_id) else None


def read_request_id(event: Mapping[str, Any]) -> str | None:
    """Return API Gateway's id of the request, which is in its own log as well."""
    context: Mapping[str, Any] = event.get("requestContext") or {}
    return context.get("requestId")
