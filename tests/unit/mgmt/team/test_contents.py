"""A list of any length is shown in constant memory, and times that no calendar has are no bug."""

import io
import tracemalloc

import pytest
from blake3 import blake3

from mgmt.archive.index import Index, IndexedMember, IndexWriter
from mgmt.show import Output, Style
from mgmt.show.contents import ContentsView
from mgmt.team.contents import Contents
from support.operations import make_operation

UPLOAD = make_operation(phase="done").record


def make_index(folder, members):
    file = io.BytesIO()
    with IndexWriter(folder) as writer:
        count = 0
        for count, member in enumerate(members, 1):  # noqa: B007  counted
            writer.add(member)
        writer.describe(
            tar_bytes=0, archive_size=1000, crc64nvme="", content_digest=UPLOAD.content_digest or "", member_count=count
        )
        writer.write(file)
    return Index(file)


def clip(number, **changes):
    path = b"card/%03d/clip%06d.mov" % (number // 1000, number)
    member = IndexedMember(path, "file", 1000, 0o644, 1_700_000_000, b"", 512, blake3(path).digest())
    return member._replace(**changes)


class Counting(io.StringIO):
    """Takes everything and keeps nothing."""

    encoding = "utf-8"

    def __init__(self):
        super().__init__()
        self.lines = 0

    def write(self, text):
        self.lines += text.count("\n")
        return len(text)


def show(index, form, glob=None):
    """Write a list; return its lines."""
    out = Counting()
    view = ContentsView(Output(Style(as_json=form == "json"), out, Counting()))
    getattr(view, f"show_{form}")(Contents(index, UPLOAD, glob))
    return out.lines


@pytest.mark.parametrize(("form", "more"), [("table", 1), ("csv", 1), ("json", 1)])
def test_memory_does_not_grow_with_the_list(tmp_path, form, more):
    peaks = []
    for count in (5_000, 12_000):  # what is read ahead of the index is bounded by less than the first
        index = make_index(tmp_path, map(clip, range(count)))
        tracemalloc.start()
        lines = show(index, form, "card")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert lines == count + more
    assert peaks[1] < peaks[0] + 200_000


@pytest.mark.parametrize("mtime_seconds", [-(10**12), 10**12, 253_402_300_799, -62_135_596_800, 2**80])
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_time_that_no_calendar_has_is_left_out(tmp_path, form, mtime_seconds):
    assert show(make_index(tmp_path, [clip(1, mtime_seconds=mtime_seconds)]), form) == 2
