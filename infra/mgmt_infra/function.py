"""What both functions of the service are made of: code, log, role, environment."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from mgmt_infra.asset import bundle_service
from mgmt_infra.deployment import Deployment
from mgmt_infra.queues import Queues
from mgmt_infra.rules import set_aside
from mgmt_infra.storage import Storage

MEMORY_MB = 512

MISSING_ACTIONS = ("s3:ListBucket", "s3:ListBucketVersions")
"""Without the first, S3 answers HEAD of a missing object with 403 instead of 404. Source: Amazon S3 API Reference,
"HeadObject", read 2026-11. It does not say which right a missing version needs: the second is the one that lists
versions. With 403 a lost version would never be told as lost, only as one that cannot be looked at just now."""


def make_log(scope: Construct) -> logs.LogGroup:
    """Make a function's log, which is kept for a while."""
    return logs.LogGroup(
        scope, "Log", retention=logs.RetentionDays.THREE_MONTHS, removal_policy=cdk.RemovalPolicy.DESTROY
    )


def make_role(scope: Construct, name: str) -> iam.Role:
    """Make a function's role, which may do nothing yet."""
    return iam.Role(scope, name, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))


def make_function(  # noqa: PLR0913  one for each thing that the two functions differ in
    scope: Construct,
    description: str,
    *,
    handler: str,
    timeout_seconds: int,
    role: iam.Role,
    log: logs.LogGroup,
    storage: Storage,
    queues: Queues,
    deployment: Deployment,
    recursive_loop: lambda_.RecursiveLoop | None = None,
) -> lambda_.Function:
    """Make a function of the service's code."""
    function = lambda_.Function(
        scope,
        "Function",
        description=description,
        runtime=lambda_.Runtime(deployment.runtime, lambda_.RuntimeFamily.PYTHON),
        architecture=_architecture(deployment.architecture),
        code=bundle_service(deployment),
        handler=handler,
        role=role,
        log_group=log,
        timeout=cdk.Duration.seconds(timeout_seconds),
        memory_size=MEMORY_MB,
        tracing=lambda_.Tracing.DISABLED,
        recursive_loop=recursive_loop,
        environment={
            "MGMT_BUCKET": storage.bucket.bucket_name,
            "MGMT_TABLE": storage.table.table_name,
            "MGMT_JOINS_QUEUE_URL": queues.joins.queue_url,
            "MGMT_LOOKS_QUEUE_URL": queues.looks.queue_url,
            "POWERTOOLS_SERVICE_NAME": deployment.stack_name,  # whose metrics these are
            **deployment.variables,
        },
    )
    set_aside(
        function,
        "L1",
        "The runtime follows the newest Python for which every pinned requirement has wheels and the tests run.",
    )
    return function


def resource_of(role: iam.Role) -> iam.CfnRole:
    """Return a role without its policy, which names bucket and table."""
    resource = role.node.default_child
    if not isinstance(resource, iam.CfnRole):
        raise TypeError(f"the role's resource is {resource!r}")
    return resource


def allow(role: iam.Role, sid: str, actions: tuple[str, ...], resources: list[str]) -> None:
    """Give a role a right."""
    role.add_to_policy(iam.PolicyStatement(sid=sid, actions=list(actions), resources=resources))


def allow_log(role: iam.Role, log: logs.LogGroup) -> None:
    """Let a role write its log."""
    allow(role, "Log", ("logs:CreateLogStream", "logs:PutLogEvents"), [log.log_group_arn])


def set_keys_aside(role: iam.Role, bucket: s3.Bucket, keys: str) -> None:
    """Set the rule aside that refuses a pattern as a resource."""
    resource = bucket.node.default_child
    if not isinstance(resource, s3.CfnBucket):
        raise TypeError(f"the bucket's resource is {resource!r}")
    bucket_id = cdk.Stack.of(bucket).get_logical_id(resource)
    set_aside(
        role,
        f"IAM5[Resource::<{bucket_id}.Arn>/{keys}]",
        "The names of the archives are the team's to choose. What the actions allow is bounded: no deletion, and "
        "writes only under the conditions of the bucket policy.",
    )


def _architecture(name: str) -> lambda_.Architecture:
    return lambda_.Architecture.ARM_64 if name == "arm64" else lambda_.Architecture.X86_64
