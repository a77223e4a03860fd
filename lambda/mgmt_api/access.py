"""Who asks, as the verified token says, and what this person and machine may carry on with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mgmt_api.entities import Actor, Operation
from mgmt_api.settings import Settings
from mgmt_contract.problems import ProblemError


@dataclass(frozen=True)
class Caller:
    """A person on a machine: who may hold a lease."""

    actor: Actor
    machine_id: str
    run_id: str | None = None
    """What the client calls the run that it makes the call in."""


def read_actor(event: Mapping[str, Any], settings: Settings) -> Actor:
    """Read the actor from the claims that API Gateway's JWT authorizer hands on.

    Every claim arrives as a string there; a list of groups as "[a b]". A token without the name claim (a
    machine user's) is known by its subject.

    Raises:
        ProblemError: login-required, where no authorizer has let the request through.
    """
    authorizer = event.get("requestContext", {}).get("authorizer") or {}
    claims: Mapping[str, Any] = (authorizer.get("jwt") or {}).get("claims") or {}
    subject = str(claims.get("sub") or "")
    if not subject:
        raise ProblemError("login-required", "No verified token came with the request. Put a new one into MGMT_TOKEN.")
    groups = _read_groups(claims.get("cognito:groups")) | _read_groups(claims.get("groups"))
    name = str(claims.get(settings.actor_claim) or subject)
    return Actor(id=subject, name=name, is_admin=settings.admin_group in groups)


def _read_groups(claim: Any) -> frozenset[str]:
    text = str(claim or "")
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return frozenset(inner.split())


def require_own(operation: Operation | None, operation_id: str, actor: Actor) -> Operation:
    """Return the operation if it exists and is this person's.

    Raises:
        ProblemError: no-such-operation or not-allowed.
    """
    if operation is None:
        raise ProblemError(
            "no-such-operation",
            f"No operation is recorded under {operation_id}. Start the upload first.",
        )
    if operation.record.actor_id != actor.id:
        raise ProblemError(
            "not-allowed",
            f"Operation {operation_id} belongs to somebody else; only its owner may carry it on.",
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
