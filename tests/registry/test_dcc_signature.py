"""What a signature of a DCC is worth (CONTRACTS §5: verified, unverified, invalid, none)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from signxml.signer import XMLSigner

from gateway.errors import WrongUse
from gateway.registry.dcc import read_dcc
from gateway.registry.dcc_signature import Signature, Signed, check_signature, trusted_certificates
from tests.registry.dccs import VERSIONS, dcc
from tests.registry.signing import Party, party, signed

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ROOT = party("Root", ca=True)
SUB = party("Sub", ROOT, ca=True)
LAB = party("Lab", SUB)
STRANGER = party("Stranger", ca=True)
SIGNED = signed(dcc(), LAB, SUB)


def check(raw: bytes, *trusted: Party, now: datetime = NOW) -> Signed:
    assert not isinstance(read_dcc(raw, "c.xml"), list)
    return check_signature(raw, [t.certificate for t in trusted], now)


def test_a_certificate_without_signature_has_none() -> None:
    assert check(dcc().encode()).state is Signature.NONE


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("trusted", [(ROOT,), (SUB,), (LAB,), (STRANGER, ROOT)])
def test_a_chain_to_a_trusted_issuer_verifies(version: str, trusted: Sequence[Party]) -> None:
    found = check(signed(dcc(version), LAB, SUB), *trusted)
    assert (found.state, found.reason) == (Signature.VERIFIED, "")


@pytest.mark.parametrize(
    ("trusted", "words"),
    [
        ((), "no trusted issuer was named"),
        ((STRANGER,), "no trusted issuer stands behind CN=Sub"),
        ((party("Root", ca=True),), "no trusted issuer stands behind CN=Sub"),
    ],
)
def test_an_intact_signature_of_someone_unknown_is_unverified(trusted: Sequence[Party], words: str) -> None:
    found = check(SIGNED, *trusted)
    assert found.state is Signature.UNVERIFIED
    assert words in found.reason
    assert found.line is not None


def test_a_chain_with_a_gap_or_an_issuer_that_may_not_issue_is_unverified() -> None:
    assert check(signed(dcc(), LAB), ROOT).state is Signature.UNVERIFIED
    assert check(signed(dcc(), LAB), SUB).state is Signature.VERIFIED
    below = party("Below", LAB)
    assert check(signed(dcc(), below, LAB, SUB), ROOT).state is Signature.UNVERIFIED
    sealed = party("Keys", SUB, signing=False)
    assert "not for signatures" in check(signed(dcc(), sealed, SUB), ROOT).reason


def test_a_signer_is_judged_at_the_time_of_signing() -> None:
    short = party("Short", SUB, days=100)
    raw = signed(dcc(), short, SUB)
    assert check(raw, ROOT, now=datetime(2025, 3, 1, tzinfo=UTC)).state is Signature.VERIFIED
    late = check(raw, ROOT)
    assert (late.state, "not valid on 2026-11-23" in late.reason) == (Signature.UNVERIFIED, True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"1000.4 5001.2", b"1000.5 5001.2"),
        (b"A1234", b"A1235"),
        (b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA"),
        (b"<ds:DigestValue>", b"<ds:DigestValue>AAAA"),
    ],
)
def test_whatever_was_changed_after_signing_is_invalid(old: bytes, new: bytes) -> None:
    assert old in SIGNED
    found = check(SIGNED.replace(old, new, 1), ROOT)
    assert found.state is Signature.INVALID
    assert found.line is not None


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_no_changed_number_is_ever_verified(at: int, piece: bytes) -> None:
    body = SIGNED.index(b"<dcc:measurementResults")
    start = body + at % (SIGNED.index(b"</dcc:measurementResults") - body)
    raw = SIGNED[:start] + piece + SIGNED[start + len(piece) :]
    if raw == SIGNED or isinstance(read_dcc(raw, "c.xml"), list):
        return
    same = etree.tostring(etree.fromstring(raw), method="c14n") == etree.tostring(
        etree.fromstring(SIGNED), method="c14n"
    )
    assert (check_signature(raw, [ROOT.certificate], NOW).state is Signature.VERIFIED) == same


def test_a_signature_without_a_certificate_is_unverified_and_forged_invalid() -> None:
    root = etree.fromstring(dcc().encode())
    raw = etree.tostring(XMLSigner(signature_algorithm="ecdsa-sha256").sign(root, key=LAB.key))
    assert check(raw, ROOT).state is Signature.UNVERIFIED
    assert check(raw.replace(b"A1234", b"A1235"), ROOT).state is Signature.INVALID


def test_a_signer_that_is_trusted_itself_needs_no_issuer() -> None:
    alone = party("Alone")
    assert check(signed(dcc(), alone), alone).state is Signature.VERIFIED
    assert check(signed(dcc(), alone), ROOT).state is Signature.UNVERIFIED


def test_a_signature_of_a_part_is_invalid() -> None:
    """Signature wrapping: a true signature of something else must not speak for the certificate."""
    root = etree.fromstring(SIGNED)
    signature = root[-1]
    for reference in signature.iter("{http://www.w3.org/2000/09/xmldsig#}Reference"):
        reference.set("URI", "#part")
    forged = etree.fromstring(dcc(serial="B999").encode())
    inner = etree.SubElement(signature, "{http://www.w3.org/2000/09/xmldsig#}Object")
    root.remove(signature)
    inner.append(root)
    root.set("Id", "part")
    forged.append(signature)
    assert check_signature(etree.tostring(forged), [ROOT.certificate], NOW).state is Signature.INVALID


def test_a_second_signature_leaves_it_unverified() -> None:
    root = etree.fromstring(SIGNED)
    root.append(etree.fromstring(etree.tostring(root[-1])))
    found = check_signature(etree.tostring(root), [ROOT.certificate], NOW)
    assert found.state in {Signature.INVALID, Signature.UNVERIFIED}


def test_trusted_issuers_are_read_from_pem_and_der(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    (tmp_path / "both.pem").write_bytes(ROOT.pem + SUB.pem)
    (tmp_path / "one.crt").write_bytes(ROOT.certificate.public_bytes(Encoding.DER))
    (tmp_path / "none.pem").write_text("hello")
    found = trusted_certificates([tmp_path / "both.pem", tmp_path / "one.crt"])
    assert found == [ROOT.certificate, SUB.certificate, ROOT.certificate]
    for name in ("none.pem", "missing.pem"):
        with pytest.raises(WrongUse, match=name):
            trusted_certificates([tmp_path / name])
