"""The signature of a DCC: whether the file is what was signed, and whether who signed it is trusted (XML-DSig, XAdES).

`invalid`: the file or the signature was changed, signs something else than the whole certificate, or its signer was
revoked before signing. `unverified`: intact, but no trusted issuer stands behind it. `verified`: intact, and a chain of
certificates valid at the time of signing leads to a trusted one. The signing time is what the signature claims; without
one it is `now`. Revocation is read from lists inside the file only: nothing is asked over a network.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature as BadSignature
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from signxml.exceptions import InvalidInput, SignXMLException
from signxml.verifier import SignatureConfiguration, XMLVerifier

from gateway.errors import WrongUse
from gateway.registry.dcc_xml import DCC, DS, XADES

__all__ = ["Signature", "Signed", "check_signature", "trusted_certificates"]

LONGEST_CHAIN = 8
_DER = Encoding.DER


class Signature(StrEnum):
    """What a signature is worth (CONTRACTS §5)."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    INVALID = "invalid"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """The state of a signature, the line it stands in, and why it is no better."""

    state: Signature
    line: int | None = None
    reason: str = ""


def trusted_certificates(files: Iterable[Path]) -> list[x509.Certificate]:
    """Return the certificates of trusted issuers in PEM or DER files; WrongUse when a file holds none."""
    found: list[x509.Certificate] = []
    for file in files:
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise WrongUse(f"{file} cannot be read: {error.strerror}", remedy="name a PEM file of issuers") from None
        try:
            pem = b"-----BEGIN" in raw
            found += x509.load_pem_x509_certificates(raw) if pem else [x509.load_der_x509_certificate(raw)]
        except ValueError:
            raise WrongUse(f"{file} holds no certificate", remedy="name a PEM or DER file of issuers") from None
    return found


def check_signature(raw: bytes, trusted: Sequence[x509.Certificate], now: datetime) -> Signed:
    """Return what the signature of a DCC is worth; the bytes have been read as XML without document type before."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    root = etree.fromstring(raw, parser)
    signatures = root.findall(f"{{{DS}}}Signature")
    if not signatures:
        return Signed(state=Signature.NONE)
    line = cast("int | None", signatures[0].sourceline)
    try:
        signed = _check(root, signatures[0], trusted, now)
    except InvalidInput as error:
        return Signed(state=Signature.UNVERIFIED, line=line, reason=f"the signature cannot be checked: {_words(error)}")
    except (SignXMLException, BadSignature, etree.LxmlError, ValueError, binascii.Error) as error:
        return Signed(state=Signature.INVALID, line=line, reason=f"the signature does not hold: {_words(error)}")
    if signed.state is Signature.VERIFIED and len(signatures) > 1:
        reason = f"there are {len(signatures)} signatures, of which one is checked"
        return Signed(state=Signature.UNVERIFIED, line=line, reason=reason)
    return Signed(state=signed.state, line=line, reason=signed.reason)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _check(
    root: etree._Element, signature: etree._Element, trusted: Sequence[x509.Certificate], now: datetime
) -> Signed:
    carried = list(_certificates(signature, f"{{{DS}}}X509Certificate"))
    if not carried:
        bare = SignatureConfiguration(require_x509=False, location="./", expect_references=True)
        XMLVerifier().verify(root, expect_config=bare)
        return Signed(state=Signature.UNVERIFIED, reason="the signature carries no certificate of its signer")
    leaf = _leaf(carried)
    if not isinstance(leaf.public_key(), rsa.RSAPublicKey | ec.EllipticCurvePublicKey | dsa.DSAPublicKey):
        return Signed(state=Signature.UNVERIFIED, reason="the key of the signer is of a kind that is not read")
    valid = leaf.not_valid_before_utc  # whether it was valid at signing is asked of the whole chain, below
    config = SignatureConfiguration(location="./", expect_references=True, verification_time=valid)
    result = XMLVerifier().verify(root, x509_cert=leaf, expect_config=config)
    results = result if isinstance(result, list) else [result]
    whole = any(
        r.signed_xml is not None and r.signed_xml.tag == f"{{{DCC}}}digitalCalibrationCertificate" for r in results
    )
    if not whole:
        return Signed(state=Signature.INVALID, reason="it signs a part of the file only, not the certificate")
    signed_parts = [r.signed_xml for r in results if r.signed_xml is not None]
    at = _signing_time(signed_parts) or now
    issuers = [*carried, *_certificates(signature, f"{{{XADES}}}EncapsulatedX509Certificate")]
    if _revoked(leaf, [*issuers, *trusted], signature, at):
        return Signed(state=Signature.INVALID, reason="its signer was revoked before signing")
    reason = _distrust(leaf, issuers, trusted, at)
    return Signed(state=Signature.UNVERIFIED if reason else Signature.VERIFIED, reason=reason)


