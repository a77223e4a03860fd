"""The routes: a contract message in, one use case, a contract message out."""

from __future__ import annotations

import binascii
import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError, ServiceError
from aws_lambda_powertools.event_handler.openapi.exceptions import (
    RequestUnsupportedContentType,
    RequestValidationError,
)
from aws_lambda_powertools.event_handler.openapi.params import Body
from pydantic import TypeAdapter, ValidationError

from mgmt_api.calls.backends import Backends
from mgmt_api.calls.items import make_fault_problem, make_unavailable_problem
from mgmt_api.domain.access import read_actor
from mgmt_api.domain.answers import ListResponse, answer, answer_list, answer_problem, make_validation_error
from mgmt_api.domain.description import describe_person, describe_service
from mgmt_api.domain.entities import Actor
from mgmt_api.domain.policy import ACTION_OF_ROUTE, require_right
from mgmt_api.domain.runs import read_request_id, read_run_id
from mgmt_api.downloads.ending import end_downloads
from mgmt_api.downloads.looking import look_at_objects
from mgmt_api.downloads.opening import open_downloads
from mgmt_api.downloads.restoring import restore_objects
from mgmt_api.history.pages import find_history, look_up
from mgmt_api.ports import RecordsUnavailableError, StorageError
from mgmt_api.removal.deleting import delete_uploads
from mgmt_api.removal.undeleting import undelete_uploads
from mgmt_api.uploads.clean_ups import clean_up
from mgmt_api.uploads.completion import complete_uploads
from mgmt_api.uploads.ending import fail_uploads
from mgmt_api.uploads.preview import preview_uploads
from mgmt_api.uploads.signing import sign_parts
from mgmt_api.uploads.starting import start_uploads
from mgmt_contract import routes
from mgmt_contract.messages.downloads import EndDownloadsRequest, OpenDownloadsRequest, OpenDownloadsResponse
from mgmt_contract.messages.history import HistoryRequest, HistoryResponse, LookUpRequest, RecordsResponse
from mgmt_contract.messages.objects import LookRequest, LookResponse, RestoreRequest, RestoreResponse
from mgmt_contract.messages.removal import RemovalRequest, RemovalResponse
from mgmt_contract.messages.service import Me, Service
from mgmt_contract.messages.uploads import (
    CleanUpRequest,
    CompleteRequest,
    CompleteResponse,
    FailRequest,
    PreviewRequest,
    PreviewResponse,
    SignRequest,
    SignResponse,
    StartRequest,
    StartResponse,
)
from mgmt_contract.problems import Problem, ProblemError, make_problem

logger = Logger(service="mgmt_api")
"""Named as the package: so the other modules' loggers are its children, and its handler prints their lines as JSON,
with every `extra`, from INFO on."""


def mark_lines(event: Mapping[str, Any]) -> None:
    """Add the ids of the request and of the client's run to every log line from now on."""
    logger.append_keys(run_id=read_run_id(event), request_id=read_request_id(event))


HISTORY_FILTERS: Final = TypeAdapter(HistoryRequest)
"""Validates query parameters, whose values are all texts."""


