"""One run of the command: its global options, and the settings, the backend and the session that it works with."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict

from mgmt.errors import CancelledError, LocalStateError, LoginRequiredError, UsageError
from mgmt.text import describe_unasked

if TYPE_CHECKING:  # only names for annotations: none of this is needed for `mgmt --help`
    from mgmt.account.login import Way
    from mgmt.account.person import Person
    from mgmt.account.run import Run as AccountRun
    from mgmt.errors import MgmtError
    from mgmt.events import Emit
    from mgmt.known_names import KnownNames
    from mgmt.logs import Redactor, RunLog
    from mgmt.service import TokenProvider
    from mgmt.session import Contact, Session
    from mgmt.settings import Settings
    from mgmt.show import Output

    class _Reached(TypedDict):
        """The arguments that opening a contact and opening a session share."""

        settings: Settings
        token: TokenProvider
        emit: Emit
        stop: threading.Event
        patience_seconds: float
        run_id: str


COMMAND_VARIABLE: Final = "_MGMT_COMMAND"
"""How the program was called, where a script of another name runs it, such as `try/mgmt`."""
LOCAL_NAME: Final = "local"
"""How the journal's names of embedded backends begin; no address does."""


class Invocation:
    """One run: its global options, and what it works with, each made on first use."""

    def __init__(  # noqa: PLR0913  one for each global option
        self,
        environment: Mapping[str, str],
        *,
        verbose: bool = False,
        quiet: bool = False,
        as_json: bool = False,
        use_local: bool = False,
        no_color: bool = False,
        no_input: bool = False,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.environment = environment
        self.verbose = verbose
        self.quiet = quiet
        self.as_json = as_json
        self.use_local = use_local
        self.no_color = no_color
        self.no_input = no_input
        self.arguments = arguments
        """The command line, for the log."""
        self.run_id = os.urandom(8).hex()
        """What this run calls itself: each call says it, so that the service's log and records lead back here."""
        self._redactor: Redactor | None = None
        self._log: RunLog | None = None
        self._known_names: KnownNames | None = None
        self._output: Output | None = None
        self._lock = threading.Lock()

    def turn_on(self, option: str) -> None:
        """Take a global option that comes after the command's name."""
        setattr(self, option, True)
        self._output = None  # it had the manners of the former options

    @property
    def redactor(self) -> Redactor:
        """What cuts the secrets of this run out of everything that is shown or written."""
        if self._redactor is None:
            from mgmt.logs import Redactor

            self._redactor = Redactor()
        return self._redactor

    @property
    def log(self) -> RunLog:
        """The log of this run; begun by what talks to a service."""
        if self._log is None:
            from mgmt.logs import RunLog
            from mgmt.settings import state_directory

            try:
                folder = state_directory(self.environment) / "log"
            except LocalStateError:
                folder = None
            self._log = RunLog(folder, self.arguments, self.redactor, self.output.aside if self.verbose else None)
        return self._log

    def know(self, key: str | None) -> None:
        """Remember a key that was shown or stored, for shells to complete; from any thread."""
        if not key:
            return
        with self._lock, contextlib.suppress(LocalStateError):  # a user without a home keeps none
            if self._known_names is None:
                from mgmt.known_names import KnownNames
                from mgmt.settings import state_directory

                self._known_names = KnownNames(state_directory(self.environment))
            self._known_names.add(key)

    def note_error(self, error: MgmtError) -> None:
        """Write an error into the log, if the run has one."""
        if self._log is not None:
            self._log.note_error(error)

    def end(self, exit_code: int) -> None:
        """Close the log and keep the keys that were remembered, if there are any."""
        if self._log is not None:
            self._log.end(exit_code)
        if self._known_names is not None:
            self._known_names.save()

    def log_events(self, emit: Emit) -> Emit:
        """Begin the log, and have every event written there before it is shown, without secrets in either."""
        from dataclasses import replace

        from mgmt.events import Event, Finished, Notice
        from mgmt.logs import LOGGER

        def note(event: Event) -> None:
            if isinstance(event, Notice):
                event = replace(event, message=self.redactor(event.message))
            elif isinstance(event, Finished) and event.error is None:
                self.know(event.record.s3_object_key)
            self.log.note(event)
            emit(event)

        self.log.begin()
        if self.verbose:
            where = f"The log of this run is {self.log.path}"
            self.output.aside(where if self.log.path else f"This run has no log ({self.log.problem})")
        LOGGER.info("The service knows this run as %s", self.run_id)
        return note

    @property
    def config_path(self) -> Path:
        """Where the config file lies."""
        from mgmt.settings import default_config_path

        return default_config_path(self.environment)

    @property
    def config_source(self) -> Path:
        """Which file is read: that one, or an older mgmt's as long as it does not exist."""
        from mgmt.settings import config_source

        return config_source(self.config_path, self.environment)

    @property
    def output(self) -> Output:
        """The two streams, with the manners that terminal and options ask for."""
        if self._output is None:
            self._output = self._make_output()
        return self._output

    @property
    def output_failure(self) -> OSError | None:
        """Why results are missing on stdout, if any are."""
        return self._output.failure if self._output is not None else None

    def _make_output(self) -> Output:
        from mgmt.show import Output, Style, obeys_colors

        is_dumb = self.environment.get("TERM") == "dumb"
        colors = not (self.no_color or self.environment.get("NO_COLOR") or is_dumb)
        colors = colors and obeys_colors((sys.stdout, sys.stderr))
        style = Style(
            as_json=self.as_json,
            verbosity=1 if self.verbose else -1 if self.quiet else 0,
            colors=colors,
            bars=sys.stderr.isatty() and not is_dumb,
            is_local=self.use_local,
            command=self._command_name(),
        )
        return Output(style)

    def _command_name(self) -> str:
        """Say how the program was called, so that a shell takes it again."""
        called = self.environment.get(COMMAND_VARIABLE)
        if not called:
            return "mgmt"
        import shlex

        from mgmt.text import printable

        return printable(called if os.name == "nt" else shlex.quote(called))

    def settings(self, options: Mapping[str, str | None] | None = None) -> Settings:
        """Resolve the settings; with `--local` the service's address is the embedded backend's."""
        from mgmt.settings import resolve_settings

        try:
            source = self.config_source
        except LocalStateError:  # a user without a home has no file
            source = None
        return resolve_settings(self.environment, source, options)

    @contextmanager
    def contact(self, emit: Emit) -> Iterator[Contact]:
        """Get ready to ask the configured or the embedded service, for commands that do nothing else.

        Cheaper than a session, and possible where the journal cannot be used.

        Raises:
            NotConfiguredError: If no service is configured, or `[local]` is not installed.
            LoginRequiredError: If there is no token for it.
            LocalStateError: If the embedded backend cannot start.
        """
        from mgmt.session import open_contact

        with self._reach_service(emit) as reached, open_contact(**reached) as contact:
            yield contact

    @contextmanager
    def session(
        self,
        emit: Emit,
        *,
        options: Mapping[str, str | None] | None = None,
        rate_limit_bytes_per_second: int | None = None,
    ) -> Iterator[Session]:
        """Open a session with the configured or the embedded service.

        Raises:
            NotConfiguredError: If no service is configured, or `[local]` is not installed.
            LoginRequiredError: If there is no token for it.
            LocalStateError: If the embedded backend cannot start, or the journal cannot be used.
        """
        from mgmt.session import open_session
        from mgmt.settings import state_directory

        with (
            self._reach_service(emit, options) as reached,
            open_session(
                **reached,
                state_dir=state_directory(self.environment),
                rate_limit_bytes_per_second=rate_limit_bytes_per_second,
                journal_name=self.journal_name,
            ) as session,
        ):
            yield session

    @contextmanager
    def _reach_service(self, emit: Emit, options: Mapping[str, str | None] | None = None) -> Iterator[_Reached]:
        """Find the service and its token, begin the log, and keep an embedded backend from ending meanwhile."""
        from mgmt.events import Waiting
        from mgmt.logs import LOGGER
        from mgmt.machine import interruptible
        from mgmt.network.retry import PROGRESS_BUDGET_SECONDS

        with interruptible() as stop, ExitStack() as held:
            if self.use_local:
                from mgmt.cli.backend import LOCAL_PATIENCE_SECONDS, reach_backend

                patience_seconds = LOCAL_PATIENCE_SECONDS
                emit = self.log_events(emit)
                emit(Waiting("the embedded backend starts"))
                settings, token = reach_backend(self, held, emit, stop)
            else:
                patience_seconds = PROGRESS_BUDGET_SECONDS
                settings = self.settings(options)
                settings.require_api_url()
                emit = self.log_events(emit)
                token = self._find_tokens(settings, emit, stop)
            LOGGER.info("The service is %s", settings.api_url)
            yield {
                "settings": settings,
                "token": token,
                "emit": emit,
                "stop": stop,
                "patience_seconds": patience_seconds,
                "run_id": self.run_id,
            }

    @property
    def journal_name(self) -> str | None:
        """What the journal calls the embedded backend: its port is another one each time it is started."""
        if not self.use_local:
            return None
        folder = self.environment.get("MGMT_LOCAL_STATE_DIR", "")
        return f"{LOCAL_NAME} {Path(folder).absolute() if folder else ''}"

    def _find_tokens(self, settings: Settings, emit: Emit, stop: threading.Event) -> TokenProvider:
        """Find the tokens for the configured service; the first is asked for at once."""
        from mgmt.session import find_tokens

        def find() -> TokenProvider:
            tokens = find_tokens(settings, self.environment, emit=emit, stop=stop, learn=self.redactor.learn)
            tokens()
            return tokens

        try:
            return find()
        except LoginRequiredError as error:
            is_fixed = settings.token is not None or settings.client_id is not None
            if is_fixed or self.why_not_asked is not None:
                raise
            self._offer_sign_in(self.account_run(settings, only_notices(emit), stop), error)
            return find()

    def _offer_sign_in(self, run: AccountRun, error: LoginRequiredError) -> None:
        """Sign a person in who is asked first; their command then goes on."""
        from mgmt.account.run import log_in
        from mgmt.cli.sign_in import SignInDialog, agree_to_sign_in

        agree_to_sign_in(self.output, error)
        log_in(run, SignInDialog(self.output, self.environment, may_change=False))

    def sign_in(self, service_url: str, *, way: Way, ports: tuple[int, ...]) -> Person:
        """Sign a person in for a service, and say who it is.

        Raises:
            MgmtError: If nobody is signed in in the end.
        """
        from dataclasses import replace

        from mgmt.account.person import describe_credentials
        from mgmt.account.run import log_in
        from mgmt.cli.sign_in import SignInDialog
        from mgmt.machine import interruptible
        from mgmt.show.waiting import WaitingRenderer

        settings = replace(self.settings(), api_url=service_url)
        dialog = SignInDialog(self.output, self.environment, self.why_not_asked)
        with WaitingRenderer(self.output) as renderer, interruptible() as stop:
            run = self.account_run(settings, self.log_events(renderer.emit), stop)
            signed_in = log_in(run, dialog, way=way, ports=ports)
        return describe_credentials(signed_in.credentials)

    def account_run(
        self, settings: Settings, emit: Emit, stop: threading.Event, *, kept_as: str | None = None
    ) -> AccountRun:
        """Return what signing in and out for the service of these settings is done with.

        The sign-in is kept for the service's address, or under a name of its own where the address changes.
        """
        from mgmt.account.run import Run as AccountRun
        from mgmt.credentials.place import service_name
        from mgmt.settings import state_directory

        return AccountRun(
            service_url=settings.require_api_url(),
            kept_as=kept_as or service_name(settings.require_api_url()),
            ca_bundle=settings.ca_bundle,
            state_dir=state_directory(self.environment),
            run_id=self.run_id,
            emit=emit,
            stop=stop,
            learn=self.redactor.learn,
        )

    @property
    def why_not_asked(self) -> str | None:
        """Why no question is asked, as a sentence goes on after "because"; None where questions are asked."""
        if self.no_input:
            return "--no-input is given"
        if self.as_json:
            return "--json is given"
        is_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
        return None if is_terminal else "there is no terminal"

    def require_somebody_to_ask(self, question: str, nothing_done: str, instead: str) -> None:
        """Refuse a command that asks a question first, where no question is asked.

        Args:
            question: What it asks, such as "whether to delete".
            nothing_done: What has not been done, such as "nothing was deleted".
            instead: What to type instead, such as "To delete without being asked, add --yes".

        Raises:
            UsageError: nobody-to-ask.
        """
        if self.why_not_asked is not None:
            message = describe_unasked(question, self.why_not_asked, nothing_done, instead)
            raise UsageError(message, code="nobody-to-ask")

    def require_agreement(self, question: str, nothing_done: str) -> None:
        """Ask a yes-or-no question on the terminal; anything but a yes ends the command.

        Args:
            question: What is about to be done.
            nothing_done: What has not been done, such as "nothing was deleted".

        Raises:
            CancelledError: not-agreed.
        """
        import click

        from mgmt.cli.asking import ask_yes_or_no

        try:
            is_agreed = ask_yes_or_no(self.output.question(question), default=False)
        except click.Abort as error:
            raise CancelledError(f"Cancelled; {nothing_done}.", code="not-agreed") from error
        if not is_agreed:
            raise CancelledError(f"You did not agree, so {nothing_done}.", code="not-agreed")


def only_notices(emit: Emit) -> Emit:
    """Leave out what a display would draw over a question."""
    from mgmt.events import Notice

    return lambda event: emit(event) if isinstance(event, Notice) else None


def current_directory() -> Path:
    """Return the folder the command runs in.

    Raises:
        LocalStateError: If it is gone.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise LocalStateError(
            f"The current directory cannot be used ({error.strerror or error}). Change to a folder that exists.",
            code="no-directory",
        ) from error


def shown_base(settings: Settings) -> Path:
    """Return the folder that paths in the team's records are relative to: MGMT_LOCAL_DIR around us, or here."""
    here = current_directory()
    base = settings.local_dir.absolute() if settings.local_dir is not None else here
    return base if here.is_relative_to(base) else here
