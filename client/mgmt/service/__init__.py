"""The service's routes: one method for each, contract types in and out; `calls` makes the calls of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeVar

from mgmt.errors import RefusedError
from mgmt.events import Emit
from mgmt.network import Connections
from mgmt.network.retry import Patience
from mgmt.service import replies
from mgmt.service.calls import (
    ERROR_OF_PROBLEM,
    Calls,
    TokenProvider,
    error_in,
    error_of,
    refuse_other_versions,
)
from mgmt_contract import routes
from mgmt_contract.messages.downloads import (
    DownloadItem,
    EndDownloadsRequest,
    OpenDownloadsRequest,
    OpenDownloadsResponse,
)
from mgmt_contract.messages.history import HistoryRequest, HistoryResponse, LookUpRequest, RecordsResponse
from mgmt_contract.messages.objects import LookRequest, LookResponse, RestoreRequest, RestoreResponse
from mgmt_contract.messages.removal import RemovalRequest, RemovalResponse
from mgmt_contract.messages.service import CONTENT_MD5_FIELD, SIGN_INDEX_FIELD, Me, Service
from mgmt_contract.messages.uploads import (
    CleanUpRequest,
    CompleteRequest,
    CompleteResponse,
    FailRequest,
    PreviewRequest,
    PreviewResponse,
    SignItem,
    SignRequest,
    SignResponse,
    StartItem,
    StartRequest,
    StartResponse,
)
from mgmt_contract.records import OperationRecord
from mgmt_contract.wire import to_plain

__all__ = ["ERROR_OF_PROBLEM", "ServiceApi", "TokenProvider", "error_in", "error_of"]

_log: Final = logging.getLogger(__name__)
_OPTIONAL_FIELDS: Final = frozenset({CONTENT_MD5_FIELD, SIGN_INDEX_FIELD})
"""Those of this client's request fields that not every service takes."""
R = TypeVar("R", PreviewRequest, StartRequest)


