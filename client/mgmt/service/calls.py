"""Calls of the service: each is sent, and sent again as the protocol allows, until it is answered or cannot succeed.

A good answer is read by `replies`; a refusal becomes one of mgmt's errors here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlencode, urlsplit

import urllib3

from mgmt.errors import (
    IntegrityError,
    LoginRequiredError,
    MgmtError,
    NewerServiceError,
    NotConfiguredError,
    RefusedError,
    SourceError,
    StorageFullError,
    UnavailableError,
)
from mgmt.events import Answered, Emit, Waiting
from mgmt.network import Answer, Bounds, Connections, make_timeout
from mgmt.network.retry import (
    RETRY_STATUSES,
    Patience,
    describe_wrong_clock,
    explain_connection_error,
    proxy_login_error,
    raise_if_permanent,
    read_date,
    read_retry_after,
)
from mgmt.service import replies
from mgmt_contract import routes
from mgmt_contract.messages.downloads import OpenDownloadsResponse
from mgmt_contract.messages.history import RecordsResponse
from mgmt_contract.messages.objects import LookResponse, RestoreResponse
from mgmt_contract.messages.removal import RemovalResponse
from mgmt_contract.messages.uploads import CompleteResponse, PreviewResponse, SignResponse, StartResponse
from mgmt_contract.problems import PROBLEMS, Problem
from mgmt_contract.values import Value
from mgmt_contract.version import __version__
from mgmt_contract.wire import MessageError, to_json

_log: Final = logging.getLogger(__name__)
T = TypeVar("T")
L = TypeVar(
    "L",
    PreviewResponse,
    StartResponse,
    SignResponse,
    CompleteResponse,
    OpenDownloadsResponse,
    RestoreResponse,
    RecordsResponse,
    LookResponse,
    RemovalResponse,
)


class TokenProvider(Protocol):
    """Gives access tokens; asked before every call, so that a long upload outlives one."""

    def __call__(self, refused: str | None = None, /) -> str:
        """Give a token that is valid now, and another one where the service has refused one.

        Raises:
            LoginRequiredError: If there is none.
        """


ERROR_OF_PROBLEM: Final[Mapping[str, type[MgmtError]]] = {
    "invalid-request": RefusedError,
    "login-required": LoginRequiredError,
    "not-allowed": RefusedError,
    "no-such-route": RefusedError,
    "no-such-operation": SourceError,
    "not-stored": SourceError,
    "object-gone": SourceError,
    "not-recoverable": RefusedError,
    "name-taken": RefusedError,
    "claimed-same": RefusedError,
    "name-reserved": RefusedError,
    "name-differs-in-case": RefusedError,
    "bucket-differs": NotConfiguredError,
    "operation-differs": RefusedError,
    "operation-failed": RefusedError,
    "lease-lost": RefusedError,
    "part-differs": IntegrityError,
    "index-differs": RefusedError,
    "content-differs": IntegrityError,
    "changed-meanwhile": UnavailableError,
    "tier-unavailable": RefusedError,
    "invalid-name": SourceError,
    "too-large": SourceError,
    "too-many-requests": UnavailableError,
    "internal-error": UnavailableError,
    "answer-too-large": UnavailableError,
    "storage-unavailable": UnavailableError,
    "storage-full": StorageFullError,
}
"""The exit code of every problem the service can answer, by way of its error class."""


_GATEWAY_ID_HEADER: Final = "apigw-requestid"
"""API Gateway's id of the request, also where it refuses it by itself."""
_GATEWAY_ID_MAX_CHARACTERS: Final = 40
_UNAUTHORIZED: Final = 401
_TOO_LARGE: Final = 413
_TOO_MANY: Final = 429
ANSWER_MAX_SECONDS: Final = 120.0
"""For a whole answer: a page of history of 4 MB takes a minute on a slow line, and API Gateway half of one to begin."""
_CONTENT_TYPE_MAX_CHARACTERS: Final = 100
_OUTCOME_MAX_CHARACTERS: Final = 50
_DETAIL_MAX_CHARACTERS: Final = 2000
"""Of a problem's sentence: no sentence is longer."""


