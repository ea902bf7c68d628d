"""TLS certificates: those the settings name, the one the broker shows, and those of the broker's folder."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

from gateway.doctor import Finding, Site, fine, problem, warning
from gateway.metrology.instants import DAY_NS
from gateway.settings import config_folder

__all__ = ["check"]

SOON_DAYS = 30
VERY_SOON_DAYS = 7
DEADLINE_S = 3.0
REMEDY = "make a new one: `metergate init DIR --renew-certificate`, then restart the broker"


def check(site: Site) -> Iterator[Finding]:
    """Say how long each is still valid."""
    broker, influx = site.settings.broker, site.settings.influx
    files = {broker.ca_file, broker.cert_file, influx.ca_file if influx is not None else None}
    files |= set((config_folder(site.config) / "mosquitto" / "certs").glob("*.crt"))
    for file in sorted(f for f in files if f is not None):
        yield from _file(file, site.at)
    if broker.tls:
        shown = _shown(broker.host, broker.port)
        if shown is not None:
            yield from _pem(f"the certificate of {broker.host}:{broker.port}", shown, site.at)


def _file(file: Path, at: int) -> Iterator[Finding]:
    try:
        yield from _pem(str(file), file.read_bytes(), at)
    except OSError as error:
        yield problem(f"{file} cannot be read: {error.strerror}", "correct the path or its permissions")


def _pem(name: str, text: bytes, at: int) -> Iterator[Finding]:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(text)
    except ValueError:
        yield problem(f"{name} is no certificate in PEM", "correct the path")
        return
    ends = min(c.not_valid_after_utc for c in found)
    days = (int(ends.timestamp()) * 10**9 - at) // DAY_NS
    day = ends.astimezone(UTC).date().isoformat()
    if days < 0:
        yield problem(f"{name} expired on {day}", REMEDY)
    elif days < SOON_DAYS:
        said = f"{name} expires on {day}, in {days} days"
        yield problem(said, REMEDY) if days < VERY_SOON_DAYS else warning(said, REMEDY)
    else:
        yield fine(f"{name} is valid until {day}")


def _shown(host: str, port: int) -> bytes | None:
    """Return the certificate a server shows, trusted or not; None when there is no TLS (the broker's check says so)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), DEADLINE_S) as plain:
            plain.settimeout(DEADLINE_S)
            with context.wrap_socket(plain, server_hostname=host) as secure:
                shown = secure.getpeercert(binary_form=True)
    except OSError:
        return None
    return None if shown is None else ssl.DER_cert_to_PEM_cert(shown).encode()
