"""`mgmt local`: starts, stops and describes the embedded backend."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from mgmt.cli import PointingGroup
from mgmt.cli.backend import import_local_control, local_errors
from mgmt.cli.invocation import Invocation
from mgmt.errors import EXIT_OK


@click.group(cls=PointingGroup)
def local() -> None:
    """Run the whole service on this machine, without AWS.

    The same code that runs in the Lambda, a real storage engine and a record store, on 127.0.0.1 only.
    `mgmt --local COMMAND` starts it when needed; it ends by itself after ten idle minutes.

    \b
    Example:
      mgmt local start

    \b
    Exit codes: 0 done, 9 it cannot start, 10 the extra [local] is not installed.
    """


@local.command("start")
@click.pass_obj
def local_start(invocation: Invocation) -> int:
    """Start the embedded backend.

    The command returns when it answers. One that runs is left alone.

    \b
    Example:
      mgmt local start

    \b
    Exit codes: 0 it answers, 9 it cannot start, 10 not installed.
    """
    began = time.monotonic()
    trace = _trace_to(invocation)
    trace(f"The log of the backend is {_control(lambda control: control.status()).log}")
    endpoint = _control(lambda control: control.start())
    trace(f"It answers after {time.monotonic() - began:.1f} s")
    room = _control(lambda control: control.find_room())
    value = {"running": True, "url": endpoint.url, **_size_of(room)}
    _say(invocation, value, f"The embedded backend answers at {endpoint.url}")
    _warn_of_too_little(invocation, room)
    return EXIT_OK


@local.command("stop")
@click.option("--force", is_flag=True, help="Stop it even while commands work with it; the same commands go on later.")
@click.pass_obj
def local_stop(invocation: Invocation, force: bool) -> int:
    """Stop the embedded backend, unless commands use it.

    What it stores stays.

    \b
    Example:
      mgmt local stop

    \b
    Exit codes: 0 it does not run any more, 9 it is in use or cannot be stopped,
      10 not installed.
    """
    was_running = _control(lambda control: control.stop(unless_in_use=not force))
    _say(invocation, {"running": False}, "Stopped." if was_running else "It was not running.")
    return EXIT_OK


@local.command("status")
@click.pass_obj
def local_status(invocation: Invocation) -> int:
    """Say whether the embedded backend runs, and where.

    \b
    Example:
      mgmt --json local status

    \b
    Exit codes: 0 said (running or not), 10 not installed.
    """
    status = _control(lambda control: control.status())
    trace = _trace_to(invocation)
    trace(f"Everything it keeps lies in {status.state_dir}; its log is {status.log}")
    said = f"Running at {status.url} (process {status.pid})." if status.running else "Not running."
    room = _control(lambda control: control.find_room())
    value = {"running": status.running, "url": status.url, "pid": status.pid, **_size_of(room)}
    _say(invocation, value, said)
    _warn_of_too_little(invocation, room)
    return EXIT_OK


@local.command("token")
@click.argument("name")
@click.option("--admin", is_flag=True, help="A person who may do what admins may.")
@click.pass_obj
def local_token(invocation: Invocation, name: str, admin: bool) -> int:
    """Print an access token of another person.

    With it in MGMT_TOKEN a command works as the person of that NAME, for an hour: to play a team on one machine.

    \b
    Example:
      MGMT_TOKEN=$(mgmt local token anna) mgmt --local upload clip.mp4

    \b
    Exit codes: 0 printed, 2 usage, 9 it cannot be kept, 10 not installed.
    """
    token = _control(lambda control: control.issue_token(name, admin=admin))
    output = invocation.output
    if invocation.as_json:
        output.json({"type": "token", "name": name, "token": token})
    else:
        output.line(token)
    return EXIT_OK


def _control(call: Any) -> Any:
    control = import_local_control()
    with local_errors(control):
        return call(control)


def _trace_to(invocation: Invocation) -> Callable[[str], None]:
    """Return a function that shows a detail with --verbose."""
    output = invocation.output
    return lambda said: output.aside(said) if invocation.verbose else None


def _size_of(room: Any) -> dict[str, int]:
    """Return what a program is told of the disk on which the backend keeps what is stored."""
    return {} if room is None else {"free_bytes": room.free_bytes, "kept_free_bytes": room.kept_free_bytes}


def _warn_of_too_little(invocation: Invocation, room: Any) -> None:
    """Tell a person of a disk that is so full that nothing can be stored."""
    if room is not None and room.lacks_bytes() and not invocation.as_json:
        invocation.output.note(f"{room.explain_lack()}; what is stored can be read meanwhile.")


def _say(invocation: Invocation, value: dict[str, Any], said: str) -> None:
    output = invocation.output
    if invocation.as_json:
        output.json({"type": "local", **value})
    else:
        output.sentence(said)
