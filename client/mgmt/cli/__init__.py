"""The command line: options, one use case, its view, an exit code. Heavy imports live inside the commands.

What all commands have beyond click is here: help pages that fit, options anywhere, pointers for unknown words.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Any, Final

import click

from mgmt.text import fold

_NARROW_COLUMNS: Final = 60
"""Two columns of text are no longer readable then: what an option does stands below it."""
_WIDTH_MAX: Final = 100


class _Formatter(click.HelpFormatter):
    def __init__(self, *_: Any, **__: Any) -> None:
        columns = shutil.get_terminal_size().columns
        self.columns = columns
        super().__init__(width=max(20, min(columns, _WIDTH_MAX) - 2))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write terms and what they mean."""
        if self.columns >= _NARROW_COLUMNS:
            super().write_dl(rows, col_max, col_spacing)
            return
        indent = " " * self.current_indent
        for term, meaning in rows:
            self.write(f"{indent}{term}\n{indent}    {meaning}\n")

    def getvalue(self) -> str:
        """Return the page; lines that were laid out by hand are broken where they would not fit."""
        return "\n".join(self._fit(line) for line in super().getvalue().split("\n"))

    def _fit(self, line: str) -> str:
        return fold(line, self.columns, " " * (len(line) - len(line.lstrip())))


class HelpContext(click.Context):
    """A context whose help pages fit."""

    formatter_class = _Formatter


class WholeNumber(click.IntRange):
    """A whole number within bounds, which are written in words."""

    def _describe_range(self) -> str:
        return f"{self.min} to {self.max}" if self.max is not None else f"at least {self.min}"


RUN: Final = "mgmt.run"
"""Where every context keeps the one run, which knows what is turned on."""

_OPTIONS: Final = (
    (("-v", "--verbose"), "verbose", "Show calls and retries; secrets are cut out."),
    (("-q", "--quiet"), "quiet", "Show errors only."),
    (("--json",), "as_json", "Write JSON lines, for programs."),
    (("--local",), "use_local", "Use the embedded backend on this machine."),
    (("--no-color",), "no_color", "No colours (NO_COLOR does the same)."),
    (("--no-input",), "no_input", "Ask nothing: end where an answer is needed."),
)


def make_global_options() -> list[click.Parameter]:
    """Make the options for the program itself, where its help shows them."""
    return [click.Option([*texts, name], is_flag=True, help=said) for texts, name, said in _OPTIONS]


def take_everywhere(command: click.Command) -> click.Command:
    """Let a command, and those below it, take the global options after its name, and show help that fits the terminal.

    Its own help stays short.
    """
    if not any(isinstance(each, _LateOption) for each in command.params):
        command.params += [_LateOption([*texts, name], is_flag=True, hidden=True) for texts, name, _ in _OPTIONS]
    command.context_class = HelpContext
    if isinstance(command, click.Group):
        for each in command.commands.values():
            take_everywhere(each)
    return command


class _LateOption(click.Option):
    """A global option after a command's name."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, expose_value=False, callback=_turn_on, **keywords)


def _turn_on(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and RUN in ctx.meta:  # not while a shell completes a line
        ctx.meta[RUN].turn_on(parameter.name)


class PointingGroup(click.Group):
    """A group of commands that answers an unknown word with the nearest command, or with what does the same."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command.

        Raises:
            UsageError: If there is none, with what was probably meant.
        """
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            from mgmt.cli.pointers import explain_unknown_command

            said = explain_unknown_command(args[0], ctx.command_path, self.list_commands(ctx))
            raise UnknownCommandError(said, ctx) from error


class UnknownCommandError(click.UsageError):
    """A word that is no command; the sentence says where to go, so nothing need be added."""
