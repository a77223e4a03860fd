"""The addresses to which a browser returns after a sign-in."""

import doctest
from urllib.parse import urlsplit

from mgmt_contract import sign_in


def test_every_address_is_the_literal_loopback_with_a_port_that_needs_no_rights_and_is_given_to_no_connection():
    """Below the ports that systems give out by themselves, from 32768 on Linux and 49152 elsewhere."""
    addresses = sign_in.redirect_uris("https://login.example.com/team")
    assert len(set(addresses)) == len(sign_in.CALLBACK_PORTS) >= 3
    for address, port in zip(addresses, sign_in.CALLBACK_PORTS, strict=True):
        parts = urlsplit(address)
        assert (parts.scheme, parts.hostname, parts.port) == ("http", "127.0.0.1", port)
        assert parts.path == "/callback/login.example.com/team"
        assert 1024 <= port < 32768


def test_no_two_issuers_have_an_address_in_common():
    issuers = [
        "https://login.example.com",
        "https://login.example.com/",
        "https://login.example.com:8443",
        "https://login.example.com/team",
        "https://evil.example/login.example.com",
    ]
    assert len(set(map(sign_in.callback_path, issuers))) == len(issuers)


def test_the_examples_are_true():
    assert doctest.testmod(sign_in).failed == 0
