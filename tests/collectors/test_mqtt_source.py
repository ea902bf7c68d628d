"""The MQTT source against small servers that misbehave in one way each."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.mqtt import (
    BrokerAddress,
    EventKind,
    Fault,
    MqttEvent,
    MqttSource,
    Phase,
    Protocol,
    SubscriptionRefused,
    parse_broker_url,
)
from collectors.mqtt_settings import tls_context
from gateway.errors import WrongUse
from tests.conftest import free_port
from tests.mqtt_bench import collect, settings, source, until

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

WELCOME = {"5": b"\x20\x03\x00\x00\x00", "4": b"\x20\x02\x00\x00"}


@contextlib.asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[int]:
    """Serve every connection with `answer` until its end; yield the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await answer(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def packet(reader: asyncio.StreamReader) -> bytes:
    """Return the next whole packet of a client, shorter than 16 384 bytes."""
    head = await reader.readexactly(2)
    if head[1] & 0x80:
        head += await reader.readexactly(1)
        size = (head[1] & 0x7F) + 128 * head[2]
    else:
        size = head[1]
    return head + await reader.readexactly(size)


async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: str, granted: int = 1) -> None:
    """Accept a connection and answer its subscription."""
    connect = await packet(reader)
    assert connect[0] == 0x10
    assert connect[8] == int(protocol)
    writer.write(WELCOME[protocol])
    subscribe = await packet(reader)
    while subscribe[0] != 0x82:
        subscribe = await packet(reader)
    codes = bytes([granted])
    body = subscribe[2:4] + (b"\x00" if protocol == "5" else b"") + codes
    writer.write(bytes([0x90, len(body)]) + body)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(("protocol", "code"), [("5", 0x87), ("5", 0x97), ("4", 0x80)])
def test_a_denied_subscription_is_an_error_that_names_the_filter(protocol: str, code: int) -> None:
    async def deny(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer, protocol, code)
        await reader.read()

    async def run() -> None:
        async with server(deny) as port, source(port, protocol=Protocol(protocol)) as mqtt:
            with pytest.raises(SubscriptionRefused, match="metergate/reading/#"):
                await mqtt.wait_ready()
            with pytest.raises(SubscriptionRefused):
                await mqtt.take(1, 1.0)
            assert mqtt.state.phase is Phase.REFUSED

    asyncio.run(run())


def test_a_server_that_never_answers_costs_no_file_and_is_told() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def run() -> None:
        async with (
            server(mute) as port,
            source(port, connect_timeout_s=0.02, retry_min_s=0.001, retry_max_s=0.002) as mqtt,
        ):
            while mqtt.state.attempts < 5:
                await mqtt.change()
            before = open_files()
            while mqtt.state.attempts < 100:
                await mqtt.change()
            assert open_files() <= before + 4
            assert mqtt.state.trouble is not None
            assert mqtt.state.trouble.fault is Fault.NO_ANSWER
            assert await mqtt.take(1, 0.001) == []

    asyncio.run(run())


@pytest.mark.parametrize("answer", [b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00"])
def test_a_broker_that_refuses_mqtt_5_is_spoken_to_in_3_1_1(answer: bytes) -> None:
    asked: list[int] = []

    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connect = await packet(reader)
        asked.append(connect[8])
        if connect[8] == 5:
            writer.write(answer)
            return
        writer.write(WELCOME["4"])
        subscribe = await packet(reader)
        writer.write(bytes([0x90, 3, *subscribe[2:4], 1]))
        await reader.read()

    async def run() -> None:
        async with server(old) as port, source(port) as mqtt:
            await asyncio.wait_for(mqtt.wait_ready(), 5)
            assert mqtt.state.protocol == 4
            assert asked == [5, 4]

    asyncio.run(run())


def test_a_broker_that_only_hangs_up_on_mqtt_5_is_spoken_to_in_3_1_1() -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connect = await packet(reader)
        if connect[8] == 5:
            return
        writer.write(WELCOME["4"])
        subscribe = await packet(reader)
        writer.write(bytes([0x90, 3, *subscribe[2:4], 1]))
        await reader.read()

    async def run() -> None:
        async with server(old) as port, source(port) as mqtt:
            await asyncio.wait_for(mqtt.wait_ready(), 5)
            assert mqtt.state.protocol == 4

    asyncio.run(run())


def test_a_broker_that_is_silent_to_mqtt_5_is_spoken_to_in_3_1_1() -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connect = await packet(reader)
        if connect[8] == 5:
            await reader.read()
            return
        writer.write(WELCOME["4"])
        subscribe = await packet(reader)
        writer.write(bytes([0x90, 3, *subscribe[2:4], 1]))
        await reader.read()

    async def run() -> None:
        async with server(old) as port, source(port, connect_timeout_s=0.5) as mqtt:
            await asyncio.wait_for(mqtt.wait_ready(), 5)
            assert mqtt.state.protocol == 4

    asyncio.run(run())


def test_a_protocol_that_is_asked_for_is_kept() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await packet(reader))[8] == 5
        writer.write(b"\x20\x02\x00\x01")

    async def run() -> None:
        async with server(refuse) as port, source(port, protocol=Protocol.V5) as mqtt:
            while mqtt.state.attempts < 3:
                await mqtt.change()
            assert mqtt.state.trouble is not None
            assert mqtt.state.trouble.fault is Fault.PROTOCOL

    asyncio.run(run())


@pytest.mark.parametrize("protocol", ["5", "4"])
def test_a_topic_that_is_no_utf8_is_a_message_like_any_other(protocol: str) -> None:
    topic = b"metergate/reading/\xff\xfe/x"

    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer, protocol)
        body = len(topic).to_bytes(2, "big") + topic + b"\x00\x07" + (b"\x00" if protocol == "5" else b"") + b"21.5"
        writer.write(bytes([0x32, len(body)]) + body)
        acknowledgement = await packet(reader)
        assert acknowledgement[:4] == b"\x40\x02\x00\x07"
        writer.write(bytes([0x30, 5]) + b"\x00\x01t" + (b"\x00!" if protocol == "5" else b"!?"))
        await reader.read()

    async def run() -> None:
        async with server(broken) as port, source(port, protocol=Protocol(protocol)) as mqtt:
            (strange,) = await collect(mqtt, 1)
            assert strange.topic == "metergate/reading/\ufffd\ufffd/x"
            assert strange.payload == b"21.5"
            (plain,) = await collect(mqtt, 1)
            assert plain.topic == "t"

    asyncio.run(run())


