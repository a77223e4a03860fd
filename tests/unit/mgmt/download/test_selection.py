"""What globs choose comes with the folders that lead to it, in little memory however deep it lies."""

import io
import tracemalloc

from blake3 import blake3

from mgmt.archive.index import Index, IndexedMember, IndexWriter
from mgmt.download.selection import Selection

DIGEST = blake3(b"").digest()


def make_index(folder, members):
    file = io.BytesIO()
    with IndexWriter(folder) as writer:
        for member in members:
            writer.add(member)
        writer.describe(tar_bytes=0, archive_size=1000, crc64nvme="", content_digest="", member_count=len(members))
        writer.write(file)
    return Index(file)


def folder_at(path):
    return IndexedMember(path, "directory", 0, 0o755, 0, b"", 512, None)


def file_at(path):
    return IndexedMember(path, "file", 0, 0o644, 0, b"", 512, DIGEST)


def chosen_paths(selection):
    return [member.path for member in selection.members()]


def test_the_folders_that_lead_to_what_is_chosen_come_once_and_no_others(tmp_path):
    members = [
        *map(folder_at, [b"r", b"r/a", b"r/a/deep", b"r/a/deep/er", b"r/ab"]),
        file_at(b"r/ab/clip"),
        folder_at(b"r/b"),
        *map(folder_at, [b"r/b/c", b"r/b/c/d"]),
        file_at(b"r/b/clip"),
        file_at(b"r/b/other"),
    ]
    index = make_index(tmp_path, members)
    assert chosen_paths(Selection(index, ["clip"])) == [b"r", b"r/ab", b"r/ab/clip", b"r/b", b"r/b/clip"]
    assert chosen_paths(Selection(index, ["er"])) == [b"r", b"r/a", b"r/a/deep", b"r/a/deep/er"]


def test_depth_costs_the_memory_of_one_path_not_of_one_for_each_folder(tmp_path):
    """The paths of all these folders together would take 10 MB."""
    depth = 300
    paths = [b"/".join([b"n" * 250] * count) for count in range(1, depth + 1)]
    index = make_index(tmp_path, [*map(folder_at, paths), file_at(paths[-1] + b"/leaf")])
    tracemalloc.start()
    try:
        selection = Selection(index, ["leaf"])
        assert sum(1 for _ in selection.members()) == depth + 1
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
