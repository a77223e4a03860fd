"""One file is read out of a stored archive at the price of its blocks, and checked by its digest."""

from __future__ import annotations

import os

import pytest
from blake3 import blake3

from mgmt.errors import IntegrityError
from mgmt.stored.archive import open_archive
from mgmt.stored.indexes import open_index
from mgmt.stored.members import read_member


def test_members_content_is_read_out_of_the_archive_by_its_blocks(desk, card):
    with open_index(desk.session, card.upload) as index:
        for member in index.members():
            if member.kind != "file":
                continue
            with open_archive(desk.session, card.upload, "x") as archive:
                content = b"".join(map(bytes, read_member(index, archive, member)))
            assert content == (card.folder.parent / os.fsdecode(member.path)).read_bytes()
            blocks, places = index.find_range(member.content_offset, member.content_offset + member.size_bytes)
            assert archive.received_bytes == (len(places) if member.size_bytes else 0)
            assert len(blocks) <= member.size_bytes // index.facts.block_size_bytes + 2


def test_other_bytes_than_were_uploaded_are_told_at_a_members_end(desk, card):
    with open_index(desk.session, card.upload) as index:
        member = next(each for each in index.members() if each.path == b"card/clip.mov")
        false = member._replace(digest=blake3(b"other").digest())
        with pytest.raises(IntegrityError) as raised, open_archive(desk.session, card.upload, "x") as archive:
            assert len(b"".join(map(bytes, read_member(index, archive, false)))) == member.size_bytes
    assert raised.value.code == "content-differs"
    assert desk.downloads()[0] == ("failed", "content-differs")
