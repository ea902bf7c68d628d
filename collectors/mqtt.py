"""The MQTT source: readings from a broker, acknowledged only when the caller says they are durable.

It keeps trying: a lost connection is made anew with a growing, random pause, and what was not acknowledged comes
again. It runs on callbacks of the loop; only the making of a connection is a task, owned by that connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import TracebackType
from typing import Self

from collectors import Message
from collectors import mqtt_troubles as troubles
from collectors.mqtt_link import Link
from collectors.mqtt_settings import (
    BrokerAddress,
    MqttSettings,
    Protocol,
    SubscriptionRefused,
    parse_broker_url,
    tls_context,
)
from collectors.mqtt_troubles import Fault, Trouble

__all__ = [
    "BrokerAddress", "EventKind", "Fault", "MqttEvent", "MqttSettings", "MqttSource", "MqttState", "Phase", "Protocol",
    "SubscriptionRefused", "Trouble", "parse_broker_url",
]  # fmt: skip

log = logging.getLogger("metergate.mqtt")

_AT_ONCE_S = 0.0
_CLOSED_EARLY_BEFORE_DOWNGRADE = 2
_FLAPS = 3
"""Taken so often by another client of our name, the place at the broker is left to that one."""


class Phase(Enum):
    """Where the connection stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    REFUSED = "refused"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttState:
    """What can be said about the connection now. `attempts`: since the last success; `protocol`: 5 or 4 (3.1.1)."""

    phase: Phase
    trouble: Trouble | None = None
    protocol: int | None = None
    attempts: int = 0


class EventKind(Enum):
    """What happened to the connection. SESSION_LOST: the broker has forgotten what it kept for us; PASSIVE: another
    client of our name has taken our place again and again, and for a while it is left to that one.
    """

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    PASSIVE = "passive"
    SESSION_NEW = "session_new"
    SESSION_LOST = "session_lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttEvent:
    """One event; `at` in ns."""

    at: int
    kind: EventKind
    trouble: Trouble | None = None


