"""`mgmt login`, `mgmt logout` and `mgmt whoami`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from mgmt.cli import WholeNumber
from mgmt.cli.invocation import Invocation
from mgmt.errors import EXIT_OK, UsageError
from mgmt.text import printable

if TYPE_CHECKING:  # names for annotations only
    from mgmt.account.login import Way
    from mgmt.account.person import Person
    from mgmt.account.run import Run as AccountRun
    from mgmt.events import Emit
    from mgmt.settings import Settings
    from mgmt_contract.messages.service import Me


@click.command()
@click.argument("url", required=False)
@click.option("--no-browser", is_flag=True, help="Print the address; paste back where a browser elsewhere ended.")
@click.option("--device", is_flag=True, help="Print a code to enter elsewhere, where the sign-in offers it.")
@click.option("--admin", is_flag=True, help="With --local: a person who may do what admins may.")
@click.option("--port", metavar="N", type=WholeNumber(1, 65_535), help="Have the browser return to this port.")
@click.pass_obj
def login(invocation: Invocation, /, url: str | None, **options: Any) -> int:
    """Sign in to the team's service in your browser.

    URL is the service's address, as the admin hands it out; it is kept, so it is needed once. The address of the
    sign-in is always printed as well.

    With --local NAME, play a person of that name with the embedded backend; no browser is needed.

    \b
    Examples:
      mgmt login https://uploads.example.com
      mgmt login
      mgmt login --no-browser            over SSH
      mgmt login --local anna            play a team on one machine

    \b
    Exit codes: 0 signed in, 2 usage, 5 nobody is signed in, 6 refused by the
      service, 7 unavailable, 9 it cannot be kept, 10 not configured,
      130 interrupted.
    """
    is_admin = options.pop("admin")
    if invocation.use_local:
        return _play(invocation, url, is_admin=is_admin, is_plain=not any(options.values()))
    if is_admin:
        raise UsageError(
            "--admin is for people of the embedded backend: mgmt login --local NAME --admin.", code="not-local"
        )
    way = _choose_way(**options)
    port = options["port"]
    address = accept_address(url) if url is not None else invocation.settings().require_api_url()
    person = invocation.sign_in(address, way=way, ports=(port,) if port is not None else ())
    if url is not None:
        _keep_address(invocation, address)
    _show_signed_in(invocation, person)
    return EXIT_OK


@click.command()
@click.argument("url", required=False)
@click.pass_obj
def logout(invocation: Invocation, url: str | None) -> int:
    """Sign out: the sign-in ends where it was made, and is forgotten on this machine.

    \b
    Examples:
      mgmt logout
      mgmt logout https://uploads.example.com    of another service

    \b
    Exit codes: 0 signed out, 9 it cannot be forgotten, 10 not configured,
      130 interrupted.
    """
    from mgmt.account.run import log_out
    from mgmt.show.waiting import WaitingRenderer

    output = invocation.output
    with WaitingRenderer(output) as renderer, _account_run(invocation, url, renderer.emit) as run:
        done = log_out(run)
    host = _name_place(run.kept_as)
    if invocation.as_json:
        output.json(
            {
                "type": "signed_out",
                "service": run.kept_as,
                "was_signed_in": done.was_signed_in,
                "revoked": done.is_revoked,
            }
        )
    else:
        output.sentence(
            printable(f"Signed out of {host}." if done.was_signed_in else f"You were not signed in to {host}.")
        )
    if done.why_not is not None:
        output.note(
            f"The sign-in is forgotten here, but may not have ended where it was made: {done.why_not.rstrip('.')}. "
            "What is left of it ends by itself."
        )
    _note_token(invocation)
    return EXIT_OK


@click.command()
@click.pass_obj
def whoami(invocation: Invocation) -> int:
    """Show who is signed in: name, role, groups, and until when.

    Nobody is asked while the sign-in is good: it shows what the service said last. Once it has to be renewed, the
    service is asked again.

    \b
    Example:
      mgmt --json whoami

    \b
    Exit codes: 0 shown, 2 usage, 5 sign-in, 6 refused, 7 unavailable,
      10 not configured.
    """
    person = _find_person(invocation) or _ask_who(invocation)
    output = invocation.output
    if invocation.as_json:
        from mgmt_contract.wire import format_time

        output.json(
            {
                "type": "person",
                "id": person.id,
                "name": person.name,
                "role": person.role,
                "groups": list(person.groups),
                "service": person.service_url,
                "issuer": person.issuer,
                "expires_at": format_time(person.expires_at) if person.expires_at else None,
                "renewable": person.is_renewable,
            }
        )
        return EXIT_OK
    for line in _describe(person):
        output.line(printable(line))
    return EXIT_OK


def _play(invocation: Invocation, name: str | None, *, is_admin: bool, is_plain: bool) -> int:
    """Sign somebody in to the embedded backend."""
    if not name:
        raise UsageError("Whom do you want to play? mgmt login --local NAME", code="no-name")
    if not is_plain:
        raise UsageError(
            "--no-browser, --device and --port are for a team's service, not for --local.", code="local-way"
        )
    from mgmt.cli.local_sign_in import play

    _show_signed_in(invocation, play(invocation, name, is_admin=is_admin))
    return EXIT_OK


@contextmanager
def _account_run(invocation: Invocation, url: str | None, emit: Emit) -> Iterator[AccountRun]:
    """Return what signing out is done with, for the embedded backend, the service named, or the configured one."""
    from dataclasses import replace

    from mgmt.machine import interruptible

    if invocation.use_local:
        from mgmt.cli.backend import backend_account_run

        with backend_account_run(invocation, emit) as run:
            yield run
        return
    settings = invocation.settings()
    settings = replace(settings, api_url=accept_address(url)) if url is not None else settings
    settings.require_api_url()
    with interruptible() as stop:
        yield invocation.account_run(settings, invocation.log_events(emit), stop)


def _name_place(service_url: str) -> str:
    """Name a service for a person."""
    return urlsplit(service_url).netloc or "the embedded backend"


def _choose_way(*, no_browser: bool, device: bool, port: int | None) -> Way:
    if no_browser and device:
        raise UsageError("--no-browser and --device are two ways to sign in; choose one.", code="two-ways")
    if device and port is not None:
        raise UsageError("--port is where a browser returns to; with --device none does.", code="port-without-browser")
    return "device" if device else "paste" if no_browser else "browser"


def accept_address(url: str) -> str:
    """Take the service's address as people write it: a host alone is one with TLS."""
    from mgmt.settings import check_value

    address = url.strip()
    address = address if "://" in address else f"https://{address}"
    check_value("api_url", address, "the command line")
    return address.rstrip("/")


