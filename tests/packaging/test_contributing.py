"""CONTRIBUTING.md says what the code says: the life of an upload, and where things are."""

import re
from pathlib import Path

from mgmt_contract.records import TRANSITIONS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_picture_of_an_uploads_life_is_the_table_of_transitions():
    [picture] = re.findall(r"```mermaid\n(.*?)```", PAGE, re.DOTALL)
    arrows = re.findall(r"^ +(\S+) --> (\w+): .+$", picture, re.MULTILINE)
    assert sorted(arrows) == sorted(
        (before or "[*]", after) for before, following in TRANSITIONS.items() for after in following
    )


def test_every_path_that_the_page_names_exists():
    paths = set(re.findall(r"`((?:client|lambda|infra|tests|docs)/[\w./-]+)`", PAGE))
    assert len(paths) > 20, "they were found"
    assert not {path for path in paths if not (ROOT / path).exists()}


def test_five_files_explain_an_upload():
    files = re.findall(r"^\d\. `([\w/.]+)`: ", PAGE, re.MULTILINE)
    assert len(files) == 5
    assert all((ROOT / path).is_file() for path in files)


def test_every_single_test_that_the_page_runs_exists():
    commands = re.findall(r"-m pytest (tests/\S+\.py)(?:::(\w+))?", PAGE)
    assert len(commands) > 2, "they were found"
    for path, name in commands:
        assert name in (ROOT / path).read_text(encoding="utf-8")


def test_every_module_of_an_upload_stands_beside_its_verb():
    [table] = re.findall(r"^\| verb \| modules \|\n(.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)
    modules = {path.name for path in (ROOT / "client/mgmt/upload").glob("*.py")}
    assert sorted(re.findall(r"`(\w+\.py)`", table)) == sorted(modules)
    verbs = {verb for line in table.splitlines() for verb in line.split("|")[1].strip().split(", ")}
    assert verbs >= {"look", "pack", "promise", "ask", "carry", "confirm", "clean"}
