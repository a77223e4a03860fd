"""What is written once must be readable and repeatable by every later version: bytes that are fixed.

If one of these fails, the format has changed: then `layout.FORMAT_VERSION` must grow.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import struct
import zlib
from pathlib import Path

import isal
import pytest
from blake3 import blake3

from mgmt.archive import codec, headers, pack
from mgmt.archive.checksums import ContentDigest, Placed
from mgmt.archive.codec import PLANS, QUICKEST, ZLIB, Deflater, Plan, current_codec, encode, store
from mgmt.archive.headers import GZIP_HEADER, gzip_trailer, is_ours
from mgmt.errors import source_failure
from mgmt.layout import (
    TAR_END_BYTES,
    Member,
    Survey,
    archive_bound_bytes,
    archive_file_name,
    frame,
    header_bound_bytes,
    header_form,
    is_temporary_name,
    member_bound_bytes,
    temporary_name,
)
from mgmt.source import look
from mgmt.text import shown
from mgmt_contract.parts import MIB

MTIME_NS = 1_700_000_000_123_456_789
LIMIT_NS = 8**11 * 10**9


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose every fact is fixed; its file crosses the border between two blocks."""
    folder = tmp_path / "P"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "clip.mov").write_bytes(bytes(range(251)) * 10_000)
    (folder / "empty").write_bytes(b"")
    (folder / "link").symlink_to("sub/clip.mov")
    for path in (folder / "sub" / "clip.mov", folder / "empty"):
        path.chmod(0o640)
    for path in (folder / "sub", folder):
        path.chmod(0o750)
    for path in (folder / "sub" / "clip.mov", folder / "empty", folder / "link", folder / "sub", folder):
        os.utime(path, ns=(MTIME_NS, MTIME_NS), follow_symlinks=False)
    return folder


def member(path: bytes = b"a", kind: str = "file", **changes: object) -> Member:
    some = Path(__file__).stat()
    facts = {"mode": 0o644, "size_bytes": 0, "mtime_ns": 0, "target": b"", "status": some, "open": None}
    return Member(path=path, kind=kind, **{**facts, **changes})


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bytes_of_a_stored_archive_are_these(tmp_path, project, workers):
    packed = pack(look(project), tmp_path / "P.tar.gz", plan="store", workers=workers, part_size_bytes=MIB)
    data = packed.path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == "0d6e1869d9af71470c7268975cc921895d4643d2bc878901804b27f0e4f67991"
    assert (packed.content.member_count, packed.content.uncompressed_size, packed.size) == (5, 2_510_000, len(data))
    assert packed.content.content_digest == "blake3:ace8195363b38698a5beed65a8494e69afeeadff751001e3a8886f28c40c7e3d"
    assert [part.length for part in packed.parts] == [MIB, MIB, len(data) - 2 * MIB]
    assert packed.packing.plan == "store"
    assert packed.packing.codec == "mgmt 3, stored"


def test_without_vectors_the_bytes_are_the_same(tmp_path, project, monkeypatch):
    monkeypatch.delattr(os, "readv")
    packed = pack(look(project), tmp_path / "P.tar.gz", plan="store")
    assert packed.content.content_digest == "blake3:ace8195363b38698a5beed65a8494e69afeeadff751001e3a8886f28c40c7e3d"


def test_the_envelope_is_gzips_with_our_comment():
    assert GZIP_HEADER == b"\x1f\x8b\x08\x10\x00\x00\x00\x00\x00\xffmgmt 3\x00"
    assert gzip_trailer(0x01020304, 2**32 + 5) == struct.pack("<II", 0x01020304, 5)
    assert gzip_trailer(0, 2**32 - 1) == struct.pack("<II", 0, 2**32 - 1)


def test_archives_of_any_version_of_ours_are_ours_and_nothing_else_is(tmp_path):
    path = tmp_path / "x"
    for content, ours in [
        (GZIP_HEADER, True),
        (GZIP_HEADER.replace(b"mgmt 3", b"mgmt 27"), True),
        (GZIP_HEADER.replace(b"mgmt 3", b"mgmt"), False),
        (GZIP_HEADER.replace(b"mgmt", b"MGMT"), False),
        (GZIP_HEADER[:14], False),
        (b"", False),
    ]:
        path.write_bytes(content)
        assert is_ours(path) is ours
    path.write_bytes(GZIP_HEADER)
    (tmp_path / "link").symlink_to("x")
    os.mkfifo(tmp_path / "pipe")
    for other in ("link", "pipe", ".", "missing"):
        assert not is_ours(tmp_path / other)
    assert is_ours(os.fspath(path))


