"""What the README generates: tables of options, exit codes and settings, between markers.

`python tests/support/generated_docs.py` writes them; a test compares.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import click

from mgmt import errors
from mgmt.cli.history import history
from mgmt.cli.upload import upload
from mgmt.settings import VARIABLES

README = Path(__file__).parents[2] / "README.md"

_WITHOUT_CLASS = {
    errors.EXIT_OK: "done, or already there",
    errors.EXIT_BUG: "a bug in mgmt",
    errors.EXIT_PARTLY_FAILED: "some of several targets failed, for reasons of their own (4, 6, 8)",
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


def options_table(command: click.Command) -> str:
    """Write the table of a command's options, as its help has them."""
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    rows = [f"| {_spell_option(option)} | {_spell_help(option)} |" for option in options]
    return "\n".join(["| option | does |", "| --- | --- |", *rows])


def _spell_option(option: click.Option) -> str:
    context = click.Context(click.Command("mgmt"))
    help_record = option.get_help_record(context)
    return f"`{help_record[0] if help_record else option.opts[0]}`".replace("|", "\\|")


def _spell_help(option: click.Option) -> str:
    said = " ".join((option.help or "").split())
    return f"{said} [default: {option.default}]" if option.show_default else said


GENERATED: dict[str, Callable[[], str]] = {
    "exit codes": exit_codes_table,
    "settings": settings_table,
    "upload options": lambda: options_table(upload),
    "history options": lambda: options_table(history),
}


def filled_in(text: str) -> str:
    """Return a document with every generated part written anew."""
    for name, generate in GENERATED.items():
        begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{generate()}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    README.write_text(filled_in(README.read_text(encoding="utf-8")), encoding="utf-8")
