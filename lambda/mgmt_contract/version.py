"""The one version of the distribution, the client and the service."""

__version__ = "0.1.0"
