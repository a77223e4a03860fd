from __future__ import annotations

import gzip
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt.archive import codec, current_codec
from mgmt.archive.codec import LAST_BLOCK, PLANS, ZLIB, Plan, encode, plan_named, store
from mgmt.archive.headers import GZIP_HEADER, gzip_trailer
from mgmt.errors import UsageError
from mgmt.layout import BLOCK_SIZE_BYTES, STORED_HEADER_BYTES, STORED_SIZE_MAX_BYTES
from support.trees import noise, text

FALLBACK = Plan(ZLIB, 1, 97)
ALL_PLANS = [*PLANS.values(), FALLBACK]


def joined(pieces: object) -> bytes:
    return b"".join(pieces)


def inflate(pieces: bytes) -> bytes:
    inflating = zlib.decompressobj(-15)
    return inflating.decompress(pieces + LAST_BLOCK) + inflating.flush()


CONTENTS = {"noise": noise(70_000), "text": text(90_000), "zeros": bytes(40_000), "tiny": b"x"}


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """Make blocks of several sizes that shrink well, badly, partly or not at all."""
    names = draw(st.lists(st.sampled_from(list(CONTENTS)), max_size=6))
    return b"".join(CONTENTS[name] for name in names) + draw(st.binary(max_size=200))


@given(blocks(), st.sampled_from(ALL_PLANS))
def test_a_block_comes_back_and_never_takes_more_than_its_stored_form(data, plan):
    encoded = joined(encode(plan, memoryview(data)))
    assert inflate(encoded) == data
    pieces = -(-len(data) // STORED_SIZE_MAX_BYTES)
    assert len(encoded) <= len(data) + STORED_HEADER_BYTES * pieces


@given(st.lists(blocks(), max_size=3), st.sampled_from(ALL_PLANS))
def test_blocks_joined_are_one_gzip_member(contents, plan):
    data = b"".join(contents)
    encoded = b"".join(joined(encode(plan, memoryview(block))) for block in contents)
    member = GZIP_HEADER + encoded + LAST_BLOCK + gzip_trailer(zlib.crc32(data), len(data))
    assert gzip.decompress(member) == data


@pytest.mark.parametrize("plan", PLANS)
def test_noise_is_stored_as_it_is(plan):
    block = memoryview(noise(BLOCK_SIZE_BYTES))
    assert joined(encode(PLANS[plan], block)) == joined(store(block))


def test_stored_pieces_are_views_not_copies():
    data = bytearray(200_000)
    pieces = store(memoryview(data))
    assert all(piece.obj is data for piece in pieces[1::2] if isinstance(piece, memoryview))
    assert len(pieces) == 2 * 4


def test_a_block_whose_samples_promise_too_much_is_stored():
    """The eight samples are zeros, all the rest is noise."""
    data = bytearray(noise(BLOCK_SIZE_BYTES))
    stride = (BLOCK_SIZE_BYTES - 8_192) // 7
    for start in range(0, BLOCK_SIZE_BYTES, stride):
        data[start : start + 8_192] = bytes(len(data[start : start + 8_192]))
    encoded = joined(encode(PLANS["auto"], memoryview(data)))
    assert inflate(encoded) == data
    assert len(encoded) <= len(data) + STORED_HEADER_BYTES * 33


def test_plans_name_what_packs_them():
    assert current_codec("best").startswith("mgmt 3, zlib ")
    assert current_codec("store") == "mgmt 3, stored"
    assert current_codec("auto") == current_codec() == current_codec("fast")
    assert codec.QUICKEST.name in current_codec()


def test_without_isal_zlib_packs_and_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "isal", None)
    assert codec._quickest() is ZLIB
    plans = codec._plans(ZLIB)
    assert plans["auto"].deflater is ZLIB
    assert plans["auto"].level == 1


def test_an_unknown_plan_names_the_known():
    with pytest.raises(UsageError, match="auto, store, fast, best"):
        plan_named("harder")
