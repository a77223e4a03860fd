"""Opening downloads: the stored version is looked at, the download is recorded, and its URL is signed.

Opening again with the same id answers fresh URLs, and writes at most once a day: that is how a download goes on after
its URL has expired, or on another day.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from mgmt_api.calls.backends import Backends
from mgmt_api.calls.items import answer_each
from mgmt_api.calls.versions import Version, look_at, require_stored, sign_index
from mgmt_api.domain.checks import check_operation_id, check_path
from mgmt_api.domain.entities import Actor, Download, Operation
from mgmt_api.domain.policy import may_act_on
from mgmt_api.downloads.call import Call
from mgmt_contract.messages.downloads import DownloadItem, DownloadResult, OpenDownloadsRequest, OpenDownloadsResponse
from mgmt_contract.problems import Problem, ProblemError
from mgmt_contract.records import DownloadRecord

_NOTED_AFTER: Final = timedelta(days=1)
"""How long a download goes on before that is written down again."""


def open_downloads(
    backends: Backends, actor: Actor, request: OpenDownloadsRequest, run_id: str | None = None
) -> OpenDownloadsResponse:
    """Open downloads.

    Raises:
        ProblemError: invalid-request, where the list is too long or empty.
    """
    call = _Opening.prepare(backends, actor, request.items, run_id)
    return OpenDownloadsResponse(answer_each(request.items, call.open, _refuse))


def _refuse(operation_id: str, problem: Problem) -> DownloadResult:
    return DownloadResult(operation_id, "problem", problem=problem)


class _Opening(Call):
    """One call to open downloads."""

    def open(self, item: DownloadItem) -> DownloadResult:
        """Open one download, or open it again."""
        check_operation_id(item.operation_id)
        check_path("target_path", item.target_path)
        known = self.ahead.download(item.operation_id)
        if known is not None:
            _require_same(known, self.actor, item)
            if known.phase == "done":
                return DownloadResult(known.id, "done", record=known.record)
        upload = require_stored(self.ahead.operation(item.upload_id), item.upload_id)
        if not may_act_on(self.actor, "download", self.backends.settings, owner_id=upload.record.actor_id):
            raise ProblemError("not-allowed", f"{self.actor.name} may not download {upload.record.s3_object_key}.")
        version = look_at(self.backends, upload)
        if version.standing != "there":
            return DownloadResult(
                item.operation_id,
                version.standing,
                upload=upload.record,
                stored=version.describe(),
                problem=version.make_problem(item.operation_id),
            )
        if version.reading != "readable":
            return DownloadResult(
                item.operation_id, version.reading, upload=upload.record, stored=version.describe(), record=_of(known)
            )
        download = self._begin(item, upload) if known is None else self._go_on(known)
        return self._answer_opened(download, version)

    def _begin(self, item: DownloadItem, upload: Operation) -> Download:
        record = upload.record
        download = DownloadRecord(
            operation_id=item.operation_id,
            operation_type="download",
            target_path=item.target_path,
            started_at=self.backends.now(),
            status="pending",
            result_path=None,
            error_message=None,
            upload_id=upload.id,
            s3_bucket=record.s3_bucket,
            s3_object_key=record.s3_object_key,
            version_id=record.version_id,
            size=upload.content.size if upload.content is not None else 0,
            phase="carrying",
            actor=self.actor.name,
            actor_id=self.actor.id,
            run_id=self.run_id,
        )
        return self.backends.records.create_operation(Download(download))

    def _go_on(self, known: Download) -> Download:
        """Note that a download is gone on with, once a day: the worker ends those that nobody goes on with."""
        now = self.backends.now()
        if now < (known.opened_at or known.record.started_at) + _NOTED_AFTER:
            return known
        return self.backends.records.update_operation(replace(known.advance("carrying"), opened_at=now))

    def _answer_opened(self, download: Download, version: Version) -> DownloadResult:
        record = version.upload.record
        request = self.backends.objects.presign_get(
            record.s3_object_key, record.version_id, expires_in_seconds=self.backends.settings.url_life_seconds
        )
        return DownloadResult(
            download.id,
            "opened",
            upload=record,
            request=request,
            index_request=sign_index(self.backends, version.upload),
            stored=version.describe(),
            record=download.record,
        )


def _of(known: Download | None) -> DownloadRecord | None:
    return known.record if known is not None else None


def _require_same(known: Download, actor: Actor, item: DownloadItem) -> None:
    record = known.record
    if record.actor_id != actor.id:
        raise ProblemError("not-allowed", f"Download {known.id} belongs to somebody else. Begin one of your own.")
    if record.upload_id != item.upload_id:
        raise ProblemError(
            "operation-differs", f"Download {known.id} was begun for another upload. Begin it under a new id."
        )
    if known.phase == "failed":
        reason = (record.error_message or "").rstrip(". ")
        raise ProblemError(
            "operation-failed", f"Download {known.id} has failed ({record.error_code}): {reason}. Begin a new one."
        )
