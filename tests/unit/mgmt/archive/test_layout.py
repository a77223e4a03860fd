from __future__ import annotations

import doctest
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt import layout, text
from mgmt.archive import checksums
from mgmt.archive.codec import LAST_BLOCK, store
from mgmt.archive.headers import GZIP_HEADER, gzip_trailer
from mgmt.layout import (
    BLOCK_SIZE_BYTES,
    archive_bound_bytes,
    archive_file_name,
    is_temporary_name,
    temporary_name,
)
from mgmt.source import walk

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=255)


@pytest.mark.parametrize("module", [layout, text, walk, checksums])
def test_examples_in_the_documentation_are_true(module):
    assert doctest.testmod(module).failed == 0


@given(st.integers(0, 3 * BLOCK_SIZE_BYTES))
def test_stored_blocks_and_their_frame_stay_within_the_bound(tar_bytes):
    whole, rest = divmod(tar_bytes, BLOCK_SIZE_BYTES)
    stored = [store(memoryview(bytes(size))) for size in [BLOCK_SIZE_BYTES] * whole + [rest]]
    frame_bytes = len(GZIP_HEADER) + len(LAST_BLOCK) + len(gzip_trailer(0, 0))
    size_bytes = frame_bytes + sum(len(piece) for pieces in stored for piece in pieces)
    assert size_bytes <= archive_bound_bytes(tar_bytes)
    if rest == 0:
        assert size_bytes == archive_bound_bytes(tar_bytes)


@given(st.integers(0, 2**50), st.integers(0, 2**40))
def test_the_bound_grows_with_the_stream(tar_bytes, more_bytes):
    assert archive_bound_bytes(tar_bytes) <= archive_bound_bytes(tar_bytes + more_bytes)


@given(NAMES)
def test_every_source_gets_an_archive_name_and_a_temporary_one_that_disks_take(name):
    archive = archive_file_name(name)
    assert len(os.fsencode(archive)) <= 255
    assert archive.endswith(".tar.gz")
    temporary = temporary_name(archive)
    assert len(os.fsencode(temporary)) <= 255
    assert is_temporary_name(temporary)
    assert is_temporary_name(os.fsencode(temporary))
    assert not is_temporary_name(archive)


@given(NAMES, NAMES)
def test_different_sources_get_different_archive_names(one, other):
    assert (archive_file_name(one) == archive_file_name(other)) == (one == other)
