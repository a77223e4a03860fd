"""The caller is the person in the token, as API Gateway passes it on."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from mgmt_api.domain.access import read_actor
from mgmt_api.domain.entities import Actor
from mgmt_contract import routes
from mgmt_contract.messages.service import Me
from mgmt_contract.problems import ProblemError
from mgmt_contract.routes import ROUTES
from mgmt_contract.texts import is_short
from support.events import make_claims, make_event, make_token
from support.studio import SETTINGS, RefusedError, item_for

GROUPS = replace(SETTINGS, scopes=(), member_group="members")


def actor_of(claims, settings=GROUPS):
    return read_actor(make_event(routes.HISTORY, claims=claims), settings)


def test_a_person_is_known_by_subject_and_name():
    assert actor_of(make_claims("sub-1", "ada")) == Actor("sub-1", "ada", "nobody")


def test_a_machine_user_without_a_name_is_known_by_its_subject():
    assert actor_of(make_claims("client-7")) == Actor("client-7", "client-7")


def test_another_claim_can_hold_the_name():
    claims = make_claims("sub-1", "x") | {"email": "ada@example.org"}
    assert actor_of(claims, replace(GROUPS, actor_claim="email")).name == "ada@example.org"


@pytest.mark.parametrize(
    ("groups", "is_admin"),
    [
        (["admins"], True),
        (["editors", "admins"], True),
        ("admins", True),
        (["Studio admins"], False),
        (["admins of nothing", "no admins"], False),
        ("Studio admins", False),
        ("[editors admins]", False),
        ("editors,admins", False),
        (["editors"], False),
        (["superadmins"], False),
        (["Admins"], False),
        ([["admins"]], False),
        ({"admins": True}, False),
        ([5, None, True], False),
        ([], False),
        ("", False),
        (None, False),
    ],
)
def test_admins_are_those_whose_token_lists_the_group(groups, is_admin):
    assert actor_of({"sub": "1", "cognito:groups": groups}).is_admin is is_admin


@pytest.mark.parametrize(
    ("groups", "role"), [(("editors", "admins"), "admin"), (("editors",), "member"), ((), "member")]
)
def test_a_person_is_told_name_groups_and_role_as_the_records_and_the_policy_have_them(studio, groups, role):
    answer = studio.person("ada", groups=groups).call(routes.ME, Me)
    assert answer == Me("sub-ada", "ada", role, tuple(sorted(groups)))


def test_who_lists_no_groups_is_no_admin():
    assert not actor_of({"sub": "1"}).is_admin


def test_one_claim_lists_the_groups_and_no_other_is_added_to_it():
    elsewhere = replace(GROUPS, groups_claim="roles")
    for settings, claim, other in ((GROUPS, "cognito:groups", "groups"), (elsewhere, "roles", "cognito:groups")):
        assert actor_of({"sub": "1", claim: ["admins"], other: ["editors"]}, settings).is_admin
        assert not actor_of({"sub": "1", claim: ["editors"], other: ["admins"]}, settings).is_admin


ADMIN = make_claims("1", "ada", ["admins"])
TOKEN = make_token(ADMIN)


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer  {TOKEN}", TOKEN])
def test_a_token_is_read_with_and_without_its_scheme(header):
    event = make_event(routes.HISTORY, claims=ADMIN, headers={"authorization": header})
    assert read_actor(event, SETTINGS).is_admin


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer ",
        "Bearer opaque",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN},Bearer {TOKEN}",
        f"Bearer {TOKEN} {TOKEN}",
        f"Bearer {TOKEN}\n",
        f"Bearer {make_token(ADMIN | {'sub': '2'})}",
        f"Bearer {make_token(ADMIN | {'sub': 1})}",
        f"Bearer {make_token(ADMIN | {'iss': 'https://elsewhere.example'})}",
        "Bearer e30.W10.c2ln",
        "Bearer e30.bnVsbA.c2ln",
        "Bearer e30.____.c2ln",
        "Bearer e30.A.c2ln",
        f"Bearer e30.{base64.urlsafe_b64encode(b'[' * 5000).rstrip(b'=').decode()}.c2ln",
    ],
)
def test_what_is_not_surely_the_verified_token_gives_no_rights(header):
    """The authorizer's own text says "[admins]", and is not asked."""
    event = make_event(routes.HISTORY, claims=ADMIN | {"iss": "https://issuer.example"})
    event["headers"]["authorization"] = header
    actor = read_actor(event, SETTINGS)
    assert (actor.id, actor.name, actor.is_admin) == ("1", "ada", False)


def test_a_name_from_a_token_is_as_short_and_plain_as_every_text():
    actor = actor_of(make_claims("1", "ada\x1b[31m" + "x" * 7000))
    assert actor.name.startswith("ada\\x1b[31mxxx")
    assert is_short(actor.name)


@pytest.mark.parametrize("subject", ["x" * 3000, "a\nb"])
def test_a_subject_that_cannot_be_recorded_is_nobody(subject):
    with pytest.raises(ProblemError, match="login-required"):
        actor_of(make_claims(subject))


@pytest.mark.parametrize("claims", [None, {}, {"sub": ""}, {"username": "ada"}])
def test_no_token_is_nobody(claims):
    with pytest.raises(ProblemError, match="login-required"):
        actor_of(claims)


def test_another_kind_of_authorizer_is_nobody():
    event = make_event(routes.HISTORY)
    for authorizer in ({"iam": {"userId": "x"}}, {"jwt": None}, None):
        event["requestContext"]["authorizer"] = authorizer
        with pytest.raises(ProblemError, match="login-required"):
            read_actor(event, SETTINGS)


BODIES = {
    routes.PREVIEW: {"machine_id": "m", "items": []},
    routes.START: {"machine_id": "m", "items": []},
    routes.SIGN: {"machine_id": "m", "items": []},
    routes.COMPLETE: {"machine_id": "m", "items": []},
    routes.FAIL: {"machine_id": "m", "items": []},
    routes.CLEAN_UP: {"items": []},
    routes.LOOK_UP: {"operation_ids": []},
    routes.OPEN_DOWNLOADS: {"items": []},
    routes.END_DOWNLOADS: {"items": []},
    routes.RESTORE: {"items": []},
    routes.LOOK: {"upload_ids": []},
    routes.DELETE: {"items": []},
    routes.UNDELETE: {"items": []},
}


@pytest.mark.parametrize("route", [route for route in ROUTES if route.needs_sign_in], ids=lambda route: route.path)
def test_every_route_but_the_description_needs_a_sign_in(studio, route):
    answer = studio.app(make_event(route, body=BODIES.get(route)))
    assert answer["statusCode"] == 401
    assert '"login-required"' in answer["body"]


def test_the_description_needs_no_sign_in(studio):
    assert studio.app(make_event(routes.DESCRIBE))["statusCode"] == 200


def test_a_body_cannot_name_another_actor(ada):
    with pytest.raises(RefusedError, match="invalid-request"):
        ada.call(routes.START, object, {"machine_id": ada.machine_id, "items": [], "actor": "bob"})


def test_a_changed_name_keeps_a_persons_uploads(studio, ada):
    item = item_for("clip")
    ada.start(item)
    renamed = replace(ada, claims=make_claims("sub-ada", "ada lovelace"))
    assert renamed.start(item).outcome == "put"
    assert len(renamed.history(mine="true").records) == 1
