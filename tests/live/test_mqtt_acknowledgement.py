"""Nothing is acknowledged before it is acknowledged by hand, whatever dies in between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from collectors import Source
from collectors.mqtt import EventKind, MqttEvent, MqttSettings, MqttSource, Phase, Protocol
from tests.conftest import Mosquitto
from tests.mqtt_bench import TOPIC, collect, nothing_more, publish, settings, source, texts, until

BOTH = pytest.mark.parametrize("protocol", ["5", "4"])


def numbered(first: int, last: int) -> list[str]:
    return [str(n) for n in range(first, last)]


def connection(port: int, protocol: str, **changes: Any) -> MqttSource:
    return source(port, protocol=Protocol(protocol), **changes)


@BOTH
def test_messages_come_in_order_with_topic_payload_and_time(mosquitto: Mosquitto, protocol: str) -> None:
    async def run() -> None:
        async with connection(mosquitto.port, protocol) as mqtt:
            assert isinstance(mqtt, Source)
            await mqtt.wait_ready()
            assert mqtt.state.protocol == int(protocol)
            await publish(mosquitto.port, numbered(0, 500))
            messages = await collect(mqtt, 500)
            assert texts(messages) == numbered(0, 500)
            assert {m.topic for m in messages} == {TOPIC}
            times = [m.received_at for m in messages]
            assert times == sorted(times)
            assert times[0] > 0

    asyncio.run(run())


@BOTH
def test_only_what_was_not_acknowledged_comes_again_to_the_next_process(mosquitto: Mosquitto, protocol: str) -> None:
    async def run() -> None:
        async with connection(mosquitto.port, protocol) as mqtt:
            await mqtt.wait_ready()
            await publish(mosquitto.port, numbered(0, 20))
            messages = await collect(mqtt, 20, acknowledge=False)
            await mqtt.acknowledge(messages[:7])
        async with connection(mosquitto.port, protocol) as again:
            assert texts(await collect(again, 13)) == numbered(7, 20)
            await nothing_more(again)
        async with connection(mosquitto.port, protocol) as third:
            await third.wait_ready()
            await nothing_more(third)

    asyncio.run(run())


@BOTH
def test_messages_received_and_never_taken_come_again(mosquitto: Mosquitto, protocol: str) -> None:
    async def run() -> None:
        async with connection(mosquitto.port, protocol) as mqtt:
            await mqtt.wait_ready()
            await publish(mosquitto.port, numbered(0, 10))
            while mqtt.buffered < 10:
                await mqtt.change()
            assert len(await mqtt.take(1, 1.0) or ()) == 1
        async with connection(mosquitto.port, protocol) as again:
            assert texts(await collect(again, 10)) == numbered(0, 10)

    asyncio.run(run())


@BOTH
def test_reconnecting_on_purpose_brings_back_what_was_not_acknowledged(mosquitto: Mosquitto, protocol: str) -> None:
    async def run() -> None:
        events: list[MqttEvent] = []
        async with connection(mosquitto.port, protocol, events=events) as mqtt:
            await mqtt.wait_ready()
            await publish(mosquitto.port, numbered(0, 10))
            failed = await collect(mqtt, 10, acknowledge=False)
            await mqtt.reconnect()
            await mqtt.acknowledge(failed)
            assert texts(await collect(mqtt, 10, acknowledge=False)) == numbered(0, 10)
            await mqtt.reconnect()
            assert texts(await collect(mqtt, 10)) == numbered(0, 10)
            await nothing_more(mqtt)
        assert EventKind.SESSION_LOST not in {e.kind for e in events}

    asyncio.run(run())


def test_a_restarted_broker_sends_again_what_was_not_acknowledged(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        async with source(mosquitto.port) as mqtt:
            await mqtt.wait_ready()
            await publish(mosquitto.port, numbered(0, 20))
            messages = await collect(mqtt, 20, acknowledge=False)
            await mqtt.acknowledge(messages[:5])
            await nothing_more(mqtt)
            mosquitto.stop()
            await until(mqtt, Phase.RECONNECTING)
            assert mqtt.state.trouble is not None
            await mqtt.acknowledge(messages[5:10])
            mosquitto.start()
            assert texts(await collect(mqtt, 15)) == numbered(5, 20)

    asyncio.run(run())


def test_after_every_kill_of_the_broker_readings_flow_again(mosquitto: Mosquitto) -> None:
    """What kill -9 takes with it is the broker's; we connect and subscribe again."""

    async def run() -> None:
        async with source(mosquitto.port) as mqtt:
            await mqtt.wait_ready()
            for cycle in range(5):
                mosquitto.kill()
                await until(mqtt, Phase.RECONNECTING)
                mosquitto.start()
                await until(mqtt, Phase.CONNECTED)
                await publish(mosquitto.port, [f"cycle {cycle}"])
                assert texts(await collect(mqtt, 1)) == [f"cycle {cycle}"]

    asyncio.run(run())


