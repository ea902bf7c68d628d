"""How to reach a broker, and who connects."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

from gateway.errors import MetergateError, WrongUse

__all__ = [
    "BrokerAddress", "MqttSettings", "Protocol", "SubscriptionRefused", "parse_broker_url",
    "tls_context",
]  # fmt: skip


class Protocol(Enum):
    """Which MQTT to speak; `auto`: 5, or 3.1.1 where the broker refuses 5."""

    AUTO = "auto"
    V5 = "5"
    V4 = "4"


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """One broker and how this client presents itself. Sizes bound the memory; `status_topic`: online, or the will.

    Another client of the same name that takes our place three times in `flaps_s` keeps it for `yield_s`.
    """

    host: str = "localhost"
    port: int = 1883
    client_id: str = "metergate"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    protocol: Protocol = Protocol.AUTO
    keepalive_s: int = 5
    connect_timeout_s: float = 5.0
    receive_maximum: int = 2000
    buffer_messages: int = 10_000
    buffer_bytes: int = 64 * 1024 * 1024
    retry_min_s: float = 0.2
    retry_max_s: float = 5.0
    flaps_s: float = 900.0
    yield_s: float = 600.0
    status_topic: str | None = None

    @property
    def place(self) -> str:
        """Where the broker is, for a person."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """What a broker's URL says."""

    host: str
    port: int
    tls: bool


class SubscriptionRefused(MetergateError):
    """The broker does not let this client read a topic."""

    code = "subscription_refused"


def parse_broker_url(url: str) -> BrokerAddress:
    """Return what `mqtt://host[:1883]` or `mqtts://host[:8883]` says; WrongUse for anything else."""
    remedy = "write mqtt://host:1883 or mqtts://host:8883"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise WrongUse(f'"{url}" is no broker URL', remedy=remedy) from None
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or port == 0 or parts.path.strip("/") or parts.query:
        raise WrongUse(f'"{url}" is no broker URL', remedy=remedy)
    if parts.username is not None or parts.password is not None:
        raise WrongUse("a broker URL holds no user", remedy="use broker.username and broker.password_file")
    tls = parts.scheme == "mqtts"
    return BrokerAddress(host=parts.hostname, port=port or (8883 if tls else 1883), tls=tls)


def tls_context(settings: MqttSettings) -> ssl.SSLContext | None:
    """Return the TLS context the settings ask for; WrongUse when a file cannot be read."""
    if not settings.tls:
        return None
    file: Path | None = settings.ca_file
    try:
        context = ssl.create_default_context(cafile=file)
        if settings.cert_file is not None:
            file = settings.cert_file
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except OSError as error:
        raise WrongUse(
            f"the TLS file {file} cannot be used: {error.strerror or error}",
            remedy="correct broker.ca_file, broker.cert_file and broker.key_file (PEM)",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