def test_looking_whose_an_archive_is_leaves_nothing_open(tmp_path):
    (tmp_path / "x").write_bytes(GZIP_HEADER)
    before = len(list(Path("/dev/fd").iterdir()))
    for name in ("x", ".", "missing"):
        headers.is_ours(tmp_path / name)
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_frame_has_path_kind_mode_size_and_target():
    assert frame(member(b"d/a", mode=0o4755, size_bytes=12)) == b"d/a\0f4755 12\0\0"
    assert frame(member(b"d", "directory", mode=0o755)) == b"d\0d755 0\0\0"
    assert frame(member(b"l", "symlink", target=b"a")) == b"l\0s644 0\0a\0"
    assert frame(member(b"h", "hardlink", target=b"a")) == b"h\0h644 0\0a\0"


def test_a_digest_is_blake3_of_frames_and_the_files_own_digests_behind_a_fixed_beginning():
    told = []
    digest = ContentDigest(lambda placed, file_digest: told.append((placed.framed, file_digest)))
    folder, clip, empty = member(b"d", "directory"), member(b"d/a", size_bytes=2), member(b"d/b")
    digest.add([Placed(folder, b"D", 512), Placed(clip, b"A", 1024), memoryview(b"a")])
    digest.add([memoryview(b"b"), Placed(empty, b"E", 2048)])
    of_clip, of_empty = blake3(b"ab").digest(), blake3(b"").digest()
    expected = "blake3:" + blake3(b"mgmt content 2\0DA" + of_clip + b"E" + of_empty).hexdigest()
    assert (digest.text(), digest.text()) == (expected, expected)
    assert told == [(b"D", None), (b"A", of_clip), (b"E", of_empty)]


def test_a_survey_counts_sums_and_remembers_the_youngest():
    survey = Survey()
    expected = hashlib.sha256()
    for each, time in [
        (member(b"d", "directory", mtime_ns=9 * 10**9), 0),
        (member(b"d/a", size_bytes=513, mtime_ns=5), 5),
        (member(b"d/b", size_bytes=1, mtime_ns=5), 5),
        (member(b"d/c", mtime_ns=4), 4),
    ]:
        survey.add(each, frame(each))
        expected.update(frame(each) + b"%d\0" % time)
    assert (survey.member_count, survey.uncompressed_size, survey.newest_path) == (4, 514, b"d/a")
    assert survey.fingerprint == f"sha256:{expected.hexdigest()}"


def test_an_archives_bound_is_that_of_its_members_and_what_frames_them():
    """A header each, content in whole records, the stream's end; 33 stored pieces to a block."""
    members = [member(b"d", "directory"), member(b"d/a", size_bytes=513), member(b"d/b", size_bytes=1)]
    tar_bytes = TAR_END_BYTES + sum(map(member_bound_bytes, members))
    assert tar_bytes == 1024 + 3 * 512 + 1024 + 512
    assert archive_bound_bytes(tar_bytes) == len(GZIP_HEADER) + tar_bytes + 33 * 5 + 5 + 8


@pytest.mark.parametrize(
    ("changes", "form"),
    [
        ({"size_bytes": 8**11 - 1}, "ustar"),
        ({"size_bytes": 8**11}, "pax"),
        ({"mtime_ns": LIMIT_NS - 1}, "ustar"),
        ({"mtime_ns": LIMIT_NS}, "pax"),
        ({"mtime_ns": -1}, "pax"),
        ({"kind": "symlink", "target": b"t" * 100}, "ustar"),
        ({"kind": "symlink", "target": b"t" * 101}, "pax"),
        ({"kind": "symlink", "target": "é".encode()}, "pax"),
        ({"kind": "symlink", "target": b"\xe9"}, "gnu"),
        ({"path": "é".encode(), "target": b"\xe9"}, "gnu"),
        ({"path": b"\xe9", "target": "é".encode()}, "gnu"),
    ],
)
def test_a_header_is_the_plainest_that_holds_its_member(changes, form):
    assert header_form(member(**changes)) == form


@pytest.mark.parametrize(
    ("changes", "bound_bytes"),
    [
        ({"path": b"p" * 99}, 512),
        ({"path": b"p" * 100}, 1024 + 512),
        ({"path": b"p" * 256}, 1024 + 512),
        ({"path": b"p" * 257}, 1024 + 1024),
        ({"kind": "symlink", "path": b"p" * 156, "target": b"t" * 101}, 1024 + 1024),
        ({"path": b"\xe9" * 510}, 3 * 512 + 512 + 512),
        ({"path": b"\xe9" * 511}, 3 * 512 + 1024 + 512),
        ({"path": b"\xe9", "target": b"t" * 511}, 3 * 512 + 512 + 1024),
    ],
)
def test_a_headers_bound_is_as_near_as_whole_records_allow(changes, bound_bytes):
    assert header_bound_bytes(member(**changes)) == bound_bytes


