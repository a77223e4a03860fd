from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgmt.machine.folders import sort_names, without_limit

names = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name and b"/" not in name)


@given(st.lists(names, unique=True))
def test_names_come_in_the_order_of_their_bytes(given_names):
    assert list(sort_names(given_names)) == sorted(given_names)


def test_a_large_folder_comes_in_one_order_too():
    given_names = [b"clip-%06d.mov" % number for number in range(100_000)]
    out_of_order = sorted(given_names, key=lambda name: name[::-1])
    assert list(sort_names(out_of_order)) == given_names


def test_waiting_names_take_little_more_memory_than_their_letters():
    count, size_bytes = 200_000, 15
    tracemalloc.start()
    waiting = sort_names(b"clip-%06d.mov" % number for number in range(count))
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert next(waiting) == b"clip-000000.mov"
    assert held_bytes < 1.5 * count * size_bytes


@pytest.mark.parametrize(
    ("path", "becomes"),
    [
        (r"C:\Footage\day 1", r"\\?\C:\Footage\day 1"),
        ("C:/Footage/../Clips", r"\\?\C:\Clips"),
        (r"\\nas\footage\a", r"\\?\UNC\nas\footage\a"),
        (r"\\?\C:\Footage", r"\\?\C:\Footage"),
    ],
)
def test_on_windows_a_walk_goes_as_deep_as_the_disk(path, becomes):
    """Without that prefix a path has 260 characters, and a deep folder would be one that cannot be read."""
    assert without_limit(path) == becomes
