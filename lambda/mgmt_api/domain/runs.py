"""Which run of a client a call belongs to: what ties the client's log, the service's lines and the records together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from mgmt_contract.routes import RUN_ID_HEADER

_RUN_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


def read_run_id(event: Mapping[str, Any]) -> str | None:
    """Return what the client calls its run; None where it names none, or in a way that is not to be written down.

    An odd one is passed over and not refused: it is there to find things by, and no upload is to fail for that.
    """
    headers: Mapping[str, Any] = event.get("headers") or {}
    run_id = headers.get(RUN_ID_HEADER)
    return run_id if isinstance(run_id, str) and _RUN_ID.fullmatch(run_id) else None


def read_request_id(event: Mapping[str, Any]) -> str | None:
    """Return what API Gateway calls the request, in its own log as well."""
    context: Mapping[str, Any] = event.get("requestContext") or {}
    return context.get("requestId")
