"""Limits of one call and of one PUT: the service's, and never more than this client sends."""

from __future__ import annotations

from mgmt_contract.messages import Service
from mgmt_contract.parts import ITEMS_MAX, SIGN_PARTS_MAX, SINGLE_PUT_MAX_BYTES
from mgmt_contract.values import Value


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