def _keep_address(invocation: Invocation, address: str) -> None:
    """Write the address into the config file, where it is not there already."""
    from mgmt.settings import read_config, write_config

    path, source = invocation.config_path, invocation.config_source
    if read_config(source).get("MGMT_API_URL", "").rstrip("/") != address:
        write_config(path, {"MGMT_API_URL": address}, source)
        invocation.output.aside(f"The address is kept in {path}.")
    named = invocation.environment.get("MGMT_API_URL", "").rstrip("/")
    if named and named != address:
        invocation.output.note(f"MGMT_API_URL is set to {named} in the environment, which goes first.")


def _show_signed_in(invocation: Invocation, person: Person) -> None:
    output = invocation.output
    host = _name_place(person.service_url)
    if invocation.as_json:
        output.json({"type": "signed_in", "service": person.service_url, "name": person.name, "role": person.role})
    else:
        output.sentence(printable(f"Signed in to {host} as {person.name} ({person.role})."))
    _note_token(invocation)


def _note_token(invocation: Invocation) -> None:
    """Say that a token in the environment goes before any sign-in."""
    if invocation.environment.get("MGMT_TOKEN"):
        invocation.output.note("MGMT_TOKEN is set in the environment, which goes first.")
    elif invocation.environment.get("MGMT_CLIENT_ID") and not invocation.use_local:
        invocation.output.note("MGMT_CLIENT_ID is set in the environment, which goes first.")


def _find_person(invocation: Invocation) -> Person | None:
    """Return the person of the sign-in that is kept and good; None where somebody has to be asked."""
    settings = invocation.settings()
    if settings.token is not None or (settings.client_id is not None and not invocation.use_local):
        return None
    from mgmt.account.person import find_person
    from mgmt.errors import LocalStateError
    from mgmt.settings import state_directory

    try:
        return find_person(state_directory(invocation.environment), _name_service(invocation, settings))
    except LocalStateError:  # a user without a home is signed in nowhere
        return None


def _name_service(invocation: Invocation, settings: Settings) -> str:
    """Return the name under which the sign-in is kept: the service's address, or the embedded backend's folder."""
    if not invocation.use_local:
        return settings.require_api_url()
    from mgmt.cli.backend import local_sign_in_name

    return local_sign_in_name(invocation.environment)


def _ask_who(invocation: Invocation) -> Person:
    """Ask the service, which renews a sign-in that has ended, or begins one."""
    from mgmt.account.person import describe_answer
    from mgmt.show.waiting import WaitingRenderer

    with WaitingRenderer(invocation.output) as renderer, invocation.contact(renderer.emit) as contact:
        me = contact.api.me()
    return _keep_answer(invocation, me) or describe_answer(contact.service_url, me)


def _keep_answer(invocation: Invocation, me: Me) -> Person | None:
    """Keep what the service has said of the sign-in; None where it was asked with another token than a sign-in's."""
    settings = invocation.settings()
    if settings.token is not None or (settings.client_id is not None and not invocation.use_local):
        return None
    from mgmt.account.person import keep_answer
    from mgmt.errors import MgmtError
    from mgmt.settings import state_directory

    try:
        return keep_answer(state_directory(invocation.environment), _name_service(invocation, settings), me)
    except MgmtError:  # the answer is shown all the same
        return None


def _describe(person: Person) -> list[str]:
    from mgmt.text import moment_in_words

    lines = [f"{person.name} ({person.role})" if person.role else person.name]
    if person.groups:
        lines.append(f"  groups   {', '.join(person.groups)}")
    is_address = bool(urlsplit(person.service_url).netloc)
    lines.append(f"  service  {person.service_url if is_address else _name_place(person.service_url)}")
    if person.issuer is not None:
        lines.append(f"  sign-in  {person.issuer}")
    if person.expires_at is not None:
        then = "then renewed by itself" if person.is_renewable else "then `mgmt login` again"
        lines.append(f"  until    {moment_in_words(person.expires_at)}, {then}")
    return lines
