"""An OpenID Connect issuer on loopback: it publishes its keys as a real one does, and signs what a test asks."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from support.certificates import Certificate

_KEY_ID = "key-1"


@dataclass(frozen=True)
class Issuer:
    """A running issuer."""

    url: str
    """What its tokens carry as `iss`."""
    _key: rsa.RSAPrivateKey = field(repr=False)

    def make_token(self, **claims: Any) -> str:
        """Sign an access token that is good for five minutes; a claim of None is left out."""
        now = int(time.time())
        usual = {"iss": self.url, "iat": now, "exp": now + 300, "token_use": "access"}
        kept = {name: value for name, value in (usual | claims).items() if value is not None}
        return _sign(self._key, kept)


@contextmanager
def run_issuer(certificate: Certificate) -> Iterator[Issuer]:
    """Run an issuer with a key of its own, over TLS, for as long as the block lasts."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    documents: dict[str, Any] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(documents))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate_path, certificate.key_path)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_port}"
    documents["/.well-known/openid-configuration"] = {"issuer": url, "jwks_uri": f"{url}/keys"}
    documents["/keys"] = {"keys": [_public_key(key)]}
    thread = threading.Thread(target=server.serve_forever, name="issuer")
    thread.start()
    try:
        yield Issuer(url, key)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def forge_token(claims: Mapping[str, Any]) -> str:
    """Sign a token with a key that no issuer has published, under the published key's name."""
    return _sign(rsa.generate_private_key(public_exponent=65537, key_size=2048), claims)


def _make_handler(documents: Mapping[str, Any]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = documents.get(self.path)
            body = json.dumps(document).encode()
            self.send_response(404 if document is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - http.server's own name
            """Keep the test's output to what the test says."""

    return Handler


def _public_key(key: rsa.RSAPrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    modulus, exponent = (
        _encode(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (numbers.n, numbers.e)
    )
    return {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": _KEY_ID, "n": modulus, "e": exponent}


def _sign(key: rsa.RSAPrivateKey, claims: Mapping[str, Any]) -> str:
    header = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
    text = ".".join(_encode(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{_encode(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
