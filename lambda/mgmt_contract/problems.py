"""Every problem the service can answer: code, HTTP status, title, whether asking again helps.

Bodies are problem details after RFC 9457. One table, used by the service (which answers), by the client
(which maps a code to an exit code) and by the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from mgmt_contract.values import Value

PROBLEM_CONTENT_TYPE: Final = "application/problem+json"
_TYPE_PREFIX: Final = "urn:mgmt:problem:"


class ProblemKind(NamedTuple):
    """The fixed facts of a problem."""

    http_status: int
    title: str
    retryable: bool
    """True where the same request may succeed later without anything else being done."""


PROBLEMS: Final[Mapping[str, ProblemKind]] = {
    "invalid-request": ProblemKind(400, "The request is not one this service understands", retryable=False),
    "login-required": ProblemKind(401, "No valid sign-in came with the request", retryable=False),
    "not-allowed": ProblemKind(403, "This person may not do that", retryable=False),
    "no-such-route": ProblemKind(404, "There is no such route", retryable=False),
    "no-such-operation": ProblemKind(404, "No operation is recorded under this id", retryable=False),
    "not-stored": ProblemKind(409, "The upload has stored no object", retryable=False),
    "object-gone": ProblemKind(409, "The recorded version of the object is not there", retryable=False),
    "not-recoverable": ProblemKind(409, "The deleted upload cannot be brought back any more", retryable=False),
    "name-taken": ProblemKind(409, "Other content is stored under this name", retryable=False),
    "claimed-same": ProblemKind(
        409, "Other bytes are stored under this name, reported as the same content", retryable=False
    ),
    "name-reserved": ProblemKind(409, "Somebody else is uploading this name now", retryable=False),
    "name-differs-in-case": ProblemKind(
        409, "A name that differs only by case or normalization is stored", retryable=False
    ),
    "bucket-differs": ProblemKind(409, "The service stores into another bucket than expected", retryable=False),
    "operation-differs": ProblemKind(409, "The operation was started with another request", retryable=False),
    "operation-failed": ProblemKind(409, "The operation has failed and cannot go on", retryable=False),
    "lease-lost": ProblemKind(409, "Another machine has taken the upload over", retryable=False),
    "part-differs": ProblemKind(409, "The part was signed for other bytes before", retryable=False),
    "index-differs": ProblemKind(409, "Another index was announced for this upload before", retryable=False),
    "content-differs": ProblemKind(409, "The stored object is not what the client computed", retryable=False),
    "changed-meanwhile": ProblemKind(409, "The record was changed by another call", retryable=True),
    "tier-unavailable": ProblemKind(
        409, "The storage has no capacity for restores at this tier just now", retryable=False
    ),
    "invalid-name": ProblemKind(422, "The name cannot be a key", retryable=False),
    "too-large": ProblemKind(422, "The object is larger than S3 takes", retryable=False),
    "too-many-requests": ProblemKind(429, "Too many requests", retryable=True),
    "internal-error": ProblemKind(500, "The service failed; the fault is on its side", retryable=True),
    "answer-too-large": ProblemKind(503, "The answers to this list are too large to come together", retryable=True),
    "storage-unavailable": ProblemKind(503, "The storage does not answer", retryable=True),
    "storage-full": ProblemKind(507, "The storage has no room", retryable=False),
}


class Problem(Value):
    """A problem body, whole-request or of one item."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    """What happened, what was expected, and what to do next."""
    operation_id: str | None = None
    retry_after_seconds: int | None = None
    run_id: str | None = None
    """The client's run that got this answer, for a person to quote; in a problem of the whole request."""


class ProblemError(Exception):
    """Raised inside the service to answer a problem; carries its body."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        operation_id: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.problem = make_problem(code, detail, operation_id=operation_id, retry_after_seconds=retry_after_seconds)


def make_problem(
    code: str, detail: str, *, operation_id: str | None = None, retry_after_seconds: int | None = None
) -> Problem:
    """Fill a problem body from the table.

    Raises:
        KeyError: If `code` is not in the table.
    """
    kind = PROBLEMS[code]
    return Problem(
        type=_TYPE_PREFIX + code,
        title=kind.title,
        status=kind.http_status,
        code=code,
        detail=detail,
        operation_id=operation_id,
        retry_after_seconds=retry_after_seconds,
    )
