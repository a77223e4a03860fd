"""Gives each call an access token that is valid now: a login's, or one of a client with a secret.

A provider is called without anything for a token, and with a token that the service has refused for another one. It
raises LoginRequiredError where a person has to do something first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from mgmt.credentials.store import LOCK_PATIENCE_SECONDS, CredentialStore
from mgmt.credentials.tokens import Credentials, TokenSet
from mgmt.errors import LocalStateError, LoginRequiredError, UnavailableError
from mgmt.events import Emit, Notice
from mgmt.machine import undisturbed
from mgmt.network.retry import Patience

if TYPE_CHECKING:  # a run whose token is valid asks no issuer, and does not import what does
    from mgmt.credentials.issuer import IssuerApi, Metadata

_log: Final = logging.getLogger(__name__)

RENEWED_BEFORE_END: Final = timedelta(minutes=5)
"""Tokens are renewed so long before they end, so that one never ends on its way; see also the next."""
_RENEWED_BEFORE_END_SHARE: Final = 0.2
"""Of a short life: a token of five minutes is renewed when one is left."""
_CLOCK_TOLERANCE: Final = timedelta(seconds=1)
"""Clocks are corrected by less than that all the time, and times are kept in milliseconds."""
_PAUSE_SECONDS: Final = 30.0
"""Between two tries to renew a token that is still valid."""

Learn = Callable[..., None]
"""Takes every secret that is about to be used, so that none of them is ever shown."""
OpenIssuer = Callable[[], AbstractContextManager["IssuerApi"]]
"""Gets ready to ask an issuer, each call once: see `IssuerApi.tries_once`."""


def now_by_clock() -> datetime:
    """Tell the time by this machine's clock."""
    return datetime.now(UTC)


def is_due(tokens: TokenSet, now: datetime) -> bool:
    """Tell whether an access token should be renewed before its next use.

    One that was received in the future is: the clock was set back since, so nothing is known about its end.
    """
    if tokens.expires_at is None:
        return False
    life = tokens.expires_at - tokens.received_at
    ends_soon = now >= tokens.expires_at - min(RENEWED_BEFORE_END, life * _RENEWED_BEFORE_END_SHARE)
    return ends_soon or now < tokens.received_at - _CLOCK_TOLERANCE


def is_valid(tokens: TokenSet, now: datetime) -> bool:
    """Tell whether an access token has not ended, as far as this machine's clock shows."""
    return tokens.expires_at is None or now < tokens.expires_at


