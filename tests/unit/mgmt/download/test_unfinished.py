import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mgmt.download import unfinished as unfinished_module
from mgmt.download.unfinished import Opened, Unfinished
from mgmt.errors import CancelledError, LocalStateError
from mgmt.layout import is_temporary_name
from mgmt.stored.archive import RANGE_SIZE_BYTES

OPENED = Opened("01a2041b-befb-730e-9a3c-9ad5ec9c7240", "x.tar.gz")
SIZE = 3 * RANGE_SIZE_BYTES + 5


def unfinished(folder, upload_id="upload", size=SIZE):
    return Unfinished(folder, "x.tar.gz", upload_id, size)


def list_in(folder):
    [path] = [path for path in folder.iterdir() if path.read_bytes().startswith(b"{")]
    return path


def missing(found):
    return [span.number for span in found.missing()]


@pytest.fixture
def begun(tmp_path):
    with unfinished(tmp_path) as found:
        found.open(OPENED)
        found.write(RANGE_SIZE_BYTES, b"range 1")
        found.note_whole(1)
        found.write(0, b"some of range 0")
    return tmp_path


def test_a_later_run_knows_the_ranges_that_were_whole_and_the_operation(begun):
    with unfinished(begun) as found:
        assert (missing(found), found.opened) == ([0, 2, 3], OPENED)
        found.open(OPENED)
        assert missing(found) == [0, 2, 3]
        assert found.done_bytes == RANGE_SIZE_BYTES
        assert [span.length for span in found.missing()][-1] == 5
        assert [found.is_written(number * RANGE_SIZE_BYTES) for number in range(4)] == [False, True, False, False]
        assert found.read(0, memoryview(bytearray(4))) == b"some"


def test_what_a_newer_version_has_begun_is_refused_and_stays(begun):
    path = list_in(begun)
    path.write_bytes(path.read_bytes().replace(b"mgmt ranges 1", b"mgmt ranges 2"))
    before = {each.name: each.read_bytes() for each in begun.iterdir()}
    with pytest.raises(LocalStateError, match="by a newer mgmt") as refused:
        unfinished(begun)
    assert refused.value.code == "written-by-newer"
    assert {each.name: each.read_bytes() for each in begun.iterdir()} == before


def test_both_files_are_private_and_left_out_of_uploads(begun):
    assert len(list(begun.iterdir())) == 2
    for path in begun.iterdir():
        assert is_temporary_name(path.name)
        assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o600


def test_a_range_is_listed_only_after_its_bytes_were_synced(tmp_path, monkeypatch):
    order, sync = [], os.fsync
    with unfinished(tmp_path) as found:
        found.open(OPENED)
        path = list_in(tmp_path)
        monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append(path.read_bytes()), sync(descriptor)))
        found.note_whole(2)
    assert not order[0].endswith(b"\n2\n")
    assert path.read_bytes().endswith(b"\n2\n")


def test_a_range_whose_sync_fails_is_not_listed(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(5, "the disk is broken")

    with unfinished(tmp_path) as found:
        found.open(OPENED)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fail)
            with pytest.raises(OSError, match="broken"):
                found.note_whole(2)
    with unfinished(tmp_path) as found:
        assert missing(found) == [0, 1, 2, 3]


@pytest.mark.parametrize("damage", [b"2", b"\0\0\0\0", b'{"publ', b"99\n", b"-1\n", b"true\n", b"[2]\n", b"[" * 5000])
def test_a_line_that_a_crash_has_cut_or_that_makes_no_sense_says_nothing(begun, damage):
    with list_in(begun).open("ab") as file:
        file.write(damage)
    with unfinished(begun) as found:
        assert missing(found) == [0, 2, 3]
        found.open(OPENED)
        found.note_whole(3)
    with unfinished(begun) as found:
        assert missing(found) == [0, 2]


def test_what_belongs_to_another_upload_or_size_is_not_gone_on_with(begun):
    for other in (unfinished(begun, upload_id="other"), unfinished(begun, size=SIZE + 1)):
        assert (missing(other), other.opened) == ([0, 1, 2, 3], None)
    with unfinished(begun, size=SIZE + 1) as found:
        found.open(OPENED)
        assert missing(found) == [0, 1, 2, 3]
        assert not any(found.path.read_bytes())


@pytest.mark.parametrize("lost", [0, 1])
def test_where_one_of_the_two_is_lost_all_is_fetched(begun, lost):
    sorted(begun.iterdir(), key=lambda path: path == list_in(begun))[lost].unlink()
    with unfinished(begun) as found:
        found.open(OPENED)
        assert missing(found) == [0, 1, 2, 3]


