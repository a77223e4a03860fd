"""The bucket that holds the archives, the table that holds the records."""

from __future__ import annotations

from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct, IDependable

from mgmt_api.adapters.table import INDEX_PROJECTION, INDEXES, TABLE_KEYS
from mgmt_contract.names import ARCHIVE_SUFFIX
from mgmt_contract.parts import ABANDONED_AFTER_DAYS
from mgmt_contract.storage import EXPIRED_TAG, EXPIRED_TAG_VALUE
from mgmt_infra.bucket_policy import add_belts
from mgmt_infra.rules import set_aside

KEPT: Final = cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
"""Kept when the stack is deleted or an update fails; removed only if the stack's first creation fails."""


class Storage(Construct):
    """Both outlive the stack: `cdk destroy` leaves them and their content."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        url_life_seconds: int,
        tagged_by: str,
        arrivals: sqs.Queue,
        root_prefix: str,
    ) -> None:
        super().__init__(scope, construct_id)
        self.bucket = self._make_bucket()
        add_belts(self.bucket, url_life_seconds=url_life_seconds, tagged_by=tagged_by)
        self._tell_arrivals(arrivals, root_prefix.strip("/"))
        self.table = self._make_table()

    def make_after(self, *others: IDependable) -> None:
        """Make bucket and table after these constructs, which may fail.

        CloudFormation takes back what a failed first deployment has made, but not a table with deletion protection.
        """
        for kept in (self.bucket, self.table):
            kept.node.add_dependency(*others)

    def _make_bucket(self) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            "Bucket",
            versioned=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            removal_policy=KEPT,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="abandoned-multipart-uploads",
                    abort_incomplete_multipart_upload_after=cdk.Duration.days(ABANDONED_AFTER_DAYS),
                ),
                # A tag starts no clock: S3 counts from the version's creation, so one day is as soon as S3 looks.
                # What is removed has been deleted for the promised days before it gets the tag.
                s3.LifecycleRule(
                    id="deleted-uploads",
                    tag_filters={EXPIRED_TAG: EXPIRED_TAG_VALUE},
                    expiration=cdk.Duration.days(1),
                    noncurrent_version_expiration=cdk.Duration.days(1),
                ),
                # S3 takes no tag filter beside this one: it concerns markers under which no version is left.
                s3.LifecycleRule(id="markers-over-nothing", expired_object_delete_marker=True),
            ],
        )
        set_aside(
            bucket,
            "S1",
            "Every write is presigned for one recorded operation of one person: the records tell who stored what. "
            "Server access logs are a second bucket to pay for and to look after; an account that wants them has "
            "CloudTrail's data events without a change here.",
        )
        return bucket

    def _tell_arrivals(self, queue: sqs.Queue, root_prefix: str) -> None:
        """Have S3 tell of archives that arrive. On the resource itself: CDK's own way adds a function and a role."""
        resource = self.bucket.node.default_child
        if not isinstance(resource, s3.CfnBucket):
            raise TypeError(f"the bucket's resource is {resource!r}")
        rules = [{"name": "suffix", "value": ARCHIVE_SUFFIX}]
        if root_prefix:
            rules.append({"name": "prefix", "value": f"{root_prefix}/"})
        resource.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            queue_configurations=[
                s3.CfnBucket.QueueConfigurationProperty(
                    event="s3:ObjectCreated:*",
                    queue=queue.queue_arn,
                    filter=s3.CfnBucket.NotificationFilterProperty(
                        s3_key=s3.CfnBucket.S3KeyFilterProperty(
                            rules=[s3.CfnBucket.FilterRuleProperty(**rule) for rule in rules]
                        )
                    ),
                )
            ]
        )

    def _make_table(self) -> dynamodb.Table:
        table = dynamodb.Table(
            self,
            "Table",
            partition_key=_text(TABLE_KEYS.partition),
            sort_key=_text(TABLE_KEYS.sort),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            deletion_protection=True,
            removal_policy=KEPT,
        )
        for name, keys in INDEXES.items():
            table.add_global_secondary_index(
                index_name=name,
                partition_key=_text(keys.partition),
                sort_key=_text(keys.sort),
                projection_type=dynamodb.ProjectionType[INDEX_PROJECTION],
            )
        return table


def _text(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
