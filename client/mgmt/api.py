"""Ask and confirm: one method per route of the service, contract types in and out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import urllib3

from mgmt.connection import Connections, make_timeout
from mgmt.errors import (
    IntegrityError,
    LoginRequiredError,
    MgmtError,
    NotConfiguredError,
    RefusedError,
    SourceError,
    UnavailableError,
)
from mgmt.events import Emit, Trace, Waiting
from mgmt.reachability import explain_connection_error, proxy_login_error, refuse_hopeless
from mgmt.retry import Patience
from mgmt_contract import messages, routes
from mgmt_contract.problems import PROBLEMS, Problem
from mgmt_contract.values import Value
from mgmt_contract.version import __version__
from mgmt_contract.wire import MessageError, from_json, to_json, to_plain

T = TypeVar("T")
L = TypeVar(
    "L",
    messages.PreviewResponse,
    messages.StartResponse,
    messages.SignResponse,
    messages.CompleteResponse,
    messages.RecordsResponse,
)
Token = Callable[[], str]
"""Returns an access token that is valid now; asked before every call, so that a long upload outlives one."""

ERROR_OF_PROBLEM: Final[Mapping[str, type[MgmtError]]] = {
    "invalid-request": RefusedError,
    "login-required": LoginRequiredError,
    "not-allowed": RefusedError,
    "no-such-route": RefusedError,
    "no-such-operation": SourceError,
    "name-taken": RefusedError,
    "claimed-same": RefusedError,
    "name-reserved": RefusedError,
    "name-differs-in-case": RefusedError,
    "bucket-differs": NotConfiguredError,
    "operation-differs": RefusedError,
    "operation-failed": RefusedError,
    "lease-lost": RefusedError,
    "part-differs": IntegrityError,
    "content-differs": IntegrityError,
    "changed-meanwhile": UnavailableError,
    "invalid-name": SourceError,
    "too-large": SourceError,
    "too-many-requests": UnavailableError,
    "internal-error": UnavailableError,
    "storage-unavailable": UnavailableError,
}
"""The exit code of every problem the service can answer, by way of its error class."""

_GATEWAY_ID_HEADER: Final = "apigw-requestid"
"""What API Gateway calls the request, also where it refuses it by itself."""
_GATEWAY_ID_MAX_CHARACTERS: Final = 40
_TOO_LARGE: Final = 413
_TOO_MANY: Final = 429
_RETRY_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


def error_of(problem: Problem) -> MgmtError:
    """Turn a problem into the error a person sees; a code from a newer service counts as a refusal."""
    kind = ERROR_OF_PROBLEM.get(problem.code, RefusedError)
    return kind(problem.detail, code=problem.code, operation_id=problem.operation_id)


class _Answer(Value):
    status: int
    body: bytes
    content_type: str
    retry_after_seconds: float | None


class ServiceApi:
    """The service's routes. Every call is repeated, as the protocol allows, until it is answered or hopeless.

    Every method may raise LoginRequiredError, RefusedError, NotConfiguredError, UnavailableError and
    CancelledError; problems of single items are in the results.
    """

    def __init__(
        self,
        base_url: str,
        token: Token,
        connections: Connections,
        patience: Patience,
        emit: Emit,
        *,
        run_id: str | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._connections = connections
        self._patience = patience
        self._emit = emit
        self._headers = {"accept": "application/json", routes.CLIENT_VERSION_HEADER: __version__}
        if run_id is not None:
            self._headers[routes.RUN_ID_HEADER] = run_id

    def describe(self) -> messages.Service:
        """Ask the service what it is; needs no sign-in.

        Raises:
            RefusedError: If its version and this one are too far apart.
        """
        service = self._call(routes.DESCRIBE, messages.Service)
        refuse_other_versions(service.api_version_min, service.api_version_max, service.service_version)
        return service

    def preview(self, request: messages.PreviewRequest) -> messages.PreviewResponse:
        """Ask what starting uploads would come to; writes nothing."""
        return self._call_list(routes.PREVIEW, messages.PreviewResponse, request)

    def start(self, request: messages.StartRequest) -> messages.StartResponse:
        """Begin uploads, or begin them again."""
        return self._call_list(routes.START, messages.StartResponse, request)

    def sign(self, request: messages.SignRequest) -> messages.SignResponse:
        """Ask for the URLs of parts."""
        return self._call_list(routes.SIGN, messages.SignResponse, request)

    def complete(self, request: messages.CompleteRequest) -> messages.CompleteResponse:
        """Have the service look at the storage, compare and record."""
        return self._call_list(routes.COMPLETE, messages.CompleteResponse, request)

    def fail(self, request: messages.FailRequest) -> messages.RecordsResponse:
        """Record that uploads have failed."""
        return self._call_list(routes.FAIL, messages.RecordsResponse, request)

    def clean_up(self, request: messages.CleanUpRequest) -> messages.RecordsResponse:
        """Report how local files ended."""
        return self._call_list(routes.CLEAN_UP, messages.RecordsResponse, request)

    def look_up(self, operation_ids: list[str]) -> messages.RecordsResponse:
        """Fetch the records of operations."""
        request = messages.LookUpRequest(operation_ids)
        return self._call_list(routes.LOOK_UP, messages.RecordsResponse, request, items="operation_ids")

    def history(self, request: messages.HistoryRequest) -> messages.HistoryResponse:
        """Fetch one page of the team's operations."""
        return self._call(routes.HISTORY, messages.HistoryResponse, query=_query_of(request))

    def _call_list(self, route: routes.Route, kind: type[L], request: Any, *, items: str = "items") -> L:
        """Make a call of many items, in the field of that name; those that may succeed later are asked for again."""
        response = self._call(route, kind, request, counts_as_progress=_has_settled)
        results = list(response.results)
        attempt = 0
        while passing := {index: problem for index, each in enumerate(results) if (problem := _passing_problem(each))}:
            again, problem = list(passing), next(iter(passing.values()))
            self._emit(Trace(f"{route.path}: {len(again)} of {len(results)} items: {problem.detail}; trying again"))
            self._patience.wait(attempt, problem.detail, retry_after_seconds=problem.retry_after_seconds)
            part = replace(request, **{items: [getattr(request, items)[index] for index in again]})
            answered = self._call(route, kind, part, counts_as_progress=_has_settled)
            for index, result in zip(again, answered.results, strict=True):
                results[index] = result
            attempt += 1
        return replace(response, results=results)

    def _call(
        self,
        route: routes.Route,
        kind: type[T],
        request: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        counts_as_progress: Callable[[T], bool] = lambda _: True,
    ) -> T:
        url = self._base_url + route.path + (f"?{urlencode(query, errors='replace')}" if query else "")
        body = to_json(request).encode(errors="replace") if request is not None else None
        attempt = 0
        while True:
            self._patience.check_stopped()
            answer, why = self._send(route, url, body)
            if answer is not None:
                if 200 <= answer.status < 300:
                    result = self._read(route, answer, kind)
                    if counts_as_progress(result):
                        self._patience.note_progress()
                    return result
                why = self._explain_refusal(route, answer)
            self._emit(Trace(f"{route.method} {route.path}: {why}; trying again"))
            self._patience.wait(attempt, why, retry_after_seconds=answer.retry_after_seconds if answer else None)
            attempt += 1

    def _send(self, route: routes.Route, url: str, body: bytes | None) -> tuple[_Answer | None, str]:
        headers = dict(self._headers)
        if body is not None:
            headers["content-type"] = "application/json"
        if route.needs_sign_in:
            headers["authorization"] = f"Bearer {self._token()}"
        began = time.monotonic()
        timeout = make_timeout(self._patience.begin_try())
        self._emit(Waiting(f"an answer from {self._base_url}"))
        try:
            response = self._connections.pool_for(url).request(
                route.method, url, body=body, headers=headers, redirect=False, timeout=timeout
            )
        except urllib3.exceptions.HTTPError as error:
            refuse_hopeless(error, url)
            return None, explain_connection_error(error, url)
        gateway_id = response.headers.get(_GATEWAY_ID_HEADER)
        quoted = f" (request {gateway_id[:_GATEWAY_ID_MAX_CHARACTERS]})" if gateway_id else ""
        seconds = time.monotonic() - began
        self._emit(Trace(f"{route.method} {route.path}: {response.status} in {seconds:.3f} s{quoted}"))
        answer = _Answer(
            response.status,
            response.data,
            response.headers.get("content-type", ""),
            _seconds(response.headers.get("retry-after")),
        )
        return answer, ""

    def _read(self, route: routes.Route, answer: _Answer, kind: type[T]) -> T:
        if "json" not in answer.content_type:
            raise self._no_service(answer)
        try:
            return from_json(kind, answer.body)
        except MessageError as error:
            self._check_versions(route, answer)
            raise RefusedError(
                f"The service answers what this version ({__version__}) does not understand: {error}. "
                "Update mgmt, or ask the admin which version the service is.",
                code="versions-differ",
            ) from error

    def _explain_refusal(self, route: routes.Route, answer: _Answer) -> str:
        """Raise what waiting cannot mend; return the reason where it can."""
        problem = _problem_of(answer)
        if problem is None:
            return self._explain_status(route, answer)
        if not _is_retryable(problem):
            if problem.code == "no-such-route" and route != routes.DESCRIBE:
                self._check_versions(route, answer)
            raise error_of(problem)
        return f"{problem.detail} (run {problem.run_id})" if problem.run_id else problem.detail

    def _explain_status(self, route: routes.Route, answer: _Answer) -> str:
        """Do the same for what is no problem of the service's: API Gateway's own answers, a proxy's, a stranger's."""
        if answer.status == _TOO_MANY and "json" in answer.content_type:
            self._patience.note_answer()
            return f"the service at {self._base_url} is asked by too many just now (429)"
        if answer.status in _RETRY_STATUSES:
            return f"the service at {self._base_url} answers {answer.status}"
        if answer.status == 407:
            raise proxy_login_error(self._base_url)
        if answer.status == 401:
            raise LoginRequiredError("The service does not accept the token. Put a new one into MGMT_TOKEN.")
        if answer.status == 403 and "json" in answer.content_type:
            raise RefusedError("The service does not allow this with your sign-in. Ask the admin.", code="not-allowed")
        if answer.status == _TOO_LARGE and "json" in answer.content_type:
            raise RefusedError(
                "The request is larger than the service takes. Name fewer files and folders at once.",
                code="request-too-large",
            )
        if "json" in answer.content_type:
            self._check_versions(route, answer)
        raise self._no_service(answer)

    def _check_versions(self, route: routes.Route, answer: _Answer) -> None:
        """Find out whether an answer is odd because the other side is of another version, or no service of ours.

        Raises:
            RefusedError: If the versions are too far apart.
            UnavailableError: If what answers is no mgmt service.
        """
        described: _Answer | None = answer
        if route != routes.DESCRIBE:
            described, _ = self._send(routes.DESCRIBE, self._base_url + routes.DESCRIBE.path, None)
        versions = _versions_of(described) if described else None
        if versions is None:
            raise self._no_service(answer)
        refuse_other_versions(*versions)

    def _no_service(self, answer: _Answer) -> UnavailableError:
        return UnavailableError(
            f"{self._base_url} answers {answer.status} with {answer.content_type or 'no content type'}, "
            "expected the mgmt service. A sign-in page of the network, or a wrong address: "
            "open any page in a browser, check `mgmt config`, and run the same command again.",
            code="no-service",
        )


