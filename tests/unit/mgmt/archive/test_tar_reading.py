"""Plain headers are parsed as the standard library parses them, and all others by it."""

from __future__ import annotations

import contextlib
import os
import tarfile
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt.archive.headers import header
from mgmt.archive.tar_reading import PlainInfo, TarReader
from mgmt.layout import MEMBER_PATHS_MAX_BYTES, TAR_END_BYTES, Member, MemberKind

PATHS = st.text("abcXYZ0 .-_/~", min_size=1, max_size=150).map(lambda text: text.strip("/") or "x")


def parse(kind: type[tarfile.TarInfo], record: bytes) -> dict[str, object] | None:
    with contextlib.suppress(tarfile.HeaderError):
        info = kind.frombuf(record, "utf-8", "surrogateescape")
        return {**info.get_info(), "name": info.name, "whole mode": info.mode, "sparse": info.issparse()}
    return None


def record_of(path: str, kind: str, mode: int, size_bytes: int, mtime_seconds: int, target: str) -> bytes:
    status = os.stat(os.curdir)  # noqa: PTH116  any
    mtime_ns = mtime_seconds * 10**9
    content_bytes = size_bytes if kind == "file" else 0
    member = Member(path.encode(), kind, mode, content_bytes, mtime_ns, target.encode(), status, lambda: -1)  # type: ignore[arg-type]
    return header(member)[:512]


@given(
    PATHS,
    st.sampled_from(["file", "directory", "symlink", "hardlink"]),
    st.integers(0, 0o7777),
    st.integers(0, 2**40),
    st.integers(-5, 2**34),
    PATHS,
)
def test_a_header_of_mgmt_is_parsed_alike(path, kind, mode, size_bytes, mtime_seconds, target):
    record = record_of(path, kind, mode, size_bytes, mtime_seconds, target)
    assert parse(PlainInfo, record) == parse(tarfile.TarInfo, record)


@given(st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), min_size=1, max_size=3), st.booleans())
def test_a_header_of_which_bytes_were_changed_is_parsed_or_refused_alike(changes, is_summed):
    record = bytearray(record_of("P/a/clip.mov", "file", 0o644, 77, 10**9, ""))
    for place, value in changes:
        record[place] = value
    if is_summed:
        record[148:156] = b" " * 8
        record[148:156] = b"%06o\0 " % sum(record)
    assert parse(PlainInfo, bytes(record)) == parse(tarfile.TarInfo, bytes(record))


@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "hardlink"])
def test_a_plain_header_does_not_ask_the_library(kind):
    record = record_of("P/" + "a/" * 60 + "b", kind, 0o644, 0, 10**9, "x" if "link" in kind else "")
    with mock.patch.object(tarfile.TarInfo, "frombuf", side_effect=AssertionError):
        assert parse(PlainInfo, record)


@pytest.mark.parametrize(
    "sign", [b"a", "é".encode(), "e\u0301".encode(), b"\xff"], ids=["ascii", "NFC", "NFD", "bytes"]
)
@pytest.mark.parametrize(
    ("kind", "target_share"),
    [("file", 0), ("directory", 0), ("symlink", 1), ("hardlink", 2)],
    ids=str,
)
def test_the_longest_paths_that_are_packed_can_be_read(kind: MemberKind, target_share: int, sign: bytes):
    """A hard link's target is a path too: both are in one header."""
    target_bytes = (0, 4_095, MEMBER_PATHS_MAX_BYTES // 2)[target_share]
    path, target = (
        b"/".join([sign * (100 // len(sign))] * (size_bytes // 50 + 1))[:size_bytes].strip(b"/").ljust(size_bytes, b"x")
        for size_bytes in (MEMBER_PATHS_MAX_BYTES - target_bytes, target_bytes)
    )
    status = os.stat(os.curdir)  # noqa: PTH116  any
    member = Member(path, kind, 0o644, 0, 10**9 * 2**40, target, status, lambda: -1)
    [found] = TarReader(iter([header(member) + bytes(TAR_END_BYTES)])).members()
    assert (found.path, found.target, found.kind) == (path, target, kind)
