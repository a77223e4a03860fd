"""The embedded backend as the commands reach it: an extra that may not be installed."""

from __future__ import annotations

import importlib.util
from typing import Any

from mgmt.errors import LocalStateError, NotConfiguredError

_LOCAL_MODULES = ("aws_lambda_powertools", "boto3", "cryptography", "joserfc", "psutil", "pydantic")
"""What `[local]` brings and a plain install does not."""


def backend_error(error: Exception, code: str = "local-backend") -> LocalStateError:
    """Make a whole sentence of what the embedded backend says is wrong."""
    said = str(error)
    end = "" if said.endswith((".", "?")) else "."
    return LocalStateError(f"{said[:1].upper()}{said[1:]}{end}", code=code)


def import_local_control() -> Any:
    """Import what starts and stops the embedded backend.

    Raises:
        NotConfiguredError: If the extra `[local]` is not installed.
    """
    missing = [name for name in _LOCAL_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise NotConfiguredError(
            f"The embedded backend is not installed ({', '.join(missing)} is missing). "
            "Install it from the folder that holds mgmt's README: pip install '.[local]'",
            code="local-not-installed",
        )
    from mgmt_local import control

    return control
