"""How much one call or one PUT may hold: what the service says of itself, and never more than this client sends."""

from __future__ import annotations

from mgmt_contract.messages import CONTENT_MD5_FIELD, Service
from mgmt_contract.parts import ITEMS_MAX, SIGN_PARTS_MAX, SINGLE_PUT_MAX_BYTES
from mgmt_contract.values import Value


class Limits(Value):
    """The limits of one service; the defaults are what every service takes that has not been asked yet."""

    items_max: int = 1
    """Items, and clean-ups, per call."""
    sign_parts_max: int = 1
    """Part URLs per call."""
    single_put_max_bytes: int = SINGLE_PUT_MAX_BYTES
    """What is larger goes in parts. Whoever does not know it yet is told by the answer to a start."""
    takes_md5: bool = False
    """It signs the MD5 of an archive into the URL of a whole PUT."""


def limits_of(service: Service) -> Limits:
    """Read a service's limits."""
    return Limits(
        items_max=min(service.items_max, ITEMS_MAX),
        sign_parts_max=min(service.sign_parts_max, SIGN_PARTS_MAX),
        single_put_max_bytes=min(service.single_put_max_bytes, SINGLE_PUT_MAX_BYTES),
        takes_md5=CONTENT_MD5_FIELD in service.optional_fields,
    )