class StoredToken:
    """The access token of this machine's login, renewed when it is about to end; for any thread.

    The store is looked at before each call, so a login or a renewal of another process counts at once. A refresh
    token that rotates serves once, and one that comes twice ends the session at the issuer. So it is used under a lock
    between processes, after another look at the store, and the tokens that it brings are on the disk before any is
    used.
    """

    def __init__(  # noqa: PLR0913  the organs of one provider
        self,
        store: CredentialStore,
        service_url: str,
        open_issuer: OpenIssuer,
        *,
        patience: Patience,
        emit: Emit,
        learn: Learn,
        clock: Callable[[], datetime] = now_by_clock,
    ) -> None:
        self._store = store
        self._service_url = service_url
        self._open_issuer = open_issuer
        self._patience = patience
        self._emit = emit
        self._learn = learn
        self._clock = clock
        self._looking = threading.Lock()
        self._renewing = threading.Lock()
        self._credentials: Credentials | None = None
        self._version: object = None
        self._refused: str | None = None
        """The refresh token that the issuer does not take: it is not asked again."""
        self._not_before = 0.0

    def __call__(self, refused: str | None = None) -> str:
        """Give a token, and where one was refused another one.

        Raises:
            LoginRequiredError: If there is no sign-in (any more), or the issuer does not renew it.
            UnavailableError: If it has to be renewed and the issuer is out of reach for too long.
            LocalStateError: If it has to be renewed and cannot be kept.
        """
        tokens = self._look().tokens
        if tokens.access_token == refused or not is_valid(tokens, self._clock()):
            tokens = self._renew_at_last(tokens.access_token)
        elif is_due(tokens, self._clock()) and self._renewing.acquire(blocking=False):
            try:
                tokens = self._renew_early(tokens)
            finally:
                self._renewing.release()
        else:
            self._patience.note_progress()  # the run is under way: from now on an issuer is waited for as a service is
        return tokens.access_token

    def _look(self) -> Credentials:
        """Return the sign-in, read anew where another process has changed it."""
        with self._looking:
            version = self._store.version(self._service_url)  # first: a change while it is read is seen the next time
            if self._credentials is not None and version == self._version:
                return self._credentials
            found = self._store.load(self._service_url)
            if found is None:
                raise LoginRequiredError(f"There is no sign-in for {self._service_url}.", code="no-sign-in")
            self._adopt(found)
            self._version = version
            return found

    def _adopt(self, found: Credentials) -> None:
        former = self._credentials
        if former is not None and former.subject != found.subject:
            raise LoginRequiredError(
                f"{found.name or found.subject} has signed in on this machine meanwhile, and this command began as "
                f"{former.name or former.subject}. Run the same command again.",
                code="other-person",
            )
        self._learn(*found.tokens.secrets)
        self._credentials = found

    def _renew_early(self, tokens: TokenSet) -> TokenSet:
        """Renew a token that is still valid, if that can be done now; else it goes on being used."""
        if time.monotonic() < self._not_before:
            return tokens
        try:
            return self._renew(tokens.access_token, lock_seconds=0.0)
        except (UnavailableError, LocalStateError) as error:
            self._not_before = time.monotonic() + _PAUSE_SECONDS
            _log.info("%s The token is still valid", error.message)
            return tokens

    def _renew_at_last(self, former: str) -> TokenSet:
        """Renew a token that cannot be used any more."""
        with self._renewing:
            return _persist(self._patience, lambda: self._renew(former, LOCK_PATIENCE_SECONDS))

    def _renew(self, former: str, lock_seconds: float) -> TokenSet:
        """Get another token than the former one, with one call to the issuer at most.

        Between the issuer's answer and the disk nothing happens that could be left out: a process that is killed there
        takes the only good refresh token with it. That the disk takes it is tried before.
        """
        with self._store.locked(self._service_url, self._patience.stop, lock_seconds):
            credentials = self._look()
            tokens = credentials.tokens
            if tokens.access_token != former and is_valid(tokens, self._clock()):
                return tokens
            if tokens.refresh_token is None or tokens.refresh_token == self._refused:
                raise self._ended(credentials)
            self._store.update(credentials)
            self._version = self._store.version(self._service_url)
            with self._open_issuer() as issuer:
                tokens = self._refresh(issuer, credentials, tokens.refresh_token)
                with undisturbed():
                    self._keep(replace(credentials, tokens=tokens))
            return tokens

    def _refresh(self, issuer: IssuerApi, credentials: Credentials, refresh_token: str) -> TokenSet:
        from mgmt.credentials.issuer import TokenRefusedError

        form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": credentials.client_id}
        try:
            new = issuer.request_tokens(credentials.token_endpoint, form)
        except TokenRefusedError as error:
            self._refused = refresh_token
            raise self._ended(credentials, error.refusal) from error
        return replace(
            new,
            refresh_token=new.refresh_token or refresh_token,  # the same serves on (RFC 6749, section 6)
            id_token=None,
        )

    def _keep(self, credentials: Credentials) -> None:
        self._adopt(credentials)
        try:
            self._store.update(credentials)
        except LocalStateError as error:
            # Used all the same, and written with the next renewal.
            self._emit(Notice(error.message, error.code))
        else:
            self._version = self._store.version(self._service_url)

    def _ended(self, credentials: Credentials, refusal: str | None = None) -> LoginRequiredError:
        who = credentials.name or credentials.subject
        said = f"{urlsplit(credentials.issuer).netloc} does not renew it ({refusal})" if refusal else "it has ended"
        return LoginRequiredError(
            f"The sign-in{f' of {who}' if who else ''} cannot be used any more: {said}. Run `mgmt login`, then the "
            "same command: what was begun is resumed.",
            code="sign-in-ended",
        )


