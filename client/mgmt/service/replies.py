"""Reads the service's answers: whole messages of the protocol, or an error that names the place.

This is the border: an answer that has passed it has every field that its outcome needs, numbers that make sense,
addresses that may be sent to, and one result per item, in order. An outcome of a newer service passes as it is; code
that does not know it leaves the operation alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from mgmt.network import is_loopback
from mgmt_contract.messages.downloads import DownloadItem, DownloadResult
from mgmt_contract.messages.history import HISTORY_LIMIT_MAX, HistoryResponse, RecordResult
from mgmt_contract.messages.objects import LookResult, RestoreResult, SignedRequest
from mgmt_contract.messages.removal import RemovalItem, RemovalResponse, RemovalResult
from mgmt_contract.messages.service import Me, Service
from mgmt_contract.messages.uploads import (
    CompleteResult,
    Lease,
    Multipart,
    PreviewResult,
    SignItem,
    SignResult,
    StartItem,
    StartResult,
)
from mgmt_contract.parts import (
    ITEMS_MAX,
    PART_COUNT_MAX,
    PART_SIZE_MAX_BYTES,
    PART_SIZE_MIN_BYTES,
    SIGN_PARTS_MAX,
    SINGLE_PUT_MAX_BYTES,
    part_count,
)
from mgmt_contract.values import Value
from mgmt_contract.wire import MessageError, from_json


class Limits(Value):
    """The limits of one service; the defaults hold for every service, before it was asked."""

    items_max: int = 1
    """Items, and clean-ups, per call."""
    sign_parts_max: int = 1
    """Part URLs per call."""
    single_put_max_bytes: int = SINGLE_PUT_MAX_BYTES
    """Larger archives go in parts. A client that does not know it yet learns it from the answer to a start."""


def limits_of(service: Service) -> Limits:
    """Read a service's limits."""
    return Limits(
        items_max=min(service.items_max, ITEMS_MAX),
        sign_parts_max=min(service.sign_parts_max, SIGN_PARTS_MAX),
        single_put_max_bytes=min(service.single_put_max_bytes, SINGLE_PUT_MAX_BYTES),
    )


T = TypeVar("T")

REPLY_MAX_BYTES: Final = 7_000_000
"""Slightly more than Lambda answers at most: 6 MB ("Lambda quotas", AWS Lambda Developer Guide, read 2026-11)."""
_TEXT: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)'
"""Compiled only where it is needed, which is rare."""
_VALUES_MAX: Final = 200_000
"""Of one reply: a hundred records with all they can hold are a tenth of it. An empty list takes 30 times its text."""
_CURSOR_MAX_CHARACTERS: Final = 8000
"""Longer ones would not fit into an address that API Gateway takes."""

_NEEDS: Final[Mapping[type[Any], Mapping[str, tuple[str, ...]]]] = {
    StartResult: {
        "put": ("lease", "request"),
        "multipart": ("lease", "multipart"),
        "already_there": ("existing",),
        "claimed_same": ("problem",),
        "name_taken": (),
        "done": ("record",),
        "problem": ("problem",),
    },
    PreviewResult: {"free": (), "taken": ("existing",), "problem": ("problem",)},
    SignResult: {"signed": ("lease",), "problem": ("problem",)},
    CompleteResult: {
        "done": ("record",),
        "completing": (),
        "incomplete": ("missing_parts",),
        "problem": ("problem",),
    },
    DownloadResult: {
        "opened": ("upload", "request", "stored", "record"),
        "archived": ("upload", "stored"),
        "restoring": ("upload", "stored"),
        "gone": ("problem",),
        "differs": ("problem",),
        "done": ("record",),
        "problem": ("problem",),
    },
    RestoreResult: {
        "asked": ("record",),
        "restoring": (),
        "readable": (),
        "gone": ("problem",),
        "differs": ("problem",),
        "problem": ("problem",),
    },
    LookResult: {
        "there": ("stored",),
        "differs": ("stored", "problem"),
        "gone": ("problem",),
        "problem": ("problem",),
    },
    RemovalResult: {"done": ("record", "upload"), "already": ("upload",), "problem": ("problem",)},
    RecordResult: {"record": ("record",), "problem": ("problem",)},
}
"""The fields that each outcome needs. An outcome that is not here is a newer service's."""


def read_reply(kind: type[T], body: bytes) -> T:
    """Read a reply's text.

    Raises:
        MessageError: If it is no JSON, not the expected message, or made to fill the memory.
    """
    if _count(body, 0, len(body)) > _VALUES_MAX and _has_too_many_values(body):
        raise MessageError(f"{kind.__name__} holds more than {_VALUES_MAX} values")
    return from_json(kind, body)


def _count(body: bytes, begin: int, end: int) -> int:
    return sum(body.count(sign, begin, end) for sign in (b",", b"[", b"{"))


