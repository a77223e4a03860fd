"""moto's S3 on loopback, which keeps the states of archived objects. It verifies neither signatures nor checksums."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_api import state_manager
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

from mgmt_api.adapters.clients import make_s3_client
from mgmt_local.engine.seaweedfs import REGION

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_RESTORES = "s3::keyrestore"


@dataclass(eq=False)
class MotoS3:
    """A running S3 of moto's; stands where tests have the storage engine."""

    endpoint_url: str = ""
    access_key: str = "testing"
    secret_key: str = "testing"
    restores: list[str] = field(default_factory=list)
    """The path of each call that asked for a restore."""

    def connect(self) -> S3Client:
        """Connect to it as the service does."""
        return make_s3_client(
            REGION, endpoint_url=self.endpoint_url, access_key=self.access_key, secret_key=self.secret_key
        )

    @contextmanager
    def versioned_bucket(self) -> Iterator[str]:
        """Make a bucket that keeps versions; it goes with the server. Restores in it do not end until told."""
        self.restores.clear()
        self.end_restores_after(1_000_000)
        bucket = f"bucket-{secrets.token_hex(8)}"
        with closing(self.connect()) as client:
            client.create_bucket(Bucket=bucket)
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        yield bucket

    def end_restores_after(self, looks: int) -> None:
        """Have every restore end after so many looks at its object."""
        state_manager.set_transition(_RESTORES, transition={"progression": "manual", "times": looks})

    def end_restores(self) -> None:
        """Have every restore be over."""
        state_manager.set_transition(_RESTORES, transition={"progression": "immediate"})

    def note(self, environ: dict[str, Any]) -> None:
        """Remember calls for a restore, and make up for two ways in which moto is not S3."""
        if environ["REQUEST_METHOD"] == "POST" and "restore" in environ["QUERY_STRING"]:
            self.restores.append(environ["PATH_INFO"])
            bucket, _, key = environ["PATH_INFO"][1:].partition("/")
            # S3 states it from the call on, moto from a later look on; until then it says that it has ended.
            found = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(bucket, key)
            if found is not None:
                found.status = "IN_PROGRESS"
        if "HTTP_X_AMZ_CHECKSUM_CRC64NVME" in environ:  # that alone tells S3 which algorithm it is
            environ["HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM"] = "CRC64NVME"


@contextmanager
def moto_s3() -> Iterator[MotoS3]:
    """Run moto's S3 on a port of its own, in this process."""
    storage = MotoS3()
    moto = DomainDispatcherApplication(create_backend_app)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        storage.note(environ)
        answered: Iterable[bytes] = moto(environ, start_response)
        return answered

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    thread = threading.Thread(target=server.serve_forever, name="moto-s3")
    thread.start()
    storage.endpoint_url = f"http://127.0.0.1:{server.port}"
    try:
        yield storage
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        state_manager.unset_transition(_RESTORES)
