"""The worker: a second function that acts when no client asks."""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from mgmt_infra.deployment import Deployment
from mgmt_infra.function import (
    MISSING_ACTIONS,
    allow,
    allow_log,
    make_function,
    make_log,
    make_role,
    set_keys_aside,
)
from mgmt_infra.queues import WORK_MAX_SECONDS, Queues
from mgmt_infra.storage import Storage

HANDLER = "mgmt_api.worker.lambda_handler"
JOINS_AT_A_TIME = 5
LOOKS_AT_A_TIME = 2
"""Functions at work for each queue. A new account has ten in all, and people's calls come first."""
LOOKS_IN_A_BATCH = 10

OBJECT_ACTIONS = (
    "s3:PutObject",  # completing multipart uploads
    "s3:GetObject",  # HEAD; and If-Match, which S3 allows only with the right to read
    "s3:GetObjectVersion",  # HEAD of one version
    "s3:ListMultipartUploadParts",
    "s3:AbortMultipartUpload",  # of uploads that nobody goes on with
    "s3:GetObjectVersionTagging",
    "s3:PutObjectVersionTagging",  # of what was deleted longer ago than promised
)
BUCKET_ACTIONS = (*MISSING_ACTIONS, "s3:ListBucketMultipartUploads")
TABLE_ACTIONS = ("dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:Query")
INDEXES_USED = ("open", "by_name", "feed")
QUEUE_ACTIONS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")


class Worker(Construct):
    """The function with its role and log, fed by the queues."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        role: iam.Role,
        queues: Queues,
        storage: Storage,
        deployment: Deployment,
    ) -> None:
        super().__init__(scope, construct_id)
        self._queues = queues
        self._storage = storage
        self._deployment = deployment
        self._role = role
        self.log = make_log(self)
        self._grant()
        self.function = make_function(
            self,
            "Upkeep: joins, confirms, ends and tags what no client asks about.",
            handler=HANDLER,
            timeout_seconds=WORK_MAX_SECONDS,
            role=role,
            log=self.log,
            storage=storage,
            queues=queues,
            deployment=deployment,
            # A round that does not fit into a run asks for the next one by a message to its own queue. Lambda takes
            # that for an endless loop, and stops it after some 16 runs, four hours. Source: AWS Lambda Developer Guide,
            # "Use Lambda recursive loop detection to prevent infinite loops", read 2026-11. A round ends by itself:
            # each run begins behind the last.
            recursive_loop=lambda_.RecursiveLoop.ALLOW,
        )
        self._feed("Joins", queues.joins, batch_size=1, most=JOINS_AT_A_TIME)
        self._feed("Looks", queues.looks, batch_size=LOOKS_IN_A_BATCH, most=LOOKS_AT_A_TIME)

    def _grant(self) -> None:
        role, bucket, table, queues = self._role, self._storage.bucket, self._storage.table, self._queues
        prefix = self._deployment.settings.root_prefix.strip("/")
        keys = f"{prefix}/*" if prefix else "*"
        allow(role, "Objects", OBJECT_ACTIONS, [bucket.arn_for_objects(keys)])
        allow(role, "Lists", BUCKET_ACTIONS, [bucket.bucket_arn])
        allow(role, "Records", TABLE_ACTIONS, [table.table_arn])
        indexes = [f"{table.table_arn}/index/{name}" for name in INDEXES_USED]
        allow(role, "History", ("dynamodb:Query",), indexes)
        allow(role, "Work", QUEUE_ACTIONS, [queues.joins.queue_arn, queues.looks.queue_arn])
        allow(role, "MoreWork", ("sqs:SendMessage",), [queues.joins.queue_arn, queues.looks.queue_arn])
        allow_log(role, self.log)
        set_keys_aside(role, bucket, keys)

    def _feed(self, name: str, queue: sqs.Queue, *, batch_size: int, most: int) -> None:
        lambda_.EventSourceMapping(
            self,
            name,
            target=self.function,
            event_source_arn=queue.queue_arn,
            batch_size=batch_size,
            max_concurrency=most,
            report_batch_item_failures=True,
        ).node.add_dependency(self._role)


def make_worker_role(scope: Construct) -> iam.Role:
    """Make the role without its rights: the bucket's policy names it, and the rights name the bucket."""
    return make_role(scope, "WorkerRole")
