"""Proxies and certificates of a company, with a real proxy and real TLS: what works, and what is said if not."""

import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from mgmt.errors import NotConfiguredError, UnavailableError
from mgmt.network import Connections, proxy_for
from mgmt.network.retry import Patience
from mgmt.network.trust import make_tls_context
from mgmt.service import ServiceApi
from mgmt.storage import Carrier, PutOutcome, RateLimit
from mgmt_contract.messages.objects import SignedRequest
from mgmt_contract.messages.service import Service
from mgmt_contract.wire import to_plain
from support.certificates import make_authority
from support.company_network import company_network
from support.scripted_server import json_answer, scripted_server

HOST = "uploads.company.test"
SERVICE = Service(1, 1, "0", "bucket", "region", "", 1, 1, 1, 1, 1)
PASSWORD = "s@fe: pä%"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority, tmp_path_factory):
    return authority.issue(HOST, tmp_path_factory.mktemp("good"))


@pytest.fixture(autouse=True)
def no_proxies_of_this_machine(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server():
    with scripted_server(json_answer(to_plain(SERVICE))) as server:
        yield server


@pytest.fixture
def network():
    with company_network() as network:
        yield network


@pytest.fixture
def behind(network, server, certificate, monkeypatch):
    """Put the service behind a proxy that a variable names, as it is written there."""

    def behind(variable="HTTPS_PROXY", *, shows=certificate, login=None, written=("", ""), breaks_after_bytes=None):
        port = network.serve(server.url, shows, breaks_after_bytes=breaks_after_bytes)
        proxy = network.proxy({HOST: port}, login)
        monkeypatch.setenv(variable, proxy.url(*written))
        return proxy

    return behind


@pytest.fixture
def ask(request):
    """Ask the service at the made-up host what it is."""

    def ask(*, ca_bundle=None, url=f"https://{HOST}", budget_seconds=20.0):
        connections = Connections(ca_bundle=ca_bundle)
        request.addfinalizer(connections.close)
        patience = Patience(threading.Event(), start_budget_seconds=budget_seconds)
        return ServiceApi(url, lambda: "sesame", connections, patience, lambda _: None).describe()

    return ask


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_everything_goes_through_the_proxy_with_its_password(behind, server, authority, ask, variable):
    proxy = behind(variable, login=("anna", PASSWORD), written=("anna", PASSWORD))
    assert ask(ca_bundle=authority.bundle_path) == SERVICE
    assert proxy.asked == [f"{HOST}:443"]
    assert proxy.relayed_bytes > 1000
    assert "proxy-authorization" not in server.asked[0].headers, "the proxy's password is not for the service"


def test_a_host_in_no_proxy_is_reached_directly(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", f"elsewhere.test,.{HOST}")
    assert proxy_for(f"https://{HOST}/v1") is None
    assert proxy_for("https://other.test/v1") == ("http://proxy.test:3128", None)
    assert proxy_for("https://127.0.0.1/v1") is None


@pytest.mark.parametrize("login", [("anna", "wrong-one"), ("", "")])
def test_a_proxy_that_wants_another_password_is_told_at_once_without_showing_it(behind, ask, login):
    proxy = behind(login=("anna", PASSWORD), written=login)
    with pytest.raises(UnavailableError, match=r"\(407\).*HTTPS_PROXY") as caught:
        ask()
    assert caught.value.code == "proxy-login"
    assert ("does not accept" if login[0] else "asks for a login") in caught.value.message
    assert "wrong-one" not in caught.value.message
    assert len(proxy.asked) == 1


def test_a_proxy_that_forbids_the_host_is_told_at_once(network, ask, monkeypatch):
    proxy = network.proxy({HOST: 0})
    monkeypatch.setenv("HTTPS_PROXY", proxy.url())
    with pytest.raises(UnavailableError, match=f"does not let mgmt through to https://{HOST}"):
        ask()
    assert len(proxy.asked) == 1


def test_a_proxy_that_cannot_reach_the_host_is_named(network, ask, monkeypatch):
    proxy = network.proxy({})
    monkeypatch.setenv("HTTPS_PROXY", proxy.url("anna", "hidden"))
    with pytest.raises(UnavailableError, match=rf"the proxy 127\.0\.0\.1:{proxy.port} answers 502") as caught:
        ask(budget_seconds=0.3)
    assert "hidden" not in caught.value.message


def test_a_proxy_that_cannot_reach_the_host_yet_is_asked_again(behind, authority, ask):
    proxy = behind()
    proxy.unreachable_times = 2
    assert ask(ca_bundle=authority.bundle_path) == SERVICE
    assert len(proxy.asked) == 3


def test_a_proxy_that_is_not_there_is_named_and_not_the_service(ask, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else's
        monkeypatch.setenv("HTTPS_PROXY", f"http://anna:hidden@127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(UnavailableError, match="the proxy 127") as caught:
            ask(budget_seconds=0.2)
    assert "refuses the connection" in caught.value.message
    assert "hidden" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("socks5://proxy.test:1080", "SOCKS"),
        ("socks5h://anna:hidden@proxy.test:1080", "SOCKS"),
        ("ftp://anna:hidden@proxy.test", "no proxy's address"),
        ("http://anna:hid#den@proxy.test", "no proxy's address"),
        ("http://", "no proxy's address"),
        ("http://anna:hidden@[::1", "no proxy's address"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_a_setting_to_correct(ask, monkeypatch, text, said):
    monkeypatch.setenv("ALL_PROXY", text)
    with pytest.raises(NotConfiguredError, match=said) as caught:
        ask()
    assert "ALL_PROXY" in caught.value.message
    assert "hid" not in caught.value.message


def test_without_the_companys_certificate_the_service_is_not_trusted_and_it_is_told_at_once(behind, server, ask):
    proxy = behind()
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="MGMT_CA_BUNDLE") as caught:
        ask()
    assert time.monotonic() - began < 10, "not after the twenty seconds of a service that is away"
    assert caught.value.code == "untrusted-certificate"
    assert len(proxy.asked) == 1
    assert server.asked == []


@pytest.mark.parametrize("valid_days", [(-3, -1), (1, 3)])
def test_a_certificate_out_of_its_time_makes_one_look_at_the_clock(behind, authority, ask, tmp_path, valid_days):
    behind(shows=authority.issue(HOST, tmp_path, valid_days=valid_days))
    with pytest.raises(UnavailableError, match="clock") as caught:
        ask(ca_bundle=authority.bundle_path)
    assert "MGMT_CA_BUNDLE" not in caught.value.message


def test_a_certificate_for_another_name_is_said_to_be(behind, authority, ask, tmp_path):
    behind(shows=authority.issue("other.company.test", tmp_path))
    with pytest.raises(UnavailableError, match="Another server answers under that name"):
        ask(ca_bundle=authority.bundle_path)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_what_other_tools_were_told_to_trust_is_trusted(behind, authority, ask, monkeypatch, variable):
    behind()
    monkeypatch.setenv(variable, str(authority.bundle_path))
    assert ask() == SERVICE


@pytest.fixture(params=["nowhere", "circle"])
def unreadable(request, tmp_path):
    """A file that is not there, or a link that leads to itself."""
    (tmp_path / "circle").symlink_to("circle")
    return tmp_path / request.param


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_file_of_other_tools_that_cannot_be_read_adds_nothing(
    behind, authority, ask, monkeypatch, unreadable, variable
):
    behind()
    monkeypatch.setenv(variable, str(unreadable))
    with pytest.raises(UnavailableError) as caught:
        ask()
    assert caught.value.code == "untrusted-certificate"
    assert ask(ca_bundle=authority.bundle_path) == SERVICE


def test_a_bundle_that_links_to_itself_cannot_be_read(ask, tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(NotConfiguredError, match="it cannot be read") as caught:
        ask(ca_bundle=tmp_path / "circle")
    assert caught.value.code == "ca-bundle"


def test_a_bundle_adds_to_what_is_trusted_and_takes_nothing_away(behind, authority, ask, monkeypatch, tmp_path):
    """SSL_CERT_FILE stands in for the system's store: a person behind an inspecting proxy needs both."""
    other = make_authority(tmp_path)
    behind()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle_path))
    assert ask(ca_bundle=other.bundle_path) == SERVICE


@pytest.fixture
def put(request, tmp_path):
    """Send a body to the made-up host, as a part is sent to the storage."""

    def put(size_bytes, **options):
        (tmp_path / "archive").write_bytes(bytes(size_bytes))
        connections = Connections(**options)
        request.addfinalizer(connections.close)
        stop = threading.Event()
        carrier = Carrier(connections, stop, RateLimit(None, stop))
        signed = SignedRequest(f"https://{HOST}/key?X-Amz-Signature=0f0f", {}, 60)
        return carrier.put(signed, tmp_path / "archive", 0, size_bytes, lambda _: None)

    return put


def test_a_storage_that_is_not_trusted_is_told_at_once_too(behind, put):
    behind()
    with pytest.raises(UnavailableError, match="MGMT_CA_BUNDLE") as caught:
        put(10)
    assert "Signature" not in caught.value.message


def test_a_connection_that_breaks_in_the_middle_of_a_body_is_no_matter_of_certificates(behind, authority, put):
    """TLS reports a cut connection as its own error; the message must not blame a certificate."""
    behind(breaks_after_bytes=100_000)
    result = put(5_000_000, ca_bundle=authority.bundle_path)
    assert result.outcome is PutOutcome.BROKEN
    assert "certificate" not in result.reason.lower()


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_bundle_is_trusted_by_every_verifier(network, server, certificate, authority, platform):
    """Where the system itself verifies, the library that asks it gets the bundle as well."""
    port = network.serve(server.url, certificate)

    def shake_hands(ca_bundle):
        context = make_tls_context(ca_bundle, {}, platform)
        with socket.create_connection(("127.0.0.1", port)) as plain:
            context.wrap_socket(plain, server_hostname=HOST).close()

    shake_hands(authority.bundle_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(None)


def test_a_bundle_that_is_none_is_told_before_anything_is_asked(tmp_path):
    for name, content in {"der.crt": b"\x30\x82\x01", "empty.pem": b"", "notes.txt": b"ask Bert"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(NotConfiguredError, match="no certificate in PEM"):
            Connections(ca_bundle=tmp_path / name)
    with pytest.raises(NotConfiguredError, match=r"MGMT_CA_BUNDLE names .*company\.pem, but there is no such file"):
        Connections(ca_bundle=tmp_path / "company.pem")
    with pytest.raises(NotConfiguredError, match=r"cannot be read|no certificate"):
        Connections(ca_bundle=Path(tmp_path))
