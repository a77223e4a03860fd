"""What a call that botocore makes needs a policy to allow, and which condition keys it carries.

Source: AWS Service Authorization Reference, "Amazon S3" and "Amazon DynamoDB", and the permissions listed with
each operation in the Amazon S3 API Reference, read 2026-11. An operation that is not listed here fails the
test instead of being skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from support.policies import Request

Call = Mapping[str, Any]
"""The parameters of a call, as botocore is given them."""

_CREATES = {"PutObject": "true", "CompleteMultipartUpload": "true"}
_ITEM_ACTIONS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}


def requests_of(service: str, operation: str, call: Call) -> Iterator[Request]:
    """Yield what a call needs to be allowed.

    Raises:
        KeyError: If the operation is not known here.
    """
    if service == "s3":
        return _s3_requests(operation, call)
    if service == "sqs":
        return iter([Request(_SQS[operation], call["QueueUrl"])])
    return _DYNAMODB[operation](call)


def _s3_requests(operation: str, call: Call) -> Iterator[Request]:
    bucket = f"arn:aws:s3:::{call['Bucket']}"
    if operation in _OF_BUCKET:
        yield Request(_OF_BUCKET[operation], bucket)
        return
    resource = f"{bucket}/{call['Key']}"
    of_version = operation in _READS and "VersionId" in call
    yield Request("s3:GetObjectVersion" if of_version else _S3[operation], resource, _s3_keys(operation, call))
    if operation in _TAGGING:
        return
    if "Tagging" in call:
        yield Request("s3:PutObjectTagging", resource)
    if "IfMatch" in call:
        yield Request("s3:GetObject", resource)
    if operation == "HeadObject":
        yield Request("s3:ListBucket", bucket)  # else a missing object is 403 instead of 404
        if of_version:
            yield Request("s3:ListBucketVersions", bucket)  # the same for a version; AWS does not say


def _s3_keys(operation: str, call: Call) -> dict[str, str]:
    keys = {"aws:SecureTransport": "true", "s3:signatureversion": "AWS4-HMAC-SHA256"}
    if _S3[operation] == "s3:PutObject":
        keys["s3:ObjectCreationOperation"] = _CREATES.get(operation, "false")
    for parameter, key in (("IfNoneMatch", "s3:if-none-match"), ("IfMatch", "s3:if-match")):
        if parameter in call:
            keys[key] = call[parameter]
    if operation == "PutObjectTagging":
        keys["s3:RequestObjectTagKeys"] = ",".join(tag["Key"] for tag in call["Tagging"]["TagSet"])
    return keys


_S3 = {
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "ListParts": "s3:ListMultipartUploadParts",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "RestoreObject": "s3:RestoreObject",
    "GetObjectTagging": "s3:GetObjectVersionTagging",  # always of a version
    "PutObjectTagging": "s3:PutObjectVersionTagging",
}
_TAGGING = {"GetObjectTagging", "PutObjectTagging"}
_OF_BUCKET = {"ListObjectsV2": "s3:ListBucket", "ListMultipartUploads": "s3:ListBucketMultipartUploads"}
_SQS = {"SendMessage": "sqs:SendMessage"}
"""The queue's address stands for its resource."""
_READS = {"HeadObject", "GetObject"}
"""With a version's id they need s3:GetObjectVersion instead."""


def _table(name: str) -> str:
    return f"arn:aws:dynamodb:::table/{name}"


def _query(call: Call) -> Iterator[Request]:
    index = f"/index/{call['IndexName']}" if "IndexName" in call else ""
    yield Request("dynamodb:Query", _table(call["TableName"]) + index)


def _put_item(call: Call) -> Iterator[Request]:
    yield Request("dynamodb:PutItem", _table(call["TableName"]))


def _batch_get_item(call: Call) -> Iterator[Request]:
    for name in call["RequestItems"]:
        yield Request("dynamodb:BatchGetItem", _table(name))


def _transact_write_items(call: Call) -> Iterator[Request]:
    for entry in call["TransactItems"]:
        for kind, item in entry.items():
            yield Request(f"dynamodb:{_ITEM_ACTIONS[kind]}", _table(item["TableName"]))


_DYNAMODB: Mapping[str, Callable[[Call], Iterator[Request]]] = {
    "BatchGetItem": _batch_get_item,
    "PutItem": _put_item,
    "Query": _query,
    "TransactWriteItems": _transact_write_items,
}
