"""Between here and the service: a company's proxy and authority, networks that want something first, versions."""

import socket

import pytest

from mgmt_contract.messages.service import Service
from mgmt_contract.wire import to_plain
from mgmt_local.engine.seaweedfs import REGION
from support.certificates import make_authority
from support.company_network import company_network, hand_out_under
from support.programs import QUICK_WAITS
from support.scripted_server import Answer, json_answer, scripted_server
from support.trees import noise

HOST = "uploads.company.test"
STORAGE_HOST = f"s3.{REGION}.amazonaws.com"
PASSWORD = "s@fe: pä%"


@pytest.fixture(autouse=True)
def clip(desk):
    (desk.work / "clip.mov").write_bytes(noise(10_000))


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def behind(desk, authority, tmp_path, monkeypatch):
    """Put the team's service behind TLS and a proxy that wants a password; give what must be set to get there."""
    with company_network() as network:
        port = network.serve(desk.team.url, authority.issue(HOST, tmp_path))
        storage_port = network.serve(desk.team.storage.url, authority.issue(STORAGE_HOST, tmp_path / "storage"))
        hand_out_under(STORAGE_HOST, desk.team, monkeypatch)

        def behind(password=PASSWORD, **more):
            proxy = network.proxy({HOST: port, STORAGE_HOST: storage_port}, ("anna", PASSWORD))
            bundle = str(authority.bundle_path)
            address = {"MGMT_API_URL": f"https://{HOST}", "MGMT_CA_BUNDLE": bundle}
            return {**address, "HTTPS_PROXY": proxy.url("anna", password), **more}

        yield behind


@pytest.mark.entry("proxy from the environment, with password")
def test_a_proxy_that_wants_a_password(desk, behind):
    run = desk.run("-v", "upload", "clip.mov", environment=behind())
    assert PASSWORD not in run.stdout + run.stderr
    desk.check(run, 0, ["✓ clip.mov"], stores={"clip.mov.tar.gz": "clip.mov"})


@pytest.mark.entry("proxy from the environment, with password", "a wrong one")
def test_a_proxy_that_refuses_the_password(desk, behind):
    run = desk.run("upload", "clip.mov", environment=behind("n0t-the-one"))
    assert "n0t-the-one" not in run.stdout + run.stderr
    desk.check(run, 7, ["proxy", "password", "407", "HTTPS_PROXY"], is_resumable=True)


@pytest.mark.entry("company CA")
def test_an_authority_that_only_the_company_knows(desk, behind):
    """The embedded service is asked through real TLS; without the bundle the same is refused (below)."""
    run = desk.run("upload", "clip.mov", environment=behind())
    desk.check(run, 0, ["✓ clip.mov"], stores={"clip.mov.tar.gz": "clip.mov"})


@pytest.mark.entry("company CA", "and nobody said so")
def test_an_authority_that_nobody_told_of(desk, behind):
    run = desk.run("upload", "clip.mov", environment=behind(MGMT_CA_BUNDLE=None))
    desk.check(run, 7, ["certificate", "MGMT_CA_BUNDLE"], is_resumable=True)


@pytest.mark.entry("unreachable service")
def test_a_service_that_nobody_runs(desk):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else's
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        run = desk.run("upload", "clip.mov", environment={"MGMT_API_URL": url}, program=QUICK_WAITS)
    words = [url, "No progress for 20 s", "refuses the connection", "Nothing is lost", "run the same command again"]
    desk.check(run, 7, words, is_resumable=True)


PORTAL = {
    "a page": Answer(200, b"<html>Welcome! Please accept our terms.</html>", {"content-type": "text/html"}),
    "a redirect": Answer(302, b"", {"location": "http://portal.example/login"}),
    "511": Answer(511, b"<html>sign in</html>", {"content-type": "text/html"}),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.entry("captive portal", kind)) for kind in PORTAL]
)
def test_a_network_that_wants_a_sign_in_first(desk, kind):
    with scripted_server(PORTAL[kind]) as portal:
        run = desk.run("upload", "clip.mov", environment={"MGMT_API_URL": portal.url})
    desk.check(run, 7, [portal.url, "expected the mgmt service", "sign-in page", "browser"], is_resumable=True)


def speaking(minimum, maximum):
    """Describe a service that speaks these versions of the protocol."""
    return json_answer(to_plain(Service(minimum, maximum, "9.1", "footage", "eu-west-1", "", 1, 1, 1, 1, 1)))


@pytest.mark.parametrize(
    ("answer", "to_do"),
    [
        pytest.param(speaking(7, 8), "mgmt", marks=pytest.mark.entry("service of another version", "newer")),
        pytest.param(speaking(0, 0), "admin", marks=pytest.mark.entry("service of another version", "older")),
    ],
)
def test_a_service_of_another_version(desk, answer, to_do):
    with scripted_server(answer) as service:
        run = desk.run("upload", "clip.mov", environment={"MGMT_API_URL": service.url})
    desk.check(run, 6, ["9.1", "version", to_do], is_resumable=True)
