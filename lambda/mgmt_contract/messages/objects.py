"""What S3 has: the URLs that read and write it, what it states of an object now, and restoring what is archived."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Literal

from mgmt_contract.problems import Problem
from mgmt_contract.records import RestoreRecord
from mgmt_contract.restoring import DAYS_DEFAULT, RestoreTier
from mgmt_contract.values import StrictValue, Value


class SignedRequest(Value):
    """A presigned PUT or GET: send exactly these headers. A GET may have a Range beside them, each time another."""

    url: str = field(repr=False)
    headers: dict[str, str]
    expires_in_seconds: int


class StoredVersion(Value):
    """One version of an object, as S3 states it now."""

    size: int
    crc64nvme: str | None = None
    storage_class: str | None = None
    """None is STANDARD."""
    is_current: bool | None = None
    """False where a later version, or a delete marker, lies over it; None where nobody looked."""
    restored_until: datetime | None = None
    """Until when an archived object can be read."""
    archive_tier: str | None = None
    """The tier into which INTELLIGENT_TIERING has archived it, such as ARCHIVE_ACCESS."""


class RestoreItem(StrictValue):
    """One archived object that is to become readable."""

    operation_id: str
    """Minted by the client for this request. Where the storage was asked before, the earlier operation stands."""
    upload_id: str
    tier: RestoreTier = "Standard"
    days: int = DAYS_DEFAULT
    """How long the readable copy stays; of no meaning in INTELLIGENT_TIERING."""


class RestoreRequest(StrictValue):
    """Ask the storage to make archived objects readable."""

    items: list[RestoreItem]


class RestoreResult(Value):
    """How the restore of one object stands.

    `asked`: the storage was asked by this operation. `restoring`: it was asked before; `record` says by whom, where
    that is known. `readable`: it can be fetched now. `gone`, `differs`, `problem`: as of a download.
    """

    operation_id: str
    outcome: Literal["asked", "restoring", "readable", "gone", "differs", "problem"]
    record: RestoreRecord | None = None
    """The team's operation, which may have another id than the asked one."""
    stored: StoredVersion | None = None
    price_dollars: float | None = None
    """About what it costs, without the days; see `price_of`."""
    prices_of: str | None = None
    """The region and the month of the prices."""
    problem: Problem | None = None


class RestoreResponse(Value):
    """Results in the order of the items."""

    results: list[RestoreResult]


class LookRequest(StrictValue):
    """Ask what S3 states now of the objects that uploads have stored; nothing is written."""

    upload_ids: list[str]
    signs_indexes: bool = False
    """Also sign the GET of each archive's index."""


class LookResult(Value):
    """The recorded version of one upload's object, compared with what S3 states of it now.

    `there`: size and checksum are the recorded ones. `differs`: they are not. `gone`: that version is not there.
    `problem`: the upload has stored nothing, or is not known.
    """

    operation_id: str
    """The upload's."""
    outcome: Literal["there", "differs", "gone", "problem"]
    s3_object_key: str | None = None
    version_id: str | None = None
    stored: StoredVersion | None = None
    index: Literal["there", "differs", "gone"] | None = None
    """The same of the archive's index; None where the record has none."""
    index_request: SignedRequest | None = None
    """The GET of the index, where it was asked for and the index is there."""
    deleted_at: datetime | None = None
    """When the upload was deleted; it may be there still, and is not to be counted on."""
    recoverable_until: datetime | None = None
    """Until when the deleted upload can be brought back."""
    problem: Problem | None = None


class LookResponse(Value):
    """Results in the order of the ids."""

    results: list[LookResult]
