"""What the synthesized stack is: asked of its CloudFormation template and of the bundled code."""

from __future__ import annotations

import filecmp
import io
import json
import zipfile
from pathlib import Path

import pytest

from mgmt_api.adapters.table import INDEX_PROJECTION, INDEXES, TABLE_KEYS, KeyAttributes
from mgmt_api.domain.policy import scopes_for
from mgmt_api.domain.settings import Settings, read_settings
from mgmt_contract.routes import DESCRIBE, ROUTES
from mgmt_infra.deployment import read_deployment
from support.assembly import (
    INFRA,
    STACK,
    Assembly,
    function_of,
    lint_template,
    names_of_rules,
    rules_set_aside,
)
from support.node import CDK_DIRECTORY
from support.policies import as_list
from support.templates import closure, needs_of

pytestmark = [pytest.mark.cdk, pytest.mark.xdist_group("assembly")]

LAMBDA = Path(__file__).resolve().parents[2] / "lambda"
ZIP_MAX_BYTES = 4_000_000
KEPT = ["AWS::S3::Bucket", "AWS::DynamoDB::Table"]


# --- rules ---------------------------------------------------------------------------------------------


def test_no_rule_of_cdk_nag_is_broken_or_set_aside_but_these(assembly: Assembly):
    """Each is set aside for one construct, with a reason."""
    aside = rules_set_aside(assembly)
    assert names_of_rules(aside) == {
        "mgmt/Storage/Bucket": "AwsSolutions-S1",
        "mgmt/Service/Role": "AwsSolutions-IAM5",
        "mgmt/Service/Function": "AwsSolutions-L1",
        "mgmt/WorkerRole": "AwsSolutions-IAM5",
        "mgmt/Worker/Function": "AwsSolutions-L1",
        "mgmt/Api/HttpApi/GET--v1--service": "AwsSolutions-APIG4",
    }
    assert all(len(each["reason"]) > 80 and len(each["violatingConstructs"]) == 1 for each in aside.values())


def test_cfn_lint_finds_nothing(assembly: Assembly):
    assert lint_template(assembly) == (0, "")


def test_every_feature_flag_is_set_as_the_cdk_command_recommends():
    """As `cdk init` would have done: without, the behaviour is that of the first CDK 2."""
    (recommended,) = CDK_DIRECTORY.glob("node_modules/aws-cdk/lib/init-templates/.recommended-feature-flags.json")
    context = json.loads((INFRA / "cdk.json").read_text())["context"]
    assert {name: value for name, value in context.items() if name.startswith("@")} == json.loads(
        recommended.read_text()
    )


def test_a_deployment_from_another_file_names_the_record_that_the_cdk_command_has_to_write(assembly: Assembly):
    """Else it would overwrite that of `deployment.toml`."""
    said = (assembly.directory / f"{STACK}.metadata.json").read_text()
    record = next(path for path in assembly.directory.parent.glob("*/deployment.deployed.json") if str(path) in said)
    assert f"Deploy with --outputs-file {record}," in said


# --- storage -------------------------------------------------------------------------------------------


def test_the_bucket_is_private_versioned_and_encrypted(assembly: Assembly):
    bucket = assembly.only("AWS::S3::Bucket")["Properties"]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


def test_only_abandoned_parts_what_is_tagged_for_it_and_empty_markers_are_ever_removed(assembly: Assembly):
    """No rule expires a version without the tag that only a deleted upload gets, long after its deletion."""
    rules = assembly.only("AWS::S3::Bucket")["Properties"]["LifecycleConfiguration"]["Rules"]
    assert {rule.pop("Id"): rule for rule in map(dict, rules)} == {
        "abandoned-multipart-uploads": {
            "Status": "Enabled",
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 30},
        },
        "deleted-uploads": {
            "Status": "Enabled",
            "TagFilters": [{"Key": "mgmt-expired", "Value": "true"}],
            "ExpirationInDays": 1,
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        },
        "markers-over-nothing": {"Status": "Enabled", "ExpiredObjectDeleteMarker": True},
    }


def test_the_table_is_what_the_adapter_expects(assembly: Assembly):
    table = assembly.only("AWS::DynamoDB::Table")["Properties"]
    names = set(TABLE_KEYS).union(*INDEXES.values())
    assert table["KeySchema"] == _key_schema(TABLE_KEYS)
    assert {name["AttributeName"]: name["AttributeType"] for name in table["AttributeDefinitions"]} == dict.fromkeys(
        names, "S"
    )
    assert {index["IndexName"]: index["KeySchema"] for index in table["GlobalSecondaryIndexes"]} == {
        name: _key_schema(keys) for name, keys in INDEXES.items()
    }
    projections = {index["Projection"]["ProjectionType"] for index in table["GlobalSecondaryIndexes"]}
    assert projections == {INDEX_PROJECTION}


