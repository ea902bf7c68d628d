"""What can go wrong with a broker, in a person's words: one line with cause and remedy."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from collectors import mqtt_packets as packets
from collectors.mqtt_settings import MqttSettings

__all__ = [
    "Fault", "Trouble", "alone_cut", "goodbye", "lost", "malformed", "no_answer", "refusal", "silent", "subscription",
    "unreachable",
]  # fmt: skip


class Fault(Enum):
    """Kinds of trouble with a broker; each asks for another next step."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    NO_ANSWER = "no_answer"
    CLOSED_EARLY = "closed_early"
    PROTOCOL = "protocol"
    LOGIN = "login"
    REFUSED = "refused"
    TAKEN_OVER = "taken_over"
    CUT = "cut"
    LOST = "lost"
    SUBSCRIPTION = "subscription"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why there is no connection: one line with cause and remedy."""

    fault: Fault
    cause: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.cause}; {self.remedy}" if self.remedy else self.cause


def no_answer(s: MqttSettings) -> Trouble:
    """The broker takes the connection and says nothing."""
    return Trouble(
        fault=Fault.NO_ANSWER,
        cause=f"the broker at {s.place} does not answer within {s.connect_timeout_s:g} s",
        remedy="see whether it is running and whether broker.url names its MQTT port",
    )


def silent(s: MqttSettings) -> Trouble:
    """A ping was not answered."""
    return Trouble(
        fault=Fault.LOST,
        cause=f"the broker at {s.place} has been silent for {s.keepalive_s} s",
        remedy="see whether the network is up; it is tried again",
    )


def lost(s: MqttSettings, *, was_accepted: bool, was_stalled: bool = False) -> Trouble:
    """The connection ended without a word; `was_stalled`: this process had not run for a while."""
    if was_accepted:
        fault = Fault.LOST if was_stalled else Fault.CUT
        return Trouble(fault=fault, cause=f"the connection to {s.place} is lost", remedy="it is tried again")
    return Trouble(
        fault=Fault.CLOSED_EARLY,
        cause=f"{s.place} closes the connection instead of answering",
        remedy="see whether broker.url names an MQTT port and whether it wants TLS (mqtts://)",
    )


def alone_cut(s: MqttSettings) -> Trouble:
    """Of several connections to the broker only this one ended, as where it gives our place away without a word."""
    return Trouble(
        fault=Fault.TAKEN_OVER,
        cause=f'{s.place} again and again ends the connection of "{s.client_id}" and no other',
        remedy="another client seems to have this name: give every gateway its own broker.client_id",
    )


def subscription(refused: Sequence[tuple[str, int]], s: MqttSettings) -> Trouble:
    """The broker declines these filters, each with its reason code."""
    named = ", ".join(f"{f} ({packets.reason_text(r)})" for f, r in refused) or "some filter"
    return Trouble(
        fault=Fault.SUBSCRIPTION,
        cause=f"the broker at {s.place} refuses the subscription to {named}",
        remedy="let this user read these topics in the broker's access list",
    )


_LOGIN = {0x86, 0x87, 0x8C}
_UNSUPPORTED_VERSION, _BAD_CLIENT_ID, _TAKEN_OVER = 0x84, 0x85, 0x8E


def refusal(answer: packets.Connack, s: MqttSettings) -> Trouble:
    """The broker answered, and declined."""
    why = packets.reason_text(answer.reason) + (f": {answer.text[:200]}" if answer.text else "")
    said = f"the broker at {s.place} refuses the connection ({why})"
    if answer.reason in _LOGIN:
        cause = f"{said} for user {s.username}" if s.username else said
        return Trouble(fault=Fault.LOGIN, cause=cause, remedy="correct broker.username and broker.password_file")
    if answer.reason == _UNSUPPORTED_VERSION:
        return Trouble(fault=Fault.PROTOCOL, cause=said, remedy="set broker.protocol to what it speaks")
    remedy = "choose another broker.client_id" if answer.reason == _BAD_CLIENT_ID else "it is tried again"
    return Trouble(fault=Fault.REFUSED, cause=said, remedy=remedy)


def goodbye(reason: int, s: MqttSettings) -> Trouble:
    """The broker disconnects, and says why."""
    if reason == _TAKEN_OVER:
        return Trouble(
            fault=Fault.TAKEN_OVER,
            cause=f'another client has connected to {s.place} as "{s.client_id}"',
            remedy="give every gateway its own broker.client_id",
        )
    return Trouble(
        fault=Fault.LOST,
        cause=f"the broker at {s.place} ends the connection ({packets.reason_text(reason)})",
        remedy="it is tried again",
    )


def malformed(error: packets.Malformed, s: MqttSettings) -> Trouble:
    """What came is no MQTT."""
    return Trouble(
        fault=Fault.CLOSED_EARLY,
        cause=f"{s.place} does not speak MQTT ({error.cause})",
        remedy="see whether broker.url names an MQTT port",
    )


def unreachable(error: OSError | ValueError, s: MqttSettings) -> Trouble:
    """No connection could be made."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Trouble(
            fault=Fault.TLS,
            cause=f"the certificate of {s.place} is not trusted ({error.verify_message})",
            remedy="set broker.ca_file to the authority that signed it, and use the name it was made for",
        )
    if isinstance(error, ssl.SSLError):
        why = (error.reason or str(error)).lower().replace("_", " ")
        return Trouble(
            fault=Fault.TLS, cause=f"no TLS with {s.place} ({why})", remedy="see whether broker.url names its TLS port"
        )
    if isinstance(error, socket.gaierror | ValueError):
        return Trouble(fault=Fault.UNREACHABLE, cause=f'no address for "{s.host}"', remedy="correct broker.url")
    if s.tls and error.errno is None:
        return Trouble(
            fault=Fault.TLS,
            cause=f"{s.place} ends the connection instead of starting TLS",
            remedy="see whether broker.url names its TLS port",
        )
    why = (os.strerror(error.errno) if error.errno else str(error) or type(error).__name__).lower()
    return Trouble(
        fault=Fault.UNREACHABLE,
        cause=f"no broker at {s.place} ({why})",
        remedy="start it, or correct broker.url",
    )
