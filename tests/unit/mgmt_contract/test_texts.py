"""A text is measured in what it becomes as JSON, and whatever it is, it can be made to fit."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt_contract.texts import (
    TEXT_MAX_BYTES,
    cut_text,
    fit_text,
    holds_control_character,
    is_short,
    may_be_cut,
    size_as_json,
)
from mgmt_contract.wire import to_json

ODD = st.text(st.sampled_from('a"\\\n\x1b\x7f\x85\u2028\udc80é🎬'), max_size=3000)


@given(ODD | st.text(max_size=3000))
def test_any_text_can_be_made_to_fit(text):
    fitting = fit_text(text)
    assert is_short(fitting)
    assert len(to_json(fitting).encode()) <= TEXT_MAX_BYTES + 2
    assert not holds_control_character(fitting)
    assert fit_text(fitting) == fitting


@given(ODD.filter(lambda text: is_short(text) and not holds_control_character(text)))
def test_what_fits_stays_as_it_is(text):
    assert fit_text(text) == cut_text(text) == text


@given(ODD | st.text(min_size=300, max_size=3000))
def test_what_was_cut_is_told_from_a_whole_text(text):
    assert may_be_cut(cut_text(text)) is not is_short(text)
    fitting = fit_text(text)
    assert may_be_cut(fitting) is ("…" in fitting and "…" not in text)


@pytest.mark.parametrize("text", ["", "…", "day1/…/clip.mov", "…" * 682, "x" * 2045 + "…", "…" + "x" * 2045])
def test_a_text_with_the_same_sign_is_whole(text):
    assert is_short(text)
    assert not may_be_cut(text)


@given(ODD)
def test_a_text_is_as_long_as_the_contract_writes_it(text):
    assert size_as_json(text) == len(to_json(text).encode("utf-8", "surrogatepass")) - 2


@pytest.mark.parametrize(
    ("character", "count"), [("a", 2048), ('"', 1024), ("\x1b", 341), ("é", 1024), ("🎬", 512), ("語", 682)]
)
def test_the_bound_is_that_of_the_json(character, count):
    assert is_short(character * count)
    assert not is_short(character * (count + 1))


@pytest.mark.parametrize("character", ["a", '"', "\x1b", "é", "🎬", "語"])
def test_what_is_too_long_loses_its_middle_and_no_more(character):
    cut = cut_text(f"day1/{character * 3000}/clip.mp4")
    assert cut.startswith(f"day1/{character}")
    assert cut.endswith(f"{character}/clip.mp4")
    assert cut.count("…") == 1
    assert TEXT_MAX_BYTES - 2 * size_as_json(character) <= size_as_json(cut) <= TEXT_MAX_BYTES


@pytest.mark.parametrize(
    ("text", "written"), [("a\nb", "a\\nb"), ("a\x1b[0m", "a\\x1b[0m"), ("\x85", "\\x85"), ("\udc80", "\\udc80")]
)
def test_control_characters_are_written_out(text, written):
    assert holds_control_character(text)
    assert fit_text(text) == written


def test_a_text_of_any_length_is_cut_in_no_time():
    assert is_short(json.loads(to_json(fit_text("\x1b" * 10_000_000))))
