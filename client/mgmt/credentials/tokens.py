"""Tokens, and the sign-in that they belong to; no text of these classes shows a token."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime

from mgmt_contract.values import Value


class TokenSet(Value):
    """The tokens of one answer of an issuer."""

    access_token: str = field(repr=False)
    received_at: datetime
    """By this machine's clock."""
    expires_at: datetime | None = None
    """By this machine's clock: the life that the issuer states, counted from `received_at`, so that a clock that is
    wrong and stays so does no harm. None where the issuer states none: the service's refusal tells the end."""
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    """For the sign-in alone, which reads it and does not keep it."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that nobody may see."""
        return tuple(each for each in (self.access_token, self.refresh_token, self.id_token) if each)


class Credentials(Value):
    """One person's sign-in for one service: what the login has fixed, and the tokens of the moment.

    Nothing of it is asked for again: a service or an issuer that names other addresses later does not get the tokens.
    """

    service_url: str
    """The one service that the tokens are for, as `service_name` spells it."""
    issuer: str
    client_id: str
    token_endpoint: str
    tokens: TokenSet
    revocation_endpoint: str | None = None
    subject: str | None = None
    """The issuer's name for the person (`sub`)."""
    name: str | None = None
    """The person's name, for people to read."""
    groups: tuple[str, ...] = ()
    role: str | None = None
    """What the service lets the person do, such as "member" or "admin"."""
