"""The service's settings come from the environment, and every fault is named at once."""

from __future__ import annotations

import pytest

from mgmt_api.domain.settings import Settings, SettingsError, read_settings

REQUIRED = {"MGMT_BUCKET": "footage", "MGMT_TABLE": "records", "AWS_REGION": "eu-west-1"}


def test_three_variables_are_enough():
    assert read_settings(REQUIRED) == Settings(bucket="footage", table="records", region="eu-west-1")


def test_every_setting_has_its_variable():
    environment = REQUIRED | {
        "MGMT_ROOT_PREFIX": "team",
        "MGMT_ADMIN_GROUP": "chiefs",
        "MGMT_ACTOR_CLAIM": "email",
        "MGMT_GROUPS_CLAIM": "roles",
        "MGMT_ISSUER": "https://issuer.example",
        "MGMT_CLIENT_ID": "client",
        "MGMT_AUDIENCE": "api",
        "MGMT_URL_LIFE_SECONDS": "30",
        "MGMT_LEASE_SECONDS": "86400",
        "MGMT_FEED_SHARDS": "32",
        "MGMT_SCOPES": "mgmt/use openid",
        "MGMT_MEMBER_GROUP": "editors",
        "MGMT_READ_SCOPES": "mgmt/read",
        "MGMT_SIGN_IN_SCOPES": "openid mgmt/use",
        "MGMT_MACHINE_CLIENTS": "ci-1 ci-2",
        "MGMT_REPLACE_OTHERS": "admins",
    }
    assert read_settings(environment) == Settings(
        bucket="footage",
        table="records",
        region="eu-west-1",
        root_prefix="team",
        admin_group="chiefs",
        actor_claim="email",
        groups_claim="roles",
        issuer="https://issuer.example",
        client_id="client",
        audience="api",
        url_life_seconds=30,
        lease_seconds=86400,
        feed_shards=32,
        scopes=("mgmt/use", "openid"),
        member_group="editors",
        read_scopes=("mgmt/read",),
        sign_in_scopes=("openid", "mgmt/use"),
        machine_clients=("ci-1", "ci-2"),
        replace_others="admins",
    )


def test_an_empty_variable_is_one_that_is_not_set():
    environment = REQUIRED | {"MGMT_ADMIN_GROUP": "", "MGMT_LEASE_SECONDS": "", "MGMT_SCOPES": ""}
    assert read_settings(environment) == read_settings(REQUIRED)


def test_every_fault_is_named_at_once():
    environment = {"MGMT_TABLE": "", "AWS_REGION": "eu-west-1", "MGMT_FEED_SHARDS": "0", "MGMT_LEASE_SECONDS": "soon"}
    with pytest.raises(SettingsError) as caught:
        read_settings(environment)
    for variable in ("MGMT_BUCKET", "MGMT_TABLE", "MGMT_FEED_SHARDS", "MGMT_LEASE_SECONDS"):
        assert variable in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("MGMT_URL_LIFE_SECONDS", "29"),
        ("MGMT_URL_LIFE_SECONDS", "3601"),
        ("MGMT_LEASE_SECONDS", "86401"),
        ("MGMT_FEED_SHARDS", "33"),
        ("MGMT_FEED_SHARDS", "-1"),
        ("MGMT_FEED_SHARDS", "1.5"),
        ("MGMT_REPLACE_OTHERS", "nobody"),
    ],
)
def test_a_number_out_of_its_range_and_an_unknown_choice_are_refused(variable, text):
    with pytest.raises(SettingsError, match=variable):
        read_settings(REQUIRED | {variable: text})
