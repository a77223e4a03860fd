"""Signing in: from the service's address to tokens that it accepts.

In order: ask the service which issuer it trusts, let the person see both hosts, have the issuer sign the person in,
verify what it answers, ask the service for whom it takes the token. Only then is anything kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal, Protocol
from urllib.parse import urlsplit

from mgmt.account import page
from mgmt.account.access_token import check_access_token
from mgmt.account.authorization import (
    Attempt,
    UnrelatedAnswerError,
    begin_attempt,
    make_address,
    name_audience,
    read_answer,
    read_pasted,
)
from mgmt.account.device import DeviceCode, sign_in_elsewhere
from mgmt.account.receiver import Receiver, open_receiver
from mgmt.credentials.issuer import IssuerApi, Metadata, TokenRefusedError
from mgmt.credentials.store import Known
from mgmt.credentials.tokens import Credentials, TokenSet
from mgmt.errors import LoginRequiredError, NotConfiguredError
from mgmt_contract.messages.service import Me, Service
from mgmt_contract.sign_in import CALLBACK_PORTS, redirect_uri
from mgmt_contract.values import Value

Way = Literal["browser", "paste", "device"]


class Meeting(Value):
    """The two parties of a sign-in, for a person to look at before the first token is asked for."""

    service_host: str
    issuer: str
    """Its host and path: at Cognito, Entra, Okta and Keycloak the host alone is everybody's."""
    page_host: str
    """Whose page opens: the issuer's own, or one that it names."""
    former_issuer: str | None = None
    """Where the last sign-in for this service was made, if that was elsewhere."""
    other_services: tuple[str, ...] = ()
    """Other services for which the same issuer has signed this user in."""
    is_known: bool = False
    """True where exactly this pair was agreed to before."""
    is_first: bool = False
    """True where this user has no sign-in at all so far."""


class Dialog(Protocol):
    """What a sign-in says to a person, and asks."""

    def agree(self, meeting: Meeting) -> None:
        """Show the hosts, and ask where it matters; LoginRequiredError where the person says no."""

    def agree_to_person(self, service_host: str, former: str, name: str) -> None:
        """Ask whether another person than the former one is to be signed in; LoginRequiredError where not."""

    def show_address(self, address: str, *, opens: bool) -> None:
        """Show the address to open; mgmt opens it as well if `opens`."""

    def open_browser(self, address: str) -> None:
        """Open it in the system's browser, and return at once."""

    def ask_for_answer(self, why: str | None) -> str:
        """Ask for the address on which the browser ended; `why` says what was wrong with the last one."""

    def show_code(self, code: DeviceCode) -> None:
        """Show a device code and where to enter it."""


class Means(Value):
    """The calls and the clock that a sign-in works with."""

    issuer: IssuerApi
    identify: Callable[[str], Me]
    """Asks the service for whom it takes an access token."""
    dialog: Dialog
    stop: threading.Event
    monotonic: Callable[[], float] = time.monotonic
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


class SignedIn(Value):
    """A sign-in that the service accepts."""

    credentials: Credentials
    me: Me


def sign_in(  # noqa: PLR0913  what a sign-in is made of
    service: Service,
    service_url: str,
    means: Means,
    *,
    known: Sequence[Known],
    way: Way = "browser",
    ports: Sequence[int] = (),
    login_hint: str | None = None,
) -> SignedIn:
    """Sign a person in for a service.

    Args:
        service: Its description of itself.
        service_url: Its address, without a slash at the end.
        means: What to work with.
        known: The sign-ins of this user so far.
        way: How the person meets the issuer.
        ports: Where the browser may return to; none for the usual ones.
        login_hint: Tells the issuer who is about to sign in.

    Raises:
        LoginRequiredError: If nobody is signed in in the end, with the reason.
        NotConfiguredError: If the service names no issuer.
        UnavailableError: If the issuer does not answer.
        CancelledError: If the command is stopped meanwhile.
    """
    if not service.issuer or not service.client_id:
        raise NotConfiguredError(
            f"The service at {service_url} names no sign-in. Ask its admin for an access token, and put it into "
            "MGMT_TOKEN.",
            code="no-sign-in",
        )
    metadata = means.issuer.discover(service.issuer)
    page_address = metadata.device_authorization_endpoint if way == "device" else metadata.authorization_endpoint
    means.dialog.agree(meet(service_url, service.issuer, page_address or service.issuer, known))
    former = next((each for each in known if each.service_url == service_url), None)
    flow = _Flow(service, service_url, metadata, means, former, login_hint)
    if way == "device":
        tokens = sign_in_elsewhere(means.issuer, metadata, service, means.dialog.show_code, means.stop, means.monotonic)
        signed_in = flow.accept(tokens, None)
    elif way == "paste":
        signed_in = flow.paste(redirect_uri((ports or CALLBACK_PORTS)[0], metadata.issuer))
    else:
        signed_in = flow.browse(ports or CALLBACK_PORTS)
    if former is not None and flow.is_other_person(signed_in.me):
        means.dialog.agree_to_person(_host(service_url), former.name or former.subject or "?", signed_in.me.name)
    return signed_in


def meet(service_url: str, issuer: str, page_address: str, known: Sequence[Known]) -> Meeting:
    """Compare a service and its issuer with the sign-ins so far.

    A hostile service can name the issuer of another one: its token would be good there as well.
    """
    former = next((each.issuer for each in known if each.service_url == service_url), None)
    others = sorted({_host(each.service_url) for each in known if each.issuer == issuer} - {_host(service_url)})
    return Meeting(
        service_host=_host(service_url),
        issuer=_name(issuer),
        page_host=_host(page_address),
        former_issuer=None if former in (None, issuer) else _name(former or ""),
        other_services=() if former == issuer else tuple(others),
        is_known=former == issuer,
        is_first=not known,
    )


