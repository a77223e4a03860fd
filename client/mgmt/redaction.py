"""Cuts secrets out of everything that is shown or written, in case any code put them there."""

from __future__ import annotations

import base64
import re
import threading
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:  # a name for annotations; commands without a log do without it
    import logging

CUT: Final = "…"
_LENGTH_MIN: Final = 4
"""Cutting shorter ones out everywhere would break sentences; the patterns below know their places."""
TOLD_MAX_CHARACTERS: Final = 8192
"""Longest text that is kept whole: several times the longest message. The rest is left out."""

_PATTERNS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    # Each takes time in proportion to the text: a pattern that begins to match ends or gives up within some characters.
    for pattern in (
        r"(x-amz-(?:signature|credential|security-token)(?:=|%3d|\W{1,4}))[^\s&\"'<>,;)]+",
        r"((?:(?:access|refresh|id)_token|client_secret|code_verifier)(?:%3d|[\"']?\s?[:=]\s?[\"']?))[^\s&\"'<>,;)}]+",
        r"((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:\w+\s+)?)[^\s\"',;}]+",
        r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}",
        r"(://[^\s/@:]*:)[^\s/]*(?=@)",
    )
)
_TOKEN: Final = re.compile(r"\beyJ[\w-]{8,}(\.[\w.-]+)?", re.IGNORECASE)


class Redactor:
    """Cuts out the secrets of one run, and texts that look like secrets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: list[str] = []
        self.learn(*proxy_secrets())

    def learn(self, *secrets: str) -> None:
        """Cut these out as well from now on; from any thread."""
        with self._lock:
            known = {*self._known, *(secret for secret in secrets if len(secret) >= _LENGTH_MIN)}
            self._known = sorted(known, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without its secrets."""
        for secret in self._known:
            text = text.replace(secret, CUT)
        if len(text) > TOLD_MAX_CHARACTERS:
            # Between two words: half a secret would not be recognised.
            text = "".join(text[:TOLD_MAX_CHARACTERS].rpartition(" ")[:2]) + CUT
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\1{CUT}", text)
        return _TOKEN.sub(_cut_token, text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Cut the secrets out of a log record, as a filter of the standard library's handlers."""
        record.msg, record.args = self(record.getMessage()), ()
        return True


def _cut_token(word: re.Match[str]) -> str:
    return CUT if word[1] else word[0]


def proxy_secrets() -> Iterator[str]:
    """Name the passwords of the proxies that are set, in every form in which they may appear."""
    for proxy in urllib.request.getproxies().values():
        # Not parsed as an address: a malformed one has secrets too.
        userinfo, separator, _ = proxy.rpartition("//")[2].rpartition("@")
        user, _, password = userinfo.partition(":")
        if separator and password:
            yield from (password, unquote(password))
            yield base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
