"""The service's routes: method and path of each call, in one place for both ends."""

from __future__ import annotations

from typing import Final, NamedTuple


class Route(NamedTuple):
    """One call of the protocol."""

    method: str
    path: str
    needs_sign_in: bool = True


DESCRIBE: Final = Route("GET", "/v1/service", needs_sign_in=False)
PREVIEW: Final = Route("POST", "/v1/uploads/preview")
START: Final = Route("POST", "/v1/uploads/start")
SIGN: Final = Route("POST", "/v1/uploads/sign")
COMPLETE: Final = Route("POST", "/v1/uploads/complete")
FAIL: Final = Route("POST", "/v1/uploads/fail")
CLEAN_UP: Final = Route("POST", "/v1/uploads/clean-up")
LOOK_UP: Final = Route("POST", "/v1/uploads/look-up")
OPEN_DOWNLOADS: Final = Route("POST", "/v1/downloads/open")
END_DOWNLOADS: Final = Route("POST", "/v1/downloads/end")
RESTORE: Final = Route("POST", "/v1/downloads/restore")
DELETE: Final = Route("POST", "/v1/uploads/delete")
UNDELETE: Final = Route("POST", "/v1/uploads/undelete")
LOOK: Final = Route("POST", "/v1/objects/look")
HISTORY: Final = Route("GET", "/v1/history")
ME: Final = Route("GET", "/v1/me")

ROUTES: Final = (
    DESCRIBE,
    PREVIEW,
    START,
    SIGN,
    COMPLETE,
    FAIL,
    CLEAN_UP,
    LOOK_UP,
    DELETE,
    UNDELETE,
    OPEN_DOWNLOADS,
    END_DOWNLOADS,
    RESTORE,
    LOOK,
    HISTORY,
    ME,
)

CLIENT_VERSION_HEADER: Final = "mgmt-client-version"
RUN_ID_HEADER: Final = "mgmt-run-id"
"""The id of one run of a client, the same in each of its calls: 1 to 64 of `A-Z a-z 0-9 -`."""
API_VERSION: Final = 1
"""The version in the path. The service states the range it serves in its self-description."""
