"""How much room the embedded backend's disk has, when that is too little, and the sentence about it."""

import shutil

import pytest

from mgmt_local.engine.room import Room, read_room

GB = 1_000_000_000


@pytest.mark.parametrize(
    ("free", "total", "size", "lacks"),
    [
        (10 * GB, 1000 * GB, 0, 0),
        (10 * GB - 1, 1000 * GB, 0, 1),
        (10 * GB, 1000 * GB, 1, 1),
        (0, 1000 * GB, GB, 11 * GB),
        (1, 99, 0, 0),
        (0, 99, 0, 1),
        (0, 0, 0, 0),
    ],
)
def test_one_per_cent_of_the_disk_stays_free(tmp_path, free, total, size, lacks):
    assert Room(tmp_path, free, total).lacks_bytes(size) == lacks


def test_the_sentence_says_what_is_free_what_is_needed_and_how_much_to_free(tmp_path):
    said = Room(tmp_path, 2_900_000, 512 * GB).explain_lack(16_777_216)
    assert said == (
        f"The embedded backend has no room: the disk on which it keeps what is stored ({tmp_path}) has 3 MB free of "
        "512.0 GB. 17 MB are to be stored now, and it stores nothing while less than 1 % (5.1 GB) is free. Free at "
        "least 5.2 GB on that disk"
    )
    assert "). It stores nothing" not in said
    assert "It stores nothing while less than 1 % (1 MB) is free. Free at least 1 MB" in (
        Room(tmp_path, 300_000, 64_000_000).explain_lack()
    )


def test_the_disk_is_that_of_the_objects_or_of_the_folder_in_which_they_will_lie(tmp_path):
    data_dir = tmp_path / "state" / "engine"
    before = read_room(data_dir)
    assert (before.folder, before.total_bytes) == (data_dir, shutil.disk_usage(tmp_path).total)
    (data_dir / "objects").mkdir(parents=True)
    assert read_room(data_dir).total_bytes == before.total_bytes
