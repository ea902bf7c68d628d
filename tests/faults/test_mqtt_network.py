"""Broken networks between broker and source (F1, F4, F5, F19): everything published arrives, the link comes back."""

from __future__ import annotations

import asyncio

from collectors.mqtt import EventKind, Fault, MqttEvent, Phase
from tests.conftest import Mosquitto
from tests.faults.proxy import Proxy
from tests.mqtt_bench import collect, publish, source, texts, until


def numbered(first: int, last: int) -> list[str]:
    return [str(n) for n in range(first, last)]


def test_cutting_the_link_again_and_again_loses_nothing(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        async with Proxy(mosquitto.port) as proxy, source(proxy.port) as mqtt:
            await mqtt.wait_ready()
            seen: list[str] = []
            for cycle in range(10):
                await publish(mosquitto.port, numbered(cycle * 100, cycle * 100 + 100))
                batch = await collect(mqtt, 10, limit=50, acknowledge=False)
                await mqtt.acknowledge(batch[: len(batch) // 2])
                seen += texts(batch[: len(batch) // 2])
                proxy.cut()
                await until(mqtt, Phase.RECONNECTING)
                await until(mqtt, Phase.CONNECTED)
            while len(set(seen)) < 1000:
                seen += texts(await collect(mqtt, 1))
            assert set(seen) == set(numbered(0, 1000))
            assert proxy.connections >= 10

    asyncio.run(run())


def test_a_half_open_link_is_noticed_within_twice_the_keepalive(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        events: list[MqttEvent] = []
        keepalive_s = 2
        async with (
            Proxy(mosquitto.port) as proxy,
            source(proxy.port, events=events, keepalive_s=keepalive_s) as mqtt,
        ):
            await mqtt.wait_ready()
            loop = asyncio.get_running_loop()
            proxy.blackhole()
            broken = loop.time()
            await publish(mosquitto.port, numbered(0, 20))
            await until(mqtt, Phase.RECONNECTING)
            assert loop.time() - broken <= 2 * keepalive_s
            assert mqtt.state.trouble is not None
            assert mqtt.state.trouble.fault is Fault.LOST
            assert "silent" in mqtt.state.trouble.cause
            proxy.restore()
            assert texts(await collect(mqtt, 20)) == numbered(0, 20)
        assert EventKind.SESSION_LOST not in {e.kind for e in events}

    asyncio.run(run())


def test_an_idle_link_is_kept_alive(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        async with Proxy(mosquitto.port) as proxy, source(proxy.port, keepalive_s=1) as mqtt:
            await mqtt.wait_ready()
            assert await mqtt.take(1, 4.0) == []
            assert mqtt.state.phase is Phase.CONNECTED
            assert proxy.connections == 1

    asyncio.run(run())


def test_one_byte_at_a_time_is_read_like_any_other_stream(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        async with Proxy(mosquitto.port) as proxy:
            proxy.piece = 1
            async with source(proxy.port) as mqtt:
                await mqtt.wait_ready()
                await publish(mosquitto.port, numbered(0, 50))
                assert texts(await collect(mqtt, 50)) == numbered(0, 50)

    asyncio.run(run())


def test_a_slow_link_stalls_nothing_else(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        async with Proxy(mosquitto.port) as proxy, source(proxy.port) as mqtt:
            await mqtt.wait_ready()
            proxy.piece, proxy.bytes_per_s = 100, 20_000
            await publish(mosquitto.port, ["x" * 100] * 100)
            loop = asyncio.get_running_loop()
            longest, receiving = 0.0, asyncio.ensure_future(collect(mqtt, 100))
            while not receiving.done():
                before = loop.time()
                await asyncio.sleep(0)
                longest = max(longest, loop.time() - before)
            assert len(receiving.result()) == 100
            assert longest < 0.25

    asyncio.run(run())


def test_a_delayed_answer_to_the_connection_is_waited_for(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        async with Proxy(mosquitto.port) as proxy:
            proxy.delay_s = 0.3
            async with source(proxy.port) as mqtt:
                await asyncio.wait_for(mqtt.wait_ready(), 5)
                assert proxy.connections == 1

    asyncio.run(run())


def test_a_large_message_comes_whole(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        async with source(mosquitto.port, buffer_bytes=100_000) as mqtt:
            await mqtt.wait_ready()
            await publish(mosquitto.port, ["y" * 1_000_000, "small", "z" * 300_000])
            assert [len(t) for t in texts(await collect(mqtt, 3, limit=1))] == [1_000_000, 5, 300_000]

    asyncio.run(run())
