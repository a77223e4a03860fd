"""The rights of each role: one table, asked by every call before it does anything.

A role comes from the verified token (`domain/access.py`). A right reaches as far as nothing, what is the caller's own,
or what is anybody's. A new kind of call adds a row to `POLICY` and an entry to `ACTION_OF_ROUTE`; the gateway in AWS
asks each route for the scopes that `scopes_for` derives from the same row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from mgmt_api.domain.entities import Actor
from mgmt_api.domain.settings import Settings
from mgmt_contract import routes
from mgmt_contract.problems import ProblemError
from mgmt_contract.routes import Route

Reach = Literal["nothing", "own", "any"]
Action = Literal[
    "be known",
    "list",
    "look up",
    "preview",
    "upload",
    "replace",
    "cancel",
    "delete",
    "undelete",
    "download",
    "end a download",
    "restore",
    "look",
]


class Rights(NamedTuple):
    """How far one action reaches for each role. A caller with a valid token and no role has no right at all."""

    members: Reach
    admins: Reach
    only_reads: bool = False
    """True where a token with a scope of reading alone is enough."""


POLICY: Final[Mapping[Action, Rights]] = {
    "be known": Rights("own", "own", only_reads=True),
    "list": Rights("any", "any", only_reads=True),  # the history is the team's
    "look up": Rights("any", "any", only_reads=True),
    "preview": Rights("own", "own"),
    "upload": Rights("own", "own"),  # start, sign, complete, clean up: nobody acts in another's name
    "replace": Rights("any", "any"),  # `replace_others` can take somebody else's objects from members
    "cancel": Rights("own", "any"),
    "delete": Rights("own", "any"),  # nothing is destroyed before the deployment's days have passed
    "undelete": Rights("own", "any"),
    "download": Rights("any", "any"),  # a scope of reading alone was given out for lists, not for footage
    "end a download": Rights("own", "own"),
    "restore": Rights("any", "any"),  # it costs money, and changes nothing that is stored
    "look": Rights("any", "any", only_reads=True),
}

ACTION_OF_ROUTE: Final[Mapping[Route, Action]] = {
    routes.PREVIEW: "preview",
    routes.START: "upload",
    routes.SIGN: "upload",
    routes.COMPLETE: "upload",
    routes.FAIL: "cancel",
    routes.CLEAN_UP: "upload",
    routes.LOOK_UP: "look up",
    routes.DELETE: "delete",
    routes.UNDELETE: "undelete",
    routes.OPEN_DOWNLOADS: "download",
    routes.END_DOWNLOADS: "end a download",
    routes.RESTORE: "restore",
    routes.LOOK: "look",
    routes.HISTORY: "list",
    routes.ME: "be known",
}


def find_reach(actor: Actor, action: Action, settings: Settings) -> Reach:
    """Tell how far a person's right to an action reaches."""
    rights = POLICY[action]
    if actor.role == "nobody" or (actor.only_reads and not rights.only_reads):
        return "nothing"
    if actor.role == "admin":
        return rights.admins
    if action == "replace" and settings.replace_others == "admins":
        return "own"
    return rights.members


def require_right(actor: Actor, action: Action, settings: Settings) -> None:
    """Refuse a call that the person has no right to make at all.

    Raises:
        ProblemError: not-allowed.
    """
    if find_reach(actor, action, settings) == "nothing":
        raise ProblemError("not-allowed", _explain(actor, settings))


def may_act_on(actor: Actor, action: Action, settings: Settings, *, owner_id: str | None) -> bool:
    """Tell whether a person may act on what belongs to the subject `owner_id`; None is nobody known."""
    reach = find_reach(actor, action, settings)
    return reach == "any" or (reach == "own" and owner_id == actor.id)


def scopes_for(route: Route, settings: Settings) -> tuple[str, ...]:
    """Name the scopes of which a token must carry one to call a route; none where no scope is asked for."""
    if not settings.scopes or not route.needs_sign_in:
        return ()
    return settings.scopes + (settings.read_scopes if POLICY[ACTION_OF_ROUTE[route]].only_reads else ())


def _explain(actor: Actor, settings: Settings) -> str:
    """Say in words what a person lacks, and what to do."""
    if actor.role != "nobody":
        return (
            f"The token of {actor.name} is for reading only. Sign in again with one of the scopes "
            f"{', '.join(settings.scopes)}."
        )
    wanted = []
    if settings.member_group:
        wanted.append(f'are in the group "{settings.member_group}"')
    if settings.scopes:
        wanted.append(f"have a token with one of the scopes {', '.join(settings.scopes + settings.read_scopes)}")
    if not wanted:
        return "This service has no members: its deployment names neither a group nor a scope that makes one."
    return (
        f"{actor.name} is signed in, but is not a member of this service. Members {' and '.join(wanted)}. "
        "Ask its admin to add you, then sign in again."
    )
