"""What packing would fail with for want of room, known before."""

import threading
from types import SimpleNamespace

import pytest

from mgmt.archive import packing, unfinished
from mgmt.archive.packing import estimate_size, pack
from mgmt.errors import CancelledError, LocalStateError
from mgmt.source import look
from mgmt_contract.parts import MIB
from support.trees import noise, text


def check(source, path):
    packing.refuse_without_room(source, path, plan="auto", stop=threading.Event())


def test_a_folder_that_may_not_be_written_is_refused(somebody):
    (somebody / "a").touch()
    locked = somebody / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(LocalStateError) as foreseen:
        check(look(somebody / "a"), locked / "a.tar.gz")
    with pytest.raises(LocalStateError) as met:
        pack(look(somebody / "a"), locked / "a.tar.gz")
    assert (foreseen.value.code, foreseen.value.message) == (met.value.code, met.value.message)


def test_only_what_surely_does_not_fit_is_refused(tmp_path, monkeypatch):
    """Of two sources of one size the one that shrinks has room, the other has not."""
    (tmp_path / "footage").write_bytes(noise(8 * MIB))
    (tmp_path / "notes").write_bytes(text(8 * MIB))
    monkeypatch.setattr(unfinished.shutil, "disk_usage", lambda _: SimpleNamespace(free=5 * MIB))
    check(look(tmp_path / "notes"), tmp_path / "notes.tar.gz")
    with pytest.raises(LocalStateError) as caught:
        check(look(tmp_path / "footage"), tmp_path / "footage.tar.gz")
    assert caught.value.code == "disk-full"


@pytest.mark.parametrize("make", [noise, text])
def test_the_size_is_judged_by_the_beginning_and_exact_where_all_is_read(tmp_path, make):
    (tmp_path / "a").write_bytes(make(24 * MIB))
    source = look(tmp_path / "a")
    size = pack(source, tmp_path / "a.tar.gz").size
    never = threading.Event()
    assert estimate_size(source, plan="auto", read_max_bytes=100 * MIB, stop=never) == size
    judged = estimate_size(source, plan="auto", read_max_bytes=6 * MIB, stop=never)
    assert judged == pytest.approx(size, rel=0.1)


def test_it_can_be_stopped(tmp_path):
    (tmp_path / "a").write_bytes(noise(8 * MIB))
    stop = threading.Event()
    stop.set()
    with pytest.raises(CancelledError):
        estimate_size(look(tmp_path / "a"), plan="auto", read_max_bytes=100 * MIB, stop=stop)
