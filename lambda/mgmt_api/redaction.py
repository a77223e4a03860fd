"""Messages from clients, made fit for a record that the whole team reads."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MESSAGE_MAX_CHARACTERS: Final = 1000

_PASSWORD = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^/\s@]*@")
_QUERY = re.compile(r"(?i)(\bhttps?://[^\s?\"'<>]*)\?[^\s\"'<>]*")
_PARAMETER = re.compile(r"(?i)\b(x-amz-[a-z-]+=)[^\s&\"'<>]+")
_BEARER = re.compile(r"(?i)\b(bearer\s+)[^\s\"'<>,;]+")
_TOKEN = re.compile(r"\beyJ[\w-]+\.[\w-]+(\.[\w-]*)?")


def redact(text: str) -> str:
    r"""Cut secrets out of a message, escape its control characters and limit its length.

    A URL's query string (where presigned URLs carry their signature) and password, signing parameters that
    lost their URL, and tokens do not get into a record.

    >>> redact("PUT https://b.example/k?X-Amz-Signature=00ff failed\x1b[0m")
    'PUT https://b.example/k?… failed\\x1b[0m'
    """
    text = _PASSWORD.sub(r"\1…@", text)
    text = _QUERY.sub(r"\1?…", text)
    text = _PARAMETER.sub(r"\1…", text)
    text = _BEARER.sub(r"\1…", text)
    text = _TOKEN.sub("…", text)
    return "".join(_escape(character) for character in text)[:MESSAGE_MAX_CHARACTERS]


def _escape(character: str) -> str:
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return character.encode("unicode_escape").decode()
    return character
