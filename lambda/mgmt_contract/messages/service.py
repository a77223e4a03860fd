"""What the service says of itself, and of the person who calls."""

from __future__ import annotations

from mgmt_contract.values import Value

CONTENT_MD5_FIELD = "start.content_md5"
"""The name of `StartItem.content_md5` in `Service.optional_fields`."""
SIGN_INDEX_FIELD = "sign.index"
"""The name of `SignItem.index` in `Service.optional_fields`."""


class Service(Value):
    """The service's description of itself, without sign-in and with the first answer of an upload."""

    api_version_min: int
    api_version_max: int
    service_version: str
    bucket: str
    region: str
    root_prefix: str
    single_put_max_bytes: int
    part_count_max: int
    sign_parts_max: int
    items_max: int
    lease_seconds: int
    issuer: str | None = None
    client_id: str | None = None
    audience: str | None = None
    scopes: tuple[str, ...] = ()
    """The scopes that a client asks for at sign-in."""
    recoverable_days: int | None = None
    """How long a deleted upload can be brought back; None from a service that deletes nothing."""
    optional_fields: tuple[str, ...] = ()
    """Request fields that not every service knows, and this one does: a client sends only these of them."""


class Me(Value):
    """The person for whom the service takes the caller."""

    id: str
    """The token's subject."""
    name: str
    """The name in the records of this person's uploads."""
    role: str
    """What the person may do: "member" or "admin"."""
    groups: tuple[str, ...] = ()
    """The groups that the token lists, sorted."""
