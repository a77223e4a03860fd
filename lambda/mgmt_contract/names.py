"""Names of archives and keys: how they are joined, and when two of them are the same.

Source of the key rules: Amazon S3 User Guide, "Naming Amazon S3 objects", read 2026-11. Segments "." and
".." and empty ones are refused because HTTP libraries rewrite them on the way.
"""

from __future__ import annotations

import re
import unicodedata

ARCHIVE_SUFFIX = ".tar.gz"
KEY_MAX_BYTES = 1024
OWN_FOLDER = ".mgmt"
"""Under the root prefix: what mgmt stores beside the archives. No prefix of a person begins so."""


class InvalidNameError(ValueError):
    """A name or prefix that cannot be part of a key; the sentence says why."""


def archive_name(source_name: str) -> str:
    """Name the archive of a source: `{original_name}.tar.gz`.

    >>> archive_name("clip.mp4")
    'clip.mp4.tar.gz'
    """
    return source_name + ARCHIVE_SUFFIX


def join_key(root_prefix: str, prefix: str, source_name: str) -> str:
    """Join the service's root prefix, the person's prefix and the archive's name to an object key in NFC.

    Either prefix may be empty; slashes at their ends do not count.

    Raises:
        InvalidNameError: If the person's prefix begins with `OWN_FOLDER` in any case, if a segment is empty, "." or
            "..", holds a control character or a lone surrogate, if the name holds a slash, or if the key has more than
            `KEY_MAX_BYTES` bytes.

    >>> join_key("team", "shoots/day1/", "clip.mp4")
    'team/shoots/day1/clip.mp4.tar.gz'
    """
    if "/" in source_name:
        raise InvalidNameError(f"the name {_quote(source_name)} holds a slash; put folders into the prefix")
    _check_segment(source_name)
    prefixes = [trim_prefix(part) for part in (root_prefix, prefix)]
    if fold_key(prefixes[1]).startswith(OWN_FOLDER):
        raise InvalidNameError(f"the prefix {_quote(prefix)} begins with {OWN_FOLDER}, which mgmt keeps for itself")
    segments = [segment for part in prefixes if part for segment in part.split("/")]
    for segment in segments:
        _check_segment(segment)
    key = unicodedata.normalize("NFC", "/".join([*segments, archive_name(source_name)]))
    size_bytes = len(key.encode())
    if size_bytes > KEY_MAX_BYTES:
        raise InvalidNameError(f"the key would have {size_bytes} bytes; S3 takes at most {KEY_MAX_BYTES}")
    return key


def index_key(root_prefix: str, operation_id: str) -> str:
    """Name the object that holds the index of an upload's archive.

    >>> index_key("team/", "01a2041b-befb-730e-9a3c-9ad5ec9c7230")
    'team/.mgmt/01a2041b-befb-730e-9a3c-9ad5ec9c7230.index.gz'
    """
    root = trim_prefix(root_prefix)
    return f"{root}/{OWN_FOLDER}/{operation_id}.index.gz".lstrip("/")


def trim_prefix(prefix: str) -> str:
    """Write a prefix in the one way that stands for all that mean the same key.

    >>> trim_prefix("/shoots/day1/") == trim_prefix("shoots/day1")
    True
    """
    return unicodedata.normalize("NFC", prefix).strip("/")


def fold_key(key: str) -> str:
    r"""Fold a key so that names which differ only by case or normalization become the same text.

    >>> fold_key("Café.MP4.tar.gz") == fold_key("cafe\u0301.mp4.tar.gz")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", key).casefold())


def fold_person(name: str) -> str:
    """Fold a person's name, so that its case does not matter in a search.

    >>> fold_person("Anna") == fold_person("anna")
    True
    """
    return fold_key(name.strip())


def base_name(name_or_key: str) -> str:
    """Reduce a source name, an archive name or a whole key to the archive's name in NFC.

    >>> base_name("clip.mp4"), base_name("clip.mp4.tar.gz"), base_name("team/clip.mp4.tar.gz")
    ('clip.mp4.tar.gz', 'clip.mp4.tar.gz', 'clip.mp4.tar.gz')
    """
    last = unicodedata.normalize("NFC", name_or_key).rsplit("/", 1)[-1]
    return last if last.endswith(ARCHIVE_SUFFIX) else archive_name(last)


def _check_segment(segment: str) -> None:
    if segment in ("", ".", ".."):
        raise InvalidNameError(f"{_quote(segment)} cannot be a part of an object key")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in segment):
        raise InvalidNameError(f"{_quote(segment)} holds a control character or bytes that are no text")


def _quote(text: str) -> str:
    r"""Quote a name as every message spells it: a byte that is no text as \xNN."""
    return re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", repr(text))