def error_of(problem: Problem) -> MgmtError:
    """Turn a problem into the error a person sees; a code from a newer service leaves what was begun as it is."""
    kind = ERROR_OF_PROBLEM.get(problem.code, NewerServiceError)
    return kind(problem.detail[:_DETAIL_MAX_CHARACTERS], code=problem.code, operation_id=problem.operation_id)


def _error_of_outcome(outcome: str, operation_id: str) -> NewerServiceError:
    """Make the error for an outcome that this version does not know."""
    return NewerServiceError(
        f"The service answers '{outcome[:_OUTCOME_MAX_CHARACTERS]}', which this mgmt ({__version__}) does not know. "
        "Nothing is lost: update mgmt on this machine and run the same command again.",
        operation_id=operation_id,
    )


def error_in(result: Any) -> MgmtError | None:
    """Make the error of a result that has a problem, or an outcome that this version does not know."""
    if not replies.is_known(result):
        return _error_of_outcome(result.outcome, result.operation_id)
    return error_of(result.problem) if result.problem is not None else None


class _Versions(Value):
    """The part of a service's description that every version has."""

    api_version_min: int
    api_version_max: int
    service_version: str = "?"


class Calls:
    """Makes the calls of one service.

    Every one may raise LoginRequiredError, RefusedError, NotConfiguredError, UnavailableError and CancelledError.

    Args:
        base_url: The service's address.
        token: Asked before every call that needs a sign-in.
        connections: Open connections, and new ones.
        patience: How long what may pass is waited for.
        emit: Gets what is waited for.
        run_id: This run's, in every request.
    """

    def __init__(
        self,
        base_url: str,
        token: TokenProvider,
        connections: Connections,
        patience: Patience,
        emit: Emit,
        run_id: str | None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._host = urlsplit(base_url).netloc
        self._token = token
        self._connections = connections
        self._patience = patience
        self._emit = emit
        self._headers = {"accept": "application/json", routes.CLIENT_VERSION_HEADER: __version__}
        if run_id is not None:
            self._headers[routes.RUN_ID_HEADER] = run_id

    def call(
        self,
        route: routes.Route,
        kind: type[T],
        request: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        check: Callable[[T], None],
        counts_as_progress: Callable[[T], bool] = lambda _: True,
    ) -> T:
        """Make a call, and return what `check` has let pass of its answer.

        Args:
            route: Where it goes.
            kind: The type of the answer.
            request: The body, if there is one.
            query: The query's parameters.
            check: Raises MessageError where the answer makes no sense.
            counts_as_progress: Tells whether the answer shows that the service is at work.
        """
        url = self.base_url + route.path + (f"?{urlencode(query, errors='replace')}" if query else "")
        body = to_json(request).encode(errors="replace") if request is not None else None
        token = self._token() if route.needs_sign_in else None
        is_other_token = False
        attempt = 0
        while True:
            self._patience.check_stopped()
            answer, why = self._send(route, url, body, token)
            if answer is not None and answer.status == _UNAUTHORIZED and token is not None and not is_other_token:
                token, is_other_token = self._replace_token(token, answer), True
                continue
            if answer is not None:
                if 200 <= answer.status < 300:
                    result = self._read(route, answer, kind, check)
                    if counts_as_progress(result):
                        self._patience.note_progress()
                    return result
                why = self._explain_refusal(route, answer)
            _log.info("%s %s: %s; trying again", route.method, route.path, why)
            retry_after_seconds = read_retry_after(answer.headers) if answer is not None else None
            self._patience.wait(attempt, why, retry_after_seconds=retry_after_seconds)
            attempt += 1
            token = self._token() if route.needs_sign_in else None

    def call_list(
        self,
        route: routes.Route,
        kind: type[L],
        request: Any,
        check: Callable[[L, list[Any]], None],
        *,
        items: str = "items",
    ) -> L:
        """Make a call of many items, in the field of that name; those that may succeed later are asked for again."""

        def ask(asked: list[Any]) -> L:
            part = replace(request, **{items: asked})
            return self.call(
                route, kind, part, check=partial(_check_list, asked, check), counts_as_progress=_has_settled
            )

        every = getattr(request, items)
        response = ask(every)
        results = list(response.results)
        attempt = 0
        while passing := {index: problem for index, each in enumerate(results) if (problem := _passing_problem(each))}:
            again, problem = list(passing), next(iter(passing.values()))
            _log.info("%s: %d of %d items: %s; trying again", route.path, len(again), len(results), problem.detail)
            self._patience.wait(attempt, problem.detail, retry_after_seconds=problem.retry_after_seconds)
            answered = ask([every[index] for index in again])
            for index, result in zip(again, answered.results, strict=True):
                results[index] = result
            attempt += 1
        return replace(response, results=results)

    def _replace_token(self, refused: str, answer: Answer) -> str:
        """Get another token than one that was refused: it may have been revoked, or this clock may be wrong."""
        _log.info("The service refuses the token (%d)", answer.status)
        try:
            return self._token(refused)
        except LoginRequiredError as error:
            said = describe_wrong_clock(read_date(answer.headers), datetime.now(UTC), self._host)
            error.message = f"{error.message} {said}" if said else error.message
            raise

    def _send(
        self, route: routes.Route, url: str, body: bytes | None, token: str | None = None
    ) -> tuple[Answer | None, str]:
        """Make one try. The token goes to the service's own address: redirects are answers, never followed."""
        headers = dict(self._headers)
        if body is not None:
            headers["content-type"] = "application/json"
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        began = time.monotonic()
        try_seconds = self._patience.begin_try()
        bounds = Bounds(min(ANSWER_MAX_SECONDS, try_seconds or ANSWER_MAX_SECONDS), replies.REPLY_MAX_BYTES)
        self._emit(Waiting(f"an answer from {self.base_url}"))
        try:
            answer = self._connections.ask(route.method, url, body, headers, make_timeout(try_seconds), bounds)
        except urllib3.exceptions.HTTPError as error:
            raise_if_permanent(error, url)
            return None, explain_connection_error(error, url)
        gateway_id = answer.headers.get(_GATEWAY_ID_HEADER)
        quoted = f" (request {gateway_id[:_GATEWAY_ID_MAX_CHARACTERS]})" if gateway_id else ""
        seconds = time.monotonic() - began
        self._emit(Answered())
        _log.info("%s %s: %d in %.3f s%s", route.method, route.path, answer.status, seconds, quoted)
        return answer, ""

    def _read(self, route: routes.Route, answer: Answer, kind: type[T], check: Callable[[T], None]) -> T:
        if not answer.may_be_json:
            raise self._no_service(answer)
        try:
            result = replies.read_reply(kind, answer.body)
            check(result)
        except MessageError as error:
            self._check_versions(route, answer)
            raise UnavailableError(
                f"The service's answer is none of the protocol that this mgmt ({__version__}) speaks: {error}. "
                "Nothing is lost: run the same command again, and tell the admin if that does not help.",
                code="bad-answer",
            ) from error
        return result

    def _explain_refusal(self, route: routes.Route, answer: Answer) -> str:
        """Raise errors that waiting cannot cure; return the reason for the others."""
        problem = _problem_of(answer)
        if problem is None:
            return self._explain_status(route, answer)
        if not _is_retryable(problem):
            if problem.code == "no-such-route" and route != routes.DESCRIBE:
                self._check_versions(route, answer)
            if answer.status == _UNAUTHORIZED and route.needs_sign_in:
                raise self._not_accepted(answer)
            raise error_of(problem)
        return f"{problem.detail} (run {problem.run_id})" if problem.run_id else problem.detail

    def _explain_status(self, route: routes.Route, answer: Answer) -> str:
        """Do the same for answers without a problem of ours: API Gateway's own, a proxy's, another server's."""
        if answer.status == _TOO_MANY and answer.may_be_json:
            self._patience.note_answer()
            return f"the service at {self.base_url} is asked by too many just now (429)"
        if answer.status in RETRY_STATUSES:
            return f"the service at {self.base_url} answers {answer.status}"
        if answer.status == 407:
            raise proxy_login_error(self.base_url)
        if answer.status == _UNAUTHORIZED:
            raise self._not_accepted(answer)
        if answer.status == 403 and answer.may_be_json:
            raise RefusedError("The service does not allow this with your sign-in. Ask the admin.", code="not-allowed")
        if answer.status == _TOO_LARGE and answer.may_be_json:
            raise RefusedError(
                "The request is larger than the service takes. Name fewer files and folders at once.",
                code="request-too-large",
            )
        if answer.may_be_json:
            self._check_versions(route, answer)
        raise self._no_service(answer)

    def _not_accepted(self, answer: Answer) -> LoginRequiredError:
        """Make the error for a service that refuses a token, and the one in its place."""
        said = describe_wrong_clock(read_date(answer.headers), datetime.now(UTC), self._host)
        return LoginRequiredError(
            f"The service at {self.base_url} does not accept the sign-in. "
            + (said or "Run `mgmt login`, and tell the admin if that does not help."),
            code="sign-in-not-accepted",
        )

    def _check_versions(self, route: routes.Route, answer: Answer) -> None:
        """Find out whether an answer is odd because the other side is of another version, or no service of ours.

        Raises:
            RefusedError: If the versions are too far apart.
            UnavailableError: If the server is no mgmt service.
        """
        described: Answer | None = answer
        if route != routes.DESCRIBE:
            described, _ = self._send(routes.DESCRIBE, self.base_url + routes.DESCRIBE.path, None)
        versions = _versions_of(described) if described else None
        if versions is None:
            raise self._no_service(answer)
        refuse_other_versions(versions.api_version_min, versions.api_version_max, versions.service_version)

    def _no_service(self, answer: Answer) -> UnavailableError:
        return UnavailableError(
            f"{self.base_url} answers {answer.status} with {_describe(answer)}, expected the mgmt service. "
            "It may be the network's sign-in page, or a wrong address: open any page in a browser, "
            "check `mgmt config`, and run the same command again.",
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


def _versions_of(answer: Answer) -> _Versions | None:
    """Read which versions a service speaks; None where it is none."""
    try:
        return replies.read_reply(_Versions, answer.body) if answer.may_be_json else None
    except MessageError:
        return None


def _check_list(asked: list[Any], check: Callable[[Any, list[Any]], None], response: Any) -> None:
    replies.check_results(response.results, [each if isinstance(each, str) else each.operation_id for each in asked])
    check(response, asked)


def _content_type(answer: Answer) -> str:
    return answer.headers.get("content-type", "")[:_CONTENT_TYPE_MAX_CHARACTERS]


def _describe(answer: Answer) -> str:
    encoding = f", {answer.headers['content-encoding'][:20]}" if "content-encoding" in answer.headers else ""
    size = "" if answer.is_whole else f", more than {replies.REPLY_MAX_BYTES} bytes of it"
    return f"{_content_type(answer) or 'no content type'}{encoding}{size}"


def _problem_of(answer: Answer) -> Problem | None:
    if "problem+json" not in _content_type(answer) or not answer.may_be_json:
        return None
    try:
        return replies.read_reply(Problem, answer.body)
    except MessageError:
        return None


def _is_retryable(problem: Problem) -> bool:
    kind = PROBLEMS.get(problem.code)
    return kind.retryable if kind else problem.status in RETRY_STATUSES


def _passing_problem(result: Any) -> Problem | None:
    """Return the problem of an item that may succeed when it is asked for again."""
    problem: Problem | None = result.problem
    return problem if problem is not None and _is_retryable(problem) else None


def _has_settled(response: Any) -> bool:
    return not all(map(_passing_problem, response.results))
