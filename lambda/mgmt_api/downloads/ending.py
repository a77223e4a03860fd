"""Ending downloads: what the client reports is recorded, once."""

from __future__ import annotations

from mgmt_api.calls.backends import Backends, ReadAhead
from mgmt_api.calls.items import answer_each
from mgmt_api.domain.access import require_reach
from mgmt_api.domain.checks import check_amount, check_count, check_error_code
from mgmt_api.domain.entities import Actor, Download
from mgmt_api.domain.redaction import redact
from mgmt_contract.messages.downloads import DownloadEnd, EndDownloadsRequest
from mgmt_contract.messages.history import RecordResult, RecordsResponse
from mgmt_contract.problems import Problem, ProblemError


def end_downloads(backends: Backends, actor: Actor, request: EndDownloadsRequest) -> RecordsResponse:
    """Record the ends of downloads; one that has ended before stays as it is.

    Raises:
        ProblemError: invalid-request, where the list is too long or empty.
    """
    check_count("items", len(request.items))
    ahead = ReadAhead(backends)
    ahead.read_operations(item.operation_id for item in request.items)

    def answer(item: DownloadEnd) -> RecordResult:
        _check(item)
        known = ahead.download(item.operation_id)
        download = require_reach(known, item.operation_id, actor, "end a download", backends.settings)
        return RecordResult(download.id, "record", _end(backends, download, item).record)

    return RecordsResponse(answer_each(request.items, answer, _refuse))


def _refuse(operation_id: str, problem: Problem) -> RecordResult:
    return RecordResult(operation_id, "problem", problem=problem)


def _check(item: DownloadEnd) -> None:
    check_amount("received_bytes", item.received_bytes)
    if (item.error_code is None) != (item.error_message is None):
        raise ProblemError("invalid-request", "error_code and error_message are given together, or neither is.")
    if item.error_code is not None:
        check_error_code(item.error_code)


def _end(backends: Backends, download: Download, item: DownloadEnd) -> Download:
    if download.phase in ("done", "failed"):
        return download
    has_failed = item.error_code is not None
    ended = download.advance(
        "failed" if has_failed else "done",
        finished_at=backends.now(),
        received_bytes=item.received_bytes,
        result_path=None if has_failed else download.record.target_path,
        error_code=item.error_code,
        error_message=redact(item.error_message) if item.error_message is not None else None,
    )
    ended = backends.records.update_operation(ended)
    backends.metrics.count("BytesFetched", item.received_bytes)
    if not has_failed:
        backends.metrics.count("DownloadsDone")
    return ended
