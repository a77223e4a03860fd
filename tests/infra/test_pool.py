"""The sign-in that the stack makes where no issuer is named, as its template has it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mgmt_api.domain.policy import scopes_for
from mgmt_api.domain.settings import Settings, read_settings
from mgmt_contract.routes import ROUTES
from mgmt_contract.sign_in import redirect_uris
from mgmt_infra.deployment import DeploymentError, read_deployment
from support.assembly import Assembly, function_of, lint_template, names_of_rules, rules_set_aside
from support.policies import resolve
from support.templates import closure, needs_of

pytestmark = [pytest.mark.cdk, pytest.mark.xdist_group("assembly")]

OUT_WITHIN_MINUTES = 30


@pytest.fixture(scope="module")
def pool(pool_assembly: Assembly) -> dict[str, Any]:
    properties: dict[str, Any] = pool_assembly.only("AWS::Cognito::UserPool")["Properties"]
    return properties


@pytest.fixture(scope="module")
def client(pool_assembly: Assembly) -> dict[str, Any]:
    properties: dict[str, Any] = pool_assembly.only("AWS::Cognito::UserPoolClient")["Properties"]
    return properties


def test_with_an_issuer_there_is_no_pool(assembly: Assembly):
    assert not [each for each in assembly.template["Resources"].values() if "Cognito" in each["Type"]]


def test_no_more_rules_of_cdk_nag_are_set_aside_than_with_an_issuer_but_one(
    pool_assembly: Assembly, assembly: Assembly
):
    aside = rules_set_aside(pool_assembly)
    with_issuer = names_of_rules(rules_set_aside(assembly))
    assert names_of_rules(aside) == with_issuer | {"mgmt/SignIn/Pool": "AwsSolutions-COG8"}
    assert all(len(each["reason"]) > 80 for each in aside.values())


def test_cfn_lint_finds_nothing(pool_assembly: Assembly):
    assert lint_template(pool_assembly) == (0, "")


# --- people --------------------------------------------------------------------------------------------


def test_nobody_signs_up_and_everybody_has_a_second_factor_that_is_no_sms(pool):
    assert pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] is True
    assert (pool["MfaConfiguration"], pool["EnabledMfas"]) == ("ON", ["SOFTWARE_TOKEN_MFA"])
    assert pool["AccountRecoverySetting"]["RecoveryMechanisms"] == [{"Name": "verified_email", "Priority": 1}]
    assert "SmsConfiguration" not in pool


def test_a_person_has_a_name_of_their_own_and_may_sign_in_with_the_address(pool):
    """With the address as the name itself, Cognito's `username` would be a UUID, and the history would show that."""
    assert "UsernameAttributes" not in pool
    assert pool["AliasAttributes"] == ["email"]
    assert pool["UsernameConfiguration"] == {"CaseSensitive": False}
    assert read_deployment({}).settings.actor_claim == "username"


def test_a_first_password_is_good_for_days_only(pool):
    assert pool["Policies"]["PasswordPolicy"]["TemporaryPasswordValidityDays"] == 3
    assert pool["Policies"]["PasswordPolicy"]["MinimumLength"] == 12
    invitation = pool["AdminCreateUserConfig"]["InviteMessageTemplate"]["EmailMessage"]
    assert "{username}" in invitation
    assert "{####}" in invitation


def test_the_groups_are_those_that_the_service_asks_for(pool_assembly: Assembly):
    groups = {each["Properties"]["GroupName"] for each in pool_assembly.find("AWS::Cognito::UserPoolGroup").values()}
    settings = read_deployment({}).settings
    assert groups == {"members", "admins"} == {settings.member_group, settings.admin_group}


def test_the_first_admins_come_from_the_deployment_file(pool_assembly: Assembly):
    person = pool_assembly.only("AWS::Cognito::UserPoolUser")["Properties"]
    assert (person["Username"], person["DesiredDeliveryMediums"]) == ("anna", ["EMAIL"])
    assert {each["Name"]: each["Value"] for each in person["UserAttributes"]} == {
        "email": "anna@example.com",
        "email_verified": "true",
    }
    member = pool_assembly.only("AWS::Cognito::UserPoolUserToGroupAttachment")["Properties"]
    assert (member["Username"], member["GroupName"]) == ("anna", "admins")


