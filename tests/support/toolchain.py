"""Installs what the infrastructure tests need and pip does not put into the virtual environment itself.

    PYTHONPATH=tests:infra python -m support.toolchain

makes, inside the virtual environment: `cdk/` (the CDK command, by npm), `npm-tools/` (an OpenID provider and what
drives a browser, by npm), `ministack/` (an AWS on loopback in an
environment of its own) and `wheels/` (the function's requirements, so that the tests bundle it without a
network). Each is left alone where it is what the pins say.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from mgmt_infra.deployment import WHEEL_PLATFORMS, Deployment
from support.node import CDK_DIRECTORY, CDK_VERSION, NPM_TOOLS_DIRECTORY, ToolMissingError, npm_command

MINISTACK_DIRECTORY = Path(sys.prefix) / "ministack"
WHEELS_DIRECTORY = Path(sys.prefix) / "wheels"
LOCAL_RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
LOCAL_ARCHITECTURE = "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"

_REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
_NPM_FILES = ("package.json", "package-lock.json")
_STAMP = ".made-from"


def ministack_python() -> Path:
    """Return the interpreter of ministack's own environment.

    Raises:
        ToolMissingError: If it is not installed.
    """
    python = MINISTACK_DIRECTORY / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (MINISTACK_DIRECTORY / _STAMP).is_file():
        raise ToolMissingError("ministack is not installed: run `make setup`")
    return python


def wheels_directory() -> Path:
    """Return the folder with the function's wheels.

    Raises:
        ToolMissingError: If it is not there.
    """
    if not (WHEELS_DIRECTORY / _STAMP).is_file():
        raise ToolMissingError("the function's wheels are not there: run `make setup`")
    return WHEELS_DIRECTORY


def main() -> None:
    """Install everything that is missing or pinned otherwise."""
    lambda_pins = (_REQUIREMENTS / "lambda.txt").read_text()
    platforms = f"{Deployment.runtime} {Deployment.architecture} {LOCAL_RUNTIME} {LOCAL_ARCHITECTURE}"
    ministack_pins = (_REQUIREMENTS / "ministack.txt").read_text()
    _make(CDK_DIRECTORY, CDK_VERSION, _install_cdk, "the CDK command, by npm")
    npm_pins = "".join((_REQUIREMENTS / "npm" / name).read_text() for name in _NPM_FILES)
    _make(NPM_TOOLS_DIRECTORY, npm_pins, _install_npm_tools, "an OpenID provider for the tests, by npm")
    _make(MINISTACK_DIRECTORY, ministack_pins, _install_ministack, "ministack, an AWS for the tests")
    _make(WHEELS_DIRECTORY, lambda_pins + platforms, _download_wheels, "the wheels that go into the function")


def _make(directory: Path, pins: str, install: Callable[[Path], None], what: str) -> None:
    """Make a folder anew unless it was made, to the end, from these pins; that takes a while, so it is said."""
    digest = hashlib.sha256(pins.encode()).hexdigest()
    stamp = directory / _STAMP
    if stamp.is_file() and stamp.read_text() == digest:
        return
    sys.stdout.write(f"installing {what} ...\n")
    sys.stdout.flush()
    shutil.rmtree(directory, ignore_errors=True)
    install(directory)
    stamp.write_text(digest)


def _install_cdk(directory: Path) -> None:
    _npm(directory, "install", "--no-save", "--no-package-lock", f"aws-cdk@{CDK_VERSION}")


def _install_npm_tools(directory: Path) -> None:
    directory.mkdir()
    for name in _NPM_FILES:
        shutil.copy(_REQUIREMENTS / "npm" / name, directory)
    _npm(directory, "ci")


def _npm(directory: Path, *words: str) -> None:
    """Run npm for a folder; no package's own scripts run."""
    quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--update-notifier=false"]
    quiet += ["--progress=true" if sys.stdout.isatty() else "--progress=false"]
    with tempfile.TemporaryDirectory() as cache:
        command = [*npm_command(), "--prefix", str(directory), "--cache", cache, *quiet]
        subprocess.run([*command, *words], check=True)


def _install_ministack(directory: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    pins = ["--require-hashes", "-r", str(_REQUIREMENTS / "ministack.txt")]
    _pip("--python", str(directory), "install", *pins)


def _download_wheels(directory: Path) -> None:
    wanted = {(Deployment.runtime, Deployment.architecture), (LOCAL_RUNTIME, LOCAL_ARCHITECTURE)}
    for runtime, architecture in sorted(wanted):
        platform = ["--platform", WHEEL_PLATFORMS[architecture], "--implementation", "cp"]
        version = ["--python-version", runtime.removeprefix("python"), "--only-binary=:all:"]
        pins = ["--require-hashes", "-r", str(_REQUIREMENTS / "lambda.txt")]
        _pip("download", *platform, *version, *pins, "--dest", str(directory))


def _pip(*words: str) -> None:
    """Run the environment's own pip, which is pinned; with `--python` it installs into another environment.

    On a terminal it says how far it is.
    """
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    subprocess.run([sys.executable, "-m", "pip", *quiet, "--disable-pip-version-check", *words], check=True)


if __name__ == "__main__":
    main()
