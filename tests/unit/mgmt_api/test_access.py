"""Who asks is what the token says, as API Gateway hands it on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mgmt_api.access import read_actor
from mgmt_api.entities import Actor
from mgmt_contract import routes
from mgmt_contract.problems import ProblemError
from mgmt_contract.routes import ROUTES
from support.events import make_claims, make_event
from support.studio import SETTINGS, RefusedError, item_for


def actor_of(claims, settings=SETTINGS):
    return read_actor(make_event(routes.HISTORY, claims=claims), settings)


def test_a_person_is_known_by_subject_and_name():
    assert actor_of(make_claims("sub-1", "ada")) == Actor("sub-1", "ada", is_admin=False)


def test_a_machine_user_without_a_name_is_known_by_its_subject():
    assert actor_of(make_claims("client-7")) == Actor("client-7", "client-7")


def test_another_claim_can_hold_the_name():
    claims = make_claims("sub-1", "x") | {"email": "ada@example.org"}
    assert actor_of(claims, replace(SETTINGS, actor_claim="email")).name == "ada@example.org"


@pytest.mark.parametrize(
    ("claims", "is_admin"),
    [
        ({"cognito:groups": "[admins]"}, True),
        ({"cognito:groups": "[editors admins]"}, True),
        ({"groups": "[admins editors]"}, True),
        ({"groups": "admins"}, True),
        ({"cognito:groups": "[editors]"}, False),
        ({"cognito:groups": "[superadmins]"}, False),
        ({"cognito:groups": "[]"}, False),
        ({"cognito:groups": ""}, False),
        ({"cognito:groups": "[Admins]"}, False),
        ({}, False),
    ],
)
def test_admins_are_those_in_the_group(claims, is_admin):
    assert actor_of({"sub": "1", **claims}).is_admin is is_admin


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
