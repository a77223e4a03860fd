"""The embedded backend's own issuer: it signs people in with OpenID Connect, so that one machine can play a team.

A real issuer asks for a password. This one asks for proof of access to the backend's private folder: a ticket that
is made there for one login. Other users of the machine reach its address, and are refused.
"""

from __future__ import annotations

from typing import Final

ISSUER_PATH: Final = "/.mgmt-local/issuer"
"""Where it answers, below the gateway's address."""