class Api:
    """The calls of the protocol on one set of backends."""

    def __init__(self, resolver: APIGatewayHttpResolver, backends: Backends) -> None:
        self._resolver = resolver
        self._backends = backends

    def describe(self) -> Response[str]:
        """Describe the service itself; needs no sign-in."""
        return answer(describe_service(self._backends.settings))

    def preview(self, request: Annotated[PreviewRequest, Body()]) -> Response[str]:
        """Preview uploads: the result that starting them would have; nothing is written."""
        actor = self._admit(routes.PREVIEW)
        return self._answer_list(actor, preview_uploads(self._backends, actor, request))

    def start(self, request: Annotated[StartRequest, Body()]) -> Response[str]:
        """Start uploads, or start them again under the same ids."""
        actor = self._admit(routes.START)
        run_id = read_run_id(self._resolver.current_event.raw_event)
        return self._answer_list(actor, start_uploads(self._backends, actor, request, run_id))

    def sign(self, request: Annotated[SignRequest, Body()]) -> Response[str]:
        """Sign the URLs of parts."""
        actor = self._admit(routes.SIGN)
        return self._answer_list(actor, sign_parts(self._backends, actor, request))

    def complete(self, request: Annotated[CompleteRequest, Body()]) -> Response[str]:
        """Complete uploads: look at the storage, compare, and record."""
        actor = self._admit(routes.COMPLETE)
        return self._answer_list(actor, complete_uploads(self._backends, actor, request))

    def fail(self, request: Annotated[FailRequest, Body()]) -> Response[str]:
        """Record failures."""
        actor = self._admit(routes.FAIL)
        return self._answer_list(actor, fail_uploads(self._backends, actor, request))

    def clean_up(self, request: Annotated[CleanUpRequest, Body()]) -> Response[str]:
        """Record what became of local files."""
        actor = self._admit(routes.CLEAN_UP)
        return self._answer_list(actor, clean_up(self._backends, actor, request))

    def look_up(self, request: Annotated[LookUpRequest, Body()]) -> Response[str]:
        """Return the records of operations."""
        self._admit(routes.LOOK_UP)
        return answer_list(look_up(self._backends, request))

    def delete(self, request: Annotated[RemovalRequest, Body()]) -> Response[str]:
        """Delete uploads: recorded, with the date until which they can be brought back; the storage is not asked."""
        actor = self._admit(routes.DELETE)
        run_id = read_run_id(self._resolver.current_event.raw_event)
        return self._answer_list(actor, delete_uploads(self._backends, actor, request, run_id))

    def undelete(self, request: Annotated[RemovalRequest, Body()]) -> Response[str]:
        """Bring deleted uploads back."""
        actor = self._admit(routes.UNDELETE)
        run_id = read_run_id(self._resolver.current_event.raw_event)
        return self._answer_list(actor, undelete_uploads(self._backends, actor, request, run_id))

    def open_downloads(self, request: Annotated[OpenDownloadsRequest, Body()]) -> Response[str]:
        """Open downloads, or open them again under the same ids for fresh URLs."""
        actor = self._admit(routes.OPEN_DOWNLOADS)
        run_id = read_run_id(self._resolver.current_event.raw_event)
        return self._answer_list(actor, open_downloads(self._backends, actor, request, run_id))

    def end_downloads(self, request: Annotated[EndDownloadsRequest, Body()]) -> Response[str]:
        """Record how downloads ended."""
        actor = self._admit(routes.END_DOWNLOADS)
        return self._answer_list(actor, end_downloads(self._backends, actor, request))

    def restore(self, request: Annotated[RestoreRequest, Body()]) -> Response[str]:
        """Ask the storage to make archived objects readable, once for the whole team."""
        actor = self._admit(routes.RESTORE)
        run_id = read_run_id(self._resolver.current_event.raw_event)
        return self._answer_list(actor, restore_objects(self._backends, actor, request, run_id))

    def look(self, request: Annotated[LookRequest, Body()]) -> Response[str]:
        """Look at stored objects: compare what S3 states now with the records; nothing is written."""
        actor = self._admit(routes.LOOK)
        return self._answer_list(actor, look_at_objects(self._backends, request))

    def history(self) -> Response[str]:
        """Find the team's operations, newest first."""
        actor = self._admit(routes.HISTORY)
        filters = self._resolver.current_event.query_string_parameters or {}
        try:
            request = HISTORY_FILTERS.validate_python(filters)
        except ValidationError as error:
            raise make_validation_error(error.errors()) from error
        return answer(find_history(self._backends, actor, request))

    def me(self) -> Response[str]:
        """Say for whom the service takes the caller."""
        return answer(describe_person(self._admit(routes.ME)))

    def _admit(self, route: routes.Route) -> Actor:
        """Return the caller, who has the right to make this call at all."""
        settings = self._backends.settings
        actor = read_actor(self._resolver.current_event.raw_event, settings)
        require_right(actor, ACTION_OF_ROUTE[route], settings)
        return actor

    def _answer_list(self, actor: Actor, response: ListResponse) -> Response[str]:
        for result in response.results:
            problem = result.problem
            if problem is not None:
                self._backends.metrics.count("Problems", code=problem.code)
            logger.info(
                "answered",
                extra={
                    "path": self._resolver.current_event.path,
                    "actor": actor.name,
                    "actor_id": actor.id,
                    "operation_id": result.operation_id,
                    "outcome": result.outcome,
                    "code": problem.code if problem else None,
                    "key": _find_key(result),
                },
            )
        return answer_list(response)


