"""The table of rights, held by the whole service: every route, for every role, for one's own uploads and others'."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from mgmt_api.domain.access import read_actor
from mgmt_api.domain.policy import ACTION_OF_ROUTE, POLICY, scopes_for
from mgmt_contract import routes
from mgmt_contract.messages.downloads import DownloadResult
from mgmt_contract.messages.history import RecordResult
from mgmt_contract.messages.service import Me
from mgmt_contract.messages.uploads import CleanUp, StartItem, StartResult
from mgmt_contract.routes import ROUTES, Route
from support.events import make_claims, make_event
from support.studio import SETTINGS, Machine, RefusedError, Studio, content_of, item_for, part_of

BODY = b"footage"
OTHER_BODY = b"other footage"
DEPLOYED = replace(
    SETTINGS, member_group="editors", scopes=("mgmt/use",), read_scopes=("mgmt/read",), machine_clients=("ci",)
)
CLAIMS: dict[str, dict[str, Any]] = {
    "no group": {"username": "eve"},
    "another group": {"username": "eve", "cognito:groups": ["Studio editors", "visitors"]},
    "group without the scope": {"username": "eve", "cognito:groups": ["editors", "admins"], "scope": "openid"},
    "ID token": {"cognito:username": "eve", "cognito:groups": ["editors"], "scope": None, "token_use": "id"},
    "ID token with a type": {"cognito:groups": ["editors"], "token_use": None, "typ": "ID"},
    "ID token with a digest": {"cognito:groups": ["editors"], "token_use": None, "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q"},
    "ID token with the code's digest": {"cognito:groups": ["editors"], "token_use": None, "c_hash": "LDktKdoQak3Pk0cn"},
    "machine that is not listed": {"sub": "job", "client_id": "job"},
    "machine in a group": {"sub": "job", "client_id": "job", "cognito:groups": ["editors", "admins"]},
    "service account in a group": {
        "client_id": None,
        "azp": "Job",
        "preferred_username": "service-account-job",
        "cognito:groups": ["editors", "admins"],
    },
    "app in a group": {"client_id": None, "azp": "job", "idtyp": "app", "cognito:groups": ["editors", "admins"]},
    "app in a group by its object": {
        "client_id": None,
        "azp": "job",
        "oid": "sub-7",
        "cognito:groups": ["editors", "admins"],
    },
    "member": {"username": "bert", "cognito:groups": ["editors"]},
    "admin": {"username": "chief", "cognito:groups": ["admins"]},
    "listed machine": {"sub": "ci", "client_id": "ci"},
    "listed machine in a group": {"sub": "ci", "client_id": "ci", "cognito:groups": ["admins"]},
    "person with an object": {
        "client_id": None,
        "azp": "x",
        "oid": "o-7",
        "idtyp": "user",
        "cognito:groups": ["editors"],
    },
    "reader": {"username": "rita", "cognito:groups": ["editors"], "scope": "mgmt/read"},
    "reading admin": {"username": "rita", "cognito:groups": ["admins"], "scope": "mgmt/read"},
}
"""Tokens by what they are; the claims that they have beside, or instead of, the usual ones."""
NOBODIES = list(CLAIMS)[:12]
READERS = ["reader", "reading admin"]
MEMBERS = ["member", "listed machine", "listed machine in a group", "person with an object"]
ADMINS = ["admin"]
ADMINS_BY_GROUP = ["group without the scope", "admin", "reading admin"]
"""Where no scope is asked for."""
READ_ROUTES = (routes.LOOK_UP, routes.LOOK, routes.HISTORY, routes.ME)


def claims_of(kind: str) -> dict[str, Any]:
    """Make the claims of a token that has the scope, unless its kind says otherwise."""
    usual = make_claims("sub-7") | {"client_id": "mgmt-command"}
    return {name: value for name, value in (usual | CLAIMS[kind]).items() if value is not None}


class Stage:
    """A service with an upload of the caller's own and one of somebody else's, both being carried."""

    def __init__(self, kind: str, **settings: Any) -> None:
        self.studio = Studio(replace(DEPLOYED, **settings))
        self.anna = self.studio.person("anna", groups=("editors",))
        self.caller = replace(self.anna.elsewhere(), claims=claims_of(kind))
        self._theirs = self.anna.start(item_for("theirs", BODY))
        self._own = self._start_own()
        self._downloads = {"own": self._open(self._was_member()), "other's": self._open(self.anna)}

    def _was_member(self) -> Machine:
        """The caller while they were a member still."""
        return replace(self.caller, claims=make_claims(self.caller.claims["sub"], "x", ["editors"]))

    def _start_own(self) -> StartResult:
        return self._was_member().start(item_for("own", BODY))

    def _open(self, person: Machine) -> DownloadResult:
        item = item_for(f"stored by {person.claims['sub']}", BODY)
        assert person.upload(item, BODY).outcome == "done"
        return person.open_download(item.operation_id)

    def opened(self, started: StartResult) -> DownloadResult:
        """Return the download of the person to whom this upload belongs."""
        return self._downloads["own" if started is self._own else "other's"]

    def started(self, whose: str) -> StartResult:
        return self._own if whose == "own" else self._theirs

    def call(self, route: Route, whose: str) -> str:
        """Make a call about somebody's upload; return its outcome, or the code of the problem."""
        try:
            started = self.started(whose)
            call = _DOWNLOAD_CALLS.get(route)
            result = call(self.caller, self.opened(started)) if call else _CALLS[route](self.caller, started)
        except RefusedError as error:
            return error.code
        if result is None:
            return "answered"
        return result.problem.code if result.problem is not None else result.outcome


