"""Load: publishes readings with QoS 1 as fast as a broker takes them, or at a given rate, and counts the acknowledged.

Packets are made by hand over a plain socket (MQTT 3.1.1) with a window of unacknowledged messages, so that one process
outruns any subscriber. Run it in a process of its own: `python -m bench.load --port 1883 --messages 100000`.
"""

from __future__ import annotations

import argparse
import json
import random
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

__all__ = ["Load", "Sent", "messages", "registry_yaml", "send"]

CONNECT_S = 5.0
SILENCE_S = 30.0
CHUNK_BYTES = 64 * 1024
STEP_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is published: `count` messages of `pack` readings each, all checks, in turn over the devices.

    `start_ms`: epoch of the first reading; each device's readings are `every_ms` apart. `rate`: messages per second.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    site: str = "bench"
    count: int = 100_000
    pack: int = 1
    devices: int = 100
    start_ms: int = 1_767_225_600_000
    every_ms: int = 1000
    boot: str = "b1"
    seed: int = 1
    rate: float | None = None
    window: int = 2000
    client_id: str = "metergate-load"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What the broker acknowledged, and how fast."""

    messages: int
    readings: int
    elapsed_s: float
    messages_per_s: float
    readings_per_s: float


def registry_yaml(load: Load) -> str:
    """Return the registry file for these devices: scales of class III with a certificate."""
    lines = ["devices:"]
    for d in range(load.devices):
        lines += [
            f"  - id: {_device(d)}",
            "    kind: weighing",
            f"    site: {load.site}",
            "    rule_pack: oiml-r76",
            "    parameters: {class: III, max: 15 kg, e: 5 g, d: 1 g}",
            "    channels:",
            "      mass: {unit: kg, sigma: 1.6 g}",
        ]
    lines.append("certificates:")
    for d in range(load.devices):
        points = "{x: 5 kg, error: 0 g, U: 0.3 g, k: 2}, {x: 10 kg, error: 0 g, U: 0.3 g, k: 2}"
        lines += [
            f"  - id: cal-{d:05d}",
            f"    device: {_device(d)}",
            "    channel: mass",
            "    kind: calibration",
            "    phase: as_left",
            "    performed_at: 2025-12-01",
            "    interval_months: 12",
            "    laboratory: bench",
            f"    points: [{points}]",
        ]
    return "\n".join([*lines, ""])


def messages(load: Load) -> Iterator[tuple[str, bytes]]:
    """Yield (topic, payload) in the order of publishing."""
    noise = random.Random(load.seed)
    gauss = noise.gauss
    topics = [f"metergate/reading/{load.site}/{_device(d)}/mass" for d in range(load.devices)]
    for n in range(load.count):
        turn, device = divmod(n, load.devices)
        first = turn * load.pack
        records = [
            f'{{"ts":{load.start_ms + k * load.every_ms},"value":{10 + round(gauss(0, 0.0016), 3):.3f},"unit":"kg",'
            f'"reference":10,"reference_u":0.0003,"seq":{k},"boot":"{load.boot}"}}'
            for k in range(first, first + load.pack)
        ]
        payload = records[0] if load.pack == 1 else f"[{','.join(records)}]"
        yield topics[device], payload.encode()


def send(load: Load) -> Sent:
    """Publish it all and return once the broker has acknowledged everything. OSError when it cannot be reached."""
    with socket.create_connection((load.host, load.port), timeout=CONNECT_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connect(sock, load.client_id)
        sock.setblocking(False)
        started = time.perf_counter()
        _Run(load, sock).run()
        elapsed = time.perf_counter() - started
        sock.settimeout(CONNECT_S)
        sock.sendall(b"\xe0\x00")
    return Sent(
        messages=load.count,
        readings=load.count * load.pack,
        elapsed_s=round(elapsed, 3),
        messages_per_s=round(load.count / elapsed),
        readings_per_s=round(load.count * load.pack / elapsed),
    )


class _Run:
    """One run over a connected, non-blocking socket."""

    def __init__(self, load: Load, sock: socket.socket) -> None:
        self._load = load
        self._sock = sock
        self._packets = (publish_packet(n % 65535 + 1, t, p) for n, (t, p) in enumerate(messages(load)))
        self._made = 0
        self._acknowledged = 0
        self._rest = 0
        self._pending = memoryview(b"")
        self._started = time.perf_counter()

    def run(self) -> None:
        """Write and read until everything is acknowledged."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ)
            heard = time.perf_counter()
            while self._acknowledged < self._load.count:
                self._fill()
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._pending else 0)
                selector.modify(self._sock, events)
                for _, ready in selector.select(STEP_S):
                    if ready & selectors.EVENT_WRITE:
                        self._pending = self._pending[self._sock.send(self._pending) :]
                    if ready & selectors.EVENT_READ:
                        self._read()
                        heard = time.perf_counter()
                if time.perf_counter() - heard > SILENCE_S:
                    raise TimeoutError(f"the broker acknowledged {self._acknowledged} messages and then no more")

    def _fill(self) -> None:
        """Make the next packets, as far as window and rate allow."""
        if self._pending:
            return
        allowed = min(self._load.count, self._acknowledged + self._load.window)
        if self._load.rate is not None:
            allowed = min(allowed, int((time.perf_counter() - self._started) * self._load.rate) + 1)
        chunk = bytearray()
        while self._made < allowed and len(chunk) < CHUNK_BYTES:
            chunk += next(self._packets)
            self._made += 1
        self._pending = memoryview(bytes(chunk))

    def _read(self) -> None:
        received = self._sock.recv(CHUNK_BYTES)
        if not received:
            raise ConnectionError("the broker closed the connection")
        self._rest += len(received)
        self._acknowledged += self._rest // 4
        self._rest %= 4


def _device(number: int) -> str:
    return f"scale-{number:05d}"


def connect(sock: socket.socket, client_id: str) -> None:
    identifier = client_id.encode()
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(identifier).to_bytes(2, "big") + identifier
    sock.sendall(b"\x10" + _length(len(body)) + body)
    answer = sock.recv(4, socket.MSG_WAITALL)
    if answer != b"\x20\x02\x00\x00":
        raise ConnectionError(f"the broker refuses the connection ({answer.hex()})")


def publish_packet(packet_id: int, topic: str, payload: bytes) -> bytes:
    name = topic.encode()
    body = b"".join((len(name).to_bytes(2, "big"), name, packet_id.to_bytes(2, "big"), payload))
    return b"\x32" + _length(len(body)) + body


def _length(n: int) -> bytes:
    out = bytearray()
    while True:
        n, digit = divmod(n, 128)
        out.append(digit | (128 if n else 0))
        if not n:
            return bytes(out)


def main() -> None:
    """Publish what the arguments say and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Load()
    parser.add_argument("--host", default=default.host)
    parser.add_argument("--port", type=int, default=default.port)
    parser.add_argument("--site", default=default.site)
    parser.add_argument("--count", type=int, default=default.count)
    parser.add_argument("--pack", type=int, default=default.pack)
    parser.add_argument("--devices", type=int, default=default.devices)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--window", type=int, default=default.window)
    parser.add_argument("--boot", default=default.boot)
    try:
        print(json.dumps(asdict(send(Load(**vars(parser.parse_args()))))))
    except OSError as error:
        sys.exit(f"nothing can be published: {error}")


if __name__ == "__main__":
    main()
