"""The addresses to which a browser returns after a sign-in."""

import doctest
from urllib.parse import urlsplit

from mgmt_contract import sign_in


def test_every_address_is_the_literal_loopback_with_a_port_that_needs_no_rights_and_is_given_to_no_connection():
    """Below the ports that systems give out by themselves, from 32768 on Linux and 49152 elsewhere."""
    assert len(set(sign_in.REDIRECT_URIS)) == len(sign_in.CALLBACK_PORTS) >= 3
    for address, port in zip(sign_in.REDIRECT_URIS, sign_in.CALLBACK_PORTS, strict=True):
        parts = urlsplit(address)
        assert (parts.scheme, parts.hostname, parts.port, parts.path) == ("http", "127.0.0.1", port, "/callback")
        assert 1024 <= port < 32768


def test_the_example_is_true():
    assert doctest.testmod(sign_in).failed == 0
