"""The command itself: global options, commands loaded when they are used, and the outermost edge."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from mgmt.cli import RUN, HelpContext, PointingGroup, UnknownCommandError, make_global_options, take_everywhere
from mgmt.errors import EXIT_OK, INTERRUPTED, CancelledError, LocalStateError, MgmtError, UsageError, is_interrupt
from mgmt_contract.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from click.shell_completion import CompletionItem

    from mgmt.cli.invocation import Invocation


_COMPLETE_VARIABLE: Final = "_MGMT_COMPLETE"
"""Set by the scripts of `mgmt completion`, and read by click."""


class CommandEntry(NamedTuple):
    """Where a command lives and what it does in a line, so that `mgmt --help` need not import it."""

    module: str
    summary: str


COMMANDS: Final = {
    "upload": CommandEntry("mgmt.cli.upload", "Upload files or directories, safely and provably."),
    "resume": CommandEntry(
        "mgmt.cli.resume", "Finish the uploads and downloads of this machine that were interrupted."
    ),
    "cancel": CommandEntry("mgmt.cli.cancel", "Give up uploads that have not ended, or have failed."),
    "download": CommandEntry("mgmt.cli.download", "Download what the team has uploaded, checked against its record."),
    "safe": CommandEntry("mgmt.cli.safe", "Answer whether all of a card or folder is stored and proven."),
    "history": CommandEntry("mgmt.cli.history", "List the team's uploads, newest first."),
    "show": CommandEntry("mgmt.cli.history", "Show everything about one upload."),
    "contents": CommandEntry("mgmt.cli.contents", "List what is in an upload: paths, sizes, times, digests."),
    "delete": CommandEntry("mgmt.cli.removal", "Delete uploads; they can be brought back for some weeks."),
    "undelete": CommandEntry("mgmt.cli.removal", "Bring deleted uploads back."),
    "login": CommandEntry("mgmt.cli.account", "Sign in to the team's service in your browser."),
    "logout": CommandEntry("mgmt.cli.account", "Sign out, here and where you signed in."),
    "whoami": CommandEntry("mgmt.cli.account", "Show who is signed in, and what they may do."),
    "config": CommandEntry("mgmt.cli.config", "Choose the service and the folders to use."),
    "local": CommandEntry("mgmt.cli.local", "Run the whole service on this machine, without AWS."),
    "completion": CommandEntry("mgmt.cli.completion", "Print the script that completes commands in a shell."),
}


_GO_ON: Final = frozenset({"upload", "resume", "cancel", "download", "delete", "undelete"})
"""Commands that go on with what an interrupt has left of them; all others begin anew."""
_ONLY_READ: Final = frozenset({"safe", "history", "show", "contents", "whoami", "completion"})
"""Commands that an interrupt can leave nothing of."""


class Run:
    """One call of the command, as the outermost edge knows it."""

    def __init__(self, arguments: tuple[str, ...] = ()) -> None:
        self.arguments = arguments
        self.command: str | None = None
        """None until one is found and begins."""
        self.invocation: Invocation | None = None
        """None until the global options are read."""

    def turn_on(self, option: str) -> None:
        """Take a global option that comes after the command's name."""
        if self.invocation is not None:
            self.invocation.turn_on(option)
            _check_volume(verbose=self.invocation.verbose, quiet=self.invocation.quiet)

    def end(self, exit_code: int) -> int:
        """Close the run's log and keep the names it has seen, if it has any."""
        if self.invocation is not None:
            self.invocation.end(exit_code)
        return exit_code


class _LazyGroup(PointingGroup):
    context_class = HelpContext

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name].module), cmd_name)
        return take_everywhere(command)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # click would write an empty line, which is no JSON and says nothing
            raise CancelledError(INTERRUPTED) from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Complete commands without loading them."""
        from click.shell_completion import CompletionItem

        begun = [(name, entry) for name, entry in COMMANDS.items() if name.startswith(incomplete)]
        items = [CompletionItem(name, help=entry.summary) for name, entry in begun]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=make_global_options(),
    epilog="The first six options may also stand after a command.\n\n"
    "Exit codes: 0 done, 2 usage, 3 some targets failed, 4 source, 5 sign-in, 6 refused, 7 unavailable "
    "(run again, it resumes), 8 integrity, 9 local disk or state, 10 not configured, 11 the answer is no, "
    "130 interrupted.",
)
@click.version_option(__version__, prog_name="mgmt")
@click.pass_context
def mgmt(ctx: click.Context, /, **flags: Any) -> None:
    """Put footage safely into S3, and see what the team has uploaded.

    \b
    Example:
      mgmt upload clip.mp4 DCIM
    """
    gc.freeze()
    gc.enable()
    _check_volume(verbose=flags["verbose"], quiet=flags["quiet"])
    from mgmt.cli.invocation import Invocation

    run: Run = ctx.obj or Run()
    run.command = ctx.invoked_subcommand
    ctx.obj = run.invocation = Invocation(os.environ, arguments=run.arguments, **flags)
    ctx.meta[RUN] = run


def _check_volume(*, verbose: bool, quiet: bool) -> None:
    if verbose and quiet:
        raise click.UsageError("--verbose and --quiet cannot be used together.")


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error becomes a sentence here."""
    _prepare_streams()
    if _COMPLETE_VARIABLE in os.environ:
        from mgmt.cli.completion import answer_shells

        answer_shells()
    as_json = "--json" in takewhile(lambda each: each != "--", arguments)
    run, stdout = Run(tuple(arguments)), sys.stdout
    try:
        result = mgmt.main(args=list(arguments), prog_name="mgmt", standalone_mode=False, obj=run)
    except BrokenPipeError:
        _silence_stdout()
        return run.end(EXIT_OK)
    except SystemExit:
        if sys.stdout is stdout:
            raise
        # Nobody reads the help page any more: click has put another stdout in its place, and would end with 1.
        _silence_stdout()
        return run.end(EXIT_OK)
    except click.exceptions.NoArgsIsHelpError as error:
        return run.end(_show_help(error, run, as_json=as_json))
    except Exception as error:  # noqa: BLE001  the outermost edge: no traceback reaches a user
        return run.end(_report(_translate(error, run), run, as_json=as_json))
    except KeyboardInterrupt:
        return run.end(_report(CancelledError(INTERRUPTED), run, as_json=as_json))
    exit_code = result if isinstance(result, int) else EXIT_OK
    return run.end(exit_code or _report_missing_results(run, as_json=as_json))