def test_acknowledging_after_the_connection_died_reaches_no_message_of_the_next() -> None:
    """Packet ids start anew with each connection: 7 of the first is another message than 7 of the second."""
    got: list[bytes] = []
    second = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome(reader, writer, "4")
        writer.write(b"\x32\x06\x00\x01t\x00\x07!")
        if not second.is_set():
            second.set()
            await writer.drain()
            return
        got.append(await packet(reader))

    async def run() -> None:
        events: list[MqttEvent] = []
        async with server(answer) as port, source(port, events=events, protocol=Protocol.V4) as mqtt:
            first = await collect(mqtt, 1, acknowledge=False)
            again = await collect(mqtt, 1, acknowledge=False)
            await mqtt.acknowledge(first)
            assert EventKind.SESSION_LOST in {e.kind for e in events}
            await mqtt.acknowledge(again)
            await until(mqtt, Phase.RECONNECTING)
        assert got[0] == b"\x40\x02\x00\x07"
        assert len(got) >= 1

    asyncio.run(run())


def test_nobody_at_the_address_is_told_with_a_remedy() -> None:
    async def run() -> None:
        port = free_port()
        async with source(port) as mqtt:
            while mqtt.state.attempts < 1:
                await mqtt.change()
            assert str(mqtt.state.trouble) == (
                f"no broker at 127.0.0.1:{port} (connection refused); start it, or correct broker.url"
            )

    asyncio.run(run())


def test_a_plain_broker_on_a_tls_url_is_told() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x20\x02\x00\x00")

    async def run() -> None:
        async with server(plain) as port, source(port, tls=True) as mqtt:
            while mqtt.state.attempts < 1:
                await mqtt.change()
            assert mqtt.state.trouble is not None
            assert mqtt.state.trouble.fault is Fault.TLS
            assert "TLS" in str(mqtt.state.trouble)

    asyncio.run(run())


def test_a_missing_ca_file_is_wrong_use(tmp_path: Path) -> None:
    async def run() -> None:
        made = MqttSource(settings(1, tls=True, ca_file=tmp_path / "ca.pem"), ["t"], lambda: 0)
        with pytest.raises(WrongUse, match=r"ca\.pem"):
            await made.__aenter__()

    asyncio.run(run())


def test_leaving_while_connecting_ends_at_once() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def run() -> None:
        async with server(mute) as port:
            loop = asyncio.get_running_loop()
            before = loop.time()
            async with source(port, connect_timeout_s=60.0) as mqtt:
                taking = asyncio.ensure_future(mqtt.take(1, 60.0))
                assert await mqtt.take(1, 0.001) == []
            assert await taking is None
            assert loop.time() - before < 1.0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://localhost", BrokerAddress(host="localhost", port=1883, tls=False)),
        ("mqtt://localhost:1884/", BrokerAddress(host="localhost", port=1884, tls=False)),
        ("mqtts://broker.example", BrokerAddress(host="broker.example", port=8883, tls=True)),
        ("mqtt://[::1]:1883", BrokerAddress(host="::1", port=1883, tls=False)),
    ],
)
def test_broker_urls(url: str, address: BrokerAddress) -> None:
    assert parse_broker_url(url) == address


@given(
    st.text() | st.sampled_from(["mqtt://", "http://x", "mqtt://x:0", "mqtt://x:99999", "mqtt://u:p@x", "mqtt://x/t"])
)
def test_other_urls_are_refused_with_a_remedy(url: str) -> None:
    if url.startswith(("mqtt://", "mqtts://")) and url[7:8].isalnum():
        return
    with pytest.raises(WrongUse):
        parse_broker_url(url)


def test_a_password_is_never_shown() -> None:
    assert "secret" not in repr(settings(1, password="secret"))  # noqa: S106


def test_the_tls_context_is_strict() -> None:
    context = tls_context(settings(1, tls=True))
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
