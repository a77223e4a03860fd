"""What the bucket refuses to every caller, and that it refuses nothing the service needs."""

from __future__ import annotations

import pytest

from support.assembly import Assembly, function_of
from support.policies import Request, Statement, find_matches, read_statements

pytestmark = [pytest.mark.cdk, pytest.mark.xdist_group("assembly")]

BUCKET = "arn:aws:s3:::media"
WORKER = "arn:aws:iam::123456789012:role/worker"
KEY = f"{BUCKET}/team/footage/clip.tar.gz"
URL = {
    "aws:SecureTransport": "true",
    "s3:TlsVersion": "1.3",
    "s3:signatureversion": "AWS4-HMAC-SHA256",
    "s3:authType": "REST-QUERY-STRING",
    "s3:signatureAge": "599000",
}
"""A presigned URL of the service, one second before it ends."""
ROLE = URL | {"s3:authType": "REST-HEADER", "s3:signatureAge": "700000"}
"""The service itself, or an admin whose clock is off by more than a URL's life."""
CREATES = {"s3:ObjectCreationOperation": "true"}
CARRIES = {"s3:ObjectCreationOperation": "false"}
TAGGED = {"s3:RequestObjectTagKeys": "shoot,mgmt,day"}
KEPT = {"s3:RequestObjectTagKeys": "shoot,mgmt-expired"}
ONLY_NEW = {"s3:if-none-match": "*"}
ONLY_THIS = {"s3:if-match": '"etag"'}


@pytest.fixture(scope="module")
def statements(assembly: Assembly) -> list[Statement]:
    (bucket,) = assembly.find("AWS::S3::Bucket")
    policy = assembly.only("AWS::S3::BucketPolicy")["Properties"]["PolicyDocument"]
    return read_statements(policy, {bucket: BUCKET, function_of(assembly, "worker")["Role"]["Fn::GetAtt"][0]: WORKER})


@pytest.mark.parametrize(
    ("action", "resource", "keys"),
    [
        pytest.param("s3:PutObject", KEY, URL | CREATES | ONLY_NEW, id="PutObject, create only"),
        pytest.param("s3:PutObject", KEY, URL | CREATES | ONLY_THIS, id="PutObject, replace one"),
        pytest.param("s3:PutObject", KEY, URL | CARRIES, id="UploadPart"),
        pytest.param("s3:PutObject", KEY, ROLE | CARRIES, id="CreateMultipartUpload"),
        pytest.param("s3:PutObject", KEY, URL | CREATES | ONLY_NEW | TAGGED, id="PutObject with tags"),
        pytest.param("s3:PutObjectTagging", KEY, URL | TAGGED, id="the tags of a PutObject"),
        pytest.param("s3:PutObject", KEY, ROLE | CREATES | ONLY_NEW, id="CompleteMultipartUpload"),
        pytest.param("s3:GetObject", KEY, ROLE, id="HeadObject"),
        pytest.param("s3:GetObjectVersion", KEY, ROLE, id="HeadObject of a version"),
        pytest.param("s3:RestoreObject", KEY, ROLE, id="RestoreObject"),
        pytest.param("s3:GetObjectVersion", KEY, URL, id="GetObject of a version"),
        pytest.param("s3:ListMultipartUploadParts", KEY, ROLE, id="ListParts"),
        pytest.param("s3:AbortMultipartUpload", KEY, ROLE, id="AbortMultipartUpload"),
        pytest.param("s3:ListBucket", BUCKET, ROLE, id="ListBucket"),
        pytest.param(
            "s3:PutObjectVersionTagging",
            KEY,
            ROLE | KEPT | {"aws:PrincipalArn": WORKER},
            id="the worker's tag on a deleted version",
        ),
    ],
)
def test_what_the_service_does_is_not_denied(statements, action, resource, keys):
    assert find_matches(statements, "Deny", Request(action, resource, keys)) == []


@pytest.mark.parametrize(
    ("action", "resource", "keys"),
    [
        pytest.param("s3:PutObject", KEY, URL | CREATES, id="write without a condition"),
        pytest.param("s3:PutObject", KEY, ROLE | CREATES, id="completion, or copy, without a condition"),
        pytest.param("s3:GetObject", KEY, ROLE | {"aws:SecureTransport": "false"}, id="plain HTTP"),
        pytest.param("s3:ListBucket", BUCKET, ROLE | {"aws:SecureTransport": "false"}, id="plain HTTP, bucket"),
        pytest.param("s3:GetObject", KEY, ROLE | {"s3:TlsVersion": "1.1"}, id="old TLS"),
        pytest.param("s3:GetObject", KEY, ROLE | {"s3:signatureversion": "AWS"}, id="old signature"),
        pytest.param("s3:GetObject", KEY, URL | {"s3:signatureAge": "600001"}, id="URL older than its life"),
        pytest.param("s3:GetObjectVersion", KEY, URL | {"s3:signatureAge": "600001"}, id="GET older than its life"),
        pytest.param("s3:PutObject", KEY, URL | CREATES | ONLY_NEW | KEPT, id="a tag of the service's, at a PUT"),
        pytest.param("s3:PutObject", KEY, ROLE | CARRIES | KEPT, id="the same, at CreateMultipartUpload"),
        pytest.param("s3:PutObjectTagging", KEY, ROLE | KEPT, id="the same, on an object"),
        pytest.param("s3:PutObjectVersionTagging", KEY, ROLE | KEPT, id="the same, on a version"),
        pytest.param(
            "s3:PutObject",
            KEY,
            URL | CREATES | ONLY_NEW | {"s3:authType": "POST", "s3:signatureAge": "600001"},
            id="form older than a URL's life",
        ),
    ],
)
def test_what_must_not_be_is_denied(statements, action, resource, keys):
    assert len(find_matches(statements, "Deny", Request(action, resource, keys))) == 1


def test_the_bucket_policy_grants_nothing(statements):
    assert {statement["Effect"] for statement in statements} == {"Deny"}
    assert all(statement["Principal"] == {"AWS": "*"} for statement in statements)
