"""One connection to a broker, from CONNECT to its end: paho-mqtt on asyncio, acknowledging only by hand.

paho's documented hooks for a foreign loop are used and nothing private. A link lives once: acknowledgements of an
ended link go nowhere, so that they can never reach a message of a later connection.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Protocol as Contract

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from collectors import Message
from collectors.mqtt_settings import Fault, MqttSettings, Trouble

__all__ = ["Link", "LinkOwner"]

_SESSION_FOR_EVER = 0xFFFFFFFF
_PACKETS_A_TURN = 100
_CLOSE_S = 1.0
_NO_SUBSCRIPTION = "metergate/keepalive"
_CORK: int | None = getattr(socket, "TCP_CORK", None)


class LinkOwner(Contract):
    """Who is told what happens on a link; always on the loop's thread."""

    @property
    def has_room(self) -> bool:
        """Whether more messages may be read."""
        ...

    def accepted(self, link: Link, session_present: bool) -> None:
        """The broker has taken the connection; its messages may follow."""

    def ready(self, link: Link) -> None:
        """All subscriptions stand."""

    def deliver(self, message: Message) -> None:
        """One message, `token` being (link, packet id), None when nothing is to be acknowledged."""

    def arrived(self) -> None:
        """A burst of messages has been delivered."""

    def ended(self, link: Link, trouble: Trouble) -> None:
        """The connection is over, and all it held is closed."""