def _has_too_many_values(body: bytes) -> bool:
    """Count without the characters in texts: names may consist of commas."""
    count = end = 0
    for found in re.finditer(_TEXT, body, re.DOTALL):
        count += _count(body, end, found.start())
        end = found.end()
        if count > _VALUES_MAX:
            return True
    return count + _count(body, end, len(body)) > _VALUES_MAX


def is_known(result: Any) -> bool:
    """Tell whether this version knows a result's outcome."""
    return result.outcome in _NEEDS[type(result)]


def check_service(service: Service) -> None:
    """Refuse limits that are too small for any upload."""
    for name in ("single_put_max_bytes", "part_count_max", "sign_parts_max", "items_max", "lease_seconds"):
        require(getattr(service, name) >= 1, f"service.{name} is 0")


def check_person(person: Me) -> None:
    """Refuse a person without a name."""
    require(bool(person.id and person.name and person.role), "id, name or role is empty")


def check_page(page: HistoryResponse) -> None:
    """Refuse a page that is too large, speaks of records that are not on it, or has a cursor that cannot be sent."""
    count = len(page.records)
    require(count <= HISTORY_LIMIT_MAX, f"{count} records, expected {HISTORY_LIMIT_MAX} at most")
    require(page.cursor is None or 0 < len(page.cursor) <= _CURSOR_MAX_CHARACTERS, "cursor is empty, or too long")
    ids = {record.operation_id for record in page.records}
    require(ids.issuperset(page.replaced), "replaced names what is not on the page")


def check_results(results: Sequence[Any], operation_ids: Iterable[str]) -> None:
    """Refuse anything but one result per item, in order, each with the fields that its outcome needs."""
    asked = list(operation_ids)
    require(len(results) == len(asked), f"{len(results)} results, where {len(asked)} were asked for")
    for place, (result, operation_id) in enumerate(zip(results, asked, strict=True)):
        where = f"results[{place}]"
        require(result.operation_id == operation_id, f"{where} is of another operation")
        _check_result(where, result)


def _check_result(where: str, result: Any) -> None:
    needs = _NEEDS[type(result)].get(result.outcome)
    if needs is None:
        return
    for name in needs:
        require(getattr(result, name) not in (None, []), f"{where}.{name} is missing, for {result.outcome}")
    require(("problem" in needs) == (result.problem is not None), f"{where} has a problem, and is {result.outcome}")
    record = getattr(result, "record", None)
    if record is not None and not isinstance(result, RestoreResult):  # whose record is the team's
        require(record.operation_id == result.operation_id, f"{where}.record is of another operation")


def require(right: bool, sentence: str) -> None:
    """Refuse a message that makes no sense.

    Raises:
        MessageError: With the sentence.
    """
    if not right:
        raise MessageError(sentence)


