"""Left-overs of a crashed backend, found and removed by the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mgmt_local.process.ports import EnginePorts, remove_sockets
from mgmt_local.process.processes import describe_process, end_process, find_process
from mgmt_local.process.state import PORT_MAX, read_json, write_private_json

_ENGINE_FILE: Final = "engine.json"
_END_TIMEOUT_SECONDS: Final = 5.0


def record_engine(data_dir: Path, pid: int, ports: EnginePorts) -> None:
    """Note which process works on a data folder, for the next start."""
    write_private_json(data_dir / _ENGINE_FILE, describe_process(pid) | {"ports": ports})


def forget_engine(data_dir: Path, pid: int, ports: EnginePorts) -> None:
    """Remove the files that an ended engine leaves; those of an engine that works on the folder since stay."""
    remove_sockets(ports)
    if (read_json(data_dir / _ENGINE_FILE) or {}).get("pid") == pid:
        (data_dir / _ENGINE_FILE).unlink(missing_ok=True)


def end_left_engine(data_dir: Path) -> bool:
    """End the engine that a killed process has left on a data folder; False where there is none."""
    left = read_json(data_dir / _ENGINE_FILE)
    if left is None:
        return False
    process = find_process(left)
    if process is not None:
        end_process(process, _END_TIMEOUT_SECONDS)
    ports = _read_ports(left)
    if ports is not None:
        remove_sockets(ports)
    (data_dir / _ENGINE_FILE).unlink(missing_ok=True)
    return process is not None


def _read_ports(left: dict[str, Any]) -> EnginePorts | None:
    """Return the ports that the file names; a damaged one names none."""
    ports = left.get("ports")
    if not isinstance(ports, list) or len(ports) != len(EnginePorts._fields):
        return None
    are_ports = all(isinstance(port, int) and 0 < port <= PORT_MAX for port in ports)
    return EnginePorts(*ports) if are_ports else None
