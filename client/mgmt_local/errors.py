"""The errors a caller of the embedded backend has to know."""

from __future__ import annotations


class LocalBackendError(Exception):
    """The embedded backend cannot do what was asked; the sentence says why and what to do."""


class InUseError(LocalBackendError):
    """The embedded backend is not stopped, because commands work with it; the sentence names them."""


class BadNameError(LocalBackendError):
    """What was given as a person's name cannot be one."""
