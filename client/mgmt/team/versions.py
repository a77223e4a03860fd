"""Finds the upload that stored one version of an object."""

from __future__ import annotations

from typing import Final

from mgmt.errors import SourceError
from mgmt.service import ServiceApi
from mgmt.team.history import Found, find_upload
from mgmt_contract.messages.history import HistoryRequest
from mgmt_contract.records import UploadRecord

_VERSIONS_MAX: Final = 10_000
"""The limit of a search that must end."""


def find_version(api: ServiceApi, typed: str, version_id: str) -> UploadRecord:
    """Find the upload that stored this version under a name, also where it was replaced or deleted since.

    Args:
        api: The service.
        typed: A name or an ID of any upload under that name.
        version_id: S3's id of the version, as `mgmt show` prints it.

    Raises:
        SourceError: no-version, or as `find_upload`.
        SeveralUploadsError: If the name fits several keys, and is none of them whole.
    """
    found = find_upload(api, typed).record
    key = found.s3_object_key if isinstance(found, UploadRecord) else None
    if key:
        filters = HistoryRequest(name=key, operation_type="upload", status="success")
        for record in Found(api, filters, _VERSIONS_MAX):
            if isinstance(record, UploadRecord) and (record.s3_object_key, record.version_id) == (key, version_id):
                return record
    raise SourceError(
        f"No upload of {key or typed} has stored the version '{version_id}'. `mgmt show` lists the uploads "
        "of a name, and of each its version.",
        code="no-version",
    )