def _find_key(result: Any) -> str | None:
    """Find the key that a result names, if any."""
    record = getattr(result, "record", None) or getattr(result, "upload", None)
    return getattr(result, "s3_object_key", None) or getattr(record, "s3_object_key", None)


def add_routes(resolver: APIGatewayHttpResolver, backends: Backends) -> None:
    """Register every route of the contract."""
    api = Api(resolver, backends)
    calls = (
        (routes.DESCRIBE, api.describe, Service),
        (routes.PREVIEW, api.preview, PreviewResponse),
        (routes.START, api.start, StartResponse),
        (routes.SIGN, api.sign, SignResponse),
        (routes.COMPLETE, api.complete, CompleteResponse),
        (routes.FAIL, api.fail, RecordsResponse),
        (routes.CLEAN_UP, api.clean_up, RecordsResponse),
        (routes.LOOK_UP, api.look_up, RecordsResponse),
        (routes.DELETE, api.delete, RemovalResponse),
        (routes.UNDELETE, api.undelete, RemovalResponse),
        (routes.OPEN_DOWNLOADS, api.open_downloads, OpenDownloadsResponse),
        (routes.END_DOWNLOADS, api.end_downloads, RecordsResponse),
        (routes.RESTORE, api.restore, RestoreResponse),
        (routes.LOOK, api.look, LookResponse),
        (routes.HISTORY, api.history, HistoryResponse),
        (routes.ME, api.me, Me),
    )
    for route, call, message in calls:
        resolver.route(
            rule=route.path,
            method=route.method,
            operation_id=call.__name__,
            summary=(call.__doc__ or "").partition("\n")[0],
            responses=_describe_success(message),
        )(call)


def _describe_success(message: type) -> dict[int, Any]:
    """Describe a call's answer, for the OpenAPI document only.

    The routes themselves answer text that the contract wrote: pydantic would write times otherwise.
    """
    return {200: {"description": "A result", "content": {"application/json": {"model": message}}}}


def add_problems(resolver: APIGatewayHttpResolver, backends: Backends) -> None:
    """Answer every error as a problem; nothing leaves the resolver unanswered."""
    problems = Problems(resolver, backends)
    answer_with = resolver.exception_handler
    answer_with(ProblemError)(problems.answer_refusal)
    answer_with(RequestValidationError)(problems.answer_misfit)
    # A body that is not the base64 or UTF-8 that the event says fails while Powertools decodes it.
    answer_with([RequestUnsupportedContentType, binascii.Error, UnicodeDecodeError])(problems.answer_garble)
    answer_with(NotFoundError)(problems.answer_no_route)
    answer_with([RecordsUnavailableError, StorageError])(problems.answer_unavailable)
    answer_with([ServiceError, Exception])(problems.answer_fault)


class Problems:
    """Answers whole requests with problems that name the client's run, and counts them."""

    def __init__(self, resolver: APIGatewayHttpResolver, backends: Backends) -> None:
        self._resolver = resolver
        self._backends = backends

    def answer_refusal(self, error: ProblemError) -> Response[str]:
        """Answer a use case's refusal."""
        logger.info("refused", extra={"code": error.problem.code, "detail": error.problem.detail})
        return self._answer(error.problem)

    def answer_misfit(self, error: RequestValidationError) -> Response[str]:
        """Answer a body that is not of the call's type."""
        return self.answer_refusal(make_validation_error(error.errors()))

    def answer_garble(self, _: Exception) -> Response[str]:
        """Answer a body that cannot be read."""
        return self._answer(make_problem("invalid-request", "The body is not UTF-8 in application/json."))

    def answer_no_route(self, _: NotFoundError) -> Response[str]:
        """Answer a path that does not exist."""
        return self._answer(make_problem("no-such-route", "This service has no such path, or not for this method."))

    def answer_unavailable(self, error: Exception) -> Response[str]:
        """Answer for a store that does not answer, or has no room."""
        logger.warning("a store does not answer", extra={"reason": str(error)})
        return self._answer(make_unavailable_problem(error))

    def answer_fault(self, error: Exception) -> Response[str]:
        """Answer an unforeseen error."""
        logger.error("the service failed", exc_info=error)
        return self._answer(make_fault_problem())

    def _answer(self, problem: Problem) -> Response[str]:
        self._backends.metrics.count("Problems", code=problem.code)
        run_id = read_run_id(self._resolver.current_event.raw_event)
        return answer_problem(dataclasses.replace(problem, run_id=run_id))