def _prepare_streams() -> None:
    """Let every name be written, and everything be written nowhere where the caller has closed a stream (`>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _report_missing_results(run: Run, *, as_json: bool) -> int:
    """Fail a run that has done everything but could not write all of it to stdout."""
    failure = run.invocation.output_failure if run.invocation is not None else None
    if failure is None:
        return EXIT_OK
    return _report(_describe_missing_results(failure), run, as_json=as_json)


def _describe_missing_results(failure: OSError) -> MgmtError:
    return LocalStateError(
        f"Results could not be written to stdout ({failure.strerror or failure}), so some are missing there. "
        "What was done is done: uploads and downloads that have finished are safe. Make room or write elsewhere, then "
        "run the same command again, or see `mgmt history`.",
        code="output-not-written",
    )


def _show_help(error: click.exceptions.NoArgsIsHelpError, run: Run, *, as_json: bool) -> int:
    """Show the help page where no command is named."""
    if as_json:
        return _report(UsageError(f"Missing command. See `{error.ctx.command_path} --help`."), run, as_json=True)
    with contextlib.suppress(OSError):  # stderr is closed, or its disk is full
        click.echo(error.format_message(), err=True)
    return UsageError.exit_code


def _translate(error: Exception, run: Run) -> MgmtError:
    """Turn whatever ended a command into an error with a sentence and an exit code."""
    if isinstance(error, MgmtError):
        return error
    if isinstance(error, click.exceptions.Abort) or is_interrupt(error):
        return CancelledError(INTERRUPTED)
    if isinstance(error, click.ClickException):
        return UsageError(_describe_usage(error))
    if isinstance(error, OSError) and _hit_what_click_writes(error):
        return _describe_missing_results(error)
    return _describe_bug(error, run)


def _hit_what_click_writes(error: OSError) -> bool:
    """Tell whether click could not write, such as a help text: no name of a file tells these errors from others."""
    import traceback

    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return bool(frame.f_globals["__name__"] == click.echo.__module__)


def _describe_usage(error: click.ClickException) -> str:
    context: click.Context | None = getattr(error, "ctx", None)
    said = error.format_message()
    if context is None:
        return said
    if isinstance(error, UnknownCommandError):
        return said
    said = re.sub(r"\. \((Did you mean.*\?)\)$", r". \1", said)  # click's brackets need no full stop of their own
    end = "" if said.endswith((".", "?")) else "."
    return f"{said}{end} See `{context.command_path} --help`."


def _describe_bug(error: Exception, run: Run) -> MgmtError:
    import traceback

    if os.environ.get("MGMT_TRACEBACK"):
        traceback.print_exception(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    log = _log_bug("".join(traceback.format_exception(error)), run)
    more = f"please report it with its log, {log}" if log else "please report it with what MGMT_TRACEBACK=1 shows"
    return MgmtError(
        f"This is a bug in mgmt {__version__}: {type(error).__name__} at {where.name}:{where.lineno}. "
        f"Your sources are untouched; {more}.",
        code="bug",
    )


def _log_bug(traceback: str, run: Run) -> Path | None:
    """Write down where a bug happened; return the file."""
    if run.invocation is None:
        return None
    run.invocation.log.begin()
    run.invocation.log.write("bug", traceback)
    return run.invocation.log.path


def explain_interrupt(command: str | None) -> str:
    """Say what an interrupt has left of a command, and what to do next.

    Args:
        command: The command's name; None where none had begun.
    """
    if command in _GO_ON:
        return INTERRUPTED
    if command is None or command in _ONLY_READ:
        return "Interrupted. Nothing was changed; run the same command again."
    return "Interrupted. Run the same command again."


def _report(error: MgmtError, run: Run, *, as_json: bool) -> int:
    from mgmt.show import Output, Style

    if error.message == INTERRUPTED:  # wherever it hit: only here it is known what was interrupted
        error.message = explain_interrupt(run.command)
    if as_json and run.invocation is not None and isinstance(error, UsageError):
        run.turn_on("as_json")  # click stops at the first fault, which may stand before the option
    if run.invocation is not None:
        error.message = run.invocation.redactor(error.message)
        error.details = tuple(map(run.invocation.redactor, error.details))
        run.invocation.note_error(error)
    output = run.invocation.output if run.invocation is not None else Output(Style(as_json=as_json))
    output.error(error)
    return error.exit_code


def _silence_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run() -> None:
    """Run the command line's command and end the process."""
    exit_code = main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, KeyboardInterrupt):  # a closed pipe; all is done
            stream.flush()
    # Without taking the interpreter apart, which costs a short command a fifth of its time, and without
    # waiting for threads that an interrupt has left in the middle of a send: their bytes are lost anyway.
    os._exit(exit_code)
