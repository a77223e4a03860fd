"""The notes of an extraction that goes on after a crash."""

import pytest

from mgmt.archive.blocks import BlockStart
from mgmt.archive.checkpoints import Checkpoint, Mark
from mgmt.archive.index import IndexedMember
from mgmt.download import unfinished_tree
from mgmt.download.unfinished import Opened
from mgmt.download.unfinished_tree import UnfinishedTree
from mgmt.errors import LocalStateError

OPENED = Opened("01a2041b-befb-730e-9a3c-9ad5ec9c7240", "card")


class KilledError(Exception):
    """The process is gone."""


def notes(folder):
    return UnfinishedTree(folder, "card", "upload", 1000)


def test_what_a_newer_version_has_begun_is_refused_and_stays(tmp_path):
    with notes(tmp_path) as begun:
        begun.open(OPENED)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes().replace(b"mgmt checkpoints 1", b"mgmt checkpoints 12"))
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    with pytest.raises(LocalStateError, match="by a newer mgmt"):
        notes(tmp_path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


@pytest.mark.parametrize("removals_before_it", [0, 1])
def test_an_end_that_was_killed_while_the_notes_are_removed_is_ended_by_the_next_run(
    tmp_path, monkeypatch, removals_before_it
):
    """Else one of the two would lie there for ever: the same command finds its tree there and changes nothing."""
    tree = tmp_path / "card"
    tree.mkdir()
    remove_file, removals = unfinished_tree.remove_file, []

    def remove(path, is_ours):
        if len(removals) == removals_before_it:
            raise KilledError
        removals.append(path)
        remove_file(path, is_ours)

    with notes(tmp_path) as killed:
        killed.open(OPENED)
        killed.promise(tree)
        with monkeypatch.context() as patch:
            patch.setattr(unfinished_tree, "remove_file", remove)
            with pytest.raises(KilledError):
                killed.discard()
    with notes(tmp_path) as again:
        assert again.is_published_as(tree)
        again.discard()
    assert list(tmp_path.iterdir()) == [tree]


def test_a_checkpoint_within_a_file_with_a_very_long_path_of_escaped_bytes_is_found_again(tmp_path):
    member = IndexedMember(b"\xff" * 90_000, "file", 5, 0o644, 0, b"", 512, bytes(32))
    checkpoint = Checkpoint(1, Mark(7, 0), BlockStart(0, 0), member, 3)
    with UnfinishedTree(tmp_path, "card", "upload", 2**40) as noted:
        noted.open(OPENED)
        noted.save(checkpoint, lambda: None)
    with UnfinishedTree(tmp_path, "card", "upload", 2**40) as again:
        assert again.checkpoint == checkpoint
