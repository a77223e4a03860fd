"""Whatever a tree looks like: it comes back, it is bounded, and its bytes do not depend on chance."""

from __future__ import annotations

import gzip
import os
import tarfile
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mgmt.archive import pack
from mgmt.archive.codec import PLANS
from mgmt.source import look
from mgmt.source.walk import reason_to_skip
from support.trees import describe, noise, text

RECORD_BYTES = 512
CONTENTS = {
    "empty": b"",
    "tiny": b"x",
    "noise": noise(5_000),
    "text": text(40_000),
    "more noise": noise(600_000),
    "more text": text(1_200_000),
    "zeros": bytes(300_000),
}
# Names of systems' own files are left out by the product; hypothesis finds them in its code, such as $recycle.bin.
NAMES = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).map(str.encode),
    st.sampled_from([b"a", b"a.b", b"a-b", b"ab", b"A", b"n" * 200, b" ", b"-"]),
).filter(
    lambda name: (
        name not in (b".", b"..") and not {0, 47} & set(name) and len(name) <= 255 and reason_to_skip(name) is None
    )
)
FILES = st.tuples(st.sampled_from(list(CONTENTS)), st.integers(0, 0o777), st.integers(-(2**31), 2**33))
LINKS = st.text("abc/.", min_size=1, max_size=150)
TREES = st.recursive(
    st.one_of(FILES, LINKS),
    lambda entries: st.dictionaries(NAMES, entries, max_size=5),
    max_leaves=12,
)


def plant(path: bytes, entry: object) -> None:
    match entry:
        case dict():
            os.mkdir(path)  # noqa: PTH102  bytes
            for name, inner in entry.items():
                plant(os.path.join(path, name), inner)  # noqa: PTH118  bytes
        case (content, mode, seconds):
            Path(os.fsdecode(path)).write_bytes(CONTENTS[content])
            os.chmod(path, mode)  # noqa: PTH101  bytes
            os.utime(path, ns=(0, seconds * 10**9 + 123_456_789))
        case str():
            os.symlink(entry, path)  # noqa: PTH211  bytes


def tell_difference(one: bytes, other: bytes) -> str:
    """Say whether two archives differ in their tar streams, and by which record, or in the compression alone."""
    if one == other:
        return ""
    streams = [gzip.decompress(each) for each in (one, other)]
    for start in range(0, max(map(len, streams)), RECORD_BYTES):
        records = [stream[start : start + RECORD_BYTES] for stream in streams]
        if records[0] != records[1]:
            return f"the record at byte {start} is once {records[0]!r} and once {records[1]!r}"
    return f"the same tar stream was compressed to {len(one)} and {len(other)} bytes"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(NAMES, TREES, max_size=6), st.sampled_from(list(PLANS)))
def test_it_comes_back_within_its_bound_and_the_same_for_any_number_of_workers(tmp_path, entries, plan):
    with tempfile.TemporaryDirectory(dir=tmp_path) as name:
        here = Path(name)
        plant(os.fsencode(here / "T"), entries)
        source = look(here / "T")
        one = pack(source, here / "1.tar.gz", plan=plan, workers=1)
        five = pack(source, here / "5.tar.gz", plan=plan, workers=5)
        assert tell_difference(one.path.read_bytes(), five.path.read_bytes()) == ""
        assert one.content.content_digest == five.content.content_digest
        assert one.size <= source.upper_bound_bytes
        assert (one.content.member_count, one.content.uncompressed_size) == (
            source.member_count,
            source.uncompressed_size,
        )
        with tarfile.open(one.path) as archive:
            archive.extractall(here / "o", filter="fully_trusted")  # noqa: S202  made a line above
        restored = describe(here / "o" / "T")
        expected = describe(here / "T")
        for facts in (restored, expected):
            for path, (kind, mode, seconds, content, twin) in facts.items():
                is_link = isinstance(content, bytes)  # tarfile does not restore a link's time
                facts[path] = (kind, mode, 0 if is_link else seconds, content, twin)
        assert restored == expected
