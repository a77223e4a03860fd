"""Certificates for servers on loopback, made for one test run and trusted in it alone."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@dataclass(frozen=True)
class Certificate:
    """Where certificate and key lie, in PEM; the certificate is its own authority."""

    certificate_path: Path
    key_path: Path


@dataclass(frozen=True)
class Authority:
    """A company's own certificate authority."""

    bundle_path: Path
    """Its certificate in PEM: what MGMT_CA_BUNDLE is to name."""
    name: x509.Name
    key: rsa.RSAPrivateKey

    def issue(self, host: str, directory: Path, *, valid_days: tuple[int, int] = (-1, 1)) -> Certificate:
        """Make a certificate for a host, valid from and until so many days from now."""
        key = _make_key()
        certificate = (
            _draft(_name_of(host), self.name, key, valid_days)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        directory.mkdir(parents=True, exist_ok=True)
        return _write(directory, certificate, key)


def make_authority(directory: Path) -> Authority:
    """Make an authority as companies have them: without the extensions that only public ones must carry."""
    key = _make_key()
    name = _name_of("Company Inspection")
    certificate = (
        _draft(name, name, key, (-100, 100))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    bundle = directory / "company.pem"
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(bundle, name, key)


def _make_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _draft(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, valid_days: tuple[int, int]
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=valid_days[0]))
        .not_valid_after(now + timedelta(days=valid_days[1]))
    )


def _name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _write(directory: Path, certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> Certificate:
    made = Certificate(directory / "certificate.pem", directory / "key.pem")
    made.certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key_path.touch(mode=0o600)
    made.key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


def make_certificate(directory: Path) -> Certificate:
    """Make a certificate for 127.0.0.1 and localhost that is good for a day."""
    key = _make_key()
    name = _name_of("loopback")
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    certificate = (
        _draft(name, name, key, (-1, 1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _write(directory, certificate, key)
