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
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.load import Load, connect, publish_packet, registry_yaml
from bench.place import Gateway, broker

__all__ = ["measure"]


CHANNELS = 1000
VALUES = 9973
LAST_ID = 60_000
SETTLING_S = 1.5
"""So long nothing is measured."""


def publish(port: int, rate: float, seconds: float) -> None:
    """Publish readings of the bench's devices at a steady rate; `ts` is the moment of publishing.

    All that can be is made beforehand: what the publisher takes of two cores, the gateway lacks. What is due is sent
    at once, and says the same moment.
    """
    rng = random.Random(1)
    said = [
        b',"value":%.4f,"unit":"kg","reference":5,"reference_u":0.0002}' % (5 + rng.gauss(0, 0.0016))
        for _ in range(VALUES)
    ]
    body = _moment(0) + said[0]
    heads = [
        publish_packet(0, f"metergate/reading/bench/scale-{d:05d}/mass", body)[: -len(body) - 2]
        for d in range(CHANNELS)
    ]
    numbers = [n.to_bytes(2, "big") for n in range(1, LAST_ID + 1)]
    with socket.create_connection(("127.0.0.1", port)) as sock:
        connect(sock, "metergate-latency")
        sock.setblocking(False)
        begun, sent = time.monotonic(), 0
        while (elapsed := time.monotonic() - begun) < seconds:
            due = min(int(elapsed * rate), sent + CHANNELS)  # a channel has one reading at a moment
            moment = _moment(time.time_ns() / 1e6)  # noqa: TID251  a measurement of real time
            packets: list[bytes] = []
            for n in range(sent, due):
                packets += (heads[n % CHANNELS], numbers[n % LAST_ID], moment, said[n % VALUES])
            sent = due
            sock.setblocking(True)
            sock.sendall(b"".join(packets))
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while sock.recv(65_536):
                    pass
            time.sleep(0.001)
        time.sleep(1.0)


def _moment(ms: float) -> bytes:
    """Return what a payload begins with, of always the same length."""
    return b'{"ts":%017.3f' % ms


def measure(port: int, folder: Path, *, rate: float, seconds: float) -> tuple[float, float]:
    """Return median and 99th percentile in ms, over the time after the first second. The gateway is started here."""
    gateway = Gateway(folder, port)
    gateway.start()
    connection = sqlite3.connect(folder / "ledger.sqlite")
    last = int(connection.execute("SELECT COALESCE(MAX(id), 0) FROM reading").fetchone()[0])
    command = [sys.executable, "-m", "bench.latency", "--publish", str(port), str(rate), str(seconds)]
    publisher = subprocess.Popen(command)
    begun, seen = time.monotonic(), []
    version = -1
    while time.monotonic() - begun < seconds + 1.0:
        before, version = version, int(connection.execute("PRAGMA data_version").fetchone()[0])
        if version != before:
            newest = int(connection.execute("SELECT COALESCE(MAX(id), 0) FROM reading").fetchone()[0])
            seen.append((newest, time.time_ns()))  # noqa: TID251  a measurement of real time
            if time.monotonic() - begun < SETTLING_S:
                last = newest
        time.sleep(0.002)
    publisher.wait(30)
    waited = _waited(connection, last, seen)
    connection.close()
    gateway.stop()
    return float(np.percentile(waited, 50)), float(np.percentile(waited, 99))


def _waited(connection: sqlite3.Connection, after: int, seen: Sequence[tuple[int, int]]) -> npt.NDArray[np.float64]:
    """Return how long (ms) each reading after this one was on its way. `seen`: up to which they were durable, and when.

    They are asked for when all is over: who looks at each while they come takes of the two cores, too.
    """
    rows = connection.execute("SELECT id, time FROM reading WHERE id > ? ORDER BY id", (after,)).fetchall()
    numbers, published = np.array(rows, np.int64).T
    newest, moments = np.array(seen, np.int64).T
    waited: npt.NDArray[np.float64] = (moments[newest.searchsorted(numbers)] - published) / 1e6
    return waited


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
