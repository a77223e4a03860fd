"""The service's function, and the role with all its rights."""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from constructs import Construct

from mgmt_api.adapters.table import INDEXES
from mgmt_infra.deployment import Deployment
from mgmt_infra.function import (
    MISSING_ACTIONS,
    allow,
    allow_log,
    make_function,
    make_log,
    make_role,
    resource_of,
    set_keys_aside,
)
from mgmt_infra.queues import Queues
from mgmt_infra.storage import Storage

HANDLER = "mgmt_api.handler.lambda_handler"

TIMEOUT_SECONDS = 29
"""An HTTP API cuts every call at 30 s: end before it, with an answer of our own."""

OBJECT_ACTIONS = (
    "s3:PutObject",  # presigned PUTs of objects and parts; beginning multipart uploads
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

    def __init__(
        self, scope: Construct, construct_id: str, *, storage: Storage, queues: Queues, deployment: Deployment
    ) -> None:
        super().__init__(scope, construct_id)
        self._storage = storage
        self._queues = queues
        self._deployment = deployment
        self.log = make_log(self)
        self.role = self._make_role()
        self.role_alone = resource_of(self.role)
        """Without its policy, which names bucket and table."""
        self.function = make_function(
            self,
            "The uploads API: signs, verifies, records.",
            handler=HANDLER,
            timeout_seconds=TIMEOUT_SECONDS,
            role=self.role,
            log=self.log,
            storage=storage,
            queues=queues,
            deployment=deployment,
        )

    def _make_role(self) -> iam.Role:
        role = make_role(self, "Role")
        bucket, table = self._storage.bucket, self._storage.table
        prefix = self._deployment.settings.root_prefix.strip("/")
        keys = f"{prefix}/*" if prefix else "*"
        indexes = [f"{table.table_arn}/index/{name}" for name in INDEXES]
        allow(role, "Objects", OBJECT_ACTIONS, [bucket.arn_for_objects(keys)])
        # A condition on s3:prefix would not hold, for HEAD sends none.
        allow(role, "MissingObjects", MISSING_ACTIONS, [bucket.bucket_arn])
        allow(role, "Records", TABLE_ACTIONS, [table.table_arn])
        allow(role, "History", ("dynamodb:Query",), indexes)
        allow(role, "Joins", ("sqs:SendMessage",), [self._queues.joins.queue_arn])
        allow_log(role, self.log)
        set_keys_aside(role, bucket, keys)
        return role
