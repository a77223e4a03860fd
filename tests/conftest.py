"""What concerns every test run: the storage engine that tests share, the table of inputs at its end."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers

from mgmt_local.engine.seaweedfs import StorageEngine
from support.engine import storage_engine
from support.inputs_table import TITLE, as_lines, collect_rows, write_table
from support.reports import pytest_report_to_serializable  # noqa: F401  a hook: pytest finds it here
from support.secrecy import find_secrets
from support.surroundings import forget_callers_surroundings

CALLERS_ENVIRONMENT = dict(os.environ)
forget_callers_surroundings(os.environ)  # here, because other conftests import what reads it
FOLDER = Path(__file__).parent
LONG_FILES = (
    "e2e/test_few_open_files.py",
    "e2e/test_local.py",
    "e2e/test_sign_in.py",
    "e2e/test_try.py",
    "faults/test_breaking.py",
    "faults/test_disks.py",
    "faults/test_download_kills.py",
    "faults/test_killed_backend.py",
    "inputs/test_sizes.py",
)
"""Few tests that take long (measured 2026-11): begun last, they would keep one worker busy and the others idle."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--inputs-table", metavar="FILE", help="Write the table of inputs to FILE, as Markdown.")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("markexpr") == "aws":  # which needs an account, and perhaps a proxy to it
        os.environ.update(CALLERS_ENVIRONMENT)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of some thousand commands compiles mgmt anew
    sys.dont_write_bytecode = False
    os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"  # never the one of the tests' user
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background, which commands would inherit
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):  # ignored under `nohup`, and likewise inherited
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    _choose_random_cases(config)
    config.addinivalue_line("markers", "entry(name, given=''): which entry of the list of inputs a test is about")


def _choose_random_cases(config: pytest.Config) -> None:
    """Have Hypothesis draw the same cases in each run, so that a change fails only by itself; others with a seed.

    `make faults` gives a seed. Without one, a case that one run in a thousand draws fails a change that it has nothing
    to do with. No case has a limit of time: the usual 0.2 s are over when other processes have the processors.
    """
    patient = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
    usual = hypothesis.settings.get_profile("default")  # and not what Hypothesis chooses where CI is set
    hypothesis.settings.register_profile("others with each seed", usual, **patient)
    hypothesis.settings.register_profile("same each time", usual, derandomize=True, **patient)
    if config.getoption("hypothesis_seed", None) is not None:
        hypothesis.settings.load_profile("others with each seed")
        return
    hypothesis.settings.load_profile("same each time")
    # Else it also draws constants that it reads in the project's modules: others with each change to the code, and
    # with each module that an earlier test of the same process has loaded.
    providers._get_local_constants = providers.Constants


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: the long files, then those of many tests; within a file nothing changes."""
    long_files = {FOLDER / name for name in LONG_FILES}
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in long_files, -tests[item.path]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the rows that tests have recorded, whichever process they ran in."""
    rows = collect_rows(itertools.chain.from_iterable(terminalreporter.stats.values()))
    if not rows:
        return
    terminalreporter.section(TITLE)
    width = terminalreporter._tw.fullwidth if terminalreporter.isatty else 200
    for line in as_lines(rows, width):
        terminalreporter.write_line(line)
    path = config.getoption("--inputs-table")
    if path:
        write_table(rows, Path(path))


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageEngine]:
    """One running storage engine for all tests of a process that do not end it; each has buckets of its own."""
    with storage_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_secret_is_written(request: pytest.FixtureRequest) -> Iterator[None]:
    """Search what a test has left in its folder, once everything that writes there has ended."""
    folder: Path | None = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None:
        assert not list(find_secrets(folder)), "a secret is in a log, a journal or a record"
