import doctest
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt_contract import names, parts, problems, restoring, wire
from mgmt_contract.names import KEY_MAX_BYTES, InvalidNameError, base_name, fold_key, join_key

segments = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1, max_size=40
).filter(lambda text: text not in (".", ".."))


@pytest.mark.parametrize("module", [names, parts, restoring, wire])
def test_the_examples_in_the_docstrings_hold(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


@given(st.lists(segments, max_size=4), st.lists(segments, max_size=4), segments)
def test_a_key_has_every_segment_once_and_is_normal(root, prefix, name):
    key = join_key("/".join(root), "/".join(prefix) + "/", name)
    assert key.split("/") == [unicodedata.normalize("NFC", each) for each in [*root, *prefix, name + ".tar.gz"]]
    assert unicodedata.is_normalized("NFC", key)


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("", ""),
        ("", "."),
        ("", ".."),
        ("a//b", "x"),
        (".mgmt", "x"),
        ("/.mgmt/a/", "x"),
        (".Mgmt-2", "x"),
        ("a/../b", "x"),
        ("./a", "x"),
        ("", "a/b"),
        ("", "a\nb"),
        ("", "a\x7fb"),
        ("", "\udcff"),
    ],
)
def test_what_http_libraries_or_terminals_would_rewrite_is_refused(prefix, name):
    with pytest.raises(InvalidNameError):
        join_key("", prefix, name)


def test_a_key_has_at_most_1024_bytes():
    longest = "é" * ((KEY_MAX_BYTES - len("p/.tar.gz")) // 2)
    assert len(join_key("p", "", longest).encode()) <= KEY_MAX_BYTES
    with pytest.raises(InvalidNameError, match="1025"):
        join_key("p", "", longest + "é")


@given(segments)
def test_twins_fold_to_one(name):
    for twin in (name.upper().lower(), unicodedata.normalize("NFD", name)):
        if twin.casefold() == name.casefold():
            assert fold_key(twin) == fold_key(name)
    assert fold_key(fold_key(name)) == fold_key(name)


@given(segments, st.lists(segments, max_size=3))
def test_every_form_of_a_name_has_one_base_name(name, prefix):
    key = join_key("", "/".join(prefix), name)
    assert base_name(key) == base_name(name + ".tar.gz") == key.rsplit("/", 1)[-1]


@given(st.integers(0, parts.OBJECT_SIZE_MAX_BYTES), st.data())
def test_parts_cover_an_object_without_gap_or_overlap(size, data):
    part_size = parts.part_size_for(size)
    assert parts.PART_SIZE_MIN_BYTES <= part_size <= parts.PART_SIZE_MAX_BYTES
    count = parts.part_count(size, part_size)
    assert 1 <= count <= parts.PART_COUNT_MAX
    number = data.draw(st.integers(1, count))
    span = parts.part_span(number, size, part_size)
    end = size if number == count else parts.part_span(number + 1, size, part_size).offset
    assert span.offset + span.length == end
    assert parts.part_span(1, size, part_size).offset == 0


@pytest.mark.parametrize("size", [-1, parts.OBJECT_SIZE_MAX_BYTES + 1])
def test_an_object_s3_would_not_take_has_no_part_size(size):
    with pytest.raises(ValueError, match="S3 takes"):
        parts.part_size_for(size)


@pytest.mark.parametrize("number", [0, 3])
def test_there_is_no_part_beyond_the_last(number):
    with pytest.raises(ValueError, match="part"):
        parts.part_span(number, 20, 10)


def test_a_problem_is_filled_from_the_table():
    for code, kind in problems.PROBLEMS.items():
        problem = problems.make_problem(code, "why", retry_after_seconds=3)
        assert (problem.status, problem.title, problem.code) == (kind.http_status, kind.title, code)
        assert problem.type == f"urn:mgmt:problem:{code}"
    with pytest.raises(KeyError):
        problems.make_problem("no-such-code", "why")
