"""Ports and sockets of the storage engine: chosen free, and removed after a crash."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from mgmt_local.errors import LocalBackendError

LOOPBACK: Final = "127.0.0.1"

_GRPC_OFFSET: Final = 10_000
_CANDIDATES: Final = range(12_000, 22_700)
"""Neither these ports nor those above them by the offset are ones a system gives to outgoing connections."""
_TRIES: Final = 200
_SOCKET_FOLDER: Final = Path("/tmp")  # noqa: S108 - the engine's own choice, which no option moves


class EnginePorts(NamedTuple):
    """One port for the HTTP of each of the engine's services; its gRPC listens 10,000 above.

    The distance is the engine's: its maintenance worker looks for its administrator there, whatever other
    port that one was given.
    """

    master: int
    volume: int
    filer: int
    s3: int
    admin: int

    def grpc(self, service: str) -> int:
        """Return the gRPC port of a service."""
        return int(getattr(self, service)) + _GRPC_OFFSET


def choose_ports() -> EnginePorts:
    """Choose ports that are all free at this moment.

    Another program may still take one before the engine does: the engine then ends, and is started with others.

    Raises:
        LocalBackendError: If there are not enough free ports.
    """
    with contextlib.ExitStack() as held:
        chosen: list[int] = []
        for port in secrets.SystemRandom().sample(_CANDIDATES, _TRIES):
            if _holds(held, port):
                chosen.append(port)
            if len(chosen) == len(EnginePorts._fields):
                return EnginePorts(*chosen)
    raise LocalBackendError("there are not enough free ports on 127.0.0.1 for the storage engine")


def _holds(held: contextlib.ExitStack, port: int) -> bool:
    """Bind a port and its gRPC port until all are chosen."""
    if any(path.exists() or path.is_symlink() for path in _socket_paths(port + _GRPC_OFFSET)):
        return False
    for number in (port, port + _GRPC_OFFSET):
        listener = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        try:
            listener.bind((LOOPBACK, number))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def remove_sockets(ports: EnginePorts) -> None:
    """Remove the sockets that a killed engine has left in the shared temporary folder, if they are ours."""
    for service in EnginePorts._fields:
        for path in _socket_paths(ports.grpc(service)):
            # Somebody else's cannot be removed from a sticky folder, and the engine does not need it gone:
            # what answers there has no certificate of ours.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                if path.is_socket():
                    path.unlink()


def _socket_paths(grpc_port: int) -> Iterator[Path]:
    if os.name == "posix":
        for service in EnginePorts._fields:
            yield _SOCKET_FOLDER / f"seaweedfs-{service}-grpc-{grpc_port}.sock"