def test_a_session_the_broker_forgot_is_told(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        events: list[MqttEvent] = []
        async with source(mosquitto.port, events=events) as mqtt:
            await mqtt.wait_ready()
            mosquitto.stop()
            await until(mqtt, Phase.RECONNECTING)
            mosquitto.forget()
            mosquitto.start()
            await until(mqtt, Phase.CONNECTED)
            await publish(mosquitto.port, ["after"])
            assert texts(await collect(mqtt, 1)) == ["after"]
        assert [e.kind for e in events] == [
            EventKind.SESSION_NEW, EventKind.CONNECTED, EventKind.DISCONNECTED, EventKind.SESSION_LOST,
            EventKind.CONNECTED,
        ]  # fmt: skip

    asyncio.run(run())


def test_a_wrong_password_is_told_in_words_and_tried_again(mosquitto: Mosquitto) -> None:
    async def run(protocol: str) -> None:
        async with connection(mosquitto.port, protocol, username="gate", password="wrong", retry_max_s=0.05) as mqtt:  # noqa: S106
            while mqtt.state.attempts < 2:
                await mqtt.change()
            said = str(mqtt.state.trouble)
            assert "not authorized" in said
            assert "user gate" in said
            assert "broker.password_file" in said
            assert "wrong" not in said
        async with connection(mosquitto.port, protocol, username="gate", password="right") as mqtt:  # noqa: S106
            await asyncio.wait_for(mqtt.wait_ready(), 5)

    mosquitto.stop()
    mosquitto.configure(mosquitto.password("gate", "right"), anonymous=False)
    mosquitto.start()
    for protocol in ("5", "4"):
        asyncio.run(run(protocol))


def test_topics_no_longer_wanted_are_unsubscribed(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        async with source(mosquitto.port, "old/#", "kept/#") as before:
            await before.wait_ready()
        made = MqttSource(settings(mosquitto.port), ["new/#", "kept/#"], lambda: 1, previous=["old/#", "kept/#"])
        async with made as after:
            await after.wait_ready()
            for topic in ("old/a", "kept/a", "new/a"):
                await publish(mosquitto.port, [topic], topic)
            assert texts(await collect(after, 2)) == ["kept/a", "new/a"]

    asyncio.run(run())


def test_retained_messages_are_marked_and_sent_once(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        await publish(mosquitto.port, ["kept"], retain=True)
        async with source(mosquitto.port) as mqtt:
            (kept,) = await collect(mqtt, 1)
            assert kept.retained
            await mqtt.reconnect()
            await mqtt.wait_ready()
            await publish(mosquitto.port, ["fresh"])
            (fresh,) = await collect(mqtt, 1)
            assert texts([fresh]) == ["fresh"]
            assert not fresh.retained

    asyncio.run(run())


def test_status_is_online_once_ingesting_and_offline_after(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        made = MqttSettings(
            host="127.0.0.1", port=mosquitto.port, client_id="gateway", status_topic="metergate/status/site"
        )
        async with source(mosquitto.port, "metergate/status/#", client_id="watcher") as watcher:
            await watcher.wait_ready()
            async with MqttSource(made, ["metergate/reading/#"], lambda: 1) as mqtt:
                await mqtt.wait_ready()
                assert texts(await collect(watcher, 1)) == ["online"]
            assert texts(await collect(watcher, 1)) == ["offline"]
        async with source(mosquitto.port, "metergate/status/#", client_id="later") as later:
            (status,) = await collect(later, 1)
            assert status.retained
            assert status.payload == b"offline"

    asyncio.run(run())


def test_overload_is_held_back_the_link_lives_and_nothing_is_lost(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        events: list[MqttEvent] = []
        keepalive_s, bound = 4, 200
        made = source(
            mosquitto.port, events=events, buffer_messages=bound, receive_maximum=1000, keepalive_s=keepalive_s
        )
        async with made as mqtt:
            await mqtt.wait_ready()
            await publish(mosquitto.port, numbered(0, 5000))
            while not mqtt.is_paused:
                await mqtt.change()
            assert mqtt.buffered == bound
            with pytest.raises(TimeoutError):
                await until(mqtt, Phase.RECONNECTING, patience_s=3 * keepalive_s)
            assert mqtt.is_paused
            assert texts(await collect(mqtt, 5000, limit=100)) == numbered(0, 5000)
        assert [e.kind for e in events] == [EventKind.SESSION_NEW, EventKind.CONNECTED]

    asyncio.run(run())


def test_a_slow_consumer_that_only_acknowledges_keeps_its_link(mosquitto: Mosquitto) -> None:
    """Acknowledgements are no question: only a ping may be held against a silent broker."""

    async def run() -> None:
        events: list[MqttEvent] = []
        async with source(mosquitto.port, events=events, keepalive_s=2) as mqtt:
            await mqtt.wait_ready()
            await publish(mosquitto.port, numbered(0, 20))
            for message in await collect(mqtt, 20, acknowledge=False):
                await mqtt.acknowledge([message])
                assert await mqtt.take(1, 0.25) == []
        assert [e.kind for e in events] == [EventKind.SESSION_NEW, EventKind.CONNECTED]

    asyncio.run(run())
