"""What documents generate, between markers: tables of options, exit codes, settings, and measured figures.

`python tests/support/generated_docs.py` writes them; a test compares.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mgmt import errors
from mgmt.cli.account import login
from mgmt.cli.contents import contents
from mgmt.cli.download import download
from mgmt.cli.history import history
from mgmt.cli.safe import safe
from mgmt.cli.upload import upload
from mgmt.settings import VARIABLES
from mgmt_infra.keys import KEYS, Guard, Kind
from support.breaking.report import guarantees_table

PROJECT = Path(__file__).parents[2]
COMMANDS_PAGE = PROJECT / "docs" / "commands.md"
SCRIPTS_PAGE = PROJECT / "docs" / "scripts.md"
SETTINGS_PAGE = PROJECT / "docs" / "settings.md"
ADMIN_PAGE = PROJECT / "docs" / "admin.md"
README = PROJECT / "README.md"
FAULTS_RUN = PROJECT / "docs" / "faults.json"
BENCHMARK = PROJECT / "docs" / "benchmark.md"
BENCHMARK_RUN = PROJECT / "docs" / "benchmark.json"

_WITHOUT_CLASS = {
    errors.EXIT_OK: "done, or already there",
    errors.EXIT_BUG: "a bug in mgmt",
    errors.EXIT_PARTLY_FAILED: "some of several targets failed, for reasons of their own (4, 6, 8)",
    errors.EXIT_NO: "the answer is no: `safe` did not find everything stored",
}


def exit_codes_table() -> str:
    """Write the table of exit codes from the error tree."""
    meanings = dict(_WITHOUT_CLASS)
    for kind in errors.MgmtError.__subclasses__():
        meanings[kind.exit_code] = (inspect.getdoc(kind) or "").splitlines()[0].rstrip(".")
    rows = [f"| {code} | {meaning[0].lower() + meaning[1:]} |" for code, meaning in sorted(meanings.items())]
    return "\n".join(["| exit | means |", "| --- | --- |", *rows])


def settings_table() -> str:
    """Write the table of settings."""
    rows = [f"| `{variable.name}` | {variable.meaning} |" for variable in VARIABLES.values()]
    return "\n".join(["| variable | is |", "| --- | --- |", *rows])


def deployment_table() -> str:
    """Write the table of the deployment file's keys."""
    rows = [
        f"| `{name}` | {_KINDS[key.kind]} | {_spell_cell(key.meaning)} | {_spell_cell(key.default)} | "
        f"{_GUARDS[key.guard]} |"
        for name, key in KEYS.items()
    ]
    return "\n".join(["| key | value | is | without it | to be confirmed |", "| --- | --- | --- | --- | --- |", *rows])


def risks_table() -> str:
    """Write the table of what a change of each guarded key does."""
    rows = [f"| `{name}` {key.guard} | {_spell_cell(key.risk)} |" for name, key in KEYS.items() if key.guard]
    return "\n".join(["| change | what it does |", "| --- | --- |", *rows])


_KINDS: dict[Kind, str] = {"text": "text", "number": "number", "list": "list of texts", "people": "table"}
_GUARDS: dict[Guard | None, str] = {
    None: "",
    "changed": "when it changes",
    "lowered": "when it is lowered",
    "widened": "when it is widened",
}


def options_table(command: click.Command) -> str:
    """Write the table of a command's options, as its help has them."""
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    rows = [f"| {_spell_option(option)} | {_spell_help(option)} |" for option in options]
    return "\n".join(["| option | does |", "| --- | --- |", *rows])


def _spell_option(option: click.Option) -> str:
    context = click.Context(click.Command("mgmt"))
    help_record = option.get_help_record(context)
    return _spell_cell(f"`{help_record[0] if help_record else option.opts[0]}`")


def _spell_help(option: click.Option) -> str:
    said = " ".join((option.help or "").split())
    return f"{said} [default: {option.default}]" if option.show_default else said


def figures_table() -> str:
    """Write the table of what the kept run of the benchmark measured."""
    run = json.loads(BENCHMARK_RUN.read_text(encoding="utf-8"))
    rows = [
        f"| {_spell_cell(row['figure'])} | {_spell_amount(row)} | {row['wanted']} | {_REACHED[row['reached']]} |"
        for row in run["rows"]
    ]
    return "\n".join(["| figure | measured | wanted | |", "| --- | --- | --- | --- |", *rows])


def profile_table(title: str) -> str:
    """Write the table of where the time of the kept run went."""
    sources: dict[str, dict[str, float]] = json.loads(BENCHMARK_RUN.read_text(encoding="utf-8"))["profiles"][title]
    rows = [
        f"| {step} | {' | '.join(f'{steps[step]:.2f}' if step in steps else '' for steps in sources.values())} |"
        for step in dict.fromkeys(step for steps in sources.values() for step in steps)
    ]
    return "\n".join([f"| {title} | {' | '.join(sources)} |", f"| --- |{' --- |' * len(sources)}", *rows])


def _spell_amount(row: dict[str, Any]) -> str:
    digits = 5 if row["unit"] == "of the size" else 4  # fewer would show some as what they miss
    return f"{row['got']:.{digits}g} {row['unit']}"


def _spell_cell(text: str) -> str:
    return text.replace("|", "\\|")


def load_table() -> str:
    """Write the table of the uploads a second at which the records begin to throttle."""
    from support.throttling import throttling_table  # it runs the service: only this table needs that

    return throttling_table()


_REACHED = {True: "reached", False: "**not reached**", None: ""}

GENERATED: dict[Path, dict[str, Callable[[], str]]] = {
    README: {"faults": lambda: guarantees_table(FAULTS_RUN)},
    COMMANDS_PAGE: {
        "upload options": lambda: options_table(upload),
        "download options": lambda: options_table(download),
        "safe options": lambda: options_table(safe),
        "contents options": lambda: options_table(contents),
        "history options": lambda: options_table(history),
        "login options": lambda: options_table(login),
    },
    SCRIPTS_PAGE: {"exit codes": exit_codes_table},
    SETTINGS_PAGE: {"settings": settings_table},
    ADMIN_PAGE: {"deployment": deployment_table, "risks": risks_table, "load": load_table},
    BENCHMARK: {
        "figures": figures_table,
        "packing": lambda: profile_table("packing, processor seconds"),
        "uploading": lambda: profile_table("uploading, seconds since the start"),
    },
}


def filled_in(document: Path) -> str:
    """Return a document with every generated part written anew."""
    text = document.read_text(encoding="utf-8")
    for name, generate in GENERATED[document].items():
        begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{generate()}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    for document in GENERATED:
        document.write_text(filled_in(document), encoding="utf-8")
