"""The questions of `mgmt config`: one for each setting, each answer looked at before the next question."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mgmt.cli.asking import ask_text, ask_yes_or_no
from mgmt.errors import CancelledError, LocalStateError, MgmtError, NotConfiguredError
from mgmt.network import Connections
from mgmt.network.retry import Patience
from mgmt.service import ServiceApi
from mgmt.session import FixedToken
from mgmt.settings import VARIABLES
from mgmt.settings.answers import accept_answer, is_missing_folder
from mgmt.text import printable

if TYPE_CHECKING:
    from mgmt.events import Emit
    from mgmt.show import Output
    from mgmt_contract.messages.service import Service

ASKED: Final = ("api_url", "bucket", "object_prefix", "local_dir", "completed_dir", "archive_dir", "ca_bundle")
CLEARING: Final = "-"
"""The answer that takes a value away; an empty one keeps it."""
_PATIENCE_SECONDS: Final = 5.0
"""Short: a person waits for the next question."""
_ORIGIN: Final = "your answer"
_NO_ANSWER: Final = "Cancelled; nothing saved. `mgmt config set NAME VALUE` sets one value without questions."


class Questions:
    """One round of questions; nothing is written before the last is answered.

    A bad answer is told and asked for again, and one that only looks bad may be kept.
    """

    def __init__(
        self, present: Mapping[str, str], output: Output, emit: Emit, *, ca_bundle: Path | None, run_id: str
    ) -> None:
        self._present = present
        self._output = output
        self._emit = emit
        self._ca_bundle = ca_bundle
        self._run_id = run_id
        self._answers: dict[str, str | None] = {}
        self._folders: list[Path] = []
        self._service: Service | None = None

    def ask_all(self) -> dict[str, str | None]:
        """Ask everything and return what to write, None for what to remove; make the folders that were wished for.

        Raises:
            LocalStateError: If a folder cannot be made.
            CancelledError: If the answers end before the questions.
        """
        self._output.aside(f"Enter keeps the value in brackets; {CLEARING} clears it.")
        try:
            for name in ASKED:
                if name not in self._answers:
                    self._answers[name] = self._ask(name)
        except (click.Abort, KeyboardInterrupt) as error:
            raise CancelledError(_NO_ANSWER) from error
        for folder in self._folders:
            _make_folder(folder)
        return {VARIABLES[name].name: self._answers[name] for name in ASKED}

    def _ask(self, name: str) -> str | None:
        variable = VARIABLES[name]
        before = self._present.get(variable.name, "")
        while True:
            text = ask_text(f"{variable.name} ({variable.meaning})", default=before, shows_default=True)
            if text in ("", CLEARING):
                return None
            try:
                answer = accept_answer(name, text, _ORIGIN) if text != before else text
            except MgmtError as error:
                self._output.error(error)
                continue
            if self._is_kept(name, answer):
                return answer

    def _is_kept(self, name: str, answer: str) -> bool:
        """Look at what is right in itself, and may yet be wrong."""
        try:
            if name == "api_url":
                self._look_at_service(answer)
            elif name == "bucket":
                self._compare_bucket(answer)
        except MgmtError as error:
            self._output.error(error)
            if error.code in ("untrusted-certificate", "ca-bundle") and "ca_bundle" not in self._answers:
                return self._is_trusted_with_bundle(answer)
            return ask_yes_or_no("Keep this answer anyway?", default=False)
        if is_missing_folder(name, answer):
            return self._offer_folder(Path(answer))
        return True

    def _look_at_service(self, url: str) -> None:
        connections = Connections(ca_bundle=self._ca_bundle)
        patience = Patience(threading.Event(), start_budget_seconds=_PATIENCE_SECONDS, budget_seconds=_PATIENCE_SECONDS)
        try:
            api = ServiceApi(url, FixedToken(""), connections, patience, self._emit, run_id=self._run_id)
            self._service = found = api.describe()
        finally:
            connections.close()
        said = f"Found the service {found.service_version}: bucket {found.bucket} in {found.region}."
        self._output.aside(printable(said))

    def _compare_bucket(self, bucket: str) -> None:
        if self._service is not None and self._service.bucket != bucket:
            raise NotConfiguredError(
                f"MGMT_BUCKET is {bucket}, and the service stores into {self._service.bucket}: it would refuse every "
                f"upload. Take that name, clear the pin with {CLEARING}, or check MGMT_API_URL.",
                code="bucket-differs",
            )

    def _is_trusted_with_bundle(self, url: str) -> bool:
        """Ask for the company's certificates at once, without which the service cannot be looked at."""
        bundle = self._answers["ca_bundle"] = self._ask("ca_bundle")
        self._ca_bundle = Path(bundle) if bundle else None
        return self._is_kept("api_url", url)

    def _offer_folder(self, folder: Path) -> bool:
        if ask_yes_or_no(f"{folder} does not exist. Create it?", default=True):
            self._folders.append(folder)
        else:
            return ask_yes_or_no("Keep this answer anyway?", default=False)
        return True


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalStateError(
            f"The folder {folder} cannot be created: {error.strerror or error}. Nothing was saved. Create it "
            "yourself, or name another.",
            code="no-directory",
        ) from error
