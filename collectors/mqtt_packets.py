"""MQTT packets as bytes, 3.1.1 and 5: what a client that only receives has to write and read. Pure.

A packet is a head byte (kind and flags), the remaining length as a varint, and a body (MQTT 5 §2, MQTT 3.1.1 §2).
`version` is 5, or 4 for 3.1.1.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.errors import MetergateError

__all__ = [
    "CONNACK", "DISCONNECT", "FAILURE", "GOODBYE", "PINGREQ", "PINGRESP", "PUBACK", "PUBLISH", "SUBACK", "UNSUBACK",
    "Connack", "Login", "Malformed", "connack", "connect", "disconnect_reason", "pubacks", "publish", "reason_text",
    "subscribe", "subscription_reasons", "unsubscribe", "varint",
]  # fmt: skip

CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, PINGRESP, DISCONNECT = 0x20, 0x30, 0x40, 0x90, 0xB0, 0xD0, 0xE0
PINGREQ = b"\xc0\x00"
GOODBYE = b"\xe0\x00"
_PUBACK = 0x40020000
"""Head byte, length 2, and the packet id."""
FAILURE = 0x80
"""Reason codes from here on are failures."""

_SESSION_EXPIRY, _SERVER_KEEP_ALIVE, _REASON_STRING, _RECEIVE_MAXIMUM = 0x11, 0x13, 0x1F, 0x21
_FOR_EVER = b"\xff\xff\xff\xff"
_FIXED_SIZES = {
    0x01: 1, 0x02: 4, _SESSION_EXPIRY: 4, _SERVER_KEEP_ALIVE: 2, 0x17: 1, 0x18: 4, 0x19: 1, _RECEIVE_MAXIMUM: 2,
    0x22: 2, 0x23: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1,
}  # fmt: skip
_TEXTS = {0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, _REASON_STRING}
_PAIR = 0x26
_OLD_REFUSALS = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}
"""CONNACK codes of 3.1.1 as reason codes of 5."""

_REASONS = {
    0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "implementation specific error",
    0x84: "unsupported protocol version", 0x85: "client identifier not valid", 0x86: "bad user name or password",
    0x87: "not authorized", 0x88: "server unavailable", 0x89: "server busy", 0x8A: "banned",
    0x8B: "server shutting down", 0x8C: "bad authentication method", 0x8D: "keep alive timeout",
    0x8E: "session taken over", 0x8F: "topic filter invalid", 0x90: "topic name invalid",
    0x93: "receive maximum exceeded", 0x94: "topic alias invalid", 0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action", 0x99: "payload format invalid", 0x9A: "retain not supported",
    0x9B: "qos not supported", 0x9C: "use another server", 0x9D: "server moved",
    0x9E: "shared subscriptions not supported", 0x9F: "connection rate exceeded", 0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported", 0xA2: "wildcard subscriptions not supported",
}  # fmt: skip


class Malformed(MetergateError):
    """What was received is no MQTT."""

    code = "malformed_packet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who connects, and the will: what the broker publishes, retained, when this client is gone."""

    client_id: str
    keepalive_s: int
    receive_maximum: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    will_topic: str | None = None
    will_payload: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connack:
    """The broker's answer. `reason`: an MQTT 5 reason code, 0 accepted; `keepalive_s` when the broker sets it."""

    session_present: bool
    reason: int
    keepalive_s: int | None = None
    text: str = ""


def reason_text(code: int) -> str:
    """Return a reason code in words."""
    return _REASONS.get(code, f"reason 0x{code:02x}")


# Writing


def connect(version: int, login: Login) -> bytes:
    """Return a CONNECT that keeps the session, for ever where the broker knows MQTT 5."""
    flags, payload = 0, _text(login.client_id)
    properties = will_properties = b""
    if version == 5:
        window = login.receive_maximum.to_bytes(2, "big")
        properties = _sized(bytes([_SESSION_EXPIRY]) + _FOR_EVER + bytes([_RECEIVE_MAXIMUM]) + window)
        will_properties = b"\x00"
    if login.will_topic is not None:
        flags |= 0x2C  # will, at QoS 1, retained
        payload += will_properties + _text(login.will_topic) + _binary(login.will_payload)
    if login.username is not None:
        flags |= 0x80
        payload += _text(login.username)
    if login.password is not None:
        flags |= 0x40
        payload += _text(login.password)
    head = b"\x00\x04MQTT" + bytes([version, flags]) + login.keepalive_s.to_bytes(2, "big")
    return _packet(0x10, head + properties + payload)


