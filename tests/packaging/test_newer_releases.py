"""No release that comes after the pins were made can break `make try` or `make test` on a fresh machine.

Every requirements file is resolved as the Makefile does it, against an index that has newer versions of everything:
by the pip that this Python brings along, which installs the pinned one, and by the pinned one, which installs all else.
"""

from __future__ import annotations

import ensurepip
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from support.made_index import REQUIREMENTS, made_index, pinned_package, read_edges, read_pins, write_pins

PINS = {path.stem: read_pins(path) for path in sorted(REQUIREMENTS.glob("*.txt"))}
BUNDLED_PIP = f"pip-{ensurepip.version()}-py3-none-any.whl"
PACKED_PIPS = Path(sysconfig.get_config_var("WHEEL_PKG_DIR") or Path(ensurepip.__file__).parent / "_bundled")


@pytest.fixture(scope="module")
def index():
    with made_index([pin for pins in PINS.values() for pin in pins]) as address:
        yield address


@pytest.fixture(scope="module")
def pips(tmp_path_factory):
    """How to run each; the bundled one would run from its wheel as well, and compile itself anew each time."""
    folder = tmp_path_factory.mktemp("pip")
    with zipfile.ZipFile(PACKED_PIPS / BUNDLED_PIP) as wheel:
        wheel.extractall(folder)
    return {"bundled": os.fspath(folder / "pip"), "pinned": "-mpip"}


def resolve(pins, pip, index, folder):
    """Have a pip resolve pins; nothing that this machine or user has set reaches it, nor anything installed."""
    write_pins(pins, folder / "requirements.txt")
    command = [sys.executable, "-I", pip, "--isolated", "--disable-pip-version-check", "--no-cache-dir"]
    command += ["install", "--dry-run", "--ignore-installed", "--require-hashes", "--index-url", index]
    environment = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    environment |= dict.fromkeys(("HOME", "TMPDIR", "TEMP"), os.fspath(folder))
    environment |= {"PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}
    command += ["-r", str(folder / "requirements.txt")]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("pip", ["bundled", "pinned"])
@pytest.mark.parametrize("name", PINS)
def test_newer_versions_of_everything_change_nothing(name, pip, pips, index, tmp_path):
    done = resolve(PINS[name], pips[pip], index, tmp_path)
    assert done.returncode == 0, done.stderr
    wanted = [pinned_package(pin) for pin in PINS[name] if pin.marker is None or pin.marker.evaluate()]
    [said] = [line for line in done.stdout.splitlines() if line.startswith("Would install ")]
    assert len(said.removeprefix("Would install ").split()) == len(wanted)
    assert all(f"{package.name}-{package.version}".lower() in said.lower() for package in wanted)


@pytest.mark.skipif(not ensurepip.version().startswith("23.2"), reason="later ones take such pins")
def test_pins_without_their_extras_are_what_the_bundled_pip_refuses(pips, index, tmp_path):
    """The index can tell: this is how a newer release of coverage, asked for as coverage[toml], broke `make test`."""
    pins = {pinned_package(pin).name: pin for pin in read_pins(REQUIREMENTS / "dev.txt")}
    needed = ["pytest-cov"]
    for name in needed:
        edges = map(Requirement, read_edges()[f"{name}=={pinned_package(pins[name]).version}"])
        needed += [edge.name for edge in edges if edge.name in pins and edge.name not in needed]
    assert resolve([pins[name] for name in needed], pips["bundled"], index, tmp_path).returncode == 0
    pins["coverage"].extras = set()
    done = resolve([pins[name] for name in needed], pips["bundled"], index, tmp_path)
    assert done.returncode != 0
    assert "coverage[toml]" in done.stderr


def test_what_each_package_asks_for_is_written_down():
    """`requirements/lock` does that; a file that was changed otherwise shows."""
    missing = {
        f"{pinned_package(pin).name}=={pinned_package(pin).version}"
        for pins in PINS.values()
        for pin in pins
        if pin.marker is None
    } - read_edges().keys()
    assert missing == set()


def test_pip_itself_is_the_pinned_one():
    [pin] = PINS["pip"]
    said = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"pip {pinned_package(pin).version} ")
