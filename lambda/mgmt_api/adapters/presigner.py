"""URLs for requests to one bucket: the first made by botocore, later ones equal and at a tenth of the cost.

`generate_presigned_url` validates, serializes, resolves the endpoint's rules and builds requests, the same way each
time; only what `signature` does depends on the object. So the first URL of each operation is botocore's whole, and
shows where the bucket is and which region it is signed for. If `signature` makes the same URL of that (awscrt,
where it is there, gives the query another order), it makes the later ones too. If not, or if the inside of botocore
has changed, every URL is botocore's whole, and each is counted as a fall-back. So no URL is made that botocore would
not have made, also with a newer botocore, which Lambda brings by itself, or with another kind of bucket.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import parse_qs, quote

from mgmt_api.adapters.signature import ALGORITHM, TIMESTAMP_FORMAT, Bucket, Credentials, Request, presign

if TYPE_CHECKING:
    from botocore.awsrequest import AWSRequest
    from botocore.signers import RequestSigner
    from mypy_boto3_s3 import S3Client

    from mgmt_api.ports import Clock

logger = logging.getLogger(__name__)

Operation = Literal["PutObject", "UploadPart", "GetObject"]

_HEADERS: Final = {
    "ContentLength": "content-length",
    "ContentMD5": "content-md5",
    "ChecksumCRC64NVME": "x-amz-checksum-crc64nvme",
    "IfNoneMatch": "if-none-match",
    "IfMatch": "if-match",
    "StorageClass": "x-amz-storage-class",
    "Tagging": "x-amz-tagging",
}
"""The header that carries each parameter, and that is signed with it."""

_QUERY: Final = {"UploadId": "uploadId", "PartNumber": "partNumber", "VersionId": "versionId"}
"""The part of the query that carries each parameter."""


class _Call(NamedTuple):
    """How one operation is called."""

    of_client: Literal["put_object", "upload_part", "get_object"]
    of_http: Literal["PUT", "GET"]


_CALLS: Final[Mapping[Operation, _Call]] = {
    "PutObject": _Call("put_object", "PUT"),
    "UploadPart": _Call("upload_part", "PUT"),
    "GetObject": _Call("get_object", "GET"),
}


class _Signing(NamedTuple):
    """The input of the client's signer."""

    url: str
    signer: RequestSigner


class _Ready(NamedTuple):
    """The parts that all of a bucket's URLs share."""

    bucket: Bucket
    signer: RequestSigner


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Presigner:
    """Signs PUTs and GETs of one bucket's objects; may be used from several threads.

    Every URL equals the one that the client's `generate_presigned_url` would return at that moment, for a bucket that
    stays where it is. The client's signer is asked for the credentials each time, so that renewed ones are used.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        clock: Clock = _utc_now,
        on_fall_back: Callable[[], object] = lambda: None,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._clock = clock
        self._on_fall_back = on_fall_back
        self._seen: _Signing | None = None
        self._ready: dict[Operation, _Ready] = {}
        self._has_warned = False
        with self._guarded():
            client.meta.events.register_first("before-sign.s3", self._watch)

    def sign(self, operation: Operation, parameters: Mapping[str, Any], expires_in_seconds: int) -> str:
        """Sign a request and return its URL.

        Args:
            operation: S3's name of it.
            parameters: As boto3 takes them, without the bucket: `Key`, and what `list_headers` knows.
            expires_in_seconds: How long the URL is good for.
        """
        query = {_QUERY[name]: str(value) for name, value in parameters.items() if name in _QUERY}
        method = _CALLS[operation].of_http
        request = Request(method, parameters["Key"], query, list_headers(parameters), expires_in_seconds)
        url, ready = None, self._ready.get(operation)
        if ready is not None:
            with self._guarded():
                url = presign(ready.bucket, request, _credentials_of(ready.signer), self._clock())
        return url or self._sign_whole(operation, parameters, request)

    def _sign_whole(self, operation: Operation, parameters: Mapping[str, Any], request: Request) -> str:
        """Have botocore make a URL and derive from it how to make the next ones; a fall-back unless it is the first."""
        url = self._client.generate_presigned_url(
            _CALLS[operation].of_client,
            Params={"Bucket": self._bucket, **parameters},
            ExpiresIn=request.expires_in_seconds,
        )
        failed, learned = self._ready.pop(operation, None), None
        with self._guarded():
            learned = self._learn(url, request)
        if learned is not None:
            self._ready[operation] = learned
        if learned is None or failed is not None:
            self._on_fall_back()
        return url

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Suppress errors from the inside of another botocore, since botocore's own way remains; logged once."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever an inside raises, another botocore does
            if not self._has_warned:
                self._has_warned = True
                logger.warning("URLs are made botocore's whole way", extra={"reason": repr(error)})

    def _watch(self, request: AWSRequest | None = None, request_signer: RequestSigner | None = None, **_: Any) -> None:
        """Note what the client signs; botocore calls this before each signature, and it must not fail there."""
        url = getattr(request, "url", None)
        if url is not None and request_signer is not None:
            self._seen = _Signing(url, request_signer)

    def _learn(self, url: str, request: Request) -> _Ready | None:
        """Derive the template from botocore's URL, if the last signed input became that URL."""
        seen, (whole, _, query), quoted_key = self._seen, url.partition("?"), quote(request.key)
        said = {name: values[0] for name, values in parse_qs(query).items()}
        if seen is None or not url.startswith(seen.url) or not whole.endswith(f"/{quoted_key}"):
            return None
        if said.get("X-Amz-Algorithm") != ALGORITHM:
            return None
        _, _, region, *_ = said["X-Amz-Credential"].split("/")
        ready = _Ready(Bucket.at(whole.removesuffix(quoted_key), region), seen.signer)
        moment = datetime.strptime(said["X-Amz-Date"], TIMESTAMP_FORMAT).replace(tzinfo=UTC)
        made = presign(ready.bucket, request, _credentials_of(seen.signer), moment)
        return ready if _parts(made) == _parts(url) else None


def _parts(url: str) -> tuple[str, list[str]]:
    """Take a URL apart: two URLs with the same parts are equivalent."""
    whole, _, query = url.partition("?")
    return whole, sorted(query.split("&"))


def _credentials_of(signer: RequestSigner) -> Credentials:
    """Return the keys that the signer would sign with now, renewed if they expire soon."""
    signing: Any = signer.get_auth_instance("s3", signer.region_name, "s3v4-query")
    credentials: Credentials = signing.credentials
    return credentials


def list_headers(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that carry the parameters: all are signed, so the client must send exactly them."""
    headers = {_HEADERS[name]: str(value) for name, value in parameters.items() if name in _HEADERS}
    for name, value in parameters.get("Metadata", {}).items():
        headers[f"x-amz-meta-{name}"] = value
    return headers
