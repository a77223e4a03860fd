"""The removal use case: uploads are found by their names, then deleted or brought back, by the service's records alone.

Nothing local is touched, and nothing changes in the storage: a deleted upload can be brought back until the date that
the service names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from mgmt.errors import MgmtError, RefusedError, SourceError
from mgmt.journal import new_operation_id
from mgmt.service import ServiceApi, error_in
from mgmt.stored.recorded import require_upload
from mgmt_contract.messages.removal import RemovalItem, RemovalRequest, RemovalResult
from mgmt_contract.messages.service import Service
from mgmt_contract.records import OperationRecord, UploadRecord
from mgmt_contract.values import Value
from mgmt_contract.version import __version__

Verb = Literal["delete", "undelete"]
Find = Callable[[str], OperationRecord]
"""Finds the operation that a name means."""

_UNFINISHED: Final = {
    "failed": "it has failed, and has stored nothing",
    "pending": "it has not ended and has stored nothing yet. Wait until it has ended",
}


class Targets(Value):
    """The uploads that names mean, each once, and what was wrong with the other names."""

    uploads: list[UploadRecord]
    errors: list[MgmtError]


class Removed(Value):
    """What became of one upload: the service's answer, or the error."""

    upload: UploadRecord
    result: RemovalResult | None = None
    error: MgmtError | None = None


@dataclass
class Summary:
    """What a run comes to, as far as it has come."""

    succeeded: int = 0
    unchanged: int = 0
    errors: list[MgmtError] = field(default_factory=list)

    def count(self, removed: Removed) -> None:
        """Count what became of one upload."""
        if removed.error is not None:
            self.errors.append(removed.error)
        elif removed.result is not None and removed.result.outcome == "already":
            self.unchanged += 1
        else:
            self.succeeded += 1


def require_days(service: Service) -> int:
    """Return for how many days the service lets what is deleted be brought back.

    Raises:
        RefusedError: If the service deletes nothing.
    """
    if service.recoverable_days is None:
        raise RefusedError(
            f"The service ({service.service_version}) is older than this mgmt ({__version__}) and deletes nothing. Ask "
            "the admin to deploy the current version.",
            code="versions-differ",
        )
    return service.recoverable_days


def find_targets(names: Sequence[str], find: Find, verb: Verb) -> Targets:
    """Find what names mean; a name that means nothing does not stop the others.

    Raises:
        MgmtError: For causes that stop everything, such as a name that fits several keys.
    """
    uploads: dict[str, UploadRecord] = {}
    errors: list[MgmtError] = []
    for name in dict.fromkeys(names):
        try:
            upload = _require_stored(find(name), name, verb)
        except MgmtError as error:
            if error.stops_everything:
                raise
            errors.append(error)
        else:
            uploads.setdefault(upload.operation_id, upload)
    return Targets(list(uploads.values()), errors)


def remove(api: ServiceApi, verb: Verb, uploads: Sequence[UploadRecord]) -> Iterator[Removed]:
    """Have the service delete uploads, or bring them back, and yield what became of each, in order.

    Raises:
        MgmtError: For causes that stop everything.
    """
    call = api.delete if verb == "delete" else api.undelete
    size = api.learn_limits().items_max
    for begin in range(0, len(uploads), size):
        asked = uploads[begin : begin + size]
        items = [RemovalItem(new_operation_id(), each.operation_id) for each in asked]
        for upload, result in zip(asked, call(RemovalRequest(items)).results, strict=True):
            error = error_in(result)
            yield Removed(upload, error=error) if error is not None else Removed(result.upload or upload, result)


def _require_stored(record: OperationRecord, name: str, verb: Verb) -> UploadRecord:
    record = require_upload(record, name)
    if record.status != "success":
        why = _UNFINISHED.get(record.status, f"it is {record.status}")
        raise SourceError(f"The upload of {record.s3_object_key} cannot be {verb}d: {why}.", code="not-stored")
    return record
