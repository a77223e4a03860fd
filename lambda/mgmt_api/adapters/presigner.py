"""URLs for PUTs into one bucket: botocore's own, and from the second on at half their cost.

`generate_presigned_url` spends most of its time before it signs: it validates, serializes and resolves the
endpoint's rules, the same way each time. So the first URL is botocore's whole, and what does not depend on the
object is kept of it: the bucket's address, and the signer with the context that it was called with. A later
URL is that address, the quoted key, and a signature by that signer. Only public ways lead there, because Lambda
brings its own botocore; should one of them be closed some day, every URL is botocore's whole again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from botocore.awsrequest import AWSRequest
    from botocore.signers import RequestSigner
    from mypy_boto3_s3 import S3Client

Operation = Literal["PutObject", "UploadPart"]

_HEADERS: Final = {
    "ContentLength": "content-length",
    "ChecksumCRC64NVME": "x-amz-checksum-crc64nvme",
    "IfNoneMatch": "if-none-match",
    "IfMatch": "if-match",
    "StorageClass": "x-amz-storage-class",
    "Tagging": "x-amz-tagging",
}
"""The header that carries each parameter, and that is signed with it."""

_QUERY: Final = {"UploadId": "uploadId", "PartNumber": "partNumber"}
"""The part of the query that carries each parameter."""
_METHODS: Final[Mapping[Operation, Literal["put_object", "upload_part"]]] = {
    "PutObject": "put_object",
    "UploadPart": "upload_part",
}
_SIGNING_CONTEXT: Final = ("auth_type", "signing")
"""What the endpoint's rules tell the signer; the rest of a request's context is about that one request."""


class _Signing(NamedTuple):
    """What the client's signer was given to sign."""

    url: str
    signer: RequestSigner
    context: Mapping[str, Any]


class _Ready(NamedTuple):
    """What all of a bucket's URLs have in common."""

    address: str
    """Ends where the quoted key begins."""
    signer: RequestSigner
    context: Mapping[str, Any]


class Presigner:
    """Signs PUTs of one bucket's objects; may be used from several threads.

    Every URL is what the client's `generate_presigned_url` would give at that moment; the signer asks for the
    credentials each time, so that renewed ones are used.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._seen: _Signing | None = None
        self._ready: _Ready | None = None
        client.meta.events.register_first("before-sign.s3", self._watch)

    def sign(self, operation: Operation, parameters: Mapping[str, Any], expires_in_seconds: int) -> str:
        """Sign a PUT and return its URL.

        Args:
            operation: S3's name of it.
            parameters: As boto3 takes them, without the bucket: `Key`, and what `list_headers` knows.
            expires_in_seconds: How long the URL is good for.
        """
        ready = self._ready
        if ready is None:
            return self._sign_whole(operation, parameters, expires_in_seconds)
        query = {_QUERY[name]: value for name, value in parameters.items() if name in _QUERY}
        url = ready.address + quote(parameters["Key"])
        request = {
            "method": "PUT",
            "url": f"{url}?{urlencode(query, quote_via=quote)}" if query else url,
            "headers": list_headers(parameters),
            "body": b"",
            "context": dict(ready.context),
        }
        signed: str = ready.signer.generate_presigned_url(request, operation, expires_in_seconds)
        return signed

    def _sign_whole(self, operation: Operation, parameters: Mapping[str, Any], expires_in_seconds: int) -> str:
        url = self._client.generate_presigned_url(
            _METHODS[operation],
            Params={"Bucket": self._bucket, **parameters},
            ExpiresIn=expires_in_seconds,
        )
        self._learn(url, quote(parameters["Key"]))
        return url

    def _watch(self, request: AWSRequest, request_signer: RequestSigner | None = None, **_: object) -> None:
        """Note what the client signs; botocore calls this before each signature."""
        if self._ready is None and request.url is not None and request_signer is not None:
            self._seen = _Signing(request.url, request_signer, signing_context(request))

    def _learn(self, url: str, quoted_key: str) -> None:
        """Keep what was signed for a URL, if that is what was seen last and the URL ends as expected."""
        seen, whole = self._seen, url.partition("?")[0]
        if seen is not None and url.startswith(seen.url) and whole.endswith(f"/{quoted_key}"):
            self._ready = _Ready(whole.removesuffix(quoted_key), seen.signer, seen.context)


def signing_context(request: AWSRequest) -> dict[str, Any]:
    """Return what the signer was told about a request that holds for all others of the bucket too."""
    context = cast("Mapping[str, Any]", request.context)
    return {name: context[name] for name in _SIGNING_CONTEXT if name in context}


def list_headers(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that carry the parameters: all are signed, so the client must send exactly them."""
    headers = {_HEADERS[name]: str(value) for name, value in parameters.items() if name in _HEADERS}
    for name, value in parameters.get("Metadata", {}).items():
        headers[f"x-amz-meta-{name}"] = value
    return headers
