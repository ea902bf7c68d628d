"""One connection to a broker, from CONNECT to its end, as an asyncio protocol that acknowledges only by hand.

A link lives once: acknowledgements of an ended link go nowhere, so that they can never reach a message of a later
connection. Why not paho-mqtt: docs/decisions.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Protocol as Contract
from typing import cast

from collectors import Message
from collectors import mqtt_packets as packets
from collectors import mqtt_troubles as troubles
from collectors.mqtt_settings import MqttSettings
from collectors.mqtt_troubles import Trouble

__all__ = ["Link", "LinkOwner"]

_CLOSE_S = 1.0
_STALL_S = 1.0
_GATHER_S = 0.005
"""So long nothing is read after a read: each wake-up takes the interpreter from whoever judges (decision 28)."""
_SUBSCRIBE_ID, _STATUS_ID, _UNSUBSCRIBE_ID = 1, 2, 3
_TOPICS_REMEMBERED = 100_000


class LinkOwner(Contract):
    """Who is told what happens on a link."""

    @property
    def room(self) -> int:
        """So many more messages may be read now; 0 or less: none."""
        ...

    def accepted(self, link: Link, session_present: bool) -> None:
        """The broker has taken the connection; its messages may follow."""

    def ready(self, link: Link) -> None:
        """All subscriptions stand."""

    def deliver(self, messages: list[Message]) -> None:
        """Messages have come; a token is (link, packet id), None when nothing is to be acknowledged."""

    def ended(self, link: Link, trouble: Trouble) -> None:
        """The connection is over, and all it held is closed."""


class Link(asyncio.Protocol):
    """A connection for `filters` at QoS 1. `version` is 5 or 4 (3.1.1); `clock` gives ns. Call `open` once."""

    def __init__(
        self,
        settings: MqttSettings,
        version: int,
        filters: Sequence[str],
        previous: Sequence[str],
        context: ssl.SSLContext | None,
        clock: Callable[[], int],
        owner: LinkOwner,
    ) -> None:
        self.version = version
        self._settings = settings
        self._filters = list(filters)
        self._previous = [f for f in previous if f not in self._filters]
        self._context = context
        self._clock = clock
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._is_accepted = self._is_ready = self._is_over = self._is_paused = False
        # A ping goes out after this, and the link is dead after as much again: within twice `keepalive_s`.
        self._keepalive_s = float(max(1, settings.keepalive_s - 1))
        self._said_at = self._heard_at = self._ticked_at = 0.0
        self._stalled_at = -math.inf
        self._pinged_at: float | None = None
        self._rest = bytearray()
        self._needed = 2
        self._topics: dict[bytes, str] = {}

    # Life

    def open(self) -> None:
        """Start connecting; the owner hears of every outcome."""
        s = self._settings
        self._timers["deadline"] = self._loop.call_later(s.connect_timeout_s, self._end, troubles.no_answer(s))
        self._connecting = self._loop.create_task(self._connect(), name="mqtt-connect")

    async def _connect(self) -> None:
        s = self._settings
        try:
            last: OSError | None = None
            for address in await _addresses(s.host, s.port):
                try:
                    await self._loop.create_connection(
                        lambda: self,
                        address,
                        s.port,
                        ssl=self._context,
                        server_hostname=s.host if self._context is not None else None,
                    )
                except OSError as error:
                    last = error
                else:
                    return
            raise last or socket.gaierror(f"no address for {s.host}")
        except (OSError, ValueError) as error:
            self._end(troubles.unreachable(error, s))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves."""
        s = self._settings
        self._transport = cast("asyncio.Transport", transport)
        if self._is_over:
            self._transport.abort()
            return
        login = packets.Login(
            client_id=s.client_id,
            keepalive_s=int(self._keepalive_s),
            receive_maximum=s.receive_maximum,
            username=s.username,
            password=s.password,
            will_topic=s.status_topic,
            will_payload=b"offline",
        )
        self._heard_at = self._ticked_at = self._loop.time()
        self._say(packets.connect(self.version, login))
        self._tick()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The other side, or the network, has ended it; maybe for what we did not say while we were stalled."""
        was_stalled = self._loop.time() - self._stalled_at < _STALL_S
        self._end(troubles.lost(self._settings, was_accepted=self._is_accepted, was_stalled=was_stalled))

    async def close(self) -> None:
        """Say goodbye within a second and close; the session and what it holds stay at the broker."""
        transport = self._transport
        if not self._is_over and self._is_accepted and transport is not None:
            if self._settings.status_topic is not None:
                self._say(
                    packets.publish(self.version, self._settings.status_topic, b"offline", packet_id=None, retain=True)
                )
            self._say(packets.GOODBYE)
            self.resume()  # a socket closed with unread bytes is reset, and acknowledgements on their way are lost
            await asyncio.wait([self._closed], timeout=_CLOSE_S)
        self._end(troubles.lost(self._settings, was_accepted=True))
        if self._connecting is not None:
            await asyncio.wait([self._connecting], timeout=_CLOSE_S)

    def _end(self, trouble: Trouble) -> None:
        if self._is_over:
            return
        self._is_over = True
        for timer in self._timers.values():
            timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()
        if not self._closed.done():
            self._closed.set_result(None)
        self._owner.ended(self, trouble)

    def _tick(self) -> None:
        """Ping when nothing was said or heard for a while; give up on a broker that leaves a ping unanswered."""
        if self._is_over:
            return
        step = min(0.5, self._keepalive_s / 10)
        self._timers["tick"] = self._loop.call_later(step, self._tick)
        now = self._loop.time()
        # After a stall of our own the answer may be there, not yet read: it gets one more tick.
        was_stalled, self._ticked_at = now - self._ticked_at > 2 * step, now
        if was_stalled:
            self._stalled_at = now
        if self._pinged_at is not None and now - self._pinged_at >= self._keepalive_s and not was_stalled:
            self._end(troubles.silent(self._settings))
            return
        is_deaf = now - self._heard_at >= self._keepalive_s and self._pinged_at is None and not self._is_paused
        is_mute = now - self._said_at >= self._keepalive_s
        if self._is_accepted and (is_deaf or is_mute):
            self._say(packets.PINGREQ)
            if self._pinged_at is None and not self._is_paused:
                self._pinged_at = now

    def _say(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._said_at = self._loop.time()
            self._transport.write(data)

    # Reading

    @property
    def is_paused(self) -> bool:
        """Whether nothing is read for now."""
        return self._is_paused

    def pause(self) -> None:
        """Stop reading; TCP then holds the broker back. Pings go on, but nobody waits for their answers."""
        if not self._is_paused and not self._is_over and self._transport is not None:
            self._is_paused = True
            self._pinged_at = None
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused and not self._is_over:
            self._is_paused = False
            self._heard_at = self._loop.time()
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._is_paused or self._is_over or self._transport is None:
            return
        if self._rest:
            self._take_in(b"")
        if not self._is_paused and not self._is_over:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take what has come, in whatever pieces."""
        self._heard_at = self._loop.time()
        self._pinged_at = None
        self._take_in(data)
        if self._is_ready and not self._is_paused and not self._is_over and self._transport is not None:
            self._transport.pause_reading()
            self._timers["gather"] = self._loop.call_later(_GATHER_S, self._gather)

    def _gather(self) -> None:
        if not self._is_paused and not self._is_over and self._transport is not None:
            self._transport.resume_reading()

    def _take_in(self, data: bytes) -> None:
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        try:
            used = self._read(data)
        except packets.Malformed as error:
            self._end(troubles.malformed(error, self._settings))
            return
        if used < len(data):
            self._rest += memoryview(data)[used:]
        if self._is_ready and self._owner.room <= 0:
            self.pause()

    def _read(self, data: bytes) -> int:
        """Act on all whole packets there is room for and return where they end. Messages are delivered together."""
        end, at, messages = len(data), 0, list[Message]()
        room = self._owner.room
        self._needed = 2
        now = self._clock()
        if not self._is_accepted and data[0] != packets.CONNACK:
            raise packets.Malformed(f"it begins with 0x{data[0]:02x} where a CONNACK was due")
        try:
            while end - at >= 2 and not self._is_over and (len(messages) < room or not self._is_ready):
                size, body = data[at + 1], at + 2
                if size & 0x80:
                    if end - at > 2 and not data[body] & 0x80:  # the usual length, without a call
                        size, body = size & 0x7F | data[body] << 7, at + 3
                    else:
                        size, body = packets.varint(data, at + 1)
                    if body < 0:
                        break
                stop = body + size
                if stop > end:
                    self._needed = stop - at
                    break
                head = data[at]
                if head & 0xF0 == packets.PUBLISH and self._is_accepted:
                    messages.append(self._message(head, data, body, stop, now))
                else:
                    self._answer(head & 0xF0, data[body:stop])
                at = stop
        finally:
            if messages:
                self._owner.deliver(messages)
        return at

    def _message(self, head: int, data: bytes, at: int, stop: int, now: int) -> Message:
        if stop - at < 2:
            raise packets.Malformed("a PUBLISH without a topic")
        name = at + 2
        at = name + (data[at] << 8 | data[at + 1])
        raw = data[name:at]
        token = None
        if head & 0x06:
            if head & 0x06 != 0x02:
                raise packets.Malformed("a message at a QoS that was not asked for")
            if at + 2 > stop:
                raise packets.Malformed("a PUBLISH that ends early")
            token = (self, data[at] << 8 | data[at + 1])
            at += 2
        if self.version == 5:
            size, at = (0, at + 1) if data[at : at + 1] == b"\0" else packets.varint(data, at)
            if at < 0:
                raise packets.Malformed("a PUBLISH that ends early")
            at += size
        if at > stop:
            raise packets.Malformed("a PUBLISH that ends early")
        topic = self._topics.get(raw)
        if topic is None:
            topic = self._remember(raw)
        return Message(topic=topic, payload=data[at:stop], received_at=now, retained=bool(head & 1), token=token)

    def _remember(self, raw: bytes) -> str:
        if len(self._topics) >= _TOPICS_REMEMBERED:
            self._topics.clear()
        topic = self._topics[raw] = raw.decode(errors="replace")
        return topic

    def acknowledge(self, packet_ids: Sequence[int]) -> None:
        """Acknowledge in the order given; nothing happens on a link that is over."""
        if not self._is_over and packet_ids:
            self._say(packets.pubacks(packet_ids))

    # What the broker says

    def _answer(self, kind: int, body: bytes) -> None:
        if kind == packets.CONNACK and not self._is_accepted:
            self._connack(packets.connack(self.version, body))
        elif not self._is_accepted:
            raise packets.Malformed(f"packet 0x{kind:02x} before the CONNACK")
        elif kind == packets.SUBACK and not self._is_ready:
            self._suback(packets.subscription_reasons(self.version, body))
        elif kind == packets.DISCONNECT and self.version == 5:
            self._end(troubles.goodbye(packets.disconnect_reason(body), self._settings))
        elif kind not in {packets.PUBACK, packets.UNSUBACK, packets.PINGRESP}:
            raise packets.Malformed(f"an unexpected packet 0x{kind:02x}")

    def _connack(self, answer: packets.Connack) -> None:
        if answer.reason:
            self._end(troubles.refusal(answer, self._settings))
            return
        self._is_accepted = True
        if answer.keepalive_s:
            self._keepalive_s = min(self._keepalive_s, float(answer.keepalive_s))
        self._owner.accepted(self, answer.session_present)
        if answer.session_present and self._previous:
            self._say(packets.unsubscribe(self.version, _UNSUBSCRIBE_ID, self._previous))
        self._say(packets.subscribe(self.version, _SUBSCRIBE_ID, self._filters))

    def _suback(self, reasons: bytes) -> None:
        refused = [(f, r) for f, r in zip(self._filters, reasons, strict=False) if r >= packets.FAILURE]
        if refused or len(reasons) != len(self._filters):
            self._end(troubles.subscription(refused, self._settings))
            return
        self._is_ready = True
        if (deadline := self._timers.get("deadline")) is not None:
            deadline.cancel()
        status = self._settings.status_topic
        if status is not None:
            self._say(packets.publish(self.version, status, b"online", packet_id=_STATUS_ID, retain=True))
        self._owner.ready(self)


async def _addresses(host: str, port: int) -> list[str]:
    """Return a name's addresses. A thread asks that nobody has to wait for: a dead name server holds up no exit."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def settle(found: list[str], error: OSError | ValueError | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def ask() -> None:
        found: list[str] = []
        failure: OSError | ValueError | None = None
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except (OSError, ValueError) as error:
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, found, failure)

    threading.Thread(target=ask, name="mqtt-resolve", daemon=True).start()
    return await answer
