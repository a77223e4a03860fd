"""`mgmt config`: asks for the settings, or reads and writes a single one."""

from __future__ import annotations

from pathlib import Path

import click

from mgmt.cli import PointingGroup
from mgmt.cli.invocation import Invocation
from mgmt.errors import EXIT_OK, UsageError


@click.group(cls=PointingGroup, invoke_without_command=True)
@click.pass_context
def config(ctx: click.Context) -> int:
    """Choose the service and the folders to use; asks for each setting.

    Enter keeps what is there, a single - clears it. The service is asked whether it is one, and nothing is
    written before the last answer. Without a terminal, and with --json or --no-input, nothing is asked.

    \b
    Examples:
      mgmt config
      mgmt config set MGMT_API_URL https://uploads.example.com

    \b
    Exit codes: 0 done, 2 usage, or it cannot ask, 9 the file cannot be written,
      130 interrupted: nothing is written.
    """
    if ctx.invoked_subcommand is not None:
        return EXIT_OK
    invocation: Invocation = ctx.obj
    path, source = invocation.config_path, invocation.config_source
    invocation.require_somebody_to_ask(
        "for each setting", "nothing was saved", "To set one without being asked, type `mgmt config set NAME VALUE`"
    )
    from mgmt.cli.questions import Questions
    from mgmt.settings import read_config, write_config
    from mgmt.show.waiting import WaitingRenderer

    present = read_config(source)
    # Not the settings in force: what is wrong with them is to be mended here.
    ca_bundle = invocation.environment.get("MGMT_CA_BUNDLE") or present.get("MGMT_CA_BUNDLE")
    output = invocation.output
    if source != path and present:
        output.aside(f"What an older mgmt kept in {source} is taken over.")
    with WaitingRenderer(output) as waiting:
        emit = invocation.log_events(waiting.emit)
        bundle = Path(ca_bundle) if ca_bundle else None
        changes = Questions(present, output, emit, ca_bundle=bundle, run_id=invocation.run_id).ask_all()
    write_config(path, changes, source)
    output.aside(f"Written to {path}.")
    for name in changes:
        if invocation.environment.get(name):
            output.aside(f"note: {name} is also set in the environment, which goes first.")
    return EXIT_OK


def _complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001  click's signature
    from mgmt.settings import FILE_VARIABLES, VARIABLES

    return [name for field in FILE_VARIABLES if (name := VARIABLES[field].name).startswith(incomplete)]


_name = click.argument("name", shell_complete=_complete_setting)


@config.command("set")
@_name
@click.argument("value")
@click.pass_obj
def config_set(invocation: Invocation, name: str, value: str) -> int:
    """Set one variable in the config file; an empty VALUE removes it.

    Folders and files are kept with their whole path. The service is not asked.

    \b
    Example:
      mgmt config set MGMT_OBJECT_PREFIX shoots

    \b
    Exit codes: 0 done, 2 no such variable or bad value,
      9 the file cannot be written.
    """
    from mgmt.settings import write_config
    from mgmt.settings.answers import accept_answer, is_missing_folder

    field = _field_of(name)
    kept = accept_answer(field, value, "the command line") if value else None
    write_config(invocation.config_path, {name: kept}, invocation.config_source)
    if kept and is_missing_folder(field, kept):
        invocation.output.aside(f"note: {kept} does not exist yet.")
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
    invocation.output.line(str(value))
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
    output = invocation.output
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
    invocation.output.line(str(invocation.config_path))
    return EXIT_OK


def _field_of(name: str) -> str:
    from mgmt.settings import FILE_VARIABLES, VARIABLES

    for field in FILE_VARIABLES:
        if VARIABLES[field].name == name:
            return field
    known = ", ".join(VARIABLES[field].name for field in FILE_VARIABLES)
    raise UsageError(f"{name!r} is not a setting of the config file. Expected one of {known}.", code="no-such-setting")
