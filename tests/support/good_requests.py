"""Good requests of every route: on uploads that have begun, of one small archive each, by their ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mgmt_contract import routes
from mgmt_contract.messages.downloads import DownloadEnd, EndDownloadsRequest, OpenDownloadsRequest
from mgmt_contract.messages.history import LookUpRequest
from mgmt_contract.messages.objects import LookRequest, RestoreItem, RestoreRequest
from mgmt_contract.messages.removal import RemovalItem, RemovalRequest
from mgmt_contract.messages.uploads import (
    CleanUp,
    CleanUpRequest,
    CompleteItem,
    CompleteRequest,
    FailItem,
    FailRequest,
    PreviewRequest,
    SignItem,
    SignRequest,
    StartRequest,
)
from mgmt_contract.parts import MIB
from mgmt_contract.routes import Route
from support.studio import Machine, content_of, download_of, index_of, item_for, parts_of

BODY = b"bytes"
"""The archive."""
_FIRST_EPOCH = 1


class Good(NamedTuple):
    """A request that the service takes."""

    route: Route
    body: Any = None
    query: dict[str, str] | None = None


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


def make_good_requests(ada: Machine, round_: str) -> list[Good]:
    """One request of every kind that the service takes as it is, on uploads in every phase."""
    machine_id = ada.machine_id
    whole = item_for(f"clip {round_}", BODY, prefix="day1", storage_class="STANDARD", tags={"project": "film"})
    begun = item_for(f"begun {round_}", upper_bound=100)
    carried, done = item_for(f"carried {round_}", BODY), item_for(f"done {round_}", BODY)
    ada.start(begun)
    ada.carry(ada.start(carried), BODY)
    ada.upload(done, BODY)
    ids = [each.operation_id for each in (begun, carried, done)]
    archived = item_for(f"archived {round_}", BODY, storage_class="GLACIER")
    ada.upload(archived, BODY)
    opened = download_of(done.operation_id)
    ada.open_downloads(opened)
    deleted = item_for(f"deleted {round_}", BODY)
    ada.upload(deleted, BODY)
    ada.delete(deleted.operation_id)
    reports = [CleanUp(done.operation_id, "completed", "deleted")]
    cursor = ada.history(limit="1").cursor
    return [
        Good(routes.DESCRIBE),
        Good(routes.PREVIEW, PreviewRequest(machine_id, [whole, done], "footage")),
        Good(routes.START, StartRequest(machine_id, [whole, begun], "footage", reports)),
        Good(routes.START, StartRequest(machine_id, [begun, carried, done])),
        Good(routes.SIGN, sign_request(machine_id, ids[:1])),
        Good(routes.COMPLETE, complete_request(machine_id, ids, reports)),
        Good(routes.FAIL, fail_request(machine_id, ids)),
        Good(routes.CLEAN_UP, CleanUpRequest(reports)),
        Good(routes.LOOK_UP, LookUpRequest(ids)),
        Good(
            routes.DELETE, RemovalRequest([RemovalItem(each.operation_id, done.operation_id) for each in (whole, done)])
        ),
        Good(routes.UNDELETE, RemovalRequest([RemovalItem(whole.operation_id, deleted.operation_id)])),
        Good(routes.OPEN_DOWNLOADS, OpenDownloadsRequest([download_of(done.operation_id), opened])),
        Good(routes.END_DOWNLOADS, EndDownloadsRequest([DownloadEnd(opened.operation_id, 5, "disk-full", "No room.")])),
        Good(routes.RESTORE, RestoreRequest([RestoreItem(whole.operation_id, archived.operation_id)])),
        Good(routes.LOOK, LookRequest(ids[2:])),
        Good(routes.ME),
        Good(routes.HISTORY, query={"actor": "ada", "status": "pending", "since": "2026-11-01T00:00:00Z"}),
        Good(routes.HISTORY, query={"limit": "1", "cursor": cursor or ""}),
        Good(routes.HISTORY, query={"name": "day1/clip", "mine": "true", "operation_type": "upload"}),
    ]
