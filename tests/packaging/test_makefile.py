"""What `make` says while it installs: each step says what it does before it does it, and nothing is said otherwise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def planned(*words):
    """Return what make would run, line by line."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    return done.stdout.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("target", ["try", "setup", "bench", "mutation"])
def test_every_step_that_installs_says_what_and_how_much_before(target):
    said = False
    for line in planned("-B", target):
        said = said or line.startswith("echo ")
        if re.search(r"-m (pip|venv \.venv$)", line):
            assert said, line
        if " install " in line and "requirements/" in line and "pip.txt" not in line:
            assert re.match(r'echo "installing [^:"]+: \$\(grep [^)]+\) packages, about \d+ MB', line)
        if line.startswith("touch "):
            said = False


def test_the_number_that_is_said_is_that_of_the_pins():
    [line] = [line for line in planned("-B", "try") if "runtime.txt" in line]
    said = subprocess.run(
        ["sh", "-c", line.partition("&&")[0]], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    pins = re.findall(r"^[\w-]+(?:\[.*\])?==", (ROOT / "requirements" / "runtime.txt").read_text(), re.MULTILINE)
    assert f": {len(pins)} packages" in said


def test_where_all_is_installed_nothing_is_said(tmp_path):
    """Two stamps that are newer than what they were made from are all that `make setup` looks at."""
    stamps = [word for stamp in ("created", "runtime", "dev", "tools") for word in ("-o", f".venv/{stamp}.done")]
    assert [line for line in planned(*stamps, "-o", ".venv/created", "setup") if "echo" in line] == []


def test_the_tests_can_be_run_again_where_their_table_is_there_already(tmp_path):
    """A path of its own word would be taken for a folder of tests as soon as something exists there."""
    table = tmp_path / "inputs.md"
    table.write_text("of an earlier run")
    [line] = [line for line in planned("test") if "-m pytest" in line]
    words = [word.replace("build/inputs.md", str(table)) for word in line.split()[1:]]
    assert any(str(table) in word for word in words)
    again = [sys.executable, *words, "-n", "0", "--collect-only", "-q", "--ignore-glob=*"]
    done = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "unrecognized arguments" not in done.stderr
    assert done.returncode == 5, "no file is looked into"
