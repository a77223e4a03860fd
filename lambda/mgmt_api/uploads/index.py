"""The index of an archive that went in parts: an object of its own, stored before the archive is whole.

The archive is what counts: an upload is done without its index, and the record then has none. Whoever needs the list
reads the archive instead.
"""

from __future__ import annotations

import dataclasses
import logging

from mgmt_api.calls.backends import Backends
from mgmt_api.domain.checks import check_index
from mgmt_api.domain.entities import Operation
from mgmt_api.ports import NewObject, StoredObject, WriteCondition
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.uploads import IndexFile
from mgmt_contract.names import index_key
from mgmt_contract.problems import ProblemError

logger = logging.getLogger(__name__)


def add_index(operation: Operation, index: IndexFile, *, has_final: bool) -> Operation:
    """Return the operation with its index announced; nothing is stored yet.

    Raises:
        ProblemError: invalid-request or too-large; index-differs, where another one was announced before.
    """
    if not has_final:
        raise ProblemError("invalid-request", "index is given without final: it describes the whole archive.")
    check_index(index)
    if operation.index not in (None, index):
        raise ProblemError(
            "index-differs",
            f"Another index was announced for operation {operation.id} before. Go on without one.",
        )
    return dataclasses.replace(operation, index=index)


def sign_index(backends: Backends, operation: Operation) -> SignedRequest:
    """Sign the PUT of an announced index: it can only create, and its class can be read at any time."""
    index = _index_of(operation)
    return backends.objects.presign_put(
        NewObject(index_key(backends.settings.root_prefix, operation.id), operation.id),
        size=index.size,
        crc64nvme=index.crc64nvme,
        condition=WriteCondition(),
        expires_in_seconds=backends.settings.url_life_seconds,
    )


def find_index(backends: Backends, operation: Operation) -> StoredObject | None:
    """Return the index as the storage states it; None where none was announced, or what is there is not that one.

    Raises:
        StorageError: If the storage does not say whether it is there. The upload is not done yet then: a record that
            has no index never gets one.
    """
    index = operation.index
    if index is None:
        return None
    stored = backends.objects.head_object(index_key(backends.settings.root_prefix, operation.id))
    promised = (operation.id, index.size, index.crc64nvme)
    if stored is None or (stored.operation_id, stored.size, stored.crc64nvme) != promised:
        logger.warning("an upload is done without its index", extra={"operation_id": operation.id})
        return None
    return stored


def _index_of(operation: Operation) -> IndexFile:
    if operation.index is None:
        raise ValueError(f"no index was announced for {operation.id}")
    return operation.index
