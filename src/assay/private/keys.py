"""Certificates for a server and its clients, by an issuer of their own: `assay private keys DIR`."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from assay.errors import InputError

DAYS = 365
LOCAL = ("localhost", "127.0.0.1", "::1")
"""Names that a server always has."""


def make_keys(
    folder: Path, hosts: Sequence[str] = (), clients: Sequence[str] = ("client",), days: int = DAYS
) -> list[Path]:
    """Write `ca.pem`, and `NAME.pem` and `NAME.key` of the server and each client, readable by their owner alone.

    The issuer's own key is not kept: nobody can add a party later, and a new folder is made for new ones. A server's
    certificate is of no use to a client, and the other way round.

    Args:
        hosts: names or addresses of the server besides those of this machine.
        clients: a name each.

    Raises:
        InputError: if one of the files is there already, a name cannot be one, or the folder cannot be written.
    """
    odd = [name for name in clients if not name.isidentifier() or name in ("ca", "server")]
    if odd or len(set(clients)) != len(clients):
        raise InputError(f"clients have different names of letters and digits, not ca or server, got {clients}")
    issuer = generate_private_key(SECP256R1())
    authority = _authority(issuer, days)
    files = {"ca.pem": _pem(authority)}
    parties = [("server", ExtendedKeyUsageOID.SERVER_AUTH, (*LOCAL, *hosts))]
    parties += [(name, ExtendedKeyUsageOID.CLIENT_AUTH, (name,)) for name in clients]
    for party, usage, known in parties:
        key = generate_private_key(SECP256R1())
        files[f"{party}.pem"] = _pem(_party(party, key, usage, known, authority, issuer, days))
        files[f"{party}.key"] = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise InputError(f"{folder} already holds {', '.join(there)}; give an empty folder")
    return [_write(folder / name, blob) for name, blob in files.items()]


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _write(path: Path, blob: bytes) -> Path:
    """A new file that nobody else can read, from its first moment on."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(blob)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: str, issuer: str, key: EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # clocks differ
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


_ISSUER = "assay private inference"


def _authority(key: EllipticCurvePrivateKey, days: int) -> x509.Certificate:
    return (
        _builder(_ISSUER, _ISSUER, key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, SHA256())
    )


def _party(
    party: str,
    key: EllipticCurvePrivateKey,
    usage: x509.ObjectIdentifier,
    known: Sequence[str],
    authority: x509.Certificate,
    issuer: EllipticCurvePrivateKey,
    days: int,
) -> x509.Certificate:
    return (
        _builder(f"assay {party}", _ISSUER, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in known]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        .sign(issuer, SHA256())
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise InputError(f"{name!r} is neither the name nor the address of a server") from error
