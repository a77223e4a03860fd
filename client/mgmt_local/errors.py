"""The errors a caller of the embedded backend has to know."""

from __future__ import annotations


class LocalBackendError(Exception):
    """The embedded backend cannot do what was asked; the sentence says why and what to do."""


class BadNameError(LocalBackendError):
    """What was given as a person's name cannot be one."""