class _Flow:
    def __init__(
        self,
        service: Service,
        service_url: str,
        metadata: Metadata,
        means: Means,
        former: Known | None,
        login_hint: str | None,
    ) -> None:
        self._service = service
        self._service_url = service_url
        self._metadata = metadata
        self._means = means
        self._former = former
        self._login_hint = login_hint

    def browse(self, ports: Sequence[int]) -> SignedIn:
        """Have the system's browser return to this process."""
        with open_receiver(ports, self._metadata.issuer) as receiver:
            attempt = begin_attempt()
            address = self._address(attempt, receiver.redirect_uri)
            receiver.expect(lambda query: read_answer(query, attempt, self._metadata))
            self._means.dialog.show_address(address, opens=True)
            self._means.dialog.open_browser(address)
            return self._finish(receiver, attempt)

    def _finish(self, receiver: Receiver, attempt: Attempt) -> SignedIn:
        code = receiver.wait(self._means.stop, self._means.monotonic)
        signed_in = self.accept(self._exchange(code, attempt, receiver.redirect_uri), attempt.nonce)
        name = signed_in.me.name
        if self.is_other_person(signed_in.me):
            receiver.show(page.asks(f"You have signed in as {name}, and so far somebody else was signed in here."))
        else:
            receiver.show(page.signed_in(f"mgmt works with {_host(self._service_url)} as {name} now."))
        return signed_in

    def is_other_person(self, me: Me) -> bool:
        """Tell whether another person was signed in to this service so far.

        The address that is shown has no secret: somebody else who sees it can open it and sign in as themselves.
        """
        return self._former is not None and self._former.subject not in (None, me.id)

    def paste(self, address_back: str) -> SignedIn:
        """Have the person copy the address on which a browser ended, which may be on another machine."""
        attempt = begin_attempt()
        self._means.dialog.show_address(self._address(attempt, address_back), opens=False)
        why = None
        while True:
            text = self._means.dialog.ask_for_answer(why)
            try:
                code = read_pasted(text, attempt, self._metadata)
                break
            except UnrelatedAnswerError as error:
                why = str(error)
        return self.accept(self._exchange(code, attempt, address_back), attempt.nonce)

    def accept(self, tokens: TokenSet, nonce: str | None) -> SignedIn:
        """Verify tokens, and ask the service for whom it takes them."""
        from mgmt.account.id_token import verify_id_token

        if tokens.id_token is None:
            raise LoginRequiredError(
                f"{self._issuer_host} gave no ID token, so nothing proves that its answer is for this sign-in. Nothing "
                "was kept; tell the admin.",
                code="no-id-token",
            )
        verify_id_token(
            tokens.id_token,
            issuer=self._metadata.issuer,
            client_id=self._service.client_id or "",
            nonce=nonce,
            access_token=tokens.access_token,
            now=self._means.clock() + self._means.issuer.clock_difference,
            fetch_keys=lambda: self._means.issuer.fetch_keys(self._metadata),
        )
        check_access_token(tokens, self._service, self._issuer_host)
        me = self._identify(tokens.access_token)
        credentials = Credentials(
            service_url=self._service_url,
            issuer=self._metadata.issuer,
            client_id=self._service.client_id or "",
            token_endpoint=self._metadata.token_endpoint,
            tokens=replace(tokens, id_token=None),
            revocation_endpoint=self._metadata.revocation_endpoint,
            subject=me.id,
            name=me.name,
            groups=me.groups,
            role=me.role,
        )
        return SignedIn(credentials, me)

    def _address(self, attempt: Attempt, address_back: str) -> str:
        return make_address(self._metadata, self._service, attempt, address_back, self._login_hint)

    def _exchange(self, code: str, attempt: Attempt, address_back: str) -> TokenSet:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": address_back,
            "client_id": self._service.client_id or "",
            "code_verifier": attempt.verifier,
            **name_audience(self._service),
        }
        try:
            return self._means.issuer.request_tokens(self._metadata.token_endpoint, form)
        except TokenRefusedError as error:
            raise LoginRequiredError(
                f"{error.message} Run `mgmt login` to try again, and tell the admin if that does not help.",
                code=error.code,
            ) from error

    def _identify(self, access_token: str) -> Me:
        try:
            me = self._means.identify(access_token)
        except LoginRequiredError as error:
            raise LoginRequiredError(
                f"{self._issuer_host} signed you in, but {_host(self._service_url)} does not accept the token that it "
                "gave: their deployment does not fit. Nothing was kept; tell the admin.",
                code="token-not-accepted",
            ) from error
        if me.role == "nobody":
            raise LoginRequiredError(
                f"You are signed in at {self._issuer_host} as {me.name}, and {_host(self._service_url)} knows you as "
                "no member. Nothing was kept. Ask the admin to add you, then run `mgmt login` again.",
                code="no-member",
            )
        return me

    @property
    def _issuer_host(self) -> str:
        return _host(self._metadata.issuer)


def _name(issuer: str) -> str:
    """Name an issuer by host and path."""
    return f"{_host(issuer)}{urlsplit(issuer).path.rstrip('/')}"


def _host(address: str) -> str:
    """Name a host, with its port where it has one of its own."""
    return urlsplit(address).netloc.lower()
