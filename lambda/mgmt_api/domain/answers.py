"""Answers as HTTP: the contract's JSON, written by the contract, and one shape for every problem."""

from __future__ import annotations

import bisect
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aws_lambda_powertools.event_handler import Response, content_types

from mgmt_api.domain.redaction import redact
from mgmt_contract.messages.downloads import OpenDownloadsResponse
from mgmt_contract.messages.history import RecordsResponse
from mgmt_contract.messages.objects import LookResponse, RestoreResponse
from mgmt_contract.messages.removal import RemovalResponse
from mgmt_contract.messages.uploads import CompleteResponse, PreviewResponse, SignResponse, StartResponse
from mgmt_contract.problems import PROBLEM_CONTENT_TYPE, Problem, ProblemError, make_problem
from mgmt_contract.wire import to_json, to_plain

BODY_MAX_BYTES: Final = 2 * 1024 * 1024
"""Twice what a hundred uploads with the longest names take."""
ANSWER_MAX_BYTES: Final = 4_000_000
"""Lambda passes on 6 MB at most; `_size_for_lambda` counts as it does. Source: AWS Lambda Developer
Guide, "Lambda quotas", read 2026-11."""
_FAULTS_TOLD: Final = 5
_NOT_STORED: Final = {"Cache-Control": "no-store"}

ListResponse = (
    PreviewResponse
    | StartResponse
    | SignResponse
    | CompleteResponse
    | RecordsResponse
    | OpenDownloadsResponse
    | LookResponse
    | RestoreResponse
    | RemovalResponse
)


def answer(message: object) -> Response[str]:
    """Answer a message. It may hold presigned URLs, so no cache may keep it."""
    return _answer_text(to_json(message))


def answer_list(response: ListResponse) -> Response[str]:
    """Answer results; those that would make the answer too large are to be asked for again, without the others."""
    text = to_json(response)
    if _size_for_lambda(text) <= ANSWER_MAX_BYTES:
        return _answer_text(text)
    results: list[Any] = list(response.results)
    for place in range(count_fitting(results), len(results)):
        result = results[place]
        results[place] = type(result)(result.operation_id, "problem", problem=_make_left_out(result.operation_id))
    return _answer_text(to_json(to_plain(response) | {"results": results}))


def _answer_text(text: str) -> Response[str]:
    return Response(200, content_types.APPLICATION_JSON, text, headers=_NOT_STORED)


def _make_left_out(operation_id: str) -> Problem:
    return make_problem(
        "answer-too-large",
        "What the service would answer to this list is larger than an answer may be. Ask for this one again.",
        operation_id=operation_id,
    )


# --- sizes ---------------------------------------------------------------------------------------------


def count_fitting(values: Sequence[object]) -> int:
    """Say how many of these, from the first on, can be answered together: at least one."""
    if _size_for_lambda(to_json(values)) <= ANSWER_MAX_BYTES:
        return len(values)
    sizes = itertools.accumulate(_size_for_lambda(to_json(value)) for value in values)
    return max(1, bisect.bisect(list(sizes), ANSWER_MAX_BYTES))


def _size_for_lambda(text: str) -> int:
    """Count the bytes that Lambda passes on for an answer: its JSON is a text there, which becomes JSON once more.

    Counted as older runtimes do, which write everything in ASCII.
    """
    return len(json.dumps(text))


# --- problems and requests -----------------------------------------------------------------------------


def answer_problem(problem: Problem) -> Response[str]:
    """Answer a problem that concerns the whole request."""
    headers = dict(_NOT_STORED)
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(problem.retry_after_seconds)
    return Response(problem.status, PROBLEM_CONTENT_TYPE, to_json(problem), headers=headers)


def read_body(text: str) -> dict[str, Any]:
    """Read a request's JSON object.

    Raises:
        ProblemError: invalid-request, where it is too large, is no JSON object, or holds half a character
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