def _clean_up(caller: Machine, started: StartResult) -> RecordResult:
    return caller.clean_up(CleanUp(started.operation_id, "completed", "deleted"))[0]


def _start_again(caller: Machine, started: StartResult) -> StartResult:
    name = "own" if started.s3_object_key == "own.tar.gz" else "theirs"
    return caller.start(item_for(name, BODY, operation_id=started.operation_id))


_CALLS: dict[Route, Any] = {
    routes.PREVIEW: lambda caller, started: caller.preview(item_for(f"new-{started.operation_id[:8]}", BODY))[0],
    routes.START: _start_again,
    routes.SIGN: lambda caller, started: caller.sign(started, [part_of(1, BODY)]),
    routes.COMPLETE: lambda caller, started: caller.complete(started, content_of(BODY)),
    routes.FAIL: lambda caller, started: caller.fail(started),
    routes.CLEAN_UP: _clean_up,
    routes.LOOK_UP: lambda caller, started: caller.look_up(started.operation_id)[0],
    routes.HISTORY: lambda caller, _: None if caller.history() else "",
    routes.ME: lambda caller, _: None if caller.call(routes.ME, Me) else "",
}
_DOWNLOAD_CALLS: dict[Route, Any] = {
    routes.OPEN_DOWNLOADS: lambda caller, opened: caller.open_download(opened.upload.operation_id),
    routes.END_DOWNLOADS: lambda caller, opened: caller.end_download(opened),
    routes.RESTORE: lambda caller, opened: caller.restore(opened.upload.operation_id),
    routes.LOOK: lambda caller, opened: caller.look(opened.upload.operation_id)[0],
    routes.DELETE: lambda caller, opened: caller.delete(opened.upload.operation_id),
    routes.UNDELETE: lambda caller, opened: caller.undelete(opened.upload.operation_id),
}
ALLOWED: dict[Route, tuple[str, str, str]] = {
    # outcome for a member's own upload, a member's of somebody else, an admin's of somebody else
    routes.PREVIEW: ("free", "free", "free"),
    routes.START: ("put", "not-allowed", "not-allowed"),
    routes.SIGN: ("invalid-request", "not-allowed", "not-allowed"),  # one's own is admitted: a whole PUT has no parts
    routes.COMPLETE: ("incomplete", "not-allowed", "not-allowed"),
    routes.FAIL: ("record", "not-allowed", "record"),
    routes.CLEAN_UP: ("invalid-request", "not-allowed", "not-allowed"),  # likewise: it has not succeeded yet
    routes.LOOK_UP: ("record", "record", "record"),
    routes.DELETE: ("done", "not-allowed", "done"),
    routes.UNDELETE: ("already", "not-allowed", "already"),  # what is admitted is answered that it is not deleted
    routes.OPEN_DOWNLOADS: ("opened", "opened", "opened"),
    routes.END_DOWNLOADS: ("record", "not-allowed", "not-allowed"),
    routes.RESTORE: ("readable", "readable", "readable"),
    routes.LOOK: ("there", "there", "there"),
    routes.HISTORY: ("answered", "answered", "answered"),
    routes.ME: ("answered", "answered", "answered"),
}
"""Written out once more, not derived from the table: so that a change of the table is seen."""