@pytest.mark.skipif(os.name == "nt", reason="links are privileged there")
def test_a_link_in_place_of_the_unfinished_file_is_not_followed(begun):
    with unfinished(begun) as found:
        found.path.unlink()
        (begun / "precious").write_bytes(b"theirs")
        found.path.symlink_to("precious")
        with pytest.raises(OSError, match="symbolic"):
            found.open(OPENED)
    assert (begun / "precious").read_bytes() == b"theirs"


def test_a_file_that_was_promised_is_known_by_its_new_name_and_another_is_not(begun):
    with unfinished(begun) as found:
        found.open(OPENED)
        found.promise(found.path)
        found.close()
        found.path.rename(begun / "x.tar.gz")
    assert unfinished(begun).is_published_as(begun / "x.tar.gz")
    (begun / "x.tar.gz").rename(begun / "y")
    assert not unfinished(begun).is_published_as(begun / "x.tar.gz")
    (begun / "x.tar.gz").write_bytes(b"theirs")
    assert not unfinished(begun).is_published_as(begun / "x.tar.gz")


def test_nothing_is_written_after_the_files_were_closed(tmp_path):
    found = unfinished(tmp_path)
    found.open(OPENED)
    found.close()
    with pytest.raises(CancelledError):
        found.write(0, b"late")
    found.discard()
    assert list(tmp_path.iterdir()) == []


def test_closing_waits_for_a_thread_that_writes(tmp_path, monkeypatch):
    """Else its descriptor could be another file's by then."""
    begun, may_go_on, write, order = threading.Event(), threading.Event(), os.pwrite, []

    def write_slowly(*arguments):
        begun.set()
        may_go_on.wait(20)
        order.append("written")
        return write(*arguments)

    found = unfinished(tmp_path)
    found.open(OPENED)
    monkeypatch.setattr(os, "pwrite", write_slowly)
    with ThreadPoolExecutor(2) as others:
        writing = others.submit(found.write, 0, b"slow")
        begun.wait(20)
        closing = others.submit(lambda: (found.close(), order.append("closed")))
        with pytest.raises(TimeoutError):
            closing.result(timeout=0.05)
        may_go_on.set()
        writing.result(20)
        closing.result(20)
    assert order == ["written", "closed"]
    assert found.path.read_bytes().rstrip(b"\0") == b"slow"


def test_where_room_is_reserved_two_threads_write_at_once_and_closing_waits_for_both(tmp_path, monkeypatch):
    are_both_there, may_go_on, write, order = threading.Barrier(3), threading.Event(), os.pwrite, []

    def write_slowly(*arguments):
        are_both_there.wait(20)
        may_go_on.wait(20)
        order.append("written")
        return write(*arguments)

    found = unfinished(tmp_path)
    found.open(OPENED)
    if found.path.stat().st_size == 0:
        found.discard()
        pytest.skip("this file system reserves none")
    monkeypatch.setattr(os, "pwrite", write_slowly)
    with ThreadPoolExecutor(3) as others:
        writing = [others.submit(found.write, offset, b"slow") for offset in (0, 4)]
        are_both_there.wait(20)
        closing = others.submit(lambda: (found.close(), order.append("closed")))
        with pytest.raises(TimeoutError):
            closing.result(timeout=0.05)
        may_go_on.set()
        for each in (*writing, closing):
            each.result(20)
    assert order == ["written", "written", "closed"]
    assert found.path.read_bytes().rstrip(b"\0") == b"slowslow"


def test_what_an_earlier_run_has_written_stays_when_room_is_reserved_again(begun):
    with unfinished(begun) as found:
        found.open(OPENED)
        assert found.read(RANGE_SIZE_BYTES, memoryview(bytearray(7))) == b"range 1"


def test_the_list_is_removed_last_so_that_what_a_killed_run_leaves_of_it_is_still_found(begun, monkeypatch):
    """`mgmt cancel` finds an archive by its list alone."""

    def remove_and_die(path, is_ours):
        remove(path, is_ours)
        raise KeyboardInterrupt

    remove = unfinished_module.remove_file
    with unfinished(begun) as found:
        found.open(OPENED)
        monkeypatch.setattr(unfinished_module, "remove_file", remove_and_die)
        with pytest.raises(KeyboardInterrupt):
            found.discard()
    assert list(begun.iterdir()) == [list_in(begun)]
