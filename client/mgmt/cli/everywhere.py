"""The options that every command takes, before its name and after it."""

from __future__ import annotations

from typing import Any, Final

import click

from mgmt.cli.help_pages import HelpContext

RUN: Final = "mgmt.run"
"""Where every context keeps the one run, which knows what is turned on."""

_OPTIONS: Final = (
    (("-v", "--verbose"), "verbose", "Show calls and retries; secrets are cut out."),
    (("-q", "--quiet"), "quiet", "Show errors only."),
    (("--json",), "as_json", "Write JSON lines, for programs."),
    (("--local",), "use_local", "Use the embedded backend on this machine."),
    (("--no-color",), "no_color", "No colours (NO_COLOR does the same)."),
)


def make_global_options() -> list[click.Parameter]:
    """Make the options for the program itself, where its help shows them."""
    return [click.Option([*texts, name], is_flag=True, help=said) for texts, name, said in _OPTIONS]


def take_everywhere(command: click.Command) -> click.Command:
    """Have a command, and those below it, take the same options after its name, and show help that fits the terminal.

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
