"""What a small batch costs: judging and committing readings of as many channels, and what is written to the log.

`python -m bench.batches [--readings 500] [--channels 1000]`: in one thread and without a broker, once each channel has
180 checks.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from bench.load import Load, registry_yaml
from gateway.app import replay_plan
from gateway.ledger.store import Ledger
from gateway.metrology.readings import Reading
from gateway.runtime.ingest import Batch, Ingest

__all__ = ["measure"]

START = 1_767_225_600 * 10**9
CHECKS_BEFORE = 180
BATCHES = 60
PAGE = 4096 + 24


def _batch(first: int, n: int, channels: int, noise: random.Random) -> Batch:
    times = [START + i * 10**6 for i in range(first, first + n)]
    readings = [
        Reading(
            device=f"scale-{i % channels:05d}", channel="mass", time=time_ns, unit="kg", reference=5.0,
            reference_u=0.0002, value=round(5 + noise.gauss(0, 0.0016), 4), source=i - first,
        )
        for i, time_ns in enumerate(times, start=first)
    ]  # fmt: skip
    at = times[-1]
    return Batch(readings=readings, received_at=[at] * n, topic=["t"] * n, payload=[b"{}"] * n, at=at)


def measure(folder: Path, readings: int, channels: int) -> tuple[float, float, float]:
    """Return least and median wall time of a batch in ms, and the KiB of log that one writes on average."""
    registry = folder / "registry.yaml"
    registry.write_text(registry_yaml(Load(devices=channels)))
    noise, done = random.Random(1), 0
    with Ledger.open(folder / "var") as ledger:
        ledger.leave_checkpoints()
        ingest = Ingest(ledger, replay_plan(None, [registry], None), 30 * 86_400 * 10**9)
        while done < CHECKS_BEFORE * channels:
            ingest.process(_batch(done, 6000, channels, noise))
            done += 6000
            ledger.checkpoint()
        ledger.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        walls = []
        for batch in [_batch(done + k * readings, readings, channels, noise) for k in range(BATCHES)]:
            begun = time.perf_counter()
            ingest.process(batch)
            walls.append(1e3 * (time.perf_counter() - begun))
        pages = ledger.checkpoint()
    walls.sort()
    return walls[0], walls[len(walls) // 2], pages * PAGE / 1024 / BATCHES


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.batches", description=__doc__)
    parser.add_argument("--readings", type=int, default=500)
    parser.add_argument("--channels", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metergate-batches-") as name:
        least, median, log = measure(Path(name), given.readings, given.channels)
    print(f"{given.readings} readings of {given.channels} channels")
    print(f"least {least:.1f} ms, median {median:.1f} ms, log {log:.0f} KiB a batch")


if __name__ == "__main__":
    main()
