"""An index lists every member where it is, in constant memory, and a false one is never believed."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import sys
import threading
import tracemalloc
import zlib
from pathlib import Path

import pytest
from blake3 import blake3

from mgmt.archive import PackedArchive, pack
from mgmt.archive import index as index_module
from mgmt.archive.codec import LAST_BLOCK, RAW
from mgmt.archive.index import LINE_MAX_BYTES, Index, IndexedMember, IndexWriter, open_nameless, write_member
from mgmt.archive.rebuilding import rebuild_index
from mgmt.errors import CancelledError, IntegrityError
from mgmt.layout import BLOCK_SIZE_BYTES, TAR_HEADER_MAX_BYTES, is_temporary_name
from mgmt.source import look
from support.trees import awkward_tree, deep_file, noise, text


def pack_with_index(folder: Path, **options: object) -> tuple[PackedArchive, Path]:
    path = folder.parent / "index.gz"
    with IndexWriter(folder.parent) as writer:
        packed = pack(look(folder), folder.parent / "x.tar.gz", index=writer, **options)
        with path.open("wb") as file:
            writer.write(file)
    return packed, path


def read_member(index: Index, member: IndexedMember, data: bytes) -> bytes:
    """Read one file as a range of the archive's bytes, and nothing else of it."""
    stop = member.content_offset + member.size_bytes
    blocks, places = index.find_range(member.content_offset, stop)
    taken, content = data[places.start : places.stop], b""
    for number in blocks:
        length = index.facts.block_lengths[number]
        content += zlib.decompress(taken[:length] + LAST_BLOCK, RAW)
        taken = taken[length:]
    assert taken == b""
    start = member.content_offset - blocks.start * BLOCK_SIZE_BYTES
    return content[start : start + member.size_bytes]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = awkward_tree(tmp_path / "P")
    (folder / "clip").write_bytes(noise(5 * BLOCK_SIZE_BYTES + 77))
    (folder / "notes").write_bytes(text(BLOCK_SIZE_BYTES + 5))
    (folder / "zeros").write_bytes(bytes(2 * BLOCK_SIZE_BYTES))
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_every_member_is_listed_as_it_was_packed_and_is_read_by_its_range_alone(tree, workers):
    packed, path = pack_with_index(tree, workers=workers)
    data = packed.path.read_bytes()
    index = Index(path)
    index.refuse_false(packed.content.content_digest, packed.size)
    assert index.facts.member_count == packed.content.member_count
    assert index.facts.crc64nvme == packed.content.crc64nvme
    listed = list(index.members())
    found = list(look(tree).members())
    assert [(one.path, one.kind, one.mode, one.size_bytes, one.mtime_seconds, one.target) for one in listed] == [
        (one.path, one.kind, one.mode, one.size_bytes, one.mtime_seconds, one.target) for one in found
    ]
    for member in listed:
        if member.kind == "file":
            content = read_member(index, member, data)
            assert blake3(content).digest() == member.digest
            assert content == (tree.parent / member.path.decode("utf-8", "surrogateescape")).read_bytes()
        else:
            assert member.digest is None


def test_a_single_files_archive_has_an_index_too(tmp_path):
    clip = tmp_path / "clip.mov"
    clip.write_bytes(noise(BLOCK_SIZE_BYTES))
    packed, path = pack_with_index(clip)
    index = Index(path)
    [member] = index.members()
    assert (member.path, member.digest) == (b"clip.mov", blake3(clip.read_bytes()).digest())
    assert read_member(index, member, packed.path.read_bytes()) == clip.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names or such paths")
@pytest.mark.parametrize("sign", ["\udcff", "\x01"])
def test_a_very_long_path_whose_every_byte_is_escaped_is_listed(tmp_path, sign):
    folder = tmp_path / "P"
    folder.mkdir()
    path = b"P/" + deep_file(folder, b"", sign * 255, 90_000)
    packed, index_path = pack_with_index(folder)
    index = Index(index_path)
    index.refuse_false(packed.content.content_digest, packed.size)
    assert [member.path for member in index.members()][-1] == path