def subscribe(version: int, packet_id: int, filters: Sequence[str]) -> bytes:
    """Return a SUBSCRIBE at QoS 1; with MQTT 5 retained messages come only to a subscription that is new."""
    options = b"\x11" if version == 5 else b"\x01"
    body = b"".join(_text(f) + options for f in filters)
    return _packet(0x82, packet_id.to_bytes(2, "big") + _no_properties(version) + body)


def unsubscribe(version: int, packet_id: int, filters: Sequence[str]) -> bytes:
    """Return an UNSUBSCRIBE."""
    body = b"".join(_text(f) for f in filters)
    return _packet(0xA2, packet_id.to_bytes(2, "big") + _no_properties(version) + body)


def publish(version: int, topic: str, payload: bytes, *, packet_id: int | None, retain: bool = False) -> bytes:
    """Return a PUBLISH, at QoS 1 when it has a packet id."""
    number = b"" if packet_id is None else packet_id.to_bytes(2, "big")
    head = PUBLISH | (0 if packet_id is None else 2) | retain
    return _packet(head, _text(topic) + number + _no_properties(version) + payload)


def pubacks(packet_ids: Sequence[int]) -> bytes:
    """Return the PUBACKs of these messages, in this order."""
    return struct.pack(f">{len(packet_ids)}L", *[_PUBACK | i for i in packet_ids])


def _packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + _sized(body)


def _sized(body: bytes) -> bytes:
    size, digits = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(digits) + body


def _no_properties(version: int) -> bytes:
    return b"\x00" if version == 5 else b""


def _text(text: str) -> bytes:
    return _binary(text.encode())


def _binary(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


# Reading


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a varint and where it ends, (0, -1) when it has not fully come. Malformed beyond four bytes."""
    value, shift = 0, 0
    for place in range(at, min(at + 4, len(data))):
        digit = data[place]
        value |= (digit & 0x7F) << shift
        if digit < 0x80:
            return value, place + 1
        shift += 7
    if len(data) - at >= 4:
        raise Malformed("a length of more than four bytes")
    return 0, -1


def connack(version: int, body: bytes) -> Connack:
    """Read a CONNACK; a broker of 3.1.1 answers in its own form even when it was asked for 5."""
    if len(body) < 2:
        raise Malformed("a CONNACK of less than two bytes")
    present, reason = bool(body[0] & 1), body[1]
    reason = _OLD_REFUSALS.get(reason, reason)
    if version != 5 or len(body) == 2:
        return Connack(session_present=present, reason=reason)
    found = _properties(body[2:])
    keepalive = found.get(_SERVER_KEEP_ALIVE)
    return Connack(
        session_present=present,
        reason=reason,
        keepalive_s=None if keepalive is None else int.from_bytes(keepalive, "big"),
        text=found.get(_REASON_STRING, b"").decode(errors="replace"),
    )


def subscription_reasons(version: int, body: bytes) -> bytes:
    """Return a SUBACK's reason codes, in the order of the filters."""
    if version != 5:
        return body[2:]
    size, at = varint(body, 2)
    if at < 0 or at + size > len(body):
        raise Malformed("a SUBACK that ends early")
    return body[at + size :]


def disconnect_reason(body: bytes) -> int:
    """Return why the broker disconnects."""
    return body[0] if body else 0


def _properties(data: bytes) -> dict[int, bytes]:
    """Return MQTT 5 properties by identifier; of a repeated one the last."""
    size, at = varint(data, 0)
    end = at + size
    if at < 0 or end > len(data):
        raise Malformed("properties that end early")
    found: dict[int, bytes] = {}
    while at < end:
        identifier = data[at]
        start, stop = _extent(data, identifier, at + 1)
        if stop > end:
            raise Malformed("a property that ends early")
        found[identifier] = data[start:stop]
        at = stop
    return found


def _extent(data: bytes, identifier: int, at: int) -> tuple[int, int]:
    """Return where a property's content starts and stops."""
    if identifier in _FIXED_SIZES:
        return at, at + _FIXED_SIZES[identifier]
    if identifier in _TEXTS:
        return at + 2, at + 2 + int.from_bytes(data[at : at + 2], "big")
    if identifier == _PAIR:
        middle = at + 2 + int.from_bytes(data[at : at + 2], "big")
        return at, middle + 2 + int.from_bytes(data[middle : middle + 2], "big")
    raise Malformed(f"an unknown property 0x{identifier:02x}")
