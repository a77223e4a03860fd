"""Where a sign-in's file lies, and what stands in it: enough for `mgmt whoami`, which has to import little."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

FOLDER: Final = "sign-ins"
FILE_NAME: Final = "sign-in.json"
_NAME_MAX_CHARACTERS: Final = 100
"""Windows takes 260 for a whole path."""
_NAME_START_CHARACTERS: Final = 60
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

    No two services have one folder, also where a file system takes capital letters for small ones and drops a dot at
    the end: a stranger who chooses an address must not be able to choose another service's sign-in.
    """
    name = re.sub(r"[^a-z0-9.-]|\.$", _escape, service_name(service_url))
    if len(name) > _NAME_MAX_CHARACTERS:
        from hashlib import sha256  # takes 5 ms to import, which few addresses need

        name = f"{name[:_NAME_START_CHARACTERS]}_{sha256(name.encode()).hexdigest()}"  # no other name has a "_"
    return state_dir / FOLDER / name / FILE_NAME


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02x}" for byte in found[0].encode(errors="surrogatepass"))


def read_plain(state_dir: Path, service_url: str) -> Mapping[str, Any]:
    """Read the file of a service's sign-in as it stands; empty where there is none, or none that can be read."""
    try:
        content = json.loads(file_of(state_dir, service_url).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    is_of_service = isinstance(content, dict) and content.get("service_url") == service_name(service_url)
    return content if is_of_service else {}