def test_names_of_archives_and_unfinished_ones():
    assert temporary_name("x.tar.gz", "0f12ab34") == ".x.tar.gz.mgmt-0f12ab34.part"
    assert re.fullmatch(r"\.x\.tar\.gz\.mgmt-[0-9a-f]{8}\.part", temporary_name("x.tar.gz"))
    assert len(os.fsencode(temporary_name("n" * 248 + ".tar.gz"))) == 255
    fits, longer = "n" * 248, "n" * 249
    assert archive_file_name(fits) == f"{fits}.tar.gz"
    mark = hashlib.sha256(longer.encode()).hexdigest()[:8]
    assert archive_file_name(longer) == f"{'n' * (255 - 16)}~{mark}.tar.gz"
    assert is_temporary_name(".a\nb.mgmt-0f12ab34.part")
    for other in (".a.mgmt-0f12ab3.part", ".a.mgmt-0F12AB34.part", "a.mgmt-0f12ab34.part", ".a.mgmt-0f12ab34.part~"):
        assert not is_temporary_name(other)


def test_stored_blocks_are_cut_at_the_longest_length():
    [header, piece, second, rest] = store(memoryview(bytes(65_536)))
    assert (bytes(header), len(piece)) == (b"\x00\xff\xff\x00\x00", 65_535)
    assert (bytes(second), len(rest)) == (b"\x00\x01\x00\xfe\xff", 1)
    assert store(memoryview(b"")) == []


class Measured:
    """A library that tells how often and with what it was asked, and shrinks samples to a fixed size."""

    DEFLATED = Z_DEFAULT_STRATEGY = Z_SYNC_FLUSH = 0

    def __init__(self, sample_bytes: int) -> None:
        self.samples: list[bytes] = []
        self._sample_bytes = sample_bytes

    def compress(self, data: object, *_: object) -> bytes:
        self.samples.append(bytes(data))
        return bytes(self._sample_bytes)

    def compressobj(self, *settings: object) -> object:
        return ZLIB.library.compressobj(1, 8, -15)


@pytest.mark.parametrize(("sample_bytes", "is_worth_it"), [(97, True), (98, False)])
def test_a_block_is_deflated_from_the_plans_worth_on(sample_bytes, is_worth_it):
    plan = Plan(Deflater("measured", "1", Measured(sample_bytes)), 1, 97)
    block = memoryview(b"a" * 100)
    encoded = b"".join(encode(plan, block))
    assert (encoded != b"".join(store(block))) is is_worth_it


@pytest.mark.parametrize(
    ("size_bytes", "starts"),
    [
        (65_536, list(range(0, 65_536, 8_192))),
        (65_537, list(range(0, 65_536, 8_192))),
        (MIB, [0, 148_626, 297_252, 445_878, 594_504, 743_130, 891_756, 1_040_382]),
    ],
)
def test_samples_lie_evenly_from_the_first_byte_on(size_bytes, starts):
    library = Measured(10**9)
    block = os.urandom(size_bytes)
    encode(Plan(Deflater("measured", "1", library), 1, 97), memoryview(block))
    expected = b"".join(block[start : start + 8192] for start in starts)
    assert library.samples[0][: 7 * 8192] == expected[: 7 * 8192]
    assert library.samples[0].startswith(expected[:-8192])


@pytest.mark.parametrize(("plan", "percent"), [("auto", 97), ("best", 97), ("fast", 80)])
def test_plans_deflate_what_shrinks_by_a_little_or_by_a_fifth(plan, percent):
    for sample_bytes in (percent, percent + 1):
        measured = codec._plans(QUICKEST)[plan]._replace(deflater=Deflater("measured", "1", Measured(sample_bytes)))
        encoded = b"".join(encode(measured, memoryview(b"a" * 100)))
        assert (len(encoded) < 100) is (sample_bytes == percent)


def test_the_codec_names_library_version_and_processor():
    """With the source and the plan it makes the bytes repeatable; so it must differ wherever they may."""
    quickest = codec._quickest()
    assert quickest[:2] == ("isal", isal.__version__)
    plans = codec._plans(quickest)
    assert plans == PLANS
    assert plans["best"].deflater == ZLIB == ("zlib", zlib.ZLIB_RUNTIME_VERSION, zlib)
    for plan in ("auto", "fast", "best"):
        deflater = plans[plan].deflater
        assert current_codec(plan) == f"mgmt 3, {deflater.name} {deflater.version}, {platform.machine()}"


def test_a_plan_of_no_worth_is_never_sampled():
    library = Measured(0)
    encode(Plan(Deflater("measured", "1", library), 0, 0), memoryview(b"a" * 100))
    assert library.samples == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        *dict.fromkeys(
            (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EISDIR), "source-changed"
        ).items(),
        *dict.fromkeys((errno.EACCES, errno.EIO, errno.EPERM), "source-unreadable").items(),
    ],
)
def test_what_is_gone_has_changed_and_the_rest_cannot_be_read(number, code):
    error = source_failure(b"caf\xe9.mov", OSError(number, os.strerror(number)))
    assert (error.code, error.exit_code) == (code, 4)
    assert "'caf\\xe9.mov'" in error.message
    assert code == "source-changed" or os.strerror(number) in error.message


def test_a_path_is_shown_as_text_whatever_its_bytes():
    assert shown(b"a\xffb") == "a\\xffb"
    assert shown("caf\u00e9") == shown("caf\u00e9".encode()) == "caf\u00e9"
