"""Peers: how fast a drained backlog is received, by bare paho (acknowledging at once) and by our source (by hand).

Both run in this process against a broker that already holds the messages for a session made with `subscribe`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bench.load import Load
from collectors.mqtt import MqttSettings, MqttSource

__all__ = ["Received", "drain_paho", "drain_source", "fill", "subscribe"]

FILTER = "metergate/reading/#"
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """How fast messages came; `cpu_us`: processor time of this process per message."""

    by: str
    messages: int
    elapsed_s: float
    per_s: float
    cpu_us: float


def _settings(port: int, client_id: str) -> MqttSettings:
    return MqttSettings(host="127.0.0.1", port=port, client_id=client_id, keepalive_s=60)


def subscribe(port: int, client_id: str) -> None:
    """Make a session that keeps what is published from now on."""

    async def run() -> None:
        async with MqttSource(_settings(port, client_id), [FILTER], time.monotonic_ns) as source:
            await source.wait_ready()

    asyncio.run(run())


def fill(load: Load) -> None:
    """Publish from a process of its own, so that this one is measured alone."""
    options = {"port": load.port, "count": load.count, "pack": load.pack, "devices": load.devices}
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    subprocess.run([sys.executable, "-m", "bench.load", *arguments], check=True, stdout=subprocess.DEVNULL)


def drain_paho(port: int, client_id: str, count: int) -> Received:
    """Receive with bare paho: a callback that counts, acknowledged at once."""
    client = Client(
        CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False, protocol=MQTTProtocolVersion.MQTTv311
    )
    seen = 0

    def on_message(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen >= count:
            client.disconnect()

    client.on_message = on_message

    def on_connect(*_: object) -> None:
        client.subscribe(FILTER, qos=1)

    client.on_connect = on_connect

    def run() -> None:
        client.connect("127.0.0.1", port)
        client.loop_forever()

    return _measured("paho", count, run)


def drain_source(port: int, client_id: str, count: int) -> Received:
    """Receive with our source, acknowledging each batch after it was taken."""

    async def receive() -> None:
        seen = 0
        async with MqttSource(_settings(port, client_id), [FILTER], time.monotonic_ns) as source:
            while seen < count:
                batch = await source.take(2000, PATIENCE_S)
                if not batch:
                    raise TimeoutError(f"{seen} of {count} messages came")
                await source.acknowledge(batch)
                seen += len(batch)

    return _measured("source", count, lambda: asyncio.run(receive()))


def _measured(by: str, count: int, run: Callable[[], None]) -> Received:
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    run()
    elapsed = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Received(
        by=by,
        messages=count,
        elapsed_s=round(elapsed, 3),
        per_s=round(count / elapsed),
        cpu_us=round(cpu / count * 1e6, 1),
    )


def main() -> None:
    """Measure both in turn against the broker on a port; print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    results = []
    for _ in range(given.rounds):
        for name, drain in (("bench-paho", drain_paho), ("bench-source", drain_source)):
            subscribe(given.port, name)
            fill(Load(port=given.port, count=given.count))
            results.append(asdict(drain(given.port, name, given.count)))
            _forget(given.port, name)
    print(json.dumps(results))


def _forget(port: int, client_id: str) -> None:
    """Delete a session, so that the broker stops filling it."""
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)

    def on_connect(*_: object) -> None:
        client.disconnect()

    client.on_connect = on_connect
    client.connect("127.0.0.1", port)
    client.loop_forever()


if __name__ == "__main__":
    main()