_LIFE_MAX_SECONDS: Final = 7 * 24 * 3600
"""Longest life of a presigned URL (Amazon S3 User Guide, "Sharing objects with presigned URLs", read 2026-11)."""
_URL_MAX_CHARACTERS: Final = 16_000
_NAME_MAX_CHARACTERS: Final = 100
_DOMAINS: Final = ("amazonaws.com", "amazonaws.com.cn")
_HTTPS_PORT: Final = 443
_OWN_HEADERS: Final = frozenset(
    {"connection", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""They are the connection's own; those that begin with proxy- as well."""


def check_start(result: StartResult, item: StartItem, service: Service, service_url: str) -> None:
    """Refuse an answer to a start that contradicts the request or the service's description."""
    _check_lease(result.lease)
    if result.outcome == "name_taken":
        require(item.content is None, "name_taken, though the content was told")
    if result.outcome == "put":
        require(item.content is not None, "put, though the content was not told")
    if result.outcome == "put" and result.request is not None and item.content is not None:
        check_request(result.request, item.content.size, service, service_url)
    if result.multipart is not None:
        bound = item.content.size if item.content is not None else item.upper_bound
        _check_multipart(result.multipart, bound or 0, min(service.part_count_max, PART_COUNT_MAX))


def check_sign(result: SignResult, item: SignItem, service: Service, service_url: str) -> None:
    """Refuse an answer that lacks the URL of a part that was asked for, or has one that cannot be used."""
    _check_lease(result.lease)
    if result.outcome != "signed":
        return
    requests = {part.number: part.request for part in result.parts}
    for part in item.parts:
        require(part.number in requests, f"part {part.number} is not signed")
        check_request(requests[part.number], part.length, service, service_url)
    if result.index_request is not None:
        require(item.index is not None, "index_request, though no index was stated")
        check_request(result.index_request, item.index.size if item.index else 0, service, service_url)


def check_download(result: DownloadResult, item: DownloadItem, service: Service, service_url: str) -> None:
    """Refuse an opened download of another upload, without a size, or with an address that is not the bucket's."""
    if result.upload is not None:
        require(result.upload.operation_id == item.upload_id, "upload is another one than was asked for")
    if result.outcome == "opened" and result.request is not None and result.stored is not None:
        require(result.stored.size >= 1, f"stored.size is {result.stored.size}")
        recorded = result.upload.object_size if result.upload is not None else None
        require(recorded in (None, result.stored.size), "stored.size is not the recorded one")
        check_request(result.request, 0, service, service_url)


def check_looks(results: Iterable[LookResult], service: Service, service_url: str) -> None:
    """Refuse an address of an index that is not the bucket's."""
    for result in results:
        if result.index_request is not None:
            check_request(result.index_request, 0, service, service_url)


def check_removals(response: RemovalResponse, items: Sequence[RemovalItem]) -> None:
    """Refuse an answer about another upload than was asked for."""
    for result, item in zip(response.results, items, strict=True):
        is_same = result.upload is None or result.upload.operation_id == item.upload_id
        require(is_same, "upload is another one than was asked for")


def check_complete(results: Iterable[CompleteResult]) -> None:
    """Refuse missing parts that no upload has."""
    for result in results:
        _check_numbers("missing_parts", result.missing_parts)


def check_request(request: SignedRequest, length: int, service: Service, service_url: str) -> None:
    """Refuse a presigned request that cannot be sent, or should not be.

    It should not be sent in the clear, to a host that is not the bucket's, or with the connection's headers.

    Args:
        request: The presigned PUT or GET.
        length: Bytes of the body that will be sent; 0 for a GET.
        service: The answering service's description, which names the bucket.
        service_url: Its address: an embedded backend hands out addresses of this machine, without TLS.
    """
    _check_life("expires_in_seconds", request.expires_in_seconds)
    right = len(request.url) <= _URL_MAX_CHARACTERS and re.fullmatch(r"[!-~]+", request.url) is not None
    try:
        parts = urlsplit(request.url)
        right = right and bool(parts.hostname) and "@" not in parts.netloc and (parts.port is None or parts.port > 0)
    except ValueError:
        right = False
    require(right, "request.url is no address")
    is_here = service_url.startswith("http://") and is_loopback(parts.hostname or "")
    in_the_clear = parts.scheme == "http" and is_here
    require(parts.scheme == "https" or in_the_clear, "request.url is an address without TLS")
    is_buckets = _is_of_bucket(parts, service.bucket, service.region)
    require(is_here or is_buckets, f"request.url is no address of the bucket {service.bucket[:_NAME_MAX_CHARACTERS]}")
    for name, value in request.headers.items():
        is_own = name.lower() in _OWN_HEADERS or name.lower().startswith("proxy-")
        is_header = re.fullmatch(r"[A-Za-z0-9-]{1,100}", name) and re.fullmatch(r"[ -~]{0,8000}", value)
        require(bool(is_header) and not is_own, "request.headers holds what cannot be sent")
        require(name.lower() != "content-length" or value == str(length), "request.headers has another content-length")


def _is_of_bucket(parts: SplitResult, bucket: str, region: str) -> bool:
    """Tell whether an address is the bucket's in its region, by host or by path.

    Source: "Virtual hosting of general purpose buckets", Amazon S3 User Guide, read 2026-11. The bytes go nowhere else,
    so a service that was told a wrong address, or tells one, cannot send footage to another server.
    """
    if parts.port not in (None, _HTTPS_PORT):
        return False
    of_region = [f"{kind}.{region}.{domain}" for kind in ("s3", "s3.dualstack") for domain in _DOMAINS]
    names = parts.path.split("/")
    by_path = parts.hostname in of_region and names[1:2] == [bucket] and not {".", ".."}.intersection(names)
    return by_path or parts.hostname in [f"{bucket}.{host}" for host in of_region]


def _check_multipart(multipart: Multipart, bound_bytes: int, part_count_max: int) -> None:
    size = multipart.part_size
    require(PART_SIZE_MIN_BYTES <= size <= PART_SIZE_MAX_BYTES, f"multipart.part_size is {size}")
    require(part_count(bound_bytes, size) <= part_count_max, f"multipart.part_size is {size}: too small")
    _check_numbers("multipart.received_parts", multipart.received_parts)


def _check_numbers(what: str, numbers: Sequence[int]) -> None:
    right = len(numbers) <= PART_COUNT_MAX and all(1 <= number <= PART_COUNT_MAX for number in numbers)
    require(right, f"{what} holds what is no number of a part")


def _check_lease(lease: Lease | None) -> None:
    if lease is not None:
        _check_life("lease.expires_in_seconds", lease.expires_in_seconds)


def _check_life(what: str, seconds: int) -> None:
    require(1 <= seconds <= _LIFE_MAX_SECONDS, f"{what} is {seconds}")
