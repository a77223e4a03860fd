from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mgmt.archive.headers import header
from mgmt.layout import Member, frame, header_bound_bytes, header_form
from support.trees import run_tool

STATUS = os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, 0, 0, 0, 0))
NAME_BYTES = st.binary(min_size=1, max_size=60).filter(lambda name: not {0, 47} & set(name))
NAME_TEXT = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=120)
NAME = st.one_of(NAME_BYTES, NAME_TEXT.map(str.encode), st.from_regex(rb"[a-z.-]{1,120}", fullmatch=True))
PATH = st.lists(NAME, min_size=1, max_size=5).map(b"/".join)


def never() -> int:
    raise AssertionError


def member(path: bytes, kind: str = "file", **changes: object) -> Member:
    facts = {"mode": 0o644, "size_bytes": 0, "mtime_ns": 0, "target": b"", "status": STATUS, "open": never}
    return Member(path=path, kind=kind, **{**facts, **changes})


@st.composite
def members(draw: st.DrawFn) -> Member:
    kind = draw(st.sampled_from(["file", "directory", "symlink", "hardlink"]))
    size = st.one_of(st.integers(0, 10_000), st.integers(8**11 - 2, 2**50))
    seconds = st.one_of(st.integers(0, 2**31), st.integers(-(2**31), 2**35))
    return member(
        draw(PATH),
        kind,
        mode=draw(st.integers(0, 0o7777)),
        size_bytes=draw(size) if kind == "file" else 0,
        mtime_ns=draw(seconds) * 10**9 + draw(st.integers(0, 10**9 - 1)),
        target=draw(PATH) if kind in ("symlink", "hardlink") else b"",
    )


def parsed(raw: bytes) -> tarfile.TarInfo:
    """Read a header with Python's tarfile, as part of an archive that ends there."""
    with tarfile.open(fileobj=io.BytesIO(raw + bytes(1024)), encoding="utf-8", errors="surrogateescape") as archive:
        info = archive.next()
    assert info is not None
    return info


@given(members())
def test_what_goes_into_a_header_comes_out_again(given_member):
    assume(not given_member.path.endswith(b"/"))
    info = parsed(header(given_member))
    assert os.fsencode(info.name) == given_member.path
    assert os.fsencode(info.linkname) == given_member.target
    assert (info.mode, info.size, info.mtime) == (
        given_member.mode,
        given_member.size_bytes,
        given_member.mtime_ns // 10**9,
    )
    kinds = {"file": info.isreg(), "directory": info.isdir(), "symlink": info.issym(), "hardlink": info.islnk()}
    assert [kind for kind, is_it in kinds.items() if is_it] == [given_member.kind]


@given(members())
def test_no_header_exceeds_its_bound_or_breaks_a_record(given_member):
    raw = header(given_member)
    assert len(raw) % 512 == 0
    assert len(raw) <= header_bound_bytes(given_member)


@pytest.mark.parametrize("letter", ["a", "\u00e9", "e\u0301", "\udcff"], ids=["ascii", "NFC", "NFD", "no text"])
@pytest.mark.parametrize("kind", ["directory", "symlink"])
def test_the_bound_holds_at_every_length(letter, kind):
    for length in range(1, 1_300):
        path = (letter * length).encode("utf-8", "surrogateescape")[:length]
        for target in (b"", path) if kind == "symlink" else (b"",):
            linked = member(path, kind, target=target, mtime_ns=-1)
            assert len(header(linked)) <= header_bound_bytes(linked)


@given(
    st.lists(st.from_regex(rb"[ -.0-~]{1,70}", fullmatch=True), min_size=1, max_size=4).map(b"/".join),
    st.sampled_from(["file", "directory", "symlink", "hardlink"]),
    st.integers(0, 0o7777),
    st.integers(0, 8**11 - 1),
    st.integers(0, 8**11 - 1),
    st.from_regex(rb"[ -~]{0,100}", fullmatch=True),
)
def test_our_ustar_headers_are_those_of_tarfile(path, kind, mode, size_bytes, seconds, target):
    given_member = member(path, kind, mode=mode, size_bytes=size_bytes, mtime_ns=seconds * 10**9, target=target)
    raw = header(given_member)
    assume(len(raw) == 512)
    info = tarfile.TarInfo(path.decode())
    info.type = {"file": b"0", "directory": b"5", "symlink": b"2", "hardlink": b"1"}[kind]
    info.mode, info.size, info.mtime, info.linkname = mode, size_bytes, seconds, target.decode()
    assert raw == info.tobuf(tarfile.USTAR_FORMAT, "ascii")


@pytest.mark.parametrize(
    ("path", "form", "size_bytes"),
    [
        (b"a" * 100, "ustar", 512),
        (b"a" * 101, "ustar", 1536),
        (b"p" * 155 + b"/" + b"n" * 100, "ustar", 512),
        (b"p" * 156 + b"/" + b"n" * 100, "ustar", 1536),
        ("Caf\u00e9".encode(), "pax", 1536),
        ("Cafe\u0301".encode(), "gnu", 512),
        (b"caf\xe9", "gnu", 512),
    ],
)
def test_the_plainest_form_is_taken(path, form, size_bytes):
    assert header_form(member(path)) == form
    assert len(header(member(path))) == size_bytes


@pytest.mark.parametrize("tool", ["tar", "bsdtar"])
@pytest.mark.parametrize("size_bytes", [8**11 - 1, 8**11, 10 * 2**40], ids=["below", "8 GiB", "10 TiB"])
@pytest.mark.parametrize("name", [b"clip.mov", b"cl\xecp.mov"])
def test_sizes_over_8_gib_are_read_by_real_tools(tmp_path: Path, tool, size_bytes, name):
    """A sparse file that ends where the tar stream of such a member would."""
    raw = header(member(name, size_bytes=size_bytes))
    archive = tmp_path / "x.tar"
    with archive.open("wb") as file:
        file.write(raw)
        file.truncate(len(raw) + -(-size_bytes // 512) * 512 + 1024)
    listed = run_tool(tool, "-tvf", os.fspath(archive)).stdout.decode()
    assert str(size_bytes) in listed.split()


def test_different_members_have_different_frames():
    facts = [
        member(b"a"),
        member(b"b"),
        member(b"a", mode=0o600),
        member(b"a", size_bytes=1),
        member(b"a", "directory"),
        member(b"a", "symlink", target=b"b"),
        member(b"a", "hardlink", target=b"b"),
        member(b"a", "symlink", target=b"c"),
    ]
    assert len({frame(fact) for fact in facts}) == len(facts)
    assert frame(member(b"a", mtime_ns=5)) == frame(member(b"a"))
