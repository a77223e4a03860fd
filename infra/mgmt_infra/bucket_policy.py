"""Belts in the bucket policy: they hold even if the service, or a stolen URL, asks for something else.

Every statement denies; nothing here grants. Each condition is one that AWS documents for exactly this use,
so that a key which S3 does not send for some request leaves that request alone.
"""

from __future__ import annotations

from typing import Any

from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3

from mgmt_contract.storage import KEPT_TAG_PREFIX


def add_belts(bucket: s3.Bucket, *, url_life_seconds: int, tagged_by: str) -> None:
    """Add every belt but TLS, which the bucket brings itself (`enforce_ssl`).

    Args:
        bucket: The bucket.
        url_life_seconds: How long a presigned URL is good for.
        tagged_by: The role that alone may set the tags that the service keeps for itself.
    """
    _deny_old_signatures(bucket)
    _deny_long_lived_urls(bucket, url_life_seconds)
    _deny_unconditional_writes(bucket)
    _deny_kept_tags(bucket, tagged_by)


def _deny_old_signatures(bucket: s3.Bucket) -> None:
    """Signature version 4 only: version 2 binds neither headers nor region.

    Source: AWS Prescriptive Guidance, "Presigned URL best practices: additional guardrails", read 2026-11.
    Named by its value "AWS" rather than as "not version 4", which would also match requests without the key.
    """
    resources = [bucket.bucket_arn, bucket.arn_for_objects("*")]
    _deny(bucket, "SignatureVersion4Only", "s3:*", resources, {"StringEquals": {"s3:signatureversion": "AWS"}})


def _deny_long_lived_urls(bucket: s3.Bucket, url_life_seconds: int) -> None:
    """A URL dies with the life the service gives it, even if it was signed for longer.

    Source: Amazon S3 API Reference, "Signature Version 4 authentication specific policy keys", read 2026-11:
    the age is in milliseconds and the shorter of URL and policy wins. Only signatures in a query string or a
    form: those in a header are used at once, from machines whose clocks may differ by minutes.
    """
    condition = {
        "NumericGreaterThan": {"s3:signatureAge": url_life_seconds * 1000},
        "StringEquals": {"s3:authType": ["REST-QUERY-STRING", "POST"]},
    }
    _deny(bucket, "ShortLivedUrlsOnly", "s3:*", [bucket.arn_for_objects("*")], condition)


def _deny_unconditional_writes(bucket: s3.Bucket) -> None:
    """An object is created (If-None-Match) or one that is named is replaced (If-Match); never just written.

    Source: Amazon S3 User Guide, "Enforce conditional writes on Amazon S3 buckets", read 2026-11.
    CreateMultipartUpload and UploadPart need s3:PutObject too and take no condition: for them
    s3:ObjectCreationOperation is false, and this statement does not apply. It does apply to a copy on the
    server, so whatever brings one must exempt it here.
    """
    condition = {
        "Null": {"s3:if-none-match": "true", "s3:if-match": "true"},
        "Bool": {"s3:ObjectCreationOperation": "true"},
    }
    _deny(bucket, "ConditionalWritesOnly", "s3:PutObject", [bucket.arn_for_objects("*")], condition)


def _deny_kept_tags(bucket: s3.Bucket, tagged_by: str) -> None:
    """Only the worker sets a tag that the service keeps for itself: a lifecycle rule removes what has one of them.

    Source: Service Authorization Reference, "Actions, resources, and condition keys for Amazon S3": the key
    `s3:RequestObjectTagKeys` of PutObject (also CreateMultipartUpload), PutObjectTagging and PutObjectVersionTagging,
    read 2026-11.
    """
    condition = {
        "ForAnyValue:StringLike": {"s3:RequestObjectTagKeys": f"{KEPT_TAG_PREFIX}*"},
        "ArnNotEquals": {"aws:PrincipalArn": tagged_by},
    }
    actions = ["s3:PutObject", "s3:PutObjectTagging", "s3:PutObjectVersionTagging"]
    _deny(bucket, "KeptTags", actions, [bucket.arn_for_objects("*")], condition)


def _deny(
    bucket: s3.Bucket, sid: str, actions: str | list[str], resources: list[str], conditions: dict[str, Any]
) -> None:
    bucket.add_to_resource_policy(
        iam.PolicyStatement(
            sid=sid,
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=[actions] if isinstance(actions, str) else actions,
            resources=resources,
            conditions=conditions,
        )
    )
