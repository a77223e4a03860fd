"""The session of one run: service, storage and journal, wired, and a way to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from mgmt.contact import open_contact
from mgmt.errors import MgmtError
from mgmt.events import Emit
from mgmt.journal import Journal
from mgmt.network.retry import PROGRESS_BUDGET_SECONDS, Patience
from mgmt.service.api import ServiceApi, TokenProvider
from mgmt.settings import Settings
from mgmt.storage.receiving import Receiver
from mgmt.storage.transfer import Carrier, RateLimit
from mgmt_contract.values import Value

_log: Final = logging.getLogger(__name__)


class Session(Value):
    """The organs of one run, wired."""

    settings: Settings
    service_url: str
    """The service's name in the journal: its address, or the embedded backend's folder."""
    api: ServiceApi
    carrier: Carrier
    receiver: Receiver
    journal: Journal
    patience: Patience
    emit: Emit

    @property
    def stop(self) -> threading.Event:
        """Set it to end everything that is under way, soon and resumable."""
        return self.patience.stop


@contextmanager
def open_session(  # noqa: PLR0913  everything a run is made of
    settings: Settings,
    *,
    token: TokenProvider,
    state_dir: Path,
    emit: Emit,
    stop: threading.Event,
    rate_limit_bytes_per_second: int | None = None,
    journal_name: str | None = None,
    patience_seconds: float = PROGRESS_BUDGET_SECONDS,
    run_id: str | None = None,
) -> Iterator[Session]:
    """Wire a session for the configured service and close it in the end.

    The journal calls the service by its address, or by `journal_name` where the address changes.
    `token` is asked before each call. Once the service has answered it may be out of reach for `patience_seconds`.

    Raises:
        NotConfiguredError: If no service is configured.
        LocalStateError: If the journal cannot be used.
    """
    with (
        open_contact(
            settings, token=token, emit=emit, stop=stop, patience_seconds=patience_seconds, run_id=run_id
        ) as contact,
        closing(Journal(state_dir)) as journal,
    ):
        rate_limit = RateLimit(rate_limit_bytes_per_second, stop)
        carrier = Carrier(contact.connections, stop, rate_limit)
        receiver = Receiver(contact.connections, stop, rate_limit)
        name = journal_name or contact.service_url
        contact.api.expect_optional_fields(journal.optional_fields(name))
        try:
            yield Session(settings, name, contact.api, carrier, receiver, journal, contact.patience, emit)
        finally:
            try:
                _remember(journal, name, contact.api, carrier)
            except MgmtError as error:  # nothing is lost by it
                _log.info("What was learned of the service is not remembered: %s", error.message)


def _remember(journal: Journal, service: str, api: ServiceApi, carrier: Carrier) -> None:
    """Note for the next run which fields the service takes, and how fast the transfers were."""
    if api.optional_fields != journal.optional_fields(service):
        journal.note_optional_fields(service, api.optional_fields)
    speed = carrier.measured_speed()
    if speed is not None:
        journal.note_speed(service, speed)
