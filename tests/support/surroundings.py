"""What a test run takes over from the shell that it was started in: nothing that changes how a test ends."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Final

from mgmt.settings import VARIABLES

_SETTINGS: Final = frozenset(
    [each.name for each in VARIABLES.values()]
    + ["MGMT_CONFIG", "MGMT_STATE_DIR", "MGMT_LOCAL_STATE_DIR", "MGMT_COMPLETE", "MGMT_TRACEBACK"]
)
"""mgmt's own. What else begins with MGMT_ says how long a test is to be: MGMT_ANY_ORDER, MGMT_FUZZ_SEED."""
_PREFIXES: Final = ("AWS_", "POWERTOOLS_", "XDG_", "LC_", "GIT_")
_TERMINAL: Final = (
    "TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE",
    "TTY_INTERACTIVE", "BROWSER", "DISPLAY", "WAYLAND_DISPLAY",
)  # fmt: skip
_NETWORK: Final = (
    "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
_PYTHON: Final = (
    "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONWARNINGS", "PYTHONDEVMODE", "PYTHONOPTIMIZE", "PYTHONTRACEMALLOC",
    "PYTHONMALLOC", "PYTHONINSPECT", "PYTHONVERBOSE", "PYTHONPROFILEIMPORTTIME",
)  # fmt: skip
_NAMES: Final = frozenset([*_TERMINAL, *_NETWORK, *_PYTHON, "CI", "LANGUAGE", "LOG_LEVEL", "SOURCE_DATE_EPOCH"])
_GIVEN: Final = {
    "LANG": "C.UTF-8",
    "TERM": "xterm-256color",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def forget_callers_surroundings(environment: MutableMapping[str, str]) -> None:
    """Take settings, proxies, accounts and manners out of the environment, and give new files their usual modes.

    Every process of the tests inherits it.
    """
    for name in [name for name in environment if _is_callers(name)]:
        del environment[name]
    environment.update(_GIVEN)
    os.umask(0o022)


def _is_callers(name: str) -> bool:
    return name in _SETTINGS or name.upper() in _NAMES or name.startswith(_PREFIXES)
