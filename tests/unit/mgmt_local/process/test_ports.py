from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt_local.errors import LocalBackendError
from mgmt_local.process import ports as ports_module
from mgmt_local.process.ports import EnginePorts, choose_ports, remove_sockets

posix_only = pytest.mark.skipif(os.name != "posix", reason="the engine makes sockets on POSIX only")


@contextlib.contextmanager
def listening(*numbers: int) -> Iterator[None]:
    with contextlib.ExitStack() as opened:
        for number in numbers:
            opened.enter_context(socket.create_server(("127.0.0.1", number)))
        yield


def test_all_ports_are_free_and_different():
    ports = choose_ports()
    numbers = [*ports, *(ports.grpc(service) for service in EnginePorts._fields)]
    assert len(set(numbers)) == 10
    with listening(*numbers):
        pass


def test_a_taken_port_is_not_chosen_whichever_of_the_two_it_is(monkeypatch: pytest.MonkeyPatch):
    free = choose_ports()
    with listening(free.master, free.grpc("volume")):
        others = choose_ports()
        monkeypatch.setattr(ports_module, "_CANDIDATES", [free.master, free.volume, *others])
        monkeypatch.setattr(ports_module, "_TRIES", 7)
        assert set(choose_ports()) == set(others)


def test_too_few_free_ports_are_an_error(monkeypatch: pytest.MonkeyPatch):
    free = choose_ports()
    monkeypatch.setattr(ports_module, "_CANDIDATES", list(free))
    monkeypatch.setattr(ports_module, "_TRIES", 5)
    with listening(free.s3), pytest.raises(LocalBackendError, match="not enough free ports"):
        choose_ports()


@posix_only
def test_only_sockets_of_the_engines_ports_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ports_module, "_SOCKET_FOLDER", tmp_path)
    ports = EnginePorts(12_001, 12_002, 12_003, 12_004, 12_005)
    monkeypatch.chdir(tmp_path)
    for name in ("seaweedfs-master-grpc-22001.sock", "seaweedfs-master-grpc-22009.sock"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(name)
    Path("seaweedfs-filer-grpc-22003.sock").write_text("a file")
    remove_sockets(ports)
    left_over = {path.name for path in tmp_path.iterdir()}
    assert left_over == {"seaweedfs-master-grpc-22009.sock", "seaweedfs-filer-grpc-22003.sock"}


@posix_only
def test_a_port_whose_socket_is_there_already_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Such a listener may want to be taken for the engine."""
    free = choose_ports()
    with listening(free.master):
        others = choose_ports()
    monkeypatch.setattr(ports_module, "_SOCKET_FOLDER", tmp_path)
    monkeypatch.setattr(ports_module, "_CANDIDATES", [free.master, *others])
    monkeypatch.setattr(ports_module, "_TRIES", 6)
    (tmp_path / f"seaweedfs-filer-grpc-{free.grpc('master')}.sock").symlink_to("nowhere")
    assert free.master not in choose_ports()
