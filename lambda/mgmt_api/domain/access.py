"""The calling person and their role, from the verified token, and the operations they may work on."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from mgmt_api.domain.entities import Actor, Operation, RecordedT, Role
from mgmt_api.domain.policy import Action, may_act_on
from mgmt_api.domain.settings import Settings
from mgmt_contract.problems import ProblemError
from mgmt_contract.texts import fit_text, holds_control_character, is_short
from mgmt_contract.values import Value

_TOKEN: Final = re.compile(r"(?:bearer +)?[\w-]+\.(?P<payload>[\w-]+)\.[\w-]*", re.ASCII | re.IGNORECASE)
"""The whole header: API Gateway joins two of them with a comma, and then the verified one is unknown."""
_PLAIN_CLAIMS: Final = ("sub", "iss", "jti")
"""Claims that are texts in the token, and so unchanged when API Gateway hands them on."""
_CLIENT_CLAIMS: Final = ("client_id", "azp", "cid", "appid")
"""Claims that name a token's client; the first that is there counts.

RFC 9068 and Cognito; Keycloak and Entra v2; Okta; Entra v1.
"""
_SCOPE_CLAIMS: Final = ("scope", "scp")
"""Claims that list a token's scopes: RFC 8693; Entra and Okta. API Gateway reads these two as well."""


class Caller(Value):
    """A person on a machine: the holder of a lease."""

    actor: Actor
    machine_id: str
    run_id: str | None = None
    """The client's id of the run that makes the call."""


def read_actor(event: Mapping[str, Any], settings: Settings) -> Actor:
    """Read the actor from the claims and the token that API Gateway's JWT authorizer has verified.

    Every claim arrives as a string there, so groups and scopes are read from the token itself. A token without the name
    claim (a machine user's) is known by its subject. Who is no member gets the role "nobody", not an error: what that
    allows, the policy says.

    Raises:
        ProblemError: login-required, where no authorizer has let the request through.
    """
    authorizer = event.get("requestContext", {}).get("authorizer") or {}
    claims: Mapping[str, Any] = (authorizer.get("jwt") or {}).get("claims") or {}
    subject = str(claims.get("sub") or "")
    if not subject:
        raise ProblemError("login-required", "No verified token came with the request. Put a new one into MGMT_TOKEN.")
    if not is_short(subject) or holds_control_character(subject):
        raise ProblemError("login-required", "The token's subject cannot be recorded. Ask the admin of your sign-in.")
    name = str(claims.get(settings.actor_claim) or subject)
    token = _read_token(event, claims)
    scopes, groups = _read_scopes(token), _read_groups(token, settings.groups_claim)
    has_scope = not scopes.isdisjoint(settings.scopes)
    only_reads = not has_scope and not scopes.isdisjoint(settings.read_scopes)
    is_taken = (has_scope or only_reads or not settings.scopes) and not _is_id_token(token)
    role = _find_role(token, groups, settings) if is_taken else "nobody"
    return Actor(id=subject, name=fit_text(name), role=role, only_reads=only_reads, groups=groups)


def _find_role(token: Mapping[str, Any], groups: frozenset[str], settings: Settings) -> Role:
    """Find the role of a token whose scope, if one is asked for, is there."""
    client = next((token[name] for name in _CLIENT_CLAIMS if isinstance(token.get(name), str)), None)
    if client in settings.machine_clients and client != settings.client_id:  # that one is everybody's
        return "member"
    if _is_machine(token, client):
        return "nobody"  # whatever groups it lists: machines are members by their client's id, or not
    if settings.admin_group in groups:
        return "admin"
    if settings.member_group:
        return "member" if settings.member_group in groups else "nobody"
    return "member" if settings.scopes else "nobody"


def _is_machine(token: Mapping[str, Any], client: str | None) -> bool:
    """Tell whether a client got a token for itself (client credentials), by the signs that each issuer leaves.

    Source: RFC 9068, section 2.2, which Cognito and Okta follow: the subject is the client. Keycloak, service accounts:
    the subject is a user who is made for the client, under a name of small letters. Microsoft Entra, access token
    claims: `idtyp`, which is optional; else the subject is the object id, which a person's is not, and there is no
    `scp`. (read 2026-11)
    """
    subject = token.get("sub")
    return (
        subject == client
        or token.get("preferred_username") == f"service-account-{client}".lower()
        or token.get("idtyp") == "app"
        or (subject == token.get("oid") and "scp" not in token)
    )


def _is_id_token(token: Mapping[str, Any]) -> bool:
    """Tell whether a token is an ID token, which tells a client who has signed in, and gives no right to anything.

    Source: `token_use` is Cognito's claim and `typ` Keycloak's; elsewhere there is a digest of what came with it in
    most (OpenID Connect Core 1.0, 3.1.3.6 and 3.3.2.11; read 2026-11).
    """
    is_named = token.get("token_use") == "id" or token.get("typ") == "ID"
    return is_named or "at_hash" in token or "c_hash" in token


def _read_groups(token: Mapping[str, Any], groups_claim: str) -> frozenset[str]:
    """Read the groups from the token itself, not from the authorizer's claims.

    There a list has become one text, "[a b]", in which the group "Studio admins" cannot be told from "admins". A list
    is taken, or one text as one group; any other value of the claim gives no right.
    """
    groups = token.get(groups_claim)
    named = groups if isinstance(groups, list) else [groups]
    return frozenset(group for group in named if isinstance(group, str))


def _read_scopes(token: Mapping[str, Any]) -> frozenset[str]:
    """Read the scopes: a list, or one text with blanks between them."""
    scopes: set[str] = set()
    for name in _SCOPE_CLAIMS:
        named = token.get(name)
        listed = named.split(" ") if isinstance(named, str) else named
        if isinstance(listed, list):
            scopes |= {scope for scope in listed if isinstance(scope, str) and scope}
    return frozenset(scopes)


def _read_token(event: Mapping[str, Any], claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read the payload of the token that the authorizer has verified; nothing where it may be another."""
    token = _TOKEN.fullmatch((event.get("headers") or {}).get("authorization") or "")
    if token is None:
        return {}
    try:
        payload = json.loads(base64.urlsafe_b64decode(token["payload"] + "=="))
    except (ValueError, RecursionError):
        return {}
    is_verified = isinstance(payload, dict) and all(
        payload.get(name) == claims[name] for name in _PLAIN_CLAIMS if name in claims
    )
    return payload if is_verified else {}


def require_reach(
    operation: RecordedT | None, operation_id: str, actor: Actor, action: Action, settings: Settings
) -> RecordedT:
    """Return the operation if it exists and this person's right to the action reaches it.

    Raises:
        ProblemError: no-such-operation or not-allowed.
    """
    if operation is None:
        raise ProblemError(
            "no-such-operation",
            f"No operation is recorded under {operation_id}. Start it first.",
        )
    if not may_act_on(actor, action, settings, owner_id=operation.record.actor_id):
        raise ProblemError(
            "not-allowed",
            f"Operation {operation_id} belongs to somebody else; only its owner may carry it on, and only its owner or "
            "an admin may cancel it.",
        )
    return operation


def require_lease(operation: Operation, machine_id: str, lease_epoch: int) -> None:
    """Refuse a machine that does not hold the operation's lease; one that ran out but was not taken holds.

    Raises:
        ProblemError: lease-lost.
    """
    if (operation.machine_id, operation.lease_epoch) != (machine_id, lease_epoch):
        raise ProblemError(
            "lease-lost",
            f"Another machine is carrying on this upload (lease {operation.lease_epoch}, this call has {lease_epoch}). "
            "Run the same command again once it has stopped.",
        )
