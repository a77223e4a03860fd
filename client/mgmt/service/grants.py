"""Refuses grants of a service that make no sense: leases, URLs, headers, and parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

from mgmt.network.connection import is_loopback
from mgmt.service.replies import require
from mgmt_contract import messages
from mgmt_contract.parts import PART_COUNT_MAX, PART_SIZE_MAX_BYTES, PART_SIZE_MIN_BYTES, part_count

_LIFE_MAX_SECONDS: Final = 7 * 24 * 3600
"""Longest life of a presigned URL (Amazon S3 User Guide, "Sharing objects with presigned URLs", read 2026-11)."""
_URL_MAX_CHARACTERS: Final = 16_000
_OWN_HEADERS: Final = frozenset(
    {"connection", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""They are the connection's own; those that begin with proxy- as well."""


def check_start(
    result: messages.StartResult, item: messages.StartItem, service: messages.Service, service_url: str
) -> None:
    """Refuse an answer to a start that contradicts the request or the service's description."""
    _check_lease(result.lease)
    if result.outcome == "name_taken":
        require(item.content is None, "name_taken, though the content was told")
    if result.outcome == "put":
        require(item.content is not None, "put, though the content was not told")
    if result.outcome == "put" and result.request is not None and item.content is not None:
        check_request(result.request, item.content.size, service_url)
    if result.multipart is not None:
        bound = item.content.size if item.content is not None else item.upper_bound
        _check_multipart(result.multipart, bound or 0, min(service.part_count_max, PART_COUNT_MAX))


def check_sign(result: messages.SignResult, item: messages.SignItem, service_url: str) -> None:
    """Refuse an answer that lacks the URL of a part that was asked for."""
    _check_lease(result.lease)
    if result.outcome != "signed":
        return
    requests = {part.number: part.request for part in result.parts}
    for part in item.parts:
        require(part.number in requests, f"part {part.number} is not signed")
        check_request(requests[part.number], part.length, service_url)


def check_complete(results: Iterable[messages.CompleteResult]) -> None:
    """Refuse missing parts that no upload has."""
    for result in results:
        _check_numbers("missing_parts", result.missing_parts)


def check_request(request: messages.SignedRequest, length: int, service_url: str) -> None:
    """Refuse a presigned request that cannot be sent, or should not be: in the clear, or with the connection's headers.

    Args:
        request: The presigned PUT.
        length: Bytes of the body that will be sent.
        service_url: The answering service: an embedded backend hands out addresses of this machine, without TLS.
    """
    _check_life("expires_in_seconds", request.expires_in_seconds)
    right = len(request.url) <= _URL_MAX_CHARACTERS and re.fullmatch(r"[!-~]+", request.url) is not None
    try:
        parts = urlsplit(request.url)
        right = right and bool(parts.hostname) and "@" not in parts.netloc and (parts.port is None or parts.port > 0)
    except ValueError:
        right = False
    require(right, "request.url is no address")
    in_the_clear = parts.scheme == "http" and service_url.startswith("http://") and is_loopback(parts.hostname or "")
    require(parts.scheme == "https" or in_the_clear, "request.url is an address without TLS")
    for name, value in request.headers.items():
        is_own = name.lower() in _OWN_HEADERS or name.lower().startswith("proxy-")
        is_header = re.fullmatch(r"[A-Za-z0-9-]{1,100}", name) and re.fullmatch(r"[ -~]{0,8000}", value)
        require(bool(is_header) and not is_own, "request.headers holds what cannot be sent")
        require(name.lower() != "content-length" or value == str(length), "request.headers has another content-length")


def _check_multipart(multipart: messages.Multipart, bound_bytes: int, part_count_max: int) -> None:
    size = multipart.part_size
    require(PART_SIZE_MIN_BYTES <= size <= PART_SIZE_MAX_BYTES, f"multipart.part_size is {size}")
    require(part_count(bound_bytes, size) <= part_count_max, f"multipart.part_size is {size}: too small")
    _check_numbers("multipart.received_parts", multipart.received_parts)


def _check_numbers(what: str, numbers: Sequence[int]) -> None:
    right = len(numbers) <= PART_COUNT_MAX and all(1 <= number <= PART_COUNT_MAX for number in numbers)
    require(right, f"{what} holds what is no number of a part")


def _check_lease(lease: messages.Lease | None) -> None:
    if lease is not None:
        _check_life("lease.expires_in_seconds", lease.expires_in_seconds)


def _check_life(what: str, seconds: int) -> None:
    require(1 <= seconds <= _LIFE_MAX_SECONDS, f"{what} is {seconds}")
