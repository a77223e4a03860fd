"""CompleteMultipartUpload as one request that ends before its caller has to answer.

S3 may take minutes to join parts. Meanwhile it sends white space, so that no read ever times out, and repeating the
request can remove the multipart upload. botocore would wait for the end, and ask again where it sees none. So the
request that botocore has made and signed is sent from here, once and with a time limit; botocore reads the answer.
S3 goes on with what it has begun.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final

from botocore.awsrequest import AWSResponse
from botocore.exceptions import HTTPClientError, ReadTimeoutError
from botocore.httpsession import URLLib3Session
from botocore.session import get_session
from botocore.utils import get_environ_proxies

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_s3 import S3Client

_CONNECT_SECONDS: Final = 3.0
_TIMEOUT_MIN_SECONDS: Final = 0.001
"""Zero would mean something else to a socket."""


class Joins:
    """Sends the completions of one client; may be used from several threads."""

    def __init__(self, client: S3Client) -> None:
        self._client = client
        self._call = threading.local()
        send_once: Any = self._send_once  # botocore takes the returned value for the answer
        client.meta.events.register("before-send.s3.CompleteMultipartUpload", send_once)

    def join(self, within_seconds: float, **parameters: Any) -> None:
        """Make the call; raises botocore's errors, a read timeout where the call takes longer than allowed."""
        self._call.ends_at = time.monotonic() + within_seconds
        self._call.outcome = None
        try:
            self._client.complete_multipart_upload(**parameters)
        finally:
            self._call.outcome = None

    def _send_once(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        """Send botocore's request; where botocore tries again, return the result of the first try."""
        if self._call.outcome is None:
            try:
                self._call.outcome = self._send(request)
            except HTTPClientError as error:
                self._call.outcome = error
        if isinstance(self._call.outcome, HTTPClientError):
            raise self._call.outcome
        answer: AWSResponse = self._call.outcome
        return answer

    def _send(self, request: AWSPreparedRequest) -> AWSResponse:
        request.stream_output = True  # it is read here, not by the session
        with closing(self._open_session(request.url)) as session:
            answer = session.send(request)
            with closing(answer.raw):
                body = b"".join(self._read(answer))
        headers: Any = answer.headers
        return AWSResponse(answer.url, answer.status_code, headers, _Body(body))

    def _open_session(self, url: str) -> URLLib3Session:
        """Open a connection with the client's certificates and proxies, and with the time that is left."""
        config: Any = self._client.meta.config
        ca_bundle = get_session().get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        settings: dict[str, Any] = {
            "verify": ca_bundle or True,
            "proxies": get_environ_proxies(url) if config.proxies is None else config.proxies,
            "timeout": (_CONNECT_SECONDS, max(self._left_seconds(), _TIMEOUT_MIN_SECONDS)),
        }
        return URLLib3Session(**settings)

    def _read(self, answer: AWSResponse) -> Iterator[bytes]:
        """Yield the answer byte by byte, as they come: it is short, and each may be the last before a long wait."""
        stream = answer.raw.stream(1)
        while True:
            left_seconds = self._left_seconds()
            if left_seconds <= 0:
                raise ReadTimeoutError(endpoint_url=answer.url, error="S3 is still at work")
            with suppress(AttributeError):  # the socket is not accessible there: then one read may wait that long again
                answer.raw.connection.sock.settimeout(left_seconds)
            try:
                yield next(stream)
            except StopIteration:
                return
            except Exception as error:
                # The session turns urllib3's errors into botocore's only until the answer begins.
                raise HTTPClientError(error=error) from error

    def _left_seconds(self) -> float:
        left_seconds: float = self._call.ends_at - time.monotonic()
        return left_seconds


class _Body(io.BytesIO):
    """A body that was read already, in the form that botocore reads."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        """Yield all of it."""
        yield self.read()