def expected_by_group(kind: str, route: Route, whose: str) -> str:
    own, others, admins = ALLOWED[route]
    if kind in NOBODIES and kind not in ADMINS_BY_GROUP:
        return "not-allowed"
    if whose == "own":
        return own
    return admins if kind in ADMINS_BY_GROUP else others


def expected(kind: str, route: Route, whose: str) -> str:
    own, others, admins = ALLOWED[route]
    if kind in NOBODIES or (kind in READERS and route not in READ_ROUTES):
        return "not-allowed"
    if whose == "own":
        return own
    return admins if kind in ADMINS else others


def test_every_route_has_a_right_and_every_right_is_asked_for():
    assert ACTION_OF_ROUTE.keys() == ALLOWED.keys() == {route for route in ROUTES if route.needs_sign_in}
    assert POLICY.keys() == {*ACTION_OF_ROUTE.values(), "replace"}


@pytest.mark.parametrize(
    ("kind", "route", "whose"),
    [
        pytest.param(*each, id=f"{each[0]}, {each[1].path}, {each[2]}")
        for each in itertools.product(CLAIMS, ALLOWED, ("own", "other's"))
    ],
)
def test_each_role_does_what_the_table_says_and_no_more(kind, route, whose):
    assert Stage(kind).call(route, whose) == expected(kind, route, whose)


@pytest.mark.parametrize(
    ("kind", "route", "whose"),
    [
        pytest.param(*each, id=f"{each[0]}, {each[1].path}, {each[2]}")
        for each in itertools.product(CLAIMS, ALLOWED, ("own", "other's"))
    ],
)
def test_each_role_does_the_same_where_a_group_alone_makes_a_member(kind, route, whose):
    """No ID token and no machine has a right there, though nothing but their own claims tells them from a person's."""
    assert Stage(kind, scopes=(), read_scopes=()).call(route, whose) == expected_by_group(kind, route, whose)


@pytest.mark.parametrize(
    ("kind", "role"), [("no group", "nobody"), ("member", "member"), ("admin", "admin"), ("listed machine", "member")]
)
def test_the_client_of_people_is_no_machine_even_if_it_is_listed(kind, role):
    """Else everybody who can sign in would be a member, and no admin would be more."""
    settings = replace(DEPLOYED, client_id="mgmt-command", machine_clients=("mgmt-command", "ci"))
    assert read_actor(make_event(routes.HISTORY, claims=claims_of(kind)), settings).role == role


@pytest.mark.parametrize("kind", NOBODIES)
def test_a_sign_in_alone_makes_nobody_a_member_and_is_told_what_does(kind):
    """Neither a valid token, nor a group whose name only holds the members', nor an ID token."""
    with pytest.raises(RefusedError) as caught:
        Stage(kind).caller.history()
    problem = caught.value.problem
    assert (problem.code, problem.status) == ("not-allowed", 403)
    assert 'in the group "editors"' in problem.detail
    assert "Ask its admin to add you, then sign in again." in problem.detail


def test_a_reader_is_told_which_scope_is_missing():
    with pytest.raises(RefusedError, match=r"for reading only.*mgmt/use"):
        Stage("reader").caller.preview(item_for("x", BODY))


def test_a_deployment_that_names_no_member_has_none():
    settings = replace(SETTINGS, scopes=(), member_group="")
    actor = read_actor(make_event(routes.HISTORY, claims=make_claims("1", "ada", ["members"])), settings)
    assert actor.role == "nobody"
    with pytest.raises(RefusedError, match="names neither a group nor a scope"):
        Studio(settings).person("ada").history()


def test_a_scope_alone_makes_a_member_where_no_group_is_named():
    settings = replace(DEPLOYED, member_group="")
    for scope, role in (("openid mgmt/use", "member"), ("openid", "nobody"), ("mgmt/used", "nobody"), ("", "nobody")):
        claims = make_claims("1", "ada") | {"scope": scope}
        assert read_actor(make_event(routes.HISTORY, claims=claims), settings).role == role


@pytest.mark.parametrize("claim", [{"scp": "profile mgmt/use"}, {"scp": ["profile", "mgmt/use"]}])
def test_scopes_are_read_as_each_issuer_writes_them(claim):
    claims = {"sub": "1", "cognito:groups": ["editors"]} | claim
    assert read_actor(make_event(routes.HISTORY, claims=claims), DEPLOYED).role == "member"


