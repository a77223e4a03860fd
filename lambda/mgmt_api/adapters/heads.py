"""HEAD of one bucket's objects, from the second on at half the cost of botocore's own call.

Every upload is completed with one. botocore spends more on the endpoint's rules, on parameters and on guessing at
dates than on the request itself. So what its first call has signed is kept: the bucket's
address, and the signer with the context that it was called with. A later request is that address, the quoted
key and a signature by that signer, sent by botocore's own HTTP session. Only "here it is" and "there is none" are
taken from there: whatever else is answered, or nothing, is left to botocore's own call, with its retries and errors.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import quote

from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session
from botocore.session import get_session
from botocore.utils import get_environ_proxies

from mgmt_api.adapters.clients import LOST_ANSWERS, UNREACHED

if TYPE_CHECKING:
    from botocore.signers import RequestSigner
    from mypy_boto3_s3 import S3Client

_CONNECT_SECONDS: Final = 1
_READ_SECONDS: Final = 2
"""Short: whoever does not answer by then is asked again by botocore, with its own patience."""
_SIGNING_CONTEXT: Final = ("auth_type", "signing")
"""What the endpoint's rules tell the signer; the rest of a request's context is about that one request."""
_FOUND: Final = 200
_ABSENT: Final = 404


class _Ready(NamedTuple):
    """What all of a bucket's HEADs have in common."""

    address: str
    """Ends where the quoted key begins."""
    signer: RequestSigner
    context: Mapping[str, Any]
    headers: Mapping[str, str]
    session: URLLib3Session


class Heads:
    """Asks for the heads of one bucket's objects; may be used from several threads.

    The signer asks for the credentials each time, so that renewed ones are used.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._asked = threading.local()
        self._ready: _Ready | None = None
        client.meta.events.register_first("before-sign.s3.HeadObject", self._learn)

    def find(self, key: str) -> Mapping[str, str] | None:
        """Return an object's headers, none of them if there is no such object; None where `ask` is to find out."""
        ready = self._ready
        if ready is None:
            return None
        request = AWSRequest("HEAD", ready.address + quote(key), dict(ready.headers))
        request.context = dict(ready.context)
        ready.signer.sign("HeadObject", request)
        try:
            answer = ready.session.send(request.prepare())
        except (*UNREACHED, *LOST_ANSWERS):
            return None
        if answer.status_code == _ABSENT:
            return {}
        return cast("Mapping[str, str]", answer.headers) if answer.status_code == _FOUND else None

    def ask(self, key: str) -> Mapping[str, Any]:
        """Return what botocore's own call answers, or raise what it raises."""
        self._asked.key = key
        return self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")

    def _learn(self, request: Any, request_signer: RequestSigner, **_: object) -> None:
        """Keep what botocore is about to sign, if its URL ends as expected; called in the thread that asks."""
        quoted_key = quote(getattr(self._asked, "key", ""))
        if self._ready is None and quoted_key and request.url.endswith(f"/{quoted_key}"):
            config: Any = self._client.meta.config
            self._ready = _Ready(
                address=request.url.removesuffix(quoted_key),
                signer=request_signer,
                context={name: request.context[name] for name in _SIGNING_CONTEXT if name in request.context},
                headers={"x-amz-checksum-mode": "ENABLED", "user-agent": config.user_agent},
                session=_open_session(request.url, config),
            )


def _open_session(url: str, config: Any) -> URLLib3Session:
    """Open connections that trust whom the client trusts, and take the proxies that it takes."""
    ca_bundle = get_session().get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    settings: dict[str, Any] = {
        "verify": ca_bundle or True,
        "proxies": get_environ_proxies(url) if config.proxies is None else config.proxies,
        "timeout": (_CONNECT_SECONDS, _READ_SECONDS),
        "max_pool_connections": config.max_pool_connections,
    }
    return URLLib3Session(**settings)
