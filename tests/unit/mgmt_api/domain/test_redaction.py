"""Secrets and control characters stay out of records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt_api.domain.redaction import redact
from mgmt_contract.texts import TEXT_MAX_BYTES, size_as_json
from support.hostile_texts import HOSTILE_UNITS, LONGEST_MAX_SECONDS, repeat_up_to, take_seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain words? yes & no", "plain words? yes & no"),
        ("GET https://h/p?a=b&X-Amz-Signature=00 -> 403", "GET https://h/p?… -> 403"),
        ("HTTP://h/p?sig", "HTTP://h/p?…"),
        ("url='https://h/p?s=1', next", "url='https://h/p?…', next"),
        ("tail /clip?X-Amz-Security-Token=abc%2F&x-amz-signature=00ff", None),
        ("Authorization: Bearer abc.def-ghi, then", "Authorization: Bearer …, then"),
        ("token eyJhbGciOi.eyJzdWIi.c2ln-X_ end", "token … end"),
        ("proxy http://ada:s3cret@proxy:8080/ refused", "proxy http://…@proxy:8080/ refused"),
        ("a\x1b[0m\r\n\u202e\u2028b", "a\\x1b[0m\\r\\n\\u202e\\u2028b"),
        ("caf\u00e9 \U0001f3ac", "caf\u00e9 \U0001f3ac"),
    ],
)
def test_what_is_cut(text, expected):
    redacted = redact(text)
    assert expected is None or redacted == expected
    for secret in ("abc%2F", "00ff", "s3cret", "c2ln"):
        assert secret not in redacted


@given(st.text(max_size=2000))
def test_any_text_becomes_printable_and_short(text):
    redacted = redact(text)
    assert size_as_json(redacted) <= TEXT_MAX_BYTES
    assert all(character.isprintable() or character not in "\x00\x1b\r\n\u202e" for character in redacted)
    redacted.encode()


@given(st.text(st.characters(categories=["L", "N"]), min_size=8, max_size=40), st.text(max_size=60))
def test_a_query_string_never_survives(secret, before):
    assert secret not in redact(f"https://h.example/p?X-Amz-Signature={secret}")
    text = f"{before} https://h.example/p?X-Amz-Signature={secret}"
    assert f"Signature={secret}" not in redact(text)


@pytest.mark.parametrize("secret", ["https://h/p?X-Amz-Signature=s3cret", "http://ada:s3cret@h/", "eyJh.s3cret.c2ln"])
@pytest.mark.parametrize("length", range(4080, 4110, 3))
def test_a_secret_where_a_long_text_is_cut_does_not_survive_by_half(secret, length):
    """Whatever comes before it is redacted to almost nothing, so that the cut end is what is kept."""
    before = "Bearer ".ljust(length - len(secret) // 2, "x")
    assert "s3c" not in redact(f"{before} {secret} {'more ' * 1000}")


def test_a_long_message_keeps_its_beginning_and_its_end():
    redacted = redact("clip.mp4 changed. " + "more " * 600 + "Run it again.")
    assert redacted.startswith("clip.mp4 changed. more")
    assert redacted.endswith("more Run it again.")


@pytest.mark.parametrize("unit", HOSTILE_UNITS, ids=ascii)
@pytest.mark.parametrize("size_bytes", [TEXT_MAX_BYTES, 1_000_000], ids=["the longest allowed", "a megabyte"])
def test_a_hostile_text_takes_no_time(unit, size_bytes):
    text = repeat_up_to(unit, size_bytes)
    assert take_seconds(lambda: redact(text)) < LONGEST_MAX_SECONDS