# --- what is kept --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["UserPool", "UserPoolGroup", "UserPoolUser", "UserPoolUserToGroupAttachment"])
def test_people_and_their_groups_outlive_the_stack_and_their_lines_in_the_file(pool_assembly: Assembly, kind):
    """But a first deployment that fails takes them back."""
    for resource in pool_assembly.find(f"AWS::Cognito::{kind}").values():
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_the_pool_is_protected_and_made_after_everything_that_may_fail_without_it(pool_assembly: Assembly, pool):
    """A rollback cannot take a pool with deletion protection away."""
    assert pool["DeletionProtection"] == "ACTIVE"
    resources, needs = pool_assembly.template["Resources"], needs_of(pool_assembly.template)
    (name,) = pool_assembly.find("AWS::Cognito::UserPool")
    without = {each for each in resources if name not in closure(needs, each)} - {"CDKMetadata"}
    kinds = {resources[each]["Type"] for each in without}
    assert kinds >= {"AWS::ApiGatewayV2::Api", "AWS::IAM::Role", "AWS::Logs::LogGroup"}
    assert without <= closure(needs, name)


def test_bucket_and_table_come_after_the_pool_and_its_authorizer(pool_assembly: Assembly):
    needs = needs_of(pool_assembly.template)
    (pool,), (authorizer,) = (
        pool_assembly.find(kind) for kind in ("AWS::Cognito::UserPool", "AWS::ApiGatewayV2::Authorizer")
    )
    for kind in ("AWS::S3::Bucket", "AWS::DynamoDB::Table"):
        assert {pool, authorizer} <= closure(needs, next(iter(pool_assembly.find(kind))))


def test_the_sign_in_page_has_a_name_that_no_other_account_can_have_taken(pool_assembly: Assembly):
    """Its prefix is unique in a region, so one that is chosen can fail a first deployment: it is the stack's id."""
    domain = pool_assembly.only("AWS::Cognito::UserPoolDomain")["Properties"]
    assert "AWS::StackId" in json.dumps(domain["Domain"])
    assert domain["ManagedLoginVersion"] == 2
    style = pool_assembly.only("AWS::Cognito::ManagedLoginBranding")["Properties"]
    assert style["UseCognitoProvidedValues"] is True


# --- tokens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("region", "suffix"), [("eu-west-1", "amazonaws.com"), ("cn-north-1", "amazonaws.com.cn")])
def test_the_client_has_every_address_of_the_command_each_with_the_pool_in_it(
    client, pool_assembly: Assembly, region, suffix
):
    """So that no other issuer can send a person on to this pool's page and get the code; RFC 8252, section 8.10."""
    (pool,) = pool_assembly.find("AWS::Cognito::UserPool")
    names = {"AWS::Region": region, "AWS::URLSuffix": suffix, pool: f"{region}_Ab3"}
    issuer = f"https://cognito-idp.{region}.{suffix}/{region}_Ab3"
    assert [resolve(url, names) for url in client["CallbackURLs"]] == list(redirect_uris(issuer))
    authorizer = pool_assembly.only("AWS::ApiGatewayV2::Authorizer")["Properties"]["JwtConfiguration"]
    assert resolve(authorizer["Issuer"], names) == issuer


def test_the_command_is_a_public_client_of_codes(client):
    assert client["GenerateSecret"] is False
    assert client["AllowedOAuthFlows"] == ["code"]
    assert client["SupportedIdentityProviders"] == ["COGNITO", "Google"]
    assert client["PreventUserExistenceErrors"] == "ENABLED"


