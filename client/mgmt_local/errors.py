"""The errors a caller of the embedded backend has to know."""

from __future__ import annotations


class LocalBackendError(Exception):
    """The embedded backend cannot fulfil a request; the sentence says why and what to do."""


class InUseError(LocalBackendError):
    """The embedded backend is not stopped, because commands use it; the sentence names them."""


class BadNameError(LocalBackendError):
    """A text that cannot be a person's name."""