@pytest.mark.parametrize("scopes", [["profile mgmt/use"], {"mgmt/use": True}, 7, [["mgmt/use"]]])
def test_what_is_no_list_of_scopes_gives_none(scopes):
    claims = {"sub": "1", "cognito:groups": ["editors"], "scp": scopes}
    assert read_actor(make_event(routes.HISTORY, claims=claims), DEPLOYED).role == "nobody"


@pytest.mark.parametrize("claim", ["client_id", "azp", "cid", "appid"])
def test_a_listed_machine_is_a_member_whichever_claim_names_its_client(claim):
    claims = {"sub": "service-account", "scope": "mgmt/use", claim: "ci"}
    assert read_actor(make_event(routes.HISTORY, claims=claims), DEPLOYED).role == "member"


def test_a_route_asks_the_gateway_for_the_scopes_of_its_right():
    for route in ROUTES:
        wanted = () if route == routes.DESCRIBE else ("mgmt/use",)
        assert scopes_for(route, DEPLOYED) == wanted + (("mgmt/read",) if route in READ_ROUTES else ())
        assert scopes_for(route, replace(DEPLOYED, scopes=(), read_scopes=())) == ()


# --- replacing -----------------------------------------------------------------------------------------


def replacing_item(**changes: Any) -> StartItem:
    return item_for("clip", OTHER_BODY, replace=True, **changes)


def stored_by(studio: Studio, name: str) -> str:
    item = item_for("clip", BODY)
    assert studio.person(name, groups=("editors",)).upload(item, BODY).outcome == "done"
    return item.operation_id


@pytest.mark.parametrize(
    ("setting", "group", "owner", "outcome"),
    [
        ("members", "editors", "bert", "put"),
        ("members", "editors", "anna", "put"),
        ("members", "admins", "anna", "put"),
        ("admins", "editors", "bert", "put"),
        ("admins", "editors", "anna", "problem"),
        ("admins", "admins", "anna", "put"),
    ],
)
def test_replacing_somebody_elses_object_takes_a_right_of_its_own(setting, group, owner, outcome):
    studio = Studio(replace(DEPLOYED, replace_others=setting))
    stored_by(studio, owner)
    caller = studio.person("bert", groups=(group,))
    previewed, started = caller.preview(replacing_item())[0], caller.start(replacing_item())
    assert started.outcome == outcome
    assert previewed.outcome == ("problem" if outcome == "problem" else "taken")
    if outcome == "problem":
        for problem in (previewed.problem, started.problem):
            assert problem.code == "not-allowed"
            assert "stored by anna" in problem.detail


def test_an_object_that_nobody_is_known_to_have_stored_is_not_the_callers_own():
    studio = Studio(replace(DEPLOYED, replace_others="admins"))
    studio.objects.place("clip.tar.gz", BODY)
    assert studio.person("bert", groups=("editors",)).start(replacing_item()).problem.code == "not-allowed"


def test_the_same_content_is_already_there_without_the_right_to_replace_it():
    studio = Studio(replace(DEPLOYED, replace_others="admins"))
    stored_by(studio, "anna")
    bert = studio.person("bert", groups=("editors",))
    assert bert.start(item_for("clip", BODY, replace=True)).outcome == "already_there"
    assert bert.preview(item_for("clip", BODY, replace=True))[0].outcome == "taken"


def test_a_replacement_is_recorded_with_whose_upload_it_replaced():
    studio = Studio(DEPLOYED)
    theirs = stored_by(studio, "anna")
    studio.clock.advance(1)
    bert = studio.person("bert", groups=("editors",))
    assert bert.upload(replacing_item(), OTHER_BODY).outcome == "done"
    history = bert.history()
    new, old = history.records
    assert (new.actor, new.replaces, new.replaces_actor) == ("bert", theirs, "anna")
    assert (old.actor, old.operation_id, old.replaces, old.replaces_actor) == ("anna", theirs, None, None)
    assert history.replaced == (theirs,)


# --- cancelling ----------------------------------------------------------------------------------------


def test_an_admin_cancels_anybodys_upload_and_the_record_says_which_admin():
    """Without the lease, which another machine holds; the upload stays its owner's."""
    stage = Stage("admin")
    record = stage.caller.fail(stage.started("other's"), "off the project", code="cancelled").record
    assert (record.status, record.actor, record.error_code) == ("failed", "anna", "cancelled")
    assert record.error_message == "Cancelled by chief, an admin: off the project"


def test_an_admin_needs_the_lease_of_an_upload_of_their_own():
    stage = Stage("admin")
    elsewhere = stage.caller.elsewhere()
    assert elsewhere.fail(stage.started("own")).problem.code == "lease-lost"
