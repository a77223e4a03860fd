"""`mgmt config`."""

from __future__ import annotations

import click

from mgmt.cli.invocation import Invocation
from mgmt.errors import EXIT_OK, UsageError

_ASKED = ("api_url", "bucket", "object_prefix", "local_dir", "completed_dir", "ca_bundle")


@click.group(invoke_without_command=True)
@click.pass_context
def config(ctx: click.Context) -> int:
    """Say which service and folders to use; asks for each setting.

    \b
    Examples:
      mgmt config
      mgmt config set MGMT_API_URL https://uploads.example.com

    \b
    Exit codes: 0 done, 2 usage, 9 the file cannot be written, 130 interrupted.
    """
    if ctx.invoked_subcommand is not None:
        return EXIT_OK
    from mgmt.settings import VARIABLES, check_value, read_config, write_config

    invocation: Invocation = ctx.obj
    path = invocation.config_path
    present = read_config(path)
    changes: dict[str, str | None] = {}
    for name in _ASKED:
        variable = VARIABLES[name]
        answer = click.prompt(
            f"{variable.name} ({variable.meaning})", default=present.get(variable.name, ""), err=True
        ).strip()
        if answer:
            check_value(name, answer, "your answer")
        changes[variable.name] = answer or None
    write_config(path, changes)
    invocation.output().aside(f"Written to {path}.")
    return EXIT_OK


@config.command("set")
@click.argument("name")
@click.argument("value")
@click.pass_obj
def config_set(invocation: Invocation, name: str, value: str) -> int:
    """Set one variable in the config file; an empty VALUE removes it.

    \b
    Example:
      mgmt config set MGMT_OBJECT_PREFIX shoots

    \b
    Exit codes: 0 done, 2 no such variable or bad value, 9 the file cannot be written.
    """
    from mgmt.settings import check_value, write_config

    field = _field_of(name)
    if value:
        check_value(field, value, "the command line")
    write_config(invocation.config_path, {name: value or None})
    return EXIT_OK


@config.command("get")
@click.argument("name")
@click.pass_obj
def config_get(invocation: Invocation, name: str) -> int:
    """Print one setting as it is in force: environment before file.

    \b
    Example:
      mgmt config get MGMT_API_URL

    \b
    Exit codes: 0 printed, 2 no such variable, 10 not set.
    """
    from mgmt.errors import NotConfiguredError

    value = getattr(invocation.settings(), _field_of(name))
    if not value:
        raise NotConfiguredError(f"{name} is not set. Set it with: mgmt config set {name} VALUE")
    invocation.output().line(str(value))
    return EXIT_OK


@config.command("list")
@click.pass_obj
def config_list(invocation: Invocation) -> int:
    """Print every setting in force and where it comes from.

    \b
    Example:
      mgmt --json config list

    \b
    Exit codes: 0 printed, 2 a setting makes no sense.
    """
    from mgmt.settings import VARIABLES

    settings = invocation.settings()
    output = invocation.output()
    for field, variable in VARIABLES.items():
        value, origin = getattr(settings, field), settings.origins.get(field)
        shown = "(set)" if variable.is_secret and value else str(value) if value else None
        if invocation.as_json:
            output.json({"type": "setting", "name": variable.name, "value": shown, "origin": origin})
        else:
            output.line(f"{variable.name}={shown or ''}" + (f"  # {origin}" if origin else ""))
    return EXIT_OK


@config.command("path")
@click.pass_obj
def config_path(invocation: Invocation) -> int:
    """Print where the config file lies.

    \b
    Example:
      mgmt config path

    \b
    Exit codes: 0 printed.
    """
    invocation.output().line(str(invocation.config_path))
    return EXIT_OK


def _field_of(name: str) -> str:
    from mgmt.settings import FILE_VARIABLES, VARIABLES

    for field in FILE_VARIABLES:
        if VARIABLES[field].name == name:
            return field
    known = ", ".join(VARIABLES[field].name for field in FILE_VARIABLES)
    raise UsageError(f"{name!r} is no setting of the config file; expected one of {known}.", code="no-such-setting")
