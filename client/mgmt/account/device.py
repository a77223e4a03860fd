"""The device code grant (RFC 8628): the person signs in on any other machine, and this one asks whether it is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from mgmt.account.authorization import choose_scopes, name_audience
from mgmt.credentials.issuer import IssuerApi, Metadata, TokenRefusedError
from mgmt.credentials.tokens import TokenSet
from mgmt.errors import INTERRUPTED, CancelledError, LoginRequiredError
from mgmt_contract.messages.service import Service
from mgmt_contract.values import Value

_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_LIFE_MAX_SECONDS: Final = 1800
_INTERVAL_SECONDS: Final = 5
"""RFC 8628, 3.2, where the issuer names none; and what `slow_down` adds (3.5)."""
_INTERVAL_MAX_SECONDS: Final = 60
_STEP_SECONDS: Final = 1.0


class DeviceCode(Value):
    """What a person needs to sign in elsewhere."""

    address: str
    user_code: str
    whole_address: str | None
    """The address with the code in it, if the issuer has one."""


def sign_in_elsewhere(
    issuer: IssuerApi,
    metadata: Metadata,
    service: Service,
    show: Callable[[DeviceCode], None],
    stop: threading.Event,
    monotonic: Callable[[], float] = time.monotonic,
) -> TokenSet:
    """Show a code, and ask for the tokens until the person has signed in with it elsewhere.

    Raises:
        LoginRequiredError: If the issuer offers no such codes, refuses, or the code runs out.
        CancelledError: If the command is stopped meanwhile.
    """
    host = urlsplit(metadata.issuer).netloc
    answer = _ask_for_code(issuer, metadata, service)
    secret, code = str(answer.get("device_code") or ""), _read_code(answer)
    if not secret or code is None:
        raise LoginRequiredError(f"{host} answers what is no device code. Tell the admin.", code="no-device-code")
    show(code)
    form = {"grant_type": _GRANT, "device_code": secret, "client_id": service.client_id or ""}
    ends_at = monotonic() + _read_number(answer.get("expires_in"), _LIFE_MAX_SECONDS, _LIFE_MAX_SECONDS)
    interval = _read_number(answer.get("interval"), _INTERVAL_SECONDS, _INTERVAL_MAX_SECONDS)
    while monotonic() < ends_at:
        _wait(interval, stop, monotonic)
        try:
            return issuer.request_tokens(metadata.token_endpoint, form)
        except TokenRefusedError as error:
            if error.refusal == "slow_down":
                interval += _INTERVAL_SECONDS
            elif error.refusal == "access_denied":
                raise LoginRequiredError(
                    f"The sign-in at {host} was declined. Run `mgmt login` to try again.", code="sign-in-declined"
                ) from error
            elif error.refusal == "expired_token":
                break
            elif error.refusal != "authorization_pending":
                raise
    raise LoginRequiredError(
        f"Nobody signed in at {host} before the code ran out. Run `mgmt login --device` for a new one.",
        code="sign-in-timeout",
    )


def _ask_for_code(issuer: IssuerApi, metadata: Metadata, service: Service) -> Mapping[str, Any]:
    if metadata.device_authorization_endpoint is None:
        raise LoginRequiredError(
            f"{urlsplit(metadata.issuer).netloc} offers no device codes. Where this machine has no browser: "
            "`mgmt login --no-browser`.",
            code="no-device-code",
        )
    form = {
        "client_id": service.client_id or "",
        "scope": " ".join(choose_scopes(service)),
        **name_audience(service),
    }
    return issuer.post(metadata.device_authorization_endpoint, form)


def _wait(seconds: float, stop: threading.Event, monotonic: Callable[[], float]) -> None:
    """Wait in steps: Windows lets Ctrl-C through only between two."""
    ends_at = monotonic() + seconds
    while (left := ends_at - monotonic()) > 0:
        if stop.wait(min(left, _STEP_SECONDS)):
            raise CancelledError(INTERRUPTED)


def _read_code(answer: Mapping[str, Any]) -> DeviceCode | None:
    address, user_code, whole = (
        answer.get(name) for name in ("verification_uri", "user_code", "verification_uri_complete")
    )
    if not isinstance(address, str) or not isinstance(user_code, str) or not user_code:
        return None
    if not address.startswith(("https://", "http://127.0.0.1:")):
        return None
    return DeviceCode(address, user_code, whole if isinstance(whole, str) and whole.startswith(address[:8]) else None)


def _read_number(value: object, default: int, most: int) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return min(value, most) if is_number and isinstance(value, int) else default