class ServiceApi:
    """The service's routes. Every call is repeated, as the protocol allows, until it is answered or cannot succeed.

    Every method may raise LoginRequiredError, RefusedError, NotConfiguredError, UnavailableError and
    CancelledError; problems of single items are in the results.
    """

    def __init__(
        self,
        base_url: str,
        token: TokenProvider,
        connections: Connections,
        patience: Patience,
        emit: Emit,
        *,
        run_id: str | None = None,
    ) -> None:
        self._calls = Calls(base_url, token, connections, patience, emit, run_id)
        self._limits: replies.Limits | None = None
        self._description: Service | None = None
        self._optional_fields: tuple[str, ...] = ()

    @property
    def limits(self) -> replies.Limits:
        """The service's limits: small defaults until it has described itself, which it does with every start."""
        return self._limits or replies.Limits()

    def learn_limits(self) -> replies.Limits:
        """Return the service's limits; asks it once, if it has not described itself yet."""
        if self._limits is None:
            self.describe()
        return self.limits

    @property
    def optional_fields(self) -> tuple[str, ...]:
        """The request fields that not every service takes and this one does, as it said last, in this run or before."""
        return self._optional_fields

    def expect_optional_fields(self, fields: Sequence[str]) -> None:
        """Send these fields also before the service has described itself: it took them in an earlier run."""
        self._optional_fields = tuple(fields)

    def describe(self) -> Service:
        """Ask the service what it is; needs no sign-in.

        Raises:
            RefusedError: If its version and this one are too far apart.
        """
        service = self._calls.call(routes.DESCRIBE, Service, check=replies.check_service)
        refuse_other_versions(service.api_version_min, service.api_version_max, service.service_version)
        self._note_limits(service)
        return service

    def preview(self, request: PreviewRequest) -> PreviewResponse:
        """Ask for the result that starting uploads would have; writes nothing."""
        response = self._calls.call_list(
            routes.PREVIEW,
            PreviewResponse,
            _without_optional_fields(request),
            lambda response, _: replies.check_service(response.service),
        )
        self._note_limits(response.service)
        return response

    def start(self, request: StartRequest) -> StartResponse:
        """Begin uploads, or begin them again; fields that the service does not take are left out."""
        sent = request if CONTENT_MD5_FIELD in self._optional_fields else _without_optional_fields(request)
        try:
            return self._start(sent)
        except RefusedError as error:
            bare = _without_optional_fields(sent)
            if error.code != "invalid-request" or bare == sent:
                raise
            # An older service may have taken the place of the one that took the fields.
            _log.info("%s: %s; trying again without optional fields", routes.START.path, error.message)
            self._optional_fields = ()
            return self._start(bare)

    def _start(self, request: StartRequest) -> StartResponse:
        def check(response: StartResponse, items: list[StartItem]) -> None:
            replies.check_service(response.service)
            for result, item in zip(response.results, items, strict=True):
                replies.check_start(result, item, response.service, self._calls.base_url)

        response = self._calls.call_list(routes.START, StartResponse, request, check)
        self._note_limits(response.service)
        return response

    def sign(self, request: SignRequest) -> SignResponse:
        """Ask for the URLs of parts, and of an index where the service takes one."""
        service = self._description or self.describe()

        def check(response: SignResponse, items: list[SignItem]) -> None:
            for result, item in zip(response.results, items, strict=True):
                replies.check_sign(result, item, service, self._calls.base_url)

        takes_index = SIGN_INDEX_FIELD in self._optional_fields
        sent = request if takes_index else _without_index(request)
        try:
            return self._calls.call_list(routes.SIGN, SignResponse, sent, check)
        except RefusedError as error:
            bare = _without_index(sent)
            if error.code != "invalid-request" or bare == sent:
                raise
            # An older service may have taken the place of the one that took indexes.
            _log.info("%s: %s; trying again without an index", routes.SIGN.path, error.message)
            return self._calls.call_list(routes.SIGN, SignResponse, bare, check)

    def complete(self, request: CompleteRequest) -> CompleteResponse:
        """Have the service look at the storage, compare and record."""
        return self._calls.call_list(
            routes.COMPLETE,
            CompleteResponse,
            request,
            lambda response, _: replies.check_complete(response.results),
        )

    def fail(self, request: FailRequest) -> RecordsResponse:
        """Record that uploads have failed."""
        return self._calls.call_list(routes.FAIL, RecordsResponse, request, _accept_any)

    def clean_up(self, request: CleanUpRequest) -> RecordsResponse:
        """Report what became of local files."""
        return self._calls.call_list(routes.CLEAN_UP, RecordsResponse, request, _accept_any)

    def look_up(self, operation_ids: list[str]) -> RecordsResponse:
        """Fetch the records of operations."""
        request = LookUpRequest(operation_ids)
        return self._calls.call_list(routes.LOOK_UP, RecordsResponse, request, _accept_any, items="operation_ids")

    def find_records(self, operation_ids: Sequence[str]) -> dict[str, OperationRecord]:
        """Fetch the records that the service has of operations, by their ids, in as many calls as that takes.

        Raises:
            MgmtError: If it does not tell of one; an operation that it does not know is only left out.
        """
        found = {}
        most = self.learn_limits().items_max if len(operation_ids) > 1 else 1
        for start in range(0, len(operation_ids), most):
            for result in self.look_up(list(operation_ids[start : start + most])).results:
                error = error_in(result)
                if error is not None and error.code != "no-such-operation":
                    raise error
                if result.record is not None:
                    found[result.operation_id] = result.record
        return found

    def open_downloads(self, request: OpenDownloadsRequest) -> OpenDownloadsResponse:
        """Begin downloads, or go on with them: ask for the URLs to fetch with."""
        service = self._description or self.describe()

        def check(response: OpenDownloadsResponse, items: list[DownloadItem]) -> None:
            for result, item in zip(response.results, items, strict=True):
                replies.check_download(result, item, service, self._calls.base_url)

        return self._calls.call_list(routes.OPEN_DOWNLOADS, OpenDownloadsResponse, request, check)

    def end_downloads(self, request: EndDownloadsRequest) -> RecordsResponse:
        """Report the ends of downloads."""
        return self._calls.call_list(routes.END_DOWNLOADS, RecordsResponse, request, _accept_any)

    def restore(self, request: RestoreRequest) -> RestoreResponse:
        """Have the storage asked to make archived objects readable, or hear how that stands."""
        return self._calls.call_list(routes.RESTORE, RestoreResponse, request, _accept_any)

    def look(self, upload_ids: list[str], *, signs_indexes: bool = False) -> LookResponse:
        """Ask what the storage states now of uploads' objects, and where asked for the URLs of their indexes."""
        service = self._description or self.describe()
        return self._calls.call_list(
            routes.LOOK,
            LookResponse,
            LookRequest(upload_ids, signs_indexes),
            lambda response, _: replies.check_looks(response.results, service, self._calls.base_url),
            items="upload_ids",
        )

    def delete(self, request: RemovalRequest) -> RemovalResponse:
        """Delete uploads: they can be brought back until the date that the answer names."""
        return self._calls.call_list(routes.DELETE, RemovalResponse, request, replies.check_removals)

    def undelete(self, request: RemovalRequest) -> RemovalResponse:
        """Bring deleted uploads back."""
        return self._calls.call_list(routes.UNDELETE, RemovalResponse, request, replies.check_removals)

    def history(self, request: HistoryRequest) -> HistoryResponse:
        """Fetch one page of the team's operations."""
        query = _query_of(request)
        return self._calls.call(routes.HISTORY, HistoryResponse, query=query, check=replies.check_page)

    def me(self) -> Me:
        """Ask for whom the service takes the caller."""
        return self._calls.call(routes.ME, Me, check=replies.check_person)

    def _note_limits(self, service: Service) -> None:
        self._description = service
        self._limits = replies.limits_of(service)
        self._optional_fields = tuple(sorted(_OPTIONAL_FIELDS.intersection(service.optional_fields)))


def _without_optional_fields(request: R) -> R:
    """Leave out what services refuse that do not know it."""
    return replace(request, items=[replace(item, content_md5=None) for item in request.items])


def _without_index(request: SignRequest) -> SignRequest:
    return replace(request, items=[replace(item, index=None) for item in request.items])


def _accept_any(_: object, __: object) -> None:
    """Accept results that have the fields of their outcomes."""


def _query_of(request: HistoryRequest) -> dict[str, str]:
    plain = to_plain(request)
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in plain.items()
        if value is not None and value is not False
    }
