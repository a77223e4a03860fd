"""A package index on loopback with made-up packages: as small as can be, and asking for what the real ones ask for.

Of each package it has the pinned versions and two that are newer, as an index has some weeks after the pins were made.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from support.loopback import LoopbackServer, QuietHandler

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
_FAR_NEWER = "9999"


class Package(NamedTuple):
    """One version of a package."""

    name: str
    version: str

    @property
    def file_name(self) -> str:
        """The name of its wheel."""
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"


def read_pins(path: Path) -> list[Requirement]:
    """Read the pins of a requirements file, without their hashes."""
    text = re.sub(r"\s*\\\n\s*--hash=\S+", "", path.read_text("utf-8"))
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]


def pinned_package(pin: Requirement) -> Package:
    """Say which package a pin means."""
    (specifier,) = pin.specifier
    assert specifier.operator == "==", pin
    return Package(canonicalize_name(pin.name), specifier.version)


def write_pins(pins: list[Requirement], path: Path) -> None:
    """Write a requirements file that pins the made packages by their hashes."""
    lines = [f"{pin} --hash=sha256:{hashlib.sha256(make_wheel(pinned_package(pin))).hexdigest()}" for pin in pins]
    path.write_text("\n".join(lines) + "\n", "utf-8")


@functools.cache
def read_edges() -> dict[str, list[str]]:
    """Return what each pinned package asks for, as `requirements/lock` has written it down."""
    edges: dict[str, list[str]] = json.loads((REQUIREMENTS / "edges.json").read_text("utf-8"))
    return edges


@functools.cache
def make_wheel(package: Package) -> bytes:
    """Make the smallest wheel of a package; a newer one asks for what its pinned one does."""
    asked = read_edges().get(f"{package.name}=={package.version}") or _edges_of_any_version(package.name)
    extras = {extra for text in asked for extra in re.findall(r'extra == "([^"]+)"', str(Requirement(text).marker))}
    lines = ["Metadata-Version: 2.1", f"Name: {package.name}", f"Version: {package.version}"]
    lines += [f"Requires-Dist: {text}" for text in asked] + [f"Provides-Extra: {extra}" for extra in sorted(extras)]
    info = f"{package.name.replace('-', '_')}-{package.version}.dist-info"
    files = {
        f"{info}/METADATA": "\n".join([*lines, ""]),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(zipfile.ZipInfo(name), content)
    return made.getvalue()


def _edges_of_any_version(name: str) -> list[str]:
    return next((asked for package, asked in read_edges().items() if package.startswith(f"{name}==")), [])


@contextmanager
def made_index(pins: list[Requirement]) -> Iterator[str]:
    """Serve the pinned packages and newer ones; yield the index's address."""
    versions: dict[str, set[Package]] = {}
    for package in map(pinned_package, pins):
        newer = Package(package.name, f"{Version(package.version).base_version}.1")
        versions.setdefault(package.name, set()).update({package, newer, Package(package.name, _FAR_NEWER)})
    files = {package.file_name: package for packages in versions.values() for package in packages}

    class Handler(QuietHandler):
        def _get(self) -> None:
            _, kind, name, *_ = self.path.split("/")
            if kind == "simple" and name in versions:
                links = [f'<a href="/files/{each.file_name}">{each.file_name}</a>' for each in sorted(versions[name])]
                self._answer(f"<!DOCTYPE html><html><body>{' '.join(links)}</body></html>".encode(), "text/html")
            elif kind == "files" and name in files:
                self._answer(make_wheel(files[name]), "application/octet-stream")
            else:
                self.send_error(404)

        def _answer(self, body: bytes, content_type: str) -> None:
            self.send_response(200)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = _get  # noqa: N815  the name http.server looks for

    with closing(LoopbackServer(Handler)) as server:
        yield f"{server.url}/simple/"