def test_the_table_can_be_restored_and_costs_by_use(assembly: Assembly):
    table = assembly.only("AWS::DynamoDB::Table")["Properties"]
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["DeletionProtectionEnabled"] is True


@pytest.mark.parametrize("resource_type", KEPT)
def test_footage_and_records_outlive_the_stack(assembly: Assembly, resource_type):
    """But a first deployment that fails leaves nothing behind, so that the next can begin again."""
    resource = assembly.only(resource_type)
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_bucket_and_table_are_made_after_everything_that_may_fail_without_them(assembly: Assembly):
    """A rollback cannot take a table with deletion protection away."""
    resources = assembly.template["Resources"]
    needs = needs_of(assembly.template)
    kept = {name for kind in KEPT for name in assembly.find(kind)}
    without = {name for name in resources if not kept & closure(needs, name)}
    assert {resources[name]["Type"] for name in without} >= {"AWS::ApiGatewayV2::Authorizer", "AWS::IAM::Role"}
    for name in kept:
        assert without - {"CDKMetadata"} <= closure(needs, name)


# --- function ------------------------------------------------------------------------------------------


def test_the_function_reads_every_setting_from_its_environment(assembly: Assembly, context):
    """None of the context's values is a default, so a variable that is not passed on is noticed."""
    variables = function_of(assembly, "handler")["Environment"]["Variables"]
    names = {name: _reference(value) for name, value in variables.items()}
    bucket, table = (next(iter(assembly.find(kind))) for kind in ("AWS::S3::Bucket", "AWS::DynamoDB::Table"))
    assert read_settings(names | {"AWS_REGION": "eu-west-1"}) == Settings(
        bucket=bucket,
        table=table,
        region="eu-west-1",
        root_prefix=context["root_prefix"],
        member_group=context["member_group"],
        admin_group=context["admin_group"],
        actor_claim=context["actor_claim"],
        groups_claim=context["groups_claim"],
        url_life_seconds=context["url_life_seconds"],
        lease_seconds=context["lease_seconds"],
        feed_shards=context["feed_shards"],
        join_patience_seconds=context["join_patience_seconds"],
        resume_days=context["resume_days"],
        recoverable_days=context["recoverable_days"],
        joins_queue_url=names["MGMT_JOINS_QUEUE_URL"],
        looks_queue_url=names["MGMT_LOOKS_QUEUE_URL"],
        issuer=context["issuer"],
        client_id=context["client_id"],
        audience=context["audience"],
        scopes=tuple(context["scopes"]),
        read_scopes=tuple(context["read_scopes"]),
        sign_in_scopes=tuple(context["sign_in_scopes"]),
        machine_clients=tuple(context["machine_clients"]),
        replace_others=context["replace_others"],
    )


def test_the_metrics_of_several_services_in_one_account_are_told_apart(assembly: Assembly):
    variables = function_of(assembly, "handler")["Environment"]["Variables"]
    assert variables["POWERTOOLS_SERVICE_NAME"] == STACK


def test_the_function_answers_before_the_api_gives_up(assembly: Assembly):
    assert function_of(assembly, "handler")["Timeout"] == 29


def test_the_function_runs_on_arm_and_is_not_traced(assembly: Assembly):
    function = function_of(assembly, "handler")
    assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])
    assert function["MemorySize"] == 512
    assert "TracingConfig" not in function


def test_every_log_is_kept_for_a_while_only(assembly: Assembly):
    groups = assembly.find("AWS::Logs::LogGroup")
    assert len(groups) == 3
    assert {group["Properties"]["RetentionInDays"] for group in groups.values()} == {90}
    logging = function_of(assembly, "handler")["LoggingConfig"]
    assert logging["LogGroup"]["Ref"] in groups


# --- code ----------------------------------------------------------------------------------------------