class ClientToken:
    """The access token of a client with a secret, such as a CI job's; kept in memory alone, for any thread."""

    def __init__(  # noqa: PLR0913  the organs of one provider
        self,
        client_id: str,
        client_secret: str,
        find_issuer: Callable[[], str | None],
        open_issuer: OpenIssuer,
        *,
        scope: str | None = None,
        patience: Patience,
        learn: Learn,
        clock: Callable[[], datetime] = now_by_clock,
    ) -> None:
        self._client_id = client_id
        self._client_secret = client_secret
        self._ask_service = find_issuer
        """Says which issuer the service names."""
        self._open_issuer = open_issuer
        self._patience = patience
        self._learn = learn
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: TokenSet | None = None
        self._metadata: Metadata | None = None
        self._scope = scope
        """Not the scopes for people: a client may have fewer, or others. Named to no issuer by itself: one that wants
        none gives all that the client may have (Cognito, Keycloak's defaults), and the others want their own."""
        self._not_before = 0.0
        learn(client_secret)

    def __call__(self, refused: str | None = None) -> str:
        """Give a token, and where one was refused another one.

        Raises:
            LoginRequiredError: If the issuer does not accept the client.
            UnavailableError: If a token is needed and the issuer is out of reach for too long.
        """
        with self._lock:
            tokens = self._tokens
            if tokens is None or tokens.access_token == refused or not is_valid(tokens, self._clock()):
                tokens = _persist(self._patience, self._request)
            elif is_due(tokens, self._clock()) and time.monotonic() >= self._not_before:
                try:
                    tokens = self._request()
                except UnavailableError:
                    self._not_before = time.monotonic() + _PAUSE_SECONDS
            self._tokens = tokens
            return tokens.access_token

    def _request(self) -> TokenSet:
        from mgmt.credentials.issuer import TokenRefusedError, authorize_client

        with self._open_issuer() as issuer:
            metadata = self._find_issuer(issuer)
            fields, headers = authorize_client(metadata, self._client_id, self._client_secret)
            asked = {"scope": self._scope} if self._scope else {}
            form = {"grant_type": "client_credentials", **asked, **fields}
            try:
                tokens = issuer.request_tokens(metadata.token_endpoint, form, headers)
            except TokenRefusedError as error:
                raise LoginRequiredError(
                    f"{error.message} Check MGMT_CLIENT_ID, MGMT_CLIENT_SECRET and MGMT_CLIENT_SCOPE.", code=error.code
                ) from error
        self._learn(*tokens.secrets)
        return tokens

    def _find_issuer(self, issuer: IssuerApi) -> Metadata:
        """Find out, once in a run, where the secret goes: a service that names another issuer later does not get it."""
        if self._metadata is None:
            address = self._ask_service()
            if address is None:
                raise LoginRequiredError(
                    "The service names no issuer, so MGMT_CLIENT_ID cannot sign in. Put a token into MGMT_TOKEN.",
                    code="no-issuer-named",
                )
            self._metadata = issuer.discover(address)
        return self._metadata


def _persist(patience: Patience, ask: Callable[[], TokenSet]) -> TokenSet:
    """Ask again until there is an answer; whoever waits holds no lock between processes."""
    from mgmt.credentials.issuer import UnansweredError

    attempt = 0
    while True:
        patience.check_stopped()
        try:
            tokens = ask()
        except UnansweredError as error:
            patience.wait(attempt, error.why, retry_after_seconds=error.retry_after_seconds)
            attempt += 1
        else:
            patience.note_progress()
            return tokens
