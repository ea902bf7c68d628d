"""Publish to durable: each reading carries the moment it was published; the ledger is watched for it.

`python -m bench.latency --rates 4000 15000 25000` measures, one rate after the other on one ledger. The publisher is a
process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.load import Load, connect, publish_packet, registry_yaml
from bench.place import Gateway, broker

__all__ = ["measure"]


CHANNELS = 1000
VALUES = 9973
LAST_ID = 60_000


def publish(port: int, rate: float, seconds: float) -> None:
    """Publish readings of the bench's devices at a steady rate; `ts` is the moment of publishing.

    All that can be is made beforehand: what the publisher takes of two cores, the gateway lacks.
    """
    rng = random.Random(1)
    said = [
        b',"value":%.4f,"unit":"kg","reference":5,"reference_u":0.0002}' % (5 + rng.gauss(0, 0.0016))
        for _ in range(VALUES)
    ]
    heads = [_head(f"metergate/reading/bench/scale-{d:05d}/mass", _body(0, said[0])) for d in range(CHANNELS)]
    with socket.create_connection(("127.0.0.1", port)) as sock:
        connect(sock, "metergate-latency")
        sock.setblocking(False)
        begun, sent = time.monotonic(), 0
        while (elapsed := time.monotonic() - begun) < seconds:
            packets, due = [], int(elapsed * rate)
            for n in range(sent, due):
                ts = time.time_ns() / 1e6  # noqa: TID251  a measurement of real time
                number = (n % LAST_ID + 1).to_bytes(2, "big")
                packets += [heads[n % CHANNELS], number, _body(ts, said[n % VALUES])]
            sent = due
            sock.setblocking(True)
            sock.sendall(b"".join(packets))
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while sock.recv(65_536):
                    pass
            time.sleep(0.001)
        time.sleep(1.0)


def _body(ts: float, rest: bytes) -> bytes:
    """Return a payload of always the same length."""
    return b'{"ts":%017.3f%b' % (ts, rest)


def _head(topic: str, body: bytes) -> bytes:
    """Return what a PUBLISH with such a body begins with, up to the packet's number."""
    return publish_packet(0, topic, body)[: -len(body) - 2]


def measure(port: int, folder: Path, *, rate: float, seconds: float) -> tuple[float, float]:
    """Return median and 99th percentile in ms, over the time after the first second. The gateway is started here."""
    gateway = Gateway(folder, port)
    gateway.start()
    connection = sqlite3.connect(folder / "ledger.sqlite")
    last = int(connection.execute("SELECT COALESCE(MAX(id), 0) FROM reading").fetchone()[0])
    command = [sys.executable, "-m", "bench.latency", "--publish", str(port), str(rate), str(seconds)]
    publisher = subprocess.Popen(command)
    begun, found = time.monotonic(), []
    version = -1
    while time.monotonic() - begun < seconds + 1.0:
        before, version = version, int(connection.execute("PRAGMA data_version").fetchone()[0])
        if version != before:
            rows = connection.execute("SELECT id, time FROM reading WHERE id > ?", (last,)).fetchall()
            now = time.time_ns()  # noqa: TID251  a measurement of real time
            last = rows[-1][0] if rows else last
            if time.monotonic() - begun > 1.5:
                found += [(now - t) / 1e6 for _, t in rows]
        time.sleep(0.002)
    publisher.wait(30)
    connection.close()
    gateway.stop()
    found.sort()
    return found[len(found) // 2], found[int(len(found) * 0.99)]


def main() -> None:
    """Measure at the given rates, or be the publisher."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[4000, 8000, 15_000, 25_000], help="readings/s")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--publish", type=float, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.publish:
        publish(int(given.publish[0]), *given.publish[1:])
        return
    with tempfile.TemporaryDirectory(prefix="metergate-latency-") as name, broker(Path(name)) as port:
        folder = Path(name) / "site"
        Gateway(folder, port).apply(registry_yaml(Load(devices=1000)))
        for rate in given.rates:
            p50, p99 = measure(port, folder, rate=rate, seconds=given.seconds)
            print(f"{rate:>8,.0f} readings/s   median {p50:6.1f} ms   99th percentile {p99:6.1f} ms", flush=True)


if __name__ == "__main__":
    main()
