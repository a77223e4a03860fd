"""The service's function, and the role with all its rights."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from mgmt_api.adapters.table import INDEXES
from mgmt_infra.asset import bundle_service
from mgmt_infra.deployment import Deployment
from mgmt_infra.rules import set_aside
from mgmt_infra.storage import Storage

HANDLER = "mgmt_api.handler.lambda_handler"

TIMEOUT_SECONDS = 29
"""An HTTP API cuts every call at 30 s: end before it, with an answer of our own."""

OBJECT_ACTIONS = (
    "s3:PutObject",  # presigned PUTs of objects and parts; beginning and completing multipart uploads
    "s3:PutObjectTagging",  # tags that ride on those
    "s3:GetObject",  # HEAD; and If-Match, which S3 allows only with the right to read
    "s3:GetObjectVersion",  # HEAD and presigned GET of the one version that an upload has stored
    "s3:ListMultipartUploadParts",
    "s3:AbortMultipartUpload",
    "s3:RestoreObject",  # a readable copy of an archived object, for some days
)
"""No deletion of any kind: an object can be hidden by a new version, never destroyed."""

TABLE_ACTIONS = (
    "dynamodb:BatchGetItem",
    "dynamodb:PutItem",  # alone and in transactions, always conditional
    "dynamodb:Query",
)


class Service(Construct):
    """The function, its role and its log."""

    def __init__(self, scope: Construct, construct_id: str, *, storage: Storage, deployment: Deployment) -> None:
        super().__init__(scope, construct_id)
        self._storage = storage
        self._deployment = deployment
        self.log = logs.LogGroup(
            self, "Log", retention=logs.RetentionDays.THREE_MONTHS, removal_policy=cdk.RemovalPolicy.DESTROY
        )
        self.role = self._make_role()
        self.role_alone = _resource_of(self.role)
        """Without its policy, which names bucket and table."""
        self.function = self._make_function()

    def _make_role(self) -> iam.Role:
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        bucket, table = self._storage.bucket, self._storage.table
        prefix = self._deployment.settings.root_prefix.strip("/")
        keys = f"{prefix}/*" if prefix else "*"
        indexes = [f"{table.table_arn}/index/{name}" for name in INDEXES]
        _allow(role, "Objects", OBJECT_ACTIONS, [bucket.arn_for_objects(keys)])
        # Without it S3 answers HEAD of a missing object with 403 instead of 404. A condition on s3:prefix
        # would not hold there, for HEAD sends none.
        _allow(role, "MissingObjects", ("s3:ListBucket",), [bucket.bucket_arn])
        _allow(role, "Records", TABLE_ACTIONS, [table.table_arn])
        _allow(role, "History", ("dynamodb:Query",), indexes)
        _allow(role, "Log", ("logs:CreateLogStream", "logs:PutLogEvents"), [self.log.log_group_arn])
        _set_keys_aside(role, bucket, keys)
        return role

    def _make_function(self) -> lambda_.Function:
        deployment, storage = self._deployment, self._storage
        function = lambda_.Function(
            self,
            "Function",
            description="The uploads API: signs, verifies, records.",
            runtime=lambda_.Runtime(deployment.runtime, lambda_.RuntimeFamily.PYTHON),
            architecture=_architecture(deployment.architecture),
            code=bundle_service(deployment),
            handler=HANDLER,
            role=self.role,
            log_group=self.log,
            timeout=cdk.Duration.seconds(TIMEOUT_SECONDS),
            memory_size=512,
            tracing=lambda_.Tracing.DISABLED,
            environment={
                "MGMT_BUCKET": storage.bucket.bucket_name,
                "MGMT_TABLE": storage.table.table_name,
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


def _resource_of(role: iam.Role) -> iam.CfnRole:
    resource = role.node.default_child
    if not isinstance(resource, iam.CfnRole):
        raise TypeError(f"the role's resource is {resource!r}")
    return resource


def _allow(role: iam.Role, sid: str, actions: tuple[str, ...], resources: list[str]) -> None:
    role.add_to_policy(iam.PolicyStatement(sid=sid, actions=list(actions), resources=resources))


def _architecture(name: str) -> lambda_.Architecture:
    return lambda_.Architecture.ARM_64 if name == "arm64" else lambda_.Architecture.X86_64


def _set_keys_aside(role: iam.Role, bucket: s3.Bucket, keys: str) -> None:
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