class Link:
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
        self._clock = clock
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._client = self._make_client(context)
        self._sock: socket.socket | None = None
        self._now = 0
        self._count = 0
        self._is_accepted = self._is_ready = self._is_over = self._is_paused = False
        self._noop_at = 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed: asyncio.Future[None] = self._loop.create_future()

    def _make_client(self, context: ssl.SSLContext | None) -> Client:
        s = self._settings
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=s.client_id,
            clean_session=None if self.version == 5 else False,
            protocol=MQTTProtocolVersion.MQTTv5 if self.version == 5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = s.connect_timeout_s
        if s.username is not None:
            client.username_pw_set(s.username, s.password)
        if context is not None:
            client.tls_set_context(context)
        if s.status_topic is not None:
            client.will_set(s.status_topic, b"offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_socket_close = lambda _client, _userdata, _sock: self._unwatch()
        client.on_socket_register_write = lambda _client, _userdata, _sock: self._watch_writing()
        client.on_socket_unregister_write = lambda _client, _userdata, _sock: self._unwatch_writing()
        return client

    # Life

    def open(self) -> None:
        """Start connecting; the owner hears of every outcome. A thread does what may block (names, TCP, TLS)."""
        s = self._settings
        slow = Trouble(
            fault=Fault.NO_ANSWER,
            cause=f"the broker at {s.place} does not answer within {s.connect_timeout_s:g} s",
            remedy="see whether it is running and whether broker.url names its MQTT port",
        )
        self._timers["deadline"] = self._loop.call_later(s.connect_timeout_s, self._end, slow)
        threading.Thread(target=self._connect, name="mqtt-connect", daemon=True).start()

    def _connect(self) -> None:
        s = self._settings
        error: OSError | ValueError | None = None
        try:
            if self.version == 5:
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
                properties.SessionExpiryInterval = _SESSION_FOR_EVER
                properties.ReceiveMaximum = s.receive_maximum
                self._client.connect(s.host, s.port, self._keepalive_s, clean_start=False, properties=properties)
            else:
                self._client.connect(s.host, s.port, self._keepalive_s)
        except (OSError, ValueError) as caught:
            error = caught
        try:
            self._loop.call_soon_threadsafe(self._connected, error)
        except RuntimeError:
            self._close_socket()

    @property
    def _keepalive_s(self) -> int:
        """A ping goes out after this, and the link is dead after as much again: within twice `keepalive_s`."""
        return max(1, self._settings.keepalive_s - 1)

    def _connected(self, error: OSError | ValueError | None) -> None:
        if self._is_over:
            self._close_socket()
            return
        if error is not None:
            self._end(_unreachable(error, self._settings))
            return
        sock = self._client.socket()
        if not isinstance(sock, socket.socket):
            self._end(self._lost())
            return
        self._sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.add_reader(sock, self._readable)
        if self._client.want_write():
            self._loop.add_writer(sock, self._writable)
        self._tick()

    async def close(self) -> None:
        """Say goodbye within a second and close; the session and what it holds stay at the broker."""
        if not self._is_over and self._is_accepted:
            if self._settings.status_topic is not None:
                self._client.publish(self._settings.status_topic, b"offline", qos=0, retain=True)
            self._client.disconnect()
            await asyncio.wait([self._closed], timeout=_CLOSE_S)
        self._end(Trouble(fault=Fault.LOST, cause="closed"))

    def _end(self, trouble: Trouble) -> None:
        if self._is_over:
            return
        self._is_over = True
        for timer in self._timers.values():
            timer.cancel()
        self._unwatch()
        self._close_socket()
        if not self._closed.done():
            self._closed.set_result(None)
        self._owner.ended(self, trouble)

    def _close_socket(self) -> None:
        """Close whatever paho holds open, with nobody listening any more."""
        client = self._client
        client.on_disconnect = client.on_socket_close = None
        client.on_socket_register_write = client.on_socket_unregister_write = None
        sock = client.socket()
        if sock is not None:
            sock.close()

    def _tick(self) -> None:
        step = min(0.5, self._settings.keepalive_s / 10)
        self._timers["tick"] = self._loop.call_later(step, self._tick)
        if not self._is_paused:
            self._client.loop_misc()
        elif self._loop.time() >= self._noop_at:
            # Answers are not read while paused, so a ping would count as lost. Any packet keeps the session alive.
            self._noop_at = self._loop.time() + self._keepalive_s / 2
            self._client.unsubscribe(_NO_SUBSCRIPTION)

    # Reading and writing

    def _readable(self) -> None:
        """Read until nothing comes any more, or for one turn of the loop."""
        self._now = self._clock()
        before = self._count
        for _ in range(_PACKETS_A_TURN):
            seen = self._count
            self._client.loop_read()
            if self._is_over or (seen == self._count and not self._has_decrypted()):
                break
        else:
            if isinstance(self._sock, ssl.SSLSocket):
                self._loop.call_soon(self._read_on)
        if self._count != before:
            self._owner.arrived()
        if self._is_ready and not self._owner.has_room:
            self.pause()

    def _read_on(self) -> None:
        if self._is_open and not self._is_paused:
            self._readable()

    @property
    def _is_open(self) -> bool:
        return not self._is_over and self._sock is not None and self._sock.fileno() >= 0

    @property
    def is_paused(self) -> bool:
        """Whether nothing is read for now."""
        return self._is_paused

    def _has_decrypted(self) -> bool:
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.fileno() >= 0 and self._sock.pending() > 0

    def _writable(self) -> None:
        self._client.loop_write()

    def _watch_writing(self) -> None:
        if self._sock is not None and self._is_open:
            self._loop.add_writer(self._sock, self._writable)

    def _unwatch_writing(self) -> None:
        if self._sock is not None and self._sock.fileno() >= 0:
            self._loop.remove_writer(self._sock)

    def _unwatch(self) -> None:
        if self._sock is not None and self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)

    def pause(self) -> None:
        """Stop reading; TCP then holds the broker back. The connection is kept alive."""
        if not self._is_paused and self._sock is not None and self._is_open:
            self._is_paused = True
            self._noop_at = self._loop.time()
            self._loop.remove_reader(self._sock)

    def resume(self) -> None:
        """Read on."""
        if self._is_paused and self._sock is not None and self._is_open:
            self._is_paused = False
            self._loop.add_reader(self._sock, self._readable)
            self._loop.call_soon(self._read_on)

    def acknowledge(self, packet_ids: Sequence[int]) -> None:
        """Acknowledge in the order given; nothing happens on a link that is over."""
        sock = self._sock
        if sock is None or not self._is_open:
            return
        for packet_id in packet_ids:
            self._client.ack(packet_id, 1)
        if _CORK is None or len(packet_ids) < 2:
            return
        sock.setsockopt(socket.IPPROTO_TCP, _CORK, 1)
        self._client.loop_write()
        if self._is_open:
            sock.setsockopt(socket.IPPROTO_TCP, _CORK, 0)

    # What the broker says

    def _on_connect(
        self, _client: Client, _userdata: object, flags: ConnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        self._count += 1
        if reason.is_failure:
            self._loop.call_soon(self._end, _refusal(reason, self._settings))
            return
        self._is_accepted = True
        self._owner.accepted(self, flags.session_present)
        if flags.session_present and self._previous:
            self._client.unsubscribe(self._previous)
        if self.version == 5:
            options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
            self._client.subscribe([(f, options) for f in self._filters])
        else:
            self._client.subscribe([(f, 1) for f in self._filters])

    def _on_subscribe(
        self, _client: Client, _userdata: object, _packet_id: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        self._count += 1
        refused = [(f, r) for f, r in zip(self._filters, reasons, strict=False) if r.is_failure]
        if refused or len(reasons) < len(self._filters):
            named = ", ".join(f"{f} ({str(r).lower()})" for f, r in refused) or "some filter"
            trouble = Trouble(
                fault=Fault.SUBSCRIPTION,
                cause=f"the broker at {self._settings.place} refuses the subscription to {named}",
                remedy="let this user read these topics in the broker's access list",
            )
            self._loop.call_soon(self._end, trouble)
            return
        self._is_ready = True
        self._timers["deadline"].cancel()
        if self._settings.status_topic is not None:
            self._client.publish(self._settings.status_topic, b"online", qos=1, retain=True)
        self._owner.ready(self)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self._count += 1
        try:
            topic = message.topic
        except UnicodeDecodeError as error:
            topic = error.object.decode(errors="replace")
        self._owner.deliver(
            Message(
                topic=topic,
                payload=bytes(message.payload),
                received_at=self._now,
                retained=message.retain,
                token=(self, message.mid) if message.qos else None,
            )
        )

    def _on_disconnect(
        self, _client: Client, _userdata: object, flags: DisconnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            trouble = _goodbye(reason, self._settings)
        elif reason.getName() == "Keep alive timeout":
            trouble = Trouble(
                fault=Fault.LOST,
                cause=f"the broker at {self._settings.place} has been silent for {self._settings.keepalive_s} s",
                remedy="see whether the network is up; it is tried again",
            )
        else:
            trouble = self._lost()
        self._loop.call_soon(self._end, trouble)

    def _lost(self) -> Trouble:
        if self._is_accepted:
            return Trouble(
                fault=Fault.LOST, cause=f"the connection to {self._settings.place} is lost", remedy="it is tried again"
            )
        return Trouble(
            fault=Fault.CLOSED_EARLY,
            cause=f"{self._settings.place} closes the connection instead of answering",
            remedy="see whether broker.url names an MQTT port and whether it wants TLS (mqtts://)",
        )


_LOGIN = {"Bad user name or password", "Not authorized", "Bad authentication method"}


def _refusal(reason: ReasonCode, s: MqttSettings) -> Trouble:
    name = reason.getName()
    said = f"the broker at {s.place} refuses the connection ({name.lower()})"
    if name in _LOGIN:
        cause = f"{said} for user {s.username}" if s.username else said
        return Trouble(fault=Fault.LOGIN, cause=cause, remedy="correct broker.username and broker.password_file")
    if name == "Unsupported protocol version":
        return Trouble(fault=Fault.PROTOCOL, cause=said, remedy="set broker.protocol to what it speaks")
    remedy = "choose another broker.client_id" if name == "Client identifier not valid" else "it is tried again"
    return Trouble(fault=Fault.REFUSED, cause=said, remedy=remedy)


def _goodbye(reason: ReasonCode, s: MqttSettings) -> Trouble:
    name = reason.getName()
    if name == "Session taken over":
        return Trouble(
            fault=Fault.TAKEN_OVER,
            cause=f'another client has connected to {s.place} as "{s.client_id}"',
            remedy="give every gateway its own broker.client_id",
        )
    return Trouble(
        fault=Fault.LOST,
        cause=f"the broker at {s.place} ends the connection ({name.lower()})",
        remedy="it is tried again",
    )


def _unreachable(error: OSError | ValueError, s: MqttSettings) -> Trouble:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Trouble(
            fault=Fault.TLS,
            cause=f"the certificate of {s.place} is not trusted ({error.verify_message})",
            remedy="set broker.ca_file to the authority that signed it, and use the name it was made for",
        )
    if isinstance(error, ssl.SSLError):
        why = (error.reason or str(error)).lower().replace("_", " ")
        return Trouble(
            fault=Fault.TLS, cause=f"no TLS with {s.place} ({why})", remedy="see whether broker.url names its TLS port"
        )
    if isinstance(error, socket.gaierror | ValueError):
        return Trouble(fault=Fault.UNREACHABLE, cause=f'no address for "{s.host}"', remedy="correct broker.url")
    why = (error.strerror or str(error) or type(error).__name__).lower()
    return Trouble(
        fault=Fault.UNREACHABLE,
        cause=f"no broker at {s.place} ({why})",
        remedy="start it, or correct broker.url",
    )
