"""Where a sign-in's file lies, and what stands in it: enough for `mgmt whoami`, which has to import little."""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

FOLDER: Final = "sign-ins"
FILE_NAME: Final = "sign-in.json"
_USUAL_PORTS: Final = {"http": 80, "https": 443}


def service_name(url: str) -> str:
    """Return the one spelling of a service's address: tokens are for it, however it was typed.

    >>> service_name("HTTPS://API.example:443/Stage/")
    'https://api.example/Stage'
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port not in (None, _USUAL_PORTS.get(parts.scheme)) else ""
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def file_of(state_dir: Path, service_url: str) -> Path:
    """Name the file of a service's sign-in.

    Two services under one name are told apart by what it holds; a longer hash would cost 5 ms to import.
    """
    name = binascii.crc32(service_name(service_url).encode(errors="surrogatepass"))
    return state_dir / FOLDER / f"{name:08x}" / FILE_NAME


def read_plain(state_dir: Path, service_url: str) -> Mapping[str, Any]:
    """Read the file of a service's sign-in as it stands; empty where there is none, or none that can be read."""
    try:
        content = json.loads(file_of(state_dir, service_url).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    is_of_service = isinstance(content, dict) and content.get("service_url") == service_name(service_url)
    return content if is_of_service else {}
