"""The service's description of itself, and of the caller."""

from __future__ import annotations

from mgmt_api.domain.entities import Actor
from mgmt_api.domain.settings import Settings
from mgmt_contract.messages.service import CONTENT_MD5_FIELD, SIGN_INDEX_FIELD, Me, Service
from mgmt_contract.parts import ITEMS_MAX, PART_COUNT_MAX, SIGN_PARTS_MAX, SINGLE_PUT_MAX_BYTES
from mgmt_contract.routes import API_VERSION
from mgmt_contract.texts import fit_text
from mgmt_contract.version import __version__


def describe_service(settings: Settings) -> Service:
    """Say which protocol, bucket, limits and sign-in this deployment has."""
    return Service(
        api_version_min=API_VERSION,
        api_version_max=API_VERSION,
        service_version=__version__,
        bucket=settings.bucket,
        region=settings.region,
        root_prefix=settings.root_prefix,
        single_put_max_bytes=SINGLE_PUT_MAX_BYTES,
        part_count_max=PART_COUNT_MAX,
        sign_parts_max=SIGN_PARTS_MAX,
        items_max=ITEMS_MAX,
        lease_seconds=settings.lease_seconds,
        issuer=settings.issuer,
        client_id=settings.client_id,
        audience=settings.audience,
        scopes=settings.sign_in_scopes or settings.scopes,
        recoverable_days=settings.recoverable_days,
        optional_fields=(CONTENT_MD5_FIELD, SIGN_INDEX_FIELD),
    )


def describe_person(actor: Actor) -> Me:
    """Say for whom the service takes the caller, and what that person may do."""
    return Me(
        id=actor.id,
        name=actor.name,
        role=actor.role,
        groups=tuple(sorted(map(fit_text, actor.groups))),
    )
