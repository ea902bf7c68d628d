"""Every source keeps the contract of sources: order, limits, nothing yet, the end, and again until acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import pytest

from collectors import Message, Source
from collectors import mqtt as over_mqtt
from collectors.memory import MemorySource
from tests.conftest import Mosquitto
from tests.mqtt_bench import TOPIC, publish, source

LONG_S, SHORT_S = 5.0, 0.05


class Again(Source, Protocol):
    """A source that can deliver again what was taken and not acknowledged."""

    async def reconnect(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Bed:
    """A source that is ready, and a way to have it receive messages."""

    source: Again
    send: Callable[[Sequence[str]], Awaitable[None]]


Opened = Callable[[], AbstractAsyncContextManager[Bed]]


@asynccontextmanager
async def in_memory() -> AsyncIterator[Bed]:
    memory = MemorySource()

    async def send(texts: Sequence[str]) -> None:
        for text in texts:
            await memory.put(Message(topic=TOPIC, payload=text.encode(), received_at=1))

    async with memory:
        yield Bed(source=memory, send=send)


@asynccontextmanager
async def by_mqtt(port: int, protocol: str) -> AsyncIterator[Bed]:
    async with source(port, protocol=over_mqtt.Protocol(protocol)) as mqtt:
        await mqtt.wait_ready()
        yield Bed(source=mqtt, send=lambda texts: publish(port, texts))


@pytest.fixture(params=["memory", "mqtt-5", "mqtt-4"])
def opened(request: pytest.FixtureRequest) -> Opened:
    if request.param == "memory":
        return in_memory
    broker: Mosquitto = request.getfixturevalue("mosquitto")
    return lambda: by_mqtt(broker.port, request.param[-1])


def run(opened: Opened, test: Callable[[Bed], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with opened() as bed:
            await test(bed)

    asyncio.run(inside())


async def taken(bed: Bed, count: int, limit: int = 100) -> list[Message]:
    """Take until so many messages are there."""
    found: list[Message] = []
    while len(found) < count:
        batch = await bed.source.take(limit, LONG_S)
        assert batch, f"only {len(found)} of {count} messages came"
        assert len(batch) <= limit
        found += batch
    return found


def texts(messages: Sequence[Message]) -> list[str]:
    return [m.payload.decode() for m in messages]


SENT = [str(n) for n in range(20)]
"""As many as a broker sends of MQTT 3.1.1 before one is acknowledged."""


def test_messages_come_in_the_order_they_were_sent_with_topic_and_time(opened: Opened) -> None:
    async def test(bed: Bed) -> None:
        assert isinstance(bed.source, Source)
        await bed.send(SENT)
        messages = await taken(bed, len(SENT))
        assert texts(messages) == SENT
        assert {m.topic for m in messages} == {TOPIC}
        assert min(m.received_at for m in messages) > 0

    run(opened, test)


def test_no_more_come_than_are_asked_for(opened: Opened) -> None:
    async def test(bed: Bed) -> None:
        await bed.send(SENT)
        assert texts(await taken(bed, len(SENT), limit=7)) == SENT

    run(opened, test)


def test_an_empty_batch_means_nothing_yet(opened: Opened) -> None:
    async def test(bed: Bed) -> None:
        batch = await bed.source.take(10, SHORT_S)
        assert batch is not None
        assert not batch
        await bed.send(["1"])
        assert texts(await taken(bed, 1)) == ["1"]

    run(opened, test)


def test_only_what_is_not_acknowledged_comes_again_and_in_order(opened: Opened) -> None:
    async def test(bed: Bed) -> None:
        await bed.send(SENT)
        messages = await taken(bed, len(SENT))
        await bed.source.acknowledge(messages[:8])
        await bed.source.reconnect()
        assert texts(await taken(bed, len(SENT) - 8)) == SENT[8:]

    run(opened, test)


def test_what_is_acknowledged_comes_no_more(opened: Opened) -> None:
    async def test(bed: Bed) -> None:
        await bed.send(SENT)
        await bed.source.acknowledge(await taken(bed, len(SENT)))
        await bed.source.reconnect()
        await bed.send(["new"])
        assert texts(await taken(bed, 1)) == ["new"]

    run(opened, test)


def test_a_source_that_was_left_ends(opened: Opened) -> None:
    async def inside() -> None:
        async with opened() as bed:
            pass
        assert await bed.source.take(1, LONG_S) is None

    asyncio.run(inside())