def _certificates(signature: etree._Element, tag: str) -> Iterator[x509.Certificate]:
    for element in signature.iter(tag):
        yield x509.load_der_x509_certificate(base64.b64decode("".join((element.text or "").split()), validate=True))


def _leaf(carried: Sequence[x509.Certificate]) -> x509.Certificate:
    """Return the certificate that issued none of the others."""
    issuers = {c.issuer for c in carried if c.issuer != c.subject}
    return next((c for c in carried if c.subject not in issuers), carried[0])


def _signing_time(parts: Sequence[etree._Element]) -> datetime | None:
    """Return the signing time among the parts that are signed."""
    for part in parts:
        if part.tag != f"{{{XADES}}}SignedProperties":
            continue
        found = part.find(f".//{{{XADES}}}SigningTime")
        if found is not None and found.text:
            time = datetime.fromisoformat(found.text.strip())
            return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return None


def _revoked(
    leaf: x509.Certificate, issuers: Sequence[x509.Certificate], signature: etree._Element, at: datetime
) -> bool:
    """Return whether a revocation list in the signature, signed by the leaf's issuer, names the leaf before `at`."""
    for element in signature.iter(f"{{{XADES}}}EncapsulatedCRLValue"):
        crl = x509.load_der_x509_crl(base64.b64decode("".join((element.text or "").split())))
        entry = crl.get_revoked_certificate_by_serial_number(leaf.serial_number)
        if crl.issuer != leaf.issuer or entry is None or entry.revocation_date_utc > at:
            continue
        for issuer in issuers:
            key = issuer.public_key()
            usable = isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | dsa.DSAPublicKey)
            if issuer.subject == crl.issuer and usable and crl.is_signature_valid(key):  # type: ignore[arg-type]
                return True
    return False


def _distrust(
    leaf: x509.Certificate, carried: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate], at: datetime
) -> str:
    """Return why the signer is not trusted, empty if it is."""
    if not trusted:
        return "no trusted issuer was named; give one with --trust"
    if not _may_sign(leaf):
        return "the certificate of the signer is not for signatures"
    known = {c.public_bytes(_DER) for c in trusted}
    current, steps = leaf, 0
    while steps < LONGEST_CHAIN:
        if not current.not_valid_before_utc <= at <= current.not_valid_after_utc:
            return f"the certificate of {_name(current)} was not valid on {at.date().isoformat()}"
        if current.public_bytes(_DER) in known:
            return ""
        issuer = next((c for c in (*trusted, *carried) if c is not current and _issued(current, c)), None)
        if issuer is None:
            return f"no trusted issuer stands behind {_name(current)}"
        current, steps = issuer, steps + 1
    return "the chain of its issuers is longer than any in use"


def _issued(child: x509.Certificate, issuer: x509.Certificate) -> bool:
    if child.issuer != issuer.subject or not _may_issue(issuer):
        return False
    try:
        child.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, BadSignature):
        return False
    return True


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    usage = _usage(certificate)
    return basic.ca and (usage is None or usage.key_cert_sign)


def _may_sign(certificate: x509.Certificate) -> bool:
    usage = _usage(certificate)
    return usage is None or usage.digital_signature or usage.content_commitment


def _usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()[:120]