def test_a_token_gets_its_scopes_from_the_sign_in_page_only(client, pool_assembly: Assembly):
    """What Cognito's own API hands out has `aws.cognito.signin.user.admin`, which no route takes."""
    server = pool_assembly.only("AWS::Cognito::UserPoolResourceServer")["Properties"]
    scopes = {f"{server['Identifier']}/{scope['ScopeName']}" for scope in server["Scopes"]}
    allowed = {
        each if isinstance(each, str) else f"mgmt{each['Fn::Join'][1][1]}" for each in client["AllowedOAuthScopes"]
    }
    assert allowed == scopes | {"openid"}
    settings = read_deployment({}).settings
    asked = {scope for route in ROUTES for scope in scopes_for(route, settings)}
    assert asked == scopes
    assert set(settings.sign_in_scopes) <= allowed
    for resource in pool_assembly.find("AWS::ApiGatewayV2::Route").values():
        if resource["Properties"]["AuthorizationType"] == "JWT":
            assert set(resource["Properties"]["AuthorizationScopes"]) <= scopes


def test_somebody_who_was_removed_is_out_within_half_an_hour(client):
    """A token's life, and that of a URL signed in its last second; a refresh token is asked for only after it.

    Of every deployment that is taken, not only of the one with the default.
    """
    assert client["TokenValidityUnits"]["AccessToken"] == "minutes"
    longest_minutes = OUT_WITHIN_MINUTES - client["AccessTokenValidity"]
    assert read_deployment({}).settings.url_life_seconds <= longest_minutes * 60
    assert read_deployment({"url_life_seconds": longest_minutes * 60})
    with pytest.raises(DeploymentError, match="within half an hour"):
        read_deployment({"url_life_seconds": longest_minutes * 60 + 1})
    assert client["EnableTokenRevocation"] is True


def test_refresh_tokens_are_replaced_at_each_use_and_the_flow_that_replaces_none_is_off(client):
    assert client["RefreshTokenRotation"] == {"Feature": "ENABLED", "RetryGracePeriodSeconds": 30}
    assert client["ExplicitAuthFlows"] == ["ALLOW_USER_SRP_AUTH"]
    assert client["RefreshTokenValidity"] == 30 * 24 * 60


def test_the_api_takes_the_pools_tokens_for_this_client_and_the_listed_machines(pool_assembly: Assembly):
    (pool,), (client,) = (
        pool_assembly.find(kind) for kind in ("AWS::Cognito::UserPool", "AWS::Cognito::UserPoolClient")
    )
    authorizer = pool_assembly.only("AWS::ApiGatewayV2::Authorizer")["Properties"]["JwtConfiguration"]
    assert authorizer["Audience"] == [{"Ref": client}, "ci-1"]
    names = {"AWS::Region": "eu-west-1", "AWS::URLSuffix": "amazonaws.com", pool: "POOL"}
    assert resolve(authorizer["Issuer"], names) == "https://cognito-idp.eu-west-1.amazonaws.com/POOL"


def test_the_function_knows_the_pool_as_its_issuer(pool_assembly: Assembly):
    variables = function_of(pool_assembly, "handler")["Environment"]["Variables"]
    names = {name: name for name in pool_assembly.template["Resources"]}
    names |= {"AWS::Region": "eu-west-1", "AWS::URLSuffix": "amazonaws.com"}
    written = {name: resolve(value, names) for name, value in variables.items()}
    settings = read_settings(written | {"AWS_REGION": "eu-west-1"})
    (pool,), (client,) = (
        pool_assembly.find(kind) for kind in ("AWS::Cognito::UserPool", "AWS::Cognito::UserPoolClient")
    )
    assert settings == Settings(
        bucket=settings.bucket,
        table=settings.table,
        region="eu-west-1",
        issuer=f"https://cognito-idp.eu-west-1.amazonaws.com/{pool}",
        client_id=client,
        member_group="members",
        admin_group="admins",
        scopes=("mgmt/use",),
        read_scopes=("mgmt/read",),
        sign_in_scopes=("openid", "mgmt/use"),
        machine_clients=("ci-1",),
        joins_queue_url=settings.joins_queue_url,
        looks_queue_url=settings.looks_queue_url,
    )


def test_the_admin_is_told_the_pool_beside_the_rest(pool_assembly: Assembly):
    assert pool_assembly.template["Outputs"].keys() == {
        "ApiUrl",
        "BucketName",
        "TableName",
        "DeployedValues",
        "UserPoolId",
    }
