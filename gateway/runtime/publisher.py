"""Publishes to MQTT beside ingest, over any outage: every alarm event in order, of each device state the newest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import TracebackType
from typing import Any, Self

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

__all__ = ["Publisher", "PublisherSettings"]

log = logging.getLogger("metergate.publisher")

SEND_S = 10.0
LONGEST_WAIT_S = 30.0
PACED = "metergate/state/"
"""Device states change with every batch: at most once in `ROUND_S` some go out, at most `ROUND` topics of them."""
ROUND_S = 0.1
ROUND = 50
LONGEST_QUEUE = 10_000
_UNSUPPORTED_VERSION = 0x84


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherSettings:
    """The broker and who publishes."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Callable[[], ssl.SSLContext | None] = lambda: None
    version5: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outgoing:
    payload: bytes
    retain: bool
    properties: Mapping[str, str]


class Publisher:
    """One connection for what goes out. `publish` never waits.

    States are kept as the newest of each topic. Everything else goes first, in order; beyond 10 000 waiting, of each
    topic only the newest stays.
    """

    def __init__(self, settings: PublisherSettings) -> None:
        self._settings = settings
        self._queue: deque[tuple[str, _Outgoing]] = deque()
        self._states: dict[str, _Outgoing] = {}
        self._next_round = 0.0
        self._version5 = settings.version5
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._connected = asyncio.Event()
        self._connected_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: aiomqtt.Client | None = None
        self.trouble = ""

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="publisher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), 1.0 if self._connected.is_set() else 0.01)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def connected_since(self) -> float | None:
        """Since when (s, of the loop's clock) the connection has stood; None: there is none."""
        return self._connected_at if self._connected.is_set() else None

    def publish(
        self, topic: str, payload: bytes, retain: bool = True, properties: Mapping[str, str] | None = None
    ) -> None:
        """Take a payload to be sent; may be called from any thread."""
        if self._loop is not None:
            outgoing = _Outgoing(payload=payload, retain=retain, properties=properties or {})
            self._loop.call_soon_threadsafe(self._put, topic, outgoing)

    async def send(self, topic: str, payload: bytes) -> None:
        """Publish one message and wait until the broker has it."""
        await self._connected.wait()
        if self._client is None:
            raise ConnectionError("the broker is gone")
        await self._client.publish(topic, payload, qos=1, timeout=SEND_S)

    def _put(self, topic: str, outgoing: _Outgoing) -> None:
        if topic.startswith(PACED):
            self._states[topic] = outgoing
        else:
            self._queue.append((topic, outgoing))
            if len(self._queue) > LONGEST_QUEUE:
                self._queue = deque({t: (t, o) for t, o in self._queue}.values())
        self._idle.clear()
        self._wake.set()

    async def _run(self) -> None:
        wait = 0.2
        while True:
            try:
                async with self._make() as client:
                    self._client = client
                    self._connected_at = asyncio.get_running_loop().time()
                    self._connected.set()
                    self.trouble, wait = "", 0.2
                    await _first_of(self._drain(client), _until_lost(client))
            except (aiomqtt.MqttError, OSError, TimeoutError) as error:
                self._version5 = self._version5 and not _refuses_version(error)
                if not self.trouble:
                    log.warning("cannot publish to %s:%d: %s", self._settings.host, self._settings.port, error)
                self.trouble = str(error)
            finally:
                self._connected.clear()
                self._client = None
            await asyncio.sleep(random.uniform(wait / 2, wait))  # noqa: S311  jitter
            wait = min(wait * 2, LONGEST_WAIT_S)

    def _make(self) -> aiomqtt.Client:
        s = self._settings
        return aiomqtt.Client(
            s.host,
            s.port,
            identifier=s.client_id,
            username=s.username,
            password=s.password,
            protocol=aiomqtt.ProtocolVersion.V5 if self._version5 else aiomqtt.ProtocolVersion.V311,
            tls_context=s.tls(),
            keepalive=15,
            timeout=SEND_S,
        )

    async def _drain(self, client: aiomqtt.Client) -> None:
        """Send what is pending, and what comes, until the connection breaks."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            await self._drain_queue(client)
            if self._states and loop.time() >= self._next_round:
                self._next_round = loop.time() + ROUND_S
                await self._send_states(client)
            if not self._states and not self._queue:
                self._idle.set()
            pause = self._next_round - loop.time() if self._states else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake_for_more()

    async def _wake_for_more(self) -> None:
        """Wait for something that need not wait for the next round."""
        while not self._queue:
            self._wake.clear()
            await self._wake.wait()
            if asyncio.get_running_loop().time() >= self._next_round:
                return

    async def _drain_queue(self, client: aiomqtt.Client) -> None:
        while self._queue:
            first = self._queue[0]
            await self._send_one(client, *first)
            if self._queue and self._queue[0] is first:
                self._queue.popleft()

    async def _send_states(self, client: aiomqtt.Client) -> None:
        for topic in list(islice(self._states, ROUND)):
            outgoing = self._states[topic]
            await self._send_one(client, topic, outgoing)
            if self._states.get(topic) is outgoing:
                del self._states[topic]
            await self._drain_queue(client)

    async def _send_one(self, client: aiomqtt.Client, topic: str, outgoing: _Outgoing) -> None:
        properties = self._properties(outgoing)
        await client.publish(topic, outgoing.payload, qos=1, retain=outgoing.retain, properties=properties)

    def _properties(self, outgoing: _Outgoing) -> Properties | None:
        if not outgoing.properties or not self._version5:
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.UserProperty = list(outgoing.properties.items())
        return properties


async def _until_lost(client: aiomqtt.Client) -> None:
    """Raise MqttError once the connection is lost, whether there is something to publish or not."""
    async for _ in client.messages:
        pass


async def _first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Work until the first is done or raises, and end the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _refuses_version(error: Exception) -> bool:
    """Whether a broker has declined MQTT 5 itself."""
    rc = error.rc if isinstance(error, aiomqtt.MqttCodeError) else None
    return isinstance(rc, ReasonCode) and rc.value == _UNSUPPORTED_VERSION
