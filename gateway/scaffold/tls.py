"""A CA of the centre's own, and the certificate of its broker (ECDSA P-256)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "new_authority", "read_authority", "server_certificate"]

CA_DAYS = 3650
SERVER_DAYS = 730


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A CA: its certificate, and its key as PEM, which only the centre has."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key as PEM."""
        return _key_pem(self.key)


def new_authority(site: str, at: int) -> Authority:
    """Return a new CA, valid for ten years from `at` (ns)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Metergate CA {site}"[:64])
    builder = _builder(name, name, key.public_key(), at, CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return Authority(certificate=builder.sign(key, hashes.SHA256()), key=key)


def read_authority(certificate_pem: bytes, key_pem: bytes) -> Authority:
    """Return a CA from its files. Raises ValueError if they are none."""
    key = serialization.load_pem_private_key(key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("its key is of another kind")  # noqa: TRY004  what a file says is no type of ours
    return Authority(certificate=x509.load_pem_x509_certificate(certificate_pem), key=key)


def server_certificate(authority: Authority, hosts: tuple[str, ...], at: int) -> tuple[bytes, bytes]:
    """Return (key, certificate) as PEM for a server of these names and addresses, valid for two years."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(authority.certificate.subject, _name(hosts[0][:64]), key.public_key(), at, SERVER_DAYS)
    builder = builder.add_extension(x509.SubjectAlternativeName([_host(h) for h in hosts]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    certificate = builder.sign(authority.key, hashes.SHA256())
    return _key_pem(key), certificate.public_bytes(serialization.Encoding.PEM)


def _builder(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, at: int, days: int
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(at // 10**9, UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
