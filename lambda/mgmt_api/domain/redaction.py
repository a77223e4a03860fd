"""Messages from clients, made fit for a record that the whole team reads."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from mgmt_contract.texts import TEXT_MAX_BYTES, cut_text

_READ_MAX_CHARACTERS: Final = 2 * TEXT_MAX_BYTES
"""Only this much of a message is read: even less of it is kept."""

# Each takes time in proportion to the text: a pattern that begins to match ends or gives up within some characters.
_PASSWORD: Final = re.compile(r"(?<=://)[^/\s]*@")
_URL: Final = re.compile(r"(?i)\bhttps?://[^\s\"'<>]*")
_PARAMETER: Final = re.compile(r"(?i)\b(x-amz-[a-z-]{1,64}=)[^\s&\"'<>]+")
_BEARER: Final = re.compile(r"(?i)\b(bearer\s+)[^\s\"'<>,;]+")
_TOKEN: Final = re.compile(r"\beyJ[\w-]*(?:\.[\w-]+)*")


def redact(text: str) -> str:
    r"""Cut secrets out of a message, escape its control characters and limit its length.

    A URL's query string (where presigned URLs carry their signature) and password, signing parameters that
    lost their URL, and tokens do not get into a record.

    >>> redact("PUT https://b.example/k?X-Amz-Signature=00ff failed\x1b[0m")
    'PUT https://b.example/k?… failed\\x1b[0m'
    """
    text = _cut_unread(text)
    text = _PASSWORD.sub("…@", text)
    text = _URL.sub(_cut_query, text)
    text = _PARAMETER.sub(r"\1…", text)
    text = _BEARER.sub(r"\1…", text)
    text = _TOKEN.sub(_cut_token, text)
    return cut_text("".join(each if each.isprintable() else _escape(each) for each in text))


def _cut_unread(text: str) -> str:
    """Cut a text that is too long between two words: half a secret would not be recognised."""
    if len(text) <= _READ_MAX_CHARACTERS:
        return text
    return "".join(text[:_READ_MAX_CHARACTERS].rpartition(" ")[:2]) + "…"


def _cut_query(url: re.Match[str]) -> str:
    place, mark, _ = url[0].partition("?")
    return f"{place}{mark}…" if mark else place


def _cut_token(token: re.Match[str]) -> str:
    return "…" if "." in token[0] else token[0]


def _escape(character: str) -> str:
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return character.encode("unicode_escape").decode()
    return character
