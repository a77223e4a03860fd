"""A first look at an access token: one that is not for the service is refused before it is sent or kept.

The service verifies it. Here it is only read, where it is a token that can be read: it may be opaque.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mgmt.credentials.claims import read_claims
from mgmt.credentials.tokens import TokenSet
from mgmt.errors import LoginRequiredError
from mgmt_contract.messages.service import Service


def check_access_token(tokens: TokenSet, service: Service, issuer_host: str) -> None:
    """Refuse an ID token in an access token's place, and a token for another service.

    Raises:
        LoginRequiredError: With what the admin has to change.
    """
    claims = read_claims(tokens.access_token)
    if tokens.access_token == tokens.id_token or claims.get("token_use") == "id" or _is_id_token(claims, service):
        raise LoginRequiredError(
            f"{issuer_host} gave an ID token as access token. It tells who you are, and is not made to be sent to a "
            "service. Nothing was kept; tell the admin.",
            code="id-token-as-access-token",
        )
    accepted = service.audience or service.client_id
    audiences = _audiences_of(claims)
    if audiences and accepted and accepted not in audiences:
        raise LoginRequiredError(
            f"{issuer_host} gave a token for another service ({', '.join(sorted(audiences))[:200]}), expected one for "
            f"{accepted}. It was not sent and not kept; tell the admin.",
            code="other-audience",
        )


def _is_id_token(claims: Mapping[str, Any], service: Service) -> bool:
    """Tell an ID token by what it is for, and by what it lacks: Keycloak before 25 puts `nonce` into access tokens."""
    names_scopes = "scope" in claims or "scp" in claims
    return "nonce" in claims and not names_scopes and service.client_id in _audiences_of(claims)


def _audiences_of(claims: Mapping[str, Any]) -> set[str]:
    """Name whom a token is for, as API Gateway finds it: `aud`, or else `client_id`."""
    named = claims.get("aud") or claims.get("client_id")
    listed = named if isinstance(named, list) else [named]
    return {each for each in listed if isinstance(each, str) and each}
