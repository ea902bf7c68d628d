"""A small chain of certificates and signatures of DCCs by it, for tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml.signer import XMLSigner

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A key and the certificate of its holder."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def party(
    name: str,
    issuer: Party | None = None,
    *,
    ca: bool = False,
    days: int = 3650,
    begin: datetime = BEGIN,
    signing: bool = True,
) -> Party:
    """Return a party; without an issuer it signs its own certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=signing and not ca, content_commitment=False, key_encipherment=not signing,
        data_encipherment=False, key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(key if issuer is None else issuer.key, SHA256())
    )
    return Party(key=key, certificate=certificate)


def signed(xml: str, signer: Party, *carried: Party) -> bytes:
    """Return a DCC with an enveloped signature of all of it."""
    root = etree.fromstring(xml.encode())
    chain = [signer.certificate, *(c.certificate for c in carried)]
    made = XMLSigner(signature_algorithm="ecdsa-sha256").sign(root, key=signer.key, cert=chain)
    return bytes(etree.tostring(made, xml_declaration=True, encoding="UTF-8"))
