"""Good requests on uploads that have begun: of one small archive each, by their ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mgmt_contract.messages import (
    CleanUp,
    CompleteItem,
    CompleteRequest,
    FailItem,
    FailRequest,
    SignItem,
    SignRequest,
)
from mgmt_contract.parts import MIB
from support.studio import content_of, index_of, parts_of

BODY = b"bytes"
"""The archive."""
_FIRST_EPOCH = 1


def sign_request(machine_id: str, ids: Iterable[str]) -> SignRequest:
    """Ask for the URL of each archive's only part, and of its index."""
    parts, content = parts_of(BODY, 16 * MIB), content_of(BODY)
    return SignRequest(machine_id, [SignItem(id_, _FIRST_EPOCH, parts, content, index_of(BODY)) for id_ in ids])


def complete_request(machine_id: str, ids: Iterable[str], clean_ups: Sequence[CleanUp] = ()) -> CompleteRequest:
    """Ask for completions."""
    items = [CompleteItem(id_, _FIRST_EPOCH, content_of(BODY)) for id_ in ids]
    return CompleteRequest(machine_id, items, list(clean_ups))


def fail_request(machine_id: str, ids: Iterable[str]) -> FailRequest:
    """Give uploads up."""
    return FailRequest(machine_id, [FailItem(id_, _FIRST_EPOCH, "gave-up", "the disk is gone") for id_ in ids])
