"""The embedded backend as the commands reach it: an extra that may not be installed, its tokens and its sign-ins."""

from __future__ import annotations

import importlib.util
import os
import shlex
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from mgmt.errors import LocalStateError, NotConfiguredError, UsageError
from mgmt.machine import interruptible

if TYPE_CHECKING:  # names for annotations only
    from mgmt.account.run import Run as AccountRun
    from mgmt.events import Emit
    from mgmt.logs import Redactor
    from mgmt.service import TokenProvider
    from mgmt.settings import Settings

LOCAL_PATIENCE_SECONDS: Final = 90.0
"""An embedded backend that was stopped comes back at another port, so there is little to wait for. Its storage engine
needs up to a minute to notice that a full disk has room again."""

_LOCAL_MODULES = ("aws_lambda_powertools", "boto3", "cryptography", "joserfc", "psutil", "pydantic")
"""What `[local]` brings and a plain install does not."""


class LocalRun(Protocol):
    """What of one run of a command the embedded backend is reached with."""

    environment: Mapping[str, str]
    arguments: tuple[str, ...]

    @property
    def redactor(self) -> Redactor:
        """What cuts secrets out of everything that is shown or written."""

    def settings(self) -> Settings:
        """Resolve the settings."""

    def log_events(self, emit: Emit) -> Emit:
        """Begin the log."""

    def account_run(
        self, settings: Settings, emit: Emit, stop: threading.Event, *, kept_as: str | None = None
    ) -> AccountRun:
        """Return what signing in and out is done with."""


def backend_error(error: Exception, code: str = "local-backend") -> LocalStateError:
    """Make a whole sentence of what the embedded backend says is wrong."""
    said = str(error)
    end = "" if said.endswith((".", "?")) else "."
    return LocalStateError(f"{said[:1].upper()}{said[1:]}{end}", code=code)


def import_local_control() -> Any:
    """Import what starts and stops the embedded backend.

    Raises:
        NotConfiguredError: If the extra `[local]` is not installed.
    """
    missing = [name for name in _LOCAL_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise NotConfiguredError(
            f"The embedded backend is not installed ({', '.join(missing)} is missing). "
            'Install it from the folder that holds mgmt\'s README: pip install ".[local]"',
            code="local-not-installed",
        )
    from mgmt_local import control

    return control


@contextmanager
def local_errors(control: Any) -> Iterator[None]:
    """Make the command's errors of the embedded backend's."""
    try:
        yield
    except control.BadNameError as error:
        raise UsageError(f"{error}.", code="bad-name") from error
    except control.InUseError as error:
        raise backend_error(error, "local-in-use") from error
    except control.LocalBackendError as error:
        raise backend_error(error) from error


def local_sign_in_name(environment: Mapping[str, str]) -> str:
    """Return what a sign-in to the embedded backend is kept for: its folder."""
    from urllib.parse import quote

    folder = environment.get("MGMT_LOCAL_STATE_DIR", "")
    return f"local://{quote(os.fspath(Path(folder).absolute())) if folder else ''}"


def reach_backend(run: LocalRun, held: ExitStack, emit: Emit, stop: threading.Event) -> tuple[Settings, TokenProvider]:
    """Start the embedded backend, and find its tokens: MGMT_TOKEN, else a sign-in, else the secret of its owner."""
    from dataclasses import replace

    from mgmt.session import FixedToken

    endpoint = _start(run, held)
    settings = run.settings()
    own = settings.token if run.environment.get("MGMT_TOKEN") else None
    settings = replace(settings, api_url=endpoint.url, bucket=None, token=own, client_id=None, client_secret=None)
    if own is None and not _follow_issuer(run, endpoint, emit):
        run.redactor.learn(endpoint.token)
        return settings, FixedToken(endpoint.token)
    from mgmt.session import find_tokens

    tokens = find_tokens(
        settings,
        run.environment,
        emit=emit,
        stop=stop,
        learn=run.redactor.learn,
        patience_seconds=LOCAL_PATIENCE_SECONDS,
        kept_as=local_sign_in_name(run.environment),
    )
    return settings, tokens


@contextmanager
def backend_account_run(run: LocalRun, emit: Emit) -> Iterator[AccountRun]:
    """Start the embedded backend, and return what signing in and out there is done with."""
    from dataclasses import replace

    with interruptible() as stop, ExitStack() as held:
        emit = run.log_events(emit)
        endpoint = _start(run, held)
        _follow_issuer(run, endpoint, emit)
        settings = replace(run.settings(), api_url=endpoint.url)
        yield run.account_run(settings, emit, stop, kept_as=local_sign_in_name(run.environment))


def _start(run: LocalRun, held: ExitStack) -> Any:
    """Start the embedded backend where it does not run, and keep it from ending meanwhile."""
    control = import_local_control()
    with local_errors(control):
        endpoint = control.start()
    held.enter_context(control.hold(endpoint, run.redactor(shlex.join(("mgmt", *run.arguments)))))
    return endpoint


def _follow_issuer(run: LocalRun, endpoint: Any, emit: Emit) -> bool:
    """Say whether somebody has signed in to the embedded backend; the sign-in then knows its present address."""
    from mgmt.credentials.store import CredentialStore
    from mgmt.session import follow_issuer
    from mgmt.settings import state_directory

    try:
        store = CredentialStore(state_directory(run.environment), emit)
    except LocalStateError:  # a user without a home has signed in nowhere
        return False
    return follow_issuer(store, local_sign_in_name(run.environment), endpoint.issuer)
