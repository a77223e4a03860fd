"""A token that was made elsewhere, such as MGMT_TOKEN or the embedded backend's."""

from __future__ import annotations

from mgmt.errors import LoginRequiredError


class FixedToken:
    """A token provider with one token, which cannot be renewed."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, refused: str | None = None) -> str:
        """Give the token.

        Raises:
            LoginRequiredError: If the service has refused it.
        """
        if refused is not None:
            raise LoginRequiredError("The service does not accept the token. Put a new one into MGMT_TOKEN.")
        return self._token
