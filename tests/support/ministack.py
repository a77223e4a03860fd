"""An AWS on loopback that the stack is really deployed to.

ministack runs the function with its own interpreter behind its own HTTP API, checks signatures and evaluates
the role's policy at every call the function makes (AUTH), and verifies tokens against the issuer's keys. It is
no judge of S3's condition keys beyond TLS, nor of multipart checksums: those have tests of their own. Ranges of one
version, which it does not know, are cut in front of it (`emulated/ranged.py`).
"""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.certificates import Certificate
from support.toolchain import ministack_python

ACCOUNT = "000000000000"
REGION = "us-east-1"
START_SECONDS = 60
_RANGED = Path(__file__).parent / "emulated" / "ranged.py"


class MinistackError(Exception):
    """ministack did not start; the text is all it said."""


@dataclass(frozen=True)
class Ministack:
    """A running ministack."""

    endpoint_url: str
    certificate: Certificate

    def admin_environment(self) -> dict[str, str]:
        """Return what a command needs to be this account's admin, and to trust its certificate."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_CA_BUNDLE": str(self.certificate.certificate_path),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }


@contextmanager
def run_ministack(directory: Path, certificate: Certificate) -> Iterator[Ministack]:
    """Run a ministack with nothing in it for as long as the block lasts.

    Raises:
        MinistackError: If it does not come up.
    """
    with socket.socket() as bound:  # handed over: a port given back may be another's by the time it is asked for again
        bound.bind(("127.0.0.1", 0))
        port = int(bound.getsockname()[1])
        process = _launch(directory, bound, certificate)
    try:
        _wait_until_ready(process)
        yield Ministack(f"https://127.0.0.1:{port}", certificate)
    finally:
        # Nothing it holds is worth a clean end, for which it would wait for idle functions. These end by
        # themselves once the pipe to it is closed.
        process.kill()
        process.wait()


def _launch(directory: Path, bound: socket.socket, certificate: Certificate) -> subprocess.Popen[str]:
    words = ["--bind", f"fd://{bound.fileno()}", "--workers", "0"]
    words += ["--certfile", str(certificate.certificate_path), "--keyfile", str(certificate.key_path)]
    return subprocess.Popen(
        [str(ministack_python()), "-m", "hypercorn", f"{_RANGED}:app", *words],
        env=_make_environment(directory, int(bound.getsockname()[1]), certificate),
        cwd=directory,
        pass_fds=[bound.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _make_environment(directory: Path, port: int, certificate: Certificate) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MGMT_"))}
    certificate_path, key_path = str(certificate.certificate_path), str(certificate.key_path)
    return kept | {
        "AUTH": "true",
        "AWS_CA_BUNDLE": certificate_path,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "HOME": str(directory),
        "IOT_MTLS_ENABLED": "0",  # else it listens on a fixed port
        "MINISTACK_SSL_CERT": certificate_path,
        "MINISTACK_SSL_KEY": key_path,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "SFTP_ENABLED": "0",  # likewise
        "SSL_CERT_FILE": certificate_path,
        "TMPDIR": str(directory),
        "USE_SSL": "1",
    }


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    """Wait until it says that it listens; whatever it says afterwards is read, so that it never blocks."""
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read_lines, args=(process, lines), name="ministack-output", daemon=True).start()
    said: list[str] = []
    while True:
        try:
            line = lines.get(timeout=START_SECONDS)
        except queue.Empty:
            line = None
        if line is None:
            raise MinistackError("ministack did not start:\n" + "".join(said))
        said.append(line)
        if "Running on https://" in line:
            return


def _read_lines(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    if process.stdout is not None:
        with process.stdout as stdout:
            for line in stdout:
                lines.put(line)
    lines.put(None)
