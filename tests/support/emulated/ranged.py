"""ministack, made to answer a range of one version of an object, as S3 does: by itself it sends the whole version.

Served by ministack's own interpreter, so that nothing of the tests can be imported here.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from ministack.app import app as ministack  # type: ignore[import-not-found]  # it has an environment of its own

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_RANGE = re.compile(rb"bytes=(\d+)-(\d+)")


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Pass everything on, and cut what is answered to a GET of a version with a range."""
    found = _RANGE.fullmatch(dict(scope.get("headers", ())).get(b"range", b""))
    if scope["type"] != "http" or found is None or b"versionId=" not in scope["query_string"]:
        await ministack(scope, receive, send)
        return
    answer: Message = {}
    body = bytearray()

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.update(message)
        else:
            body.extend(message.get("body", b""))

    await ministack(scope, receive, keep)
    if answer["status"] == 200:
        _cut(answer, body, int(found[1]), int(found[2]))
    await send(answer)
    await send({"type": "http.response.body", "body": bytes(body)})


def _cut(answer: Message, body: bytearray, first: int, last: int) -> None:
    size = len(body)
    last = min(last, size - 1)
    body[:] = body[first : last + 1]
    others = [pair for pair in answer["headers"] if pair[0].lower() not in (b"content-length", b"content-range")]
    length = (b"content-length", b"%d" % len(body))
    answer.update(status=206, headers=[*others, length, (b"content-range", b"bytes %d-%d/%d" % (first, last, size))])