def test_the_code_is_the_lambda_folder_as_it_stands(assembly: Assembly):
    """Also: the handler that is named is there."""
    files = [
        path.relative_to(LAMBDA) for path in LAMBDA.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    _, differing, missing = filecmp.cmpfiles(LAMBDA, assembly.code_directory, map(str, files), shallow=False)
    assert (differing, missing) == ([], [])
    module, function = function_of(assembly, "handler")["Handler"].rsplit(".", 1)
    source = (assembly.code_directory / module.replace(".", "/")).with_suffix(".py").read_text()
    assert f"def {function}(" in source


def test_the_code_holds_its_requirements_for_the_right_platform(assembly: Assembly):
    libraries = [path.name for path in assembly.code_directory.rglob("*.so")]
    assert libraries == ["_pydantic_core.cpython-313-aarch64-linux-gnu.so"]
    assert (assembly.code_directory / "aws_lambda_powertools").is_dir()


def test_the_code_brings_nothing_that_lambda_has_or_nobody_runs(assembly: Assembly):
    names = {path.name for path in assembly.code_directory.rglob("*")}
    assert names.isdisjoint({"boto3", "botocore", "__pycache__", "bin", "tests"})


def test_the_zip_is_small(assembly: Assembly):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in assembly.code_directory.rglob("*"):
            archive.write(path, path.relative_to(assembly.code_directory))
    assert len(buffer.getvalue()) <= ZIP_MAX_BYTES


# --- api -----------------------------------------------------------------------------------------------


def test_there_is_a_route_for_each_call_of_the_contract_and_no_other(assembly: Assembly):
    keys = {route["Properties"]["RouteKey"] for route in assembly.find("AWS::ApiGatewayV2::Route").values()}
    assert keys == {f"{route.method} {route.path}" for route in ROUTES}


def test_every_route_but_the_description_needs_a_token_with_a_scope(assembly: Assembly, context):
    """Routes that only read take a scope of reading as well: what the policy says, and no other list."""
    settings = read_deployment(context).settings
    by_key = {f"{route.method} {route.path}": scopes_for(route, settings) for route in ROUTES}
    (authorizer,) = assembly.find("AWS::ApiGatewayV2::Authorizer")
    for resource in assembly.find("AWS::ApiGatewayV2::Route").values():
        route = resource["Properties"]
        if route["RouteKey"] == f"{DESCRIBE.method} {DESCRIBE.path}":
            assert route["AuthorizationType"] == "NONE"
        else:
            assert route["AuthorizationType"] == "JWT"
            assert route["AuthorizerId"] == {"Ref": authorizer}
            assert route["AuthorizationScopes"] == list(by_key[route["RouteKey"]])
            assert set(context["scopes"]) <= set(route["AuthorizationScopes"])


def test_tokens_come_from_the_issuer_for_this_service(assembly: Assembly, context):
    authorizer = assembly.only("AWS::ApiGatewayV2::Authorizer")["Properties"]
    assert authorizer["AuthorizerType"] == "JWT"
    assert authorizer["IdentitySource"] == ["$request.header.Authorization"]
    assert authorizer["JwtConfiguration"] == {
        "Issuer": context["issuer"],
        "Audience": [context["audience"]],
    }


def test_the_api_is_throttled(assembly: Assembly, context):
    throttle = assembly.only("AWS::ApiGatewayV2::Stage")["Properties"]["DefaultRouteSettings"]
    assert throttle["ThrottlingRateLimit"] == int(context["requests_per_second"])
    assert throttle["ThrottlingBurstLimit"] == int(context["request_burst"])


def test_what_anybody_may_call_cannot_starve_what_takes_a_sign_in(assembly: Assembly, context):
    """It has a limit of its own, lower than the others'; the stage comes after the routes that it names."""
    stage = assembly.only("AWS::ApiGatewayV2::Stage")
    assert stage["Properties"]["RouteSettings"] == {
        f"{DESCRIBE.method} {DESCRIBE.path}": {
            "ThrottlingRateLimit": int(context["open_requests_per_second"]),
            "ThrottlingBurstLimit": int(context["open_request_burst"]),
        }
    }
    assert assembly.find("AWS::ApiGatewayV2::Route").keys() <= set(stage["DependsOn"])


def test_by_default_a_flood_of_open_calls_leaves_half_of_a_new_accounts_functions():
    """Lambda gives a new account ten at a time."""
    deployment = read_deployment({})
    assert deployment.open_request_burst <= 5
    assert deployment.open_requests_per_second < deployment.requests_per_second


def test_calls_are_logged_without_what_they_carry(assembly: Assembly):
    """No header, no body, no query: nothing that could hold a token or a signature."""
    settings = assembly.only("AWS::ApiGatewayV2::Stage")["Properties"]["AccessLogSettings"]
    fields = json.loads(settings["Format"])
    assert {"$context.requestId", "$context.status", "$context.authorizer.claims.sub"} <= set(fields.values())
    assert not [value for value in fields.values() if "header" in value.lower() or not value.startswith("$context.")]
    assert _reference(settings["DestinationArn"]) in assembly.find("AWS::Logs::LogGroup")


def test_only_this_api_may_call_the_function(assembly: Assembly):
    permission = assembly.only("AWS::Lambda::Permission")["Properties"]
    assert permission["Principal"] == "apigateway.amazonaws.com"
    (api,) = assembly.find("AWS::ApiGatewayV2::Api")
    assert {"Ref": api} in permission["SourceArn"]["Fn::Join"][1]


def test_the_admin_is_told_address_bucket_and_table(assembly: Assembly):
    assert assembly.template["Outputs"].keys() == {"ApiUrl", "BucketName", "TableName", "DeployedValues"}


def _key_schema(keys: KeyAttributes) -> list[dict[str, str]]:
    return [
        {"AttributeName": keys.partition, "KeyType": "HASH"},
        {"AttributeName": keys.sort, "KeyType": "RANGE"},
    ]


def _reference(value):
    """Reduce a reference to the logical id it names; anything else stays."""
    if isinstance(value, dict):
        (target,) = value.values()
        return as_list(target)[0]
    return value
