"""Small real things for tests with brokers: a source's settings, a publisher, a collector of messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

import aiomqtt

from collectors import Message
from collectors.mqtt import MqttEvent, MqttSettings, MqttSource, Phase, Protocol

TOPIC = "metergate/reading/site/device/mass"
PATIENCE_S = 15.0


def clock() -> int:
    return time.monotonic_ns()


def settings(port: int, **changes: object) -> MqttSettings:
    chosen: dict[str, object] = {
        "host": "127.0.0.1", "port": port, "client_id": "gateway", "retry_min_s": 0.02, "retry_max_s": 0.1,
        **changes,
    }  # fmt: skip
    return MqttSettings(**chosen)  # type: ignore[arg-type]


def source(
    port: int,
    *filters: str,
    events: list[MqttEvent] | None = None,
    beside: Callable[[], float | None] = lambda: None,
    **changes: object,
) -> MqttSource:
    seen = [] if events is None else events
    return MqttSource(
        settings(port, **changes), filters or ("metergate/reading/#",), clock, on_event=seen.append, beside=beside
    )


async def publish(
    port: int, payloads: Iterable[str], topic: str = TOPIC, *, qos: int = 1, retain: bool = False
) -> None:
    """Publish and return once the broker has acknowledged all of it."""
    async with aiomqtt.Client("127.0.0.1", port, max_inflight_messages=1000) as client:
        client.pending_calls_threshold = 100_000
        await asyncio.gather(*(client.publish(topic, p, qos=qos, retain=retain) for p in payloads))


async def collect(
    source: MqttSource, count: int, *, acknowledge: bool = True, limit: int = 1000, patience_s: float = PATIENCE_S
) -> list[Message]:
    """Take until so many messages have come."""
    got: list[Message] = []
    async with asyncio.timeout(patience_s):
        while len(got) < count:
            batch = await source.take(limit, patience_s)
            assert batch is not None
            got += batch
            if acknowledge:
                await source.acknowledge(batch)
    return got


async def nothing_more(source: MqttSource) -> None:
    """Assert that nothing comes for a while."""
    assert await source.take(10, 0.2) == []


async def until(source: MqttSource, phase: Phase, patience_s: float = PATIENCE_S) -> None:
    """Return once the source's connection is in this phase."""
    async with asyncio.timeout(patience_s):
        while source.state.phase is not phase:
            await source.change()


def texts(messages: Iterable[Message]) -> list[str]:
    return [m.payload.decode() for m in messages]


__all__ = [
    "PATIENCE_S", "TOPIC", "Phase", "Protocol", "clock", "collect", "nothing_more", "publish", "settings", "source",
    "texts", "until",
]  # fmt: skip
