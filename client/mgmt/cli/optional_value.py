"""An option whose value may be left out, in the form that GNU tools have: only `=VALUE` gives one.

click alone would take the next argument, here a target, for the value.
"""

from __future__ import annotations

from typing import Any, Final

import click

BARE: Final = "\0"
"""Stands for the value that was left out: no argument of a process can hold it."""


class OptionalValue(click.Option):
    """An option that is given bare or with `=VALUE`; bare, its value is `BARE`."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Show that the value may be left out."""
        record = super().get_help_record(ctx)
        return (f"{self.opts[0]}[={self.make_metavar(ctx)}]", record[1]) if record is not None else None


class OptionalValueCommand(click.Command):
    """A command that may have such options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments, with bare options marked."""
        bare = {name for param in self.params if isinstance(param, OptionalValue) for name in param.opts}
        end = args.index("--") if "--" in args else len(args)
        marked: Any = [f"{arg}={BARE}" if arg in bare else arg for arg in args[:end]]
        return super().parse_args(ctx, marked + args[end:])
