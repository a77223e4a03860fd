"""The condition on which an upload's object may be stored, as it is when it is asked for."""

from __future__ import annotations

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.entities import Operation
from mgmt_api.ports import WriteCondition


def find_condition(backends: Backends, operation: Operation) -> WriteCondition:
    """Return the condition: create only, or replace the one object that the upload was started over.

    A deleted object may be removed while an upload that takes its place is under way: then nothing is left to replace.
    """
    if operation.replaces_deleted and backends.objects.head_object(operation.record.s3_object_key) is None:
        return WriteCondition()
    return WriteCondition(operation.replaces_etag)