def refuse_other_versions(minimum: int, maximum: int, service_version: str) -> None:
    """Refuse a service that does not speak this client's version of the protocol.

    Raises:
        RefusedError: With which side to update.
    """
    ours = routes.API_VERSION
    if minimum <= ours <= maximum:
        return
    what_to_do = (
        "Update mgmt on this machine"
        if ours < minimum
        else "The service is the older one: ask the admin to deploy the current version"
    )
    speaks = f"version {minimum}" if minimum == maximum else f"versions {minimum} to {maximum}"
    raise RefusedError(
        f"The service ({service_version}) speaks {speaks} of the protocol, and this mgmt ({__version__}) "
        f"version {ours}. {what_to_do}.",
        code="versions-differ",
    )


def _versions_of(answer: _Answer) -> tuple[int, int, str] | None:
    """Read as much of a service's description as every version of it has; None where it is none."""
    try:
        value = json.loads(answer.body)
        return int(value["api_version_min"]), int(value["api_version_max"]), str(value.get("service_version", "?"))
    except (ValueError, TypeError, KeyError):
        return None


def _query_of(request: messages.HistoryRequest) -> dict[str, str]:
    plain = to_plain(request)
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in plain.items()
        if value is not None and value is not False
    }


def _problem_of(answer: _Answer) -> Problem | None:
    if "problem+json" not in answer.content_type:
        return None
    try:
        return from_json(Problem, answer.body)
    except MessageError:
        return None


def _is_retryable(problem: Problem) -> bool:
    kind = PROBLEMS.get(problem.code)
    return kind.retryable if kind else problem.status in _RETRY_STATUSES


def _passing_problem(result: Any) -> Problem | None:
    """Return the problem of an item that may succeed when it is asked for again."""
    problem: Problem | None = result.problem
    return problem if problem is not None and _is_retryable(problem) else None


def _has_settled(response: Any) -> bool:
    return not all(map(_passing_problem, response.results))


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() else None
