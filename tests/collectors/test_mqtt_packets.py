"""The MQTT bytes: known packets, any cutting of the stream, any garbage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors import Message
from collectors import mqtt_packets as packets
from collectors.mqtt_link import Link
from collectors.mqtt_troubles import Fault, Trouble
from tests.mqtt_bench import settings as broker

LOGIN = packets.Login(client_id="gate", keepalive_s=4, receive_maximum=2000)


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_read = True
        self.is_gone = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.is_gone

    def close(self) -> None:
        self.is_gone = True

    def abort(self) -> None:
        self.is_gone = True

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


class Owner:
    """Keeps what a link tells."""

    def __init__(self) -> None:
        self.room = 1_000_000
        self.messages: list[Message] = []
        self.trouble: Trouble | None = None
        self.is_ready = False

    def accepted(self, link: Link, session_present: bool) -> None: ...

    def ready(self, link: Link) -> None:
        self.is_ready = True

    def deliver(self, messages: list[Message]) -> None:
        self.messages += messages

    def ended(self, link: Link, trouble: Trouble) -> None:
        assert self.trouble is None
        self.trouble = trouble


def fed(pieces: Sequence[bytes], version: int = 4) -> tuple[Owner, Wire]:
    """Give a link these pieces, one after the other, and return what it told and wrote."""

    async def run() -> tuple[Owner, Wire]:
        owner, wire = Owner(), Wire()
        link = Link(broker(1, connect_timeout_s=60.0), version, ["t/#"], [], None, lambda: 7, owner)
        link.connection_made(wire)
        for piece in filter(None, pieces):
            link.data_received(piece)
        link.connection_lost(None)
        return owner, wire

    return asyncio.run(run())


def opening(version: int) -> bytes:
    if version == 5:
        return b"\x20\x03\x01\x00\x00" + b"\x90\x04\x00\x01\x00\x01"
    return b"\x20\x02\x01\x00" + b"\x90\x03\x00\x01\x01"


@st.composite
def published(draw: st.DrawFn) -> tuple[str, bytes, int | None, bool]:
    return (
        draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)),
        draw(st.binary(max_size=300)),
        draw(st.none() | st.integers(1, 65535)),
        draw(st.booleans()),
    )


@settings(deadline=None)
@given(st.lists(published(), max_size=8), st.sampled_from([4, 5]), st.lists(st.integers(1, 700), max_size=60))
def test_cutting_the_stream_changes_nothing(
    sent: list[tuple[str, bytes, int | None, bool]], version: int, cuts: list[int]
) -> None:
    stream = opening(version) + b"".join(
        packets.publish(version, topic, payload, packet_id=number, retain=retain)
        for topic, payload, number, retain in sent
    )
    pieces, rest = [], stream
    for size in cuts:
        pieces.append(rest[:size])
        rest = rest[size:]
    owner, _ = fed([p for p in [*pieces, rest] if p], version)
    assert owner.is_ready
    got = [(m.topic, m.payload, m.token, m.retained) for m in owner.messages]
    assert [(t, p, None if k is None else k[1], r) for t, p, k, r in got] == sent  # type: ignore[index]
    assert {m.received_at for m in owner.messages} <= {7}


@settings(deadline=None, max_examples=300)
@given(st.lists(st.binary(max_size=60), max_size=10), st.sampled_from([4, 5]), st.booleans())
def test_garbage_ends_the_link_with_words_or_is_waited_out(pieces: list[bytes], version: int, accepted: bool) -> None:
    owner, wire = fed([opening(version) if accepted else b"", *pieces], version)
    assert owner.trouble is not None
    assert owner.trouble.cause
    assert wire.is_gone


@pytest.mark.parametrize(
    ("version", "stream", "fault"),
    [
        (4, b"\x20\x02\x00\x05", Fault.LOGIN),
        (4, b"\x20\x02\x00\x04", Fault.LOGIN),
        (4, b"\x20\x02\x00\x02", Fault.REFUSED),
        (5, b"\x20\x03\x00\x87\x00", Fault.LOGIN),
        (5, b"\x20\x03\x00\x84\x00", Fault.PROTOCOL),
        (5, b"\x20\x02\x00\x01", Fault.PROTOCOL),
        (5, opening(5) + b"\xe0\x01\x8e", Fault.TAKEN_OVER),
        (5, opening(5) + b"\xe0\x00", Fault.LOST),
        (4, b"HTTP/1.1 400 Bad Request\r\n\r\n", Fault.CLOSED_EARLY),
        (4, opening(4) + b"\x30\xff\xff\xff\xff\x01", Fault.CLOSED_EARLY),
        (4, opening(4) + b"\x34\x06\x00\x01t\x00\x07!", Fault.CLOSED_EARLY),
        (4, opening(4) + b"\x32\x03\x00\x09t", Fault.CLOSED_EARLY),
    ],
)
def test_answers_in_words(version: int, stream: bytes, fault: Fault) -> None:
    owner, _ = fed([stream], version)
    assert owner.trouble is not None
    assert owner.trouble.fault is fault


def test_a_reason_string_is_passed_on() -> None:
    text = b"\x1f\x00\x05sorry"
    owner, _ = fed([b"\x20" + bytes([3 + len(text)]) + b"\x00\x88" + bytes([len(text)]) + text], 5)
    assert owner.trouble is not None
    assert "server unavailable: sorry" in owner.trouble.cause


def test_odd_properties_of_a_message_are_passed_over() -> None:
    properties = b"\x26\x00\x02\xff\xfe\x00\x01x" + b"\x7f\x00"
    body = b"\x00\x01t" + b"\x00\x07" + bytes([len(properties)]) + properties + b"21.5"
    owner, _ = fed([opening(5), b"\x32" + bytes([len(body)]) + body], 5)
    assert [m.payload for m in owner.messages] == [b"21.5"]


def test_the_connect_packets_are_as_the_specifications_lay_them_out() -> None:
    assert packets.connect(4, LOGIN) == b"\x10\x10\x00\x04MQTT\x04\x00\x00\x04\x00\x04gate"
    assert packets.connect(5, LOGIN) == (
        b"\x10\x19\x00\x04MQTT\x05\x00\x00\x04" + b"\x08\x11\xff\xff\xff\xff\x21\x07\xd0" + b"\x00\x04gate"
    )


def test_acknowledgements_keep_their_order() -> None:
    assert packets.pubacks([1, 65535, 2]) == b"\x40\x02\x00\x01\x40\x02\xff\xff\x40\x02\x00\x02"


@given(st.integers(0, 268_435_455))
def test_lengths_round_trip(size: int) -> None:
    digits, rest = bytearray(), size
    while True:
        rest, digit = divmod(rest, 128)
        digits.append(digit | (0x80 if rest else 0))
        if not rest:
            break
    assert packets.varint(bytes(digits), 0) == (size, len(digits))
    if len(digits) > 1:
        assert packets.varint(bytes(digits[:-1]), 0) == (0, -1)