@pytest.mark.parametrize("number", range(1, 256))
def test_the_longest_line_holds_two_paths_as_long_as_an_archive_gives_whatever_their_bytes(number):
    """Of one byte, or of its letter in UTF-8."""
    for sign in (bytes([number]), chr(number).encode()):
        path = sign * 1_000
        short, long = (
            len(write_member(IndexedMember(each, "hardlink", 2**63, 0o177777, 10**308, each, 2**63, None)))
            for each in (b"", path)
        )
        assert short + 2 * (long - short) // (2 * len(path)) * TAR_HEADER_MAX_BYTES <= LINE_MAX_BYTES


def test_nothing_is_left_beside_the_archive(tree):
    before = {path.name for path in tree.parent.iterdir()}
    pack_with_index(tree)
    assert {path.name for path in tree.parent.iterdir()} - before == {"x.tar.gz", "index.gz"}


def test_an_index_is_never_believed_where_a_byte_of_it_was_changed(tree):
    packed, path = pack_with_index(tree)
    data = path.read_bytes()
    for place in [*range(30), *range(30, len(data), len(data) // 150)]:
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with contextlib.suppress(IntegrityError):
            Index(path).refuse_false(packed.content.content_digest, packed.size)
            assert gzip.decompress(changed) == gzip.decompress(data)  # such as a time in gzip's own header


@pytest.mark.parametrize("change", ["swap", "drop", "digest", "size", "mode", "target", "other archive"])
def test_an_index_whose_members_were_changed_is_refused(tree, change):
    packed, path = pack_with_index(tree)
    header, *lines = gzip.decompress(path.read_bytes()).splitlines()
    parsed = [json.loads(line) for line in lines]
    number = next(place for place, line in enumerate(parsed) if line[1] == "f" and line[2])
    if change == "swap":
        parsed[number], parsed[number + 1] = parsed[number + 1], parsed[number]
    elif change == "drop":
        del parsed[number]
    elif change == "digest":
        parsed[number][7] = "0" * 64
    elif change in ("size", "mode"):
        parsed[number][2 if change == "size" else 3] += 1
    elif change == "target":
        next(line for line in parsed if line[1] == "s")[5] += "x"
    path.write_bytes(gzip.compress(b"\n".join([header, *(json.dumps(line).encode() for line in parsed)]) + b"\n"))
    size = packed.size + (change == "other archive")
    with pytest.raises(IntegrityError, match="not the index of this archive"):
        Index(path).refuse_false(packed.content.content_digest, size)


HEADERS = [
    b"",
    b"[]",
    b"{}",
    b'{"mgmt_index": 2}',
    b"[" * 100_000,
    b"\xff",
    b'{"mgmt_index": 1, "block_lengths": 3}',
]
LINES = [
    b"[]",
    b"[" * 100_000,
    b'{"a": 1}',
    b'["a","f",1,420,0,"",512,null]',
    b'["a","d",0,420,0,"",512,7]',
    b'["a","f",-1,420,0,"",512,"%s"]' % (b"0" * 64),
    b'["a","f",1,420,1e999,"",512,"%s"]' % (b"0" * 64),
    b'["a","f",1,420,0,"",512,"%s"]' % (b"g" * 64),
    b'["a","x",1,420,0,"",512,null]',
    b'[1,"f",1,420,0,"",512,"%s"]' % (b"0" * 64),
    b'["\\ud800","f",1,420,0,"",512,"%s"]' % (b"0" * 64),
    b'["a","f",true,420,0,"",512,"%s"]' % (b"0" * 64),
    b'["a","f",%s,420,0,"",512,"%s"]' % (b"9" * 400, b"0" * 64),
    b'["a","f",1,420,0,"",%d,"%s"]' % (2**63, b"0" * 64),
    b'["a","f",1,%d,0,"",512,"%s"]' % (2**32, b"0" * 64),
    b'["' + b"a" * LINE_MAX_BYTES + b'","d",0,420,0,"",512,null]',
]


def test_more_blocks_than_any_archive_has_are_not_even_read(tmp_path):
    """Thirty million of them take a gigabyte, and as a file 60 kB."""
    header = b'{"mgmt_index":1,"block_lengths":[' + b"0," * 30_000_000 + b"0]}\n"
    path = tmp_path / "index.gz"
    path.write_bytes(gzip.compress(header, 1))
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match="more blocks than an archive has"):
            Index(path)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(header)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_first_line_without_sense_is_refused(tmp_path, header):
    path = tmp_path / "index.gz"
    path.write_bytes(gzip.compress(header + b"\n"))
    with pytest.raises(IntegrityError, match="index cannot be used"):
        Index(path)


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_a_member_without_sense_is_refused(tree, line):
    _, path = pack_with_index(tree)
    header = gzip.decompress(path.read_bytes()).splitlines()[0]
    path.write_bytes(gzip.compress(header + b"\n" + line + b"\n"))
    with pytest.raises(IntegrityError, match="index cannot be used"):
        list(Index(path).members())


def test_blocks_that_do_not_make_up_the_archive_are_refused(tree):
    _, path = pack_with_index(tree)
    header = json.loads(gzip.decompress(path.read_bytes()).splitlines()[0])
    for change in (
        {"block_lengths": [-5, *header["block_lengths"][1:]]},
        {"block_lengths": [*header["block_lengths"], 1]},
        {"block_size_bytes": 0},
        {"tar_bytes": 10**30},
        {"archive_size": 5},
        {"member_count": 1.5},
        {"surplus": 1},
    ):
        path.write_bytes(gzip.compress(json.dumps(header | change).encode() + b"\n"))
        with pytest.raises(IntegrityError, match="index cannot be used"):
            Index(path)


def test_twenty_thousand_members_are_written_and_read_in_little_memory(tmp_path):
    """Listed, not packed: what is measured is the index alone."""
    path = tmp_path / "index.gz"
    tracemalloc.start()
    hashed = blake3(b"mgmt content 2\0")
    with IndexWriter(tmp_path) as writer:
        for number in range(20_000):
            digest = number.to_bytes(32, "big")
            writer.add(IndexedMember(b"P/%d" % number, "file", 1, 0o644, 0, b"", 512 * number, digest))
            hashed.update(b"P/%d\0f644 1\0\0" % number + digest)
        content_digest = "blake3:" + hashed.hexdigest()
        for _ in range(5):
            writer.note_block(9)
        writer.describe(
            tar_bytes=5 * BLOCK_SIZE_BYTES,
            archive_size=1000,
            crc64nvme="",
            content_digest=content_digest,
            member_count=20_000,
        )
        with path.open("wb") as file:
            writer.write(file)
    Index(path).refuse_false(content_digest, 1000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2**20


def test_an_index_that_was_lost_is_made_again_from_the_archive(tree):
    packed, path = pack_with_index(tree)
    with IndexWriter(tree.parent) as writer:
        with packed.path.open("rb") as archive:
            rebuild_index(archive, writer)
        again = tree.parent / "again.gz"
        with again.open("wb") as file:
            writer.write(file)
    assert again.read_bytes() == path.read_bytes()


def test_no_index_is_made_of_an_archive_whose_bytes_were_changed(tree):
    packed, _ = pack_with_index(tree)
    data = packed.path.read_bytes()
    for place in range(0, len(data), len(data) // 40):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        with IndexWriter(tree.parent) as writer, contextlib.suppress(IntegrityError):
            rebuild_index(io.BytesIO(changed), writer)
            again = io.BytesIO()
            writer.write(again)
            path = tree.parent / "again.gz"
            path.write_bytes(again.getvalue())
            assert Index(path).facts.crc64nvme != packed.content.crc64nvme


def test_reading_an_archive_for_its_index_can_be_stopped(tree):
    packed, _ = pack_with_index(tree)
    stop = threading.Event()
    stop.set()
    with IndexWriter(tree.parent) as writer, packed.path.open("rb") as archive, pytest.raises(CancelledError):
        rebuild_index(archive, writer, stop=stop)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
def test_a_disk_that_does_not_take_the_index_disturbs_no_packing(tree, monkeypatch):
    """It is told to those who want the index in the end."""
    monkeypatch.setattr(index_module, "open_nameless", lambda _: open("/dev/full", "w+b", buffering=0))  # noqa: SIM115, PTH123
    with IndexWriter(tree.parent) as writer:
        packed = pack(look(tree), tree.parent / "tree.tar.gz", index=writer)
        assert packed.path.exists()
        with pytest.raises(OSError, match="No space left"):
            writer.write(io.BytesIO())


def test_what_waits_for_the_index_leaves_nothing_and_is_known_as_ours(tmp_path):
    with open_nameless(tmp_path) as file:
        file.write(b"x")
        assert all(is_temporary_name(path.name) for path in tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []
