"""Answers as HTTP: the contract's JSON, written by the contract, and one shape for every problem."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aws_lambda_powertools.event_handler import Response, content_types

from mgmt_api.redaction import redact
from mgmt_contract.problems import PROBLEM_CONTENT_TYPE, Problem, ProblemError
from mgmt_contract.wire import to_json

BODY_MAX_BYTES: Final = 2 * 1024 * 1024
"""Twice what a hundred uploads with the longest names take."""
_FAULTS_TOLD: Final = 5
_NOT_STORED: Final = {"Cache-Control": "no-store"}


def answer(message: object) -> Response[str]:
    """Answer a message. It may hold presigned URLs, so nothing on the way may keep it."""
    return Response(200, content_types.APPLICATION_JSON, to_json(message), headers=_NOT_STORED)


def answer_problem(problem: Problem) -> Response[str]:
    """Answer a problem that concerns the whole request."""
    headers = dict(_NOT_STORED)
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(problem.retry_after_seconds)
    return Response(problem.status, PROBLEM_CONTENT_TYPE, to_json(problem), headers=headers)


def read_body(text: str) -> dict[str, Any]:
    """Read a request's JSON object.

    Raises:
        ProblemError: invalid-request, for what is too large, is no JSON object, or holds half a character
            (which JSON can write and UTF-8 cannot).
    """
    if len(text) > BODY_MAX_BYTES:
        raise ProblemError(
            "invalid-request", f"The body is larger than {BODY_MAX_BYTES} bytes. Send fewer items at once."
        )
    try:
        body = json.loads(text)
        if "\\u" in text:
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ProblemError("invalid-request", "The body is no JSON that UTF-8 can write.") from error
    if not isinstance(body, dict):
        raise ProblemError("invalid-request", "The body is not a JSON object.")
    return body


def make_validation_error(faults: Sequence[Mapping[str, Any]]) -> ProblemError:
    """Name the fields that validation refused; their values are not repeated."""
    told = [f"{'.'.join(map(str, fault['loc']))}: {fault['type']}" for fault in faults[:_FAULTS_TOLD]]
    more = len(faults) - len(told)
    sentence = "; ".join(told) + (f"; and {more} more" if more else "")
    return ProblemError("invalid-request", redact(f"Fields that are not as expected: {sentence}."))