class MqttSource:
    """Messages of `filters`, QoS 1. `previous`: filters of an earlier run that the broker's session may still hold.

    `beside`: since when (s, of the loop's clock) another connection of ours to the broker has stood, None if none does.
    """

    def __init__(
        self,
        settings: MqttSettings,
        filters: Sequence[str],
        clock: Callable[[], int],
        *,
        previous: Sequence[str] = (),
        on_event: Callable[[MqttEvent], None] = lambda _event: None,
        beside: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._filters = tuple(dict.fromkeys(filters))
        self._previous = tuple(previous)
        self._clock = clock
        self._on_event = on_event
        self._beside = beside
        self._buffer: deque[Message] = deque()
        self._bytes = 0
        self._link: Link | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._version = 4 if settings.protocol is Protocol.V4 else 5
        self._is_proven = False
        self._was_connected = False
        self._closed_early = 0
        self._taken_over_at: deque[float] = deque(maxlen=_FLAPS)
        self._state = MqttState(phase=Phase.CONNECTING)
        self._refusal: SubscriptionRefused | None = None
        self._changed: set[asyncio.Future[None]] = set()
        self._random = random.SystemRandom()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._context = tls_context(self._settings)
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state = MqttState(phase=Phase.CLOSED)
        if self._retry is not None:
            self._retry.cancel()
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        self._wake()

    @property
    def state(self) -> MqttState:
        """Where the connection stands, with the last trouble in words."""
        return self._state

    @property
    def is_paused(self) -> bool:
        """Whether reading waits for messages to be taken."""
        return self._link is not None and self._link.is_paused

    @property
    def buffered(self) -> int:
        """Messages received and not yet taken."""
        return len(self._buffer)

    async def wait_ready(self) -> None:
        """Return once all subscriptions stand; SubscriptionRefused when the broker denies one."""
        while self._state.phase in {Phase.CONNECTING, Phase.RECONNECTING}:
            await self.change()
        if self._refusal is not None:
            raise self._refusal

    async def take(self, limit: int, wait_s: float) -> Sequence[Message] | None:
        """Return up to `limit` messages in receive order, empty after `wait_s` without any, None once closed."""
        if not self._buffer:
            try:
                async with asyncio.timeout(wait_s):
                    while not self._buffer and self._state.phase not in {Phase.CLOSED, Phase.REFUSED}:
                        await self.change()
            except TimeoutError:
                return []
        if self._buffer:
            return self._pop(limit)
        if self._refusal is not None:
            raise self._refusal
        return None

    async def acknowledge(self, batch: Sequence[Message]) -> None:
        """Acknowledge messages as taken; those of a connection that is over are left to come again."""
        link = self._link
        if link is not None:
            link.acknowledge([m.token[1] for m in batch if isinstance(m.token, tuple) and m.token[0] is link])

    async def reconnect(self) -> None:
        """Connect anew on purpose, so that what was taken and not acknowledged comes again."""
        link, self._link = self._link, None
        if link is None:
            return
        await link.close()
        if self._state.phase is not Phase.CLOSED and self._link is None:
            self._open()

    def _pop(self, limit: int) -> list[Message]:
        buffer = self._buffer
        if limit >= len(buffer):
            batch = list(buffer)
            buffer.clear()
            self._bytes = 0
        else:
            batch = [buffer.popleft() for _ in range(limit)]
            self._bytes -= sum(len(m.payload) for m in batch)
        if self._link is not None and self._is_low:
            self._link.resume()
        return batch

    @property
    def _is_low(self) -> bool:
        s = self._settings
        return len(self._buffer) <= s.buffer_messages // 2 and self._bytes <= s.buffer_bytes // 2

    async def change(self) -> None:
        """Return at the next message or change of state."""
        waiter = self._loop.create_future()
        self._changed.add(waiter)
        try:
            await waiter
        finally:
            self._changed.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._changed:
            if not waiter.done():
                waiter.set_result(None)

    # Connecting

    def _open(self) -> None:
        self._retry = None
        previous = () if self._was_connected else self._previous
        self._link = Link(
            self._settings, self._version, self._filters, previous, self._context, self._clock, self
        )  # fmt: skip
        self._link.open()

    def _again(self, trouble: Trouble, ended_at: float) -> None:
        """Connect anew, unless it was our connection alone that was cut, and not for the first time."""
        since = self._beside()
        if trouble.fault is Fault.CUT and since is not None and since < ended_at:
            taken = troubles.alone_cut(self._settings)
            wait_s = self._yielded_s(taken)
            if wait_s is not None:
                self._state = replace(self._state, trouble=taken)
                self._retry = self._loop.call_later(wait_s, self._open)
                self._wake()
                return
        self._open()

    def _pause_s(self, attempts: int) -> float:
        s = self._settings
        ceiling = min(s.retry_max_s, s.retry_min_s * 2.0 ** min(attempts, 30))
        return self._random.uniform(min(s.retry_min_s, ceiling), ceiling)

    # What the link tells

    @property
    def room(self) -> int:
        """So many more messages may be read now."""
        s = self._settings
        return s.buffer_messages - len(self._buffer) if self._bytes < s.buffer_bytes else 0

    def accepted(self, link: Link, session_present: bool) -> None:
        """Forget untaken messages that the broker is about to send again; tell when it has forgotten them itself."""
        if link is not self._link:
            return
        self._is_proven = True
        if session_present:
            kept = [m for m in self._buffer if m.token is None]
            self._buffer = deque(kept)
            self._bytes = sum(len(m.payload) for m in kept)
        else:
            self._tell(EventKind.SESSION_LOST if self._was_connected else EventKind.SESSION_NEW)

    def ready(self, link: Link) -> None:
        """All subscriptions stand."""
        if link is not self._link:
            return
        self._was_connected = True
        self._closed_early = 0
        self._state = MqttState(phase=Phase.CONNECTED, protocol=link.version)
        log.info("connected to %s (MQTT %s)", self._settings.place, "5" if link.version == 5 else "3.1.1")
        self._tell(EventKind.CONNECTED)
        self._wake()

    def deliver(self, messages: list[Message]) -> None:
        """Keep messages until they are taken."""
        self._buffer.extend(messages)
        self._bytes += sum(len(m.payload) for m in messages)
        self._wake()

    def ended(self, link: Link, trouble: Trouble) -> None:
        """Go on: try again, speak an older MQTT, or give up where trying again cannot help."""
        if link is not self._link or self._state.phase is Phase.CLOSED:
            return
        before = self._state
        if before.phase is Phase.CONNECTED:
            self._tell(EventKind.DISCONNECTED, trouble)
        if trouble.fault is Fault.SUBSCRIPTION:
            self._link = None
            self._refusal = SubscriptionRefused(trouble.cause, remedy=trouble.remedy)
            self._state = MqttState(phase=Phase.REFUSED, trouble=trouble)
        else:
            if before.trouble is None or before.trouble.cause != trouble.cause:
                log.warning("%s", trouble)
            attempts = before.attempts + 1
            self._state = MqttState(phase=Phase.RECONNECTING, trouble=trouble, attempts=attempts)
            self._link = None
            wait_s = self._next_step_s(trouble, attempts)
            self._retry = self._loop.call_later(wait_s, self._again, trouble, self._loop.time())
        self._wake()

    def _next_step_s(self, trouble: Trouble, attempts: int) -> float:
        """Choose what is tried next; return after how many seconds."""
        fault = trouble.fault
        if fault is Fault.TAKEN_OVER:
            return self._yielded_s(trouble) or self._settings.retry_max_s
        if self._should_change_protocol(fault):
            self._version = 9 - self._version
            self._closed_early = 0
            log.info("MQTT %s is tried", "5" if self._version == 5 else "3.1.1")
            return _AT_ONCE_S
        return self._settings.retry_max_s if fault is Fault.LOGIN else self._pause_s(attempts)

    def _yielded_s(self, trouble: Trouble) -> float | None:
        """Return for how many seconds our place is left to another client of our name, None: it is taken back yet.

        Two that take it from each other without end share out one session: each has some of the readings.
        """
        s, now = self._settings, self._loop.time()
        self._taken_over_at.append(now)
        if len(self._taken_over_at) < _FLAPS or now - self._taken_over_at[0] > s.flaps_s:
            return None
        log.error("%s; this gateway leaves its place to it for %.0f s", trouble, s.yield_s)
        self._tell(EventKind.PASSIVE, trouble)
        return s.yield_s

    def _should_change_protocol(self, fault: Fault) -> bool:
        if self._settings.protocol is not Protocol.AUTO or self._is_proven:
            return False
        if fault is Fault.CLOSED_EARLY:
            self._closed_early += 1
            return self._closed_early >= _CLOSED_EARLY_BEFORE_DOWNGRADE
        return fault in {Fault.PROTOCOL, Fault.NO_ANSWER}

    def _tell(self, kind: EventKind, trouble: Trouble | None = None) -> None:
        self._on_event(MqttEvent(at=self._clock(), kind=kind, trouble=trouble))
