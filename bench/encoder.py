"""Our line protocol against influxdb-client's Point, same content, on one core. `python -m bench.encoder`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gateway.history.points import ReadingRow, Tags, reading_lines

N = 20_000
REPEATS = 7
GOAL = 10.0
START = 1_700_000_000 * 10**9


def rows(checks: bool) -> list[ReadingRow]:
    """Return rows as the ledger gives them: a reading every second of 100 channels, in batches of 500."""
    rng = np.random.default_rng(1)
    values = np.round(rng.normal(5.0, 0.01, N), 4).tolist()
    return [
        (
            i, i % 100, START + i * 10**9, "b7", i, v, 5.0 if checks else None, 0.0001 if checks else None,
            None, START + (i // 500) * 500 * 10**9, 0, 0, None, None,
        )
        for i, v in enumerate(values)
    ]  # fmt: skip


def ours(given: list[ReadingRow]) -> list[str]:
    """Encode as the forwarder does."""
    tags = [Tags.of("van-giang", f"scale-{c:03}", "mass", "weighing", "kg") for c in range(100)]
    return reading_lines(given, lambda _i, channel: tags[channel], {})


def theirs(given: list[ReadingRow]) -> list[str]:
    """Encode the same points with `Point`."""
    client: Any = importlib.import_module("influxdb_client")
    nanoseconds = client.WritePrecision.NS
    lines = []
    for _, channel, at, boot, seq, value, reference, reference_u, _, received_at, late, _, _ in given:
        point = (
            client.Point("reading").tag("site", "van-giang").tag("device", f"scale-{channel:03}").tag("channel", "mass")
        )
        point.tag("kind", "weighing").field("value", value).field("reference", reference)
        point.field("reference_u", reference_u).field("seq", float(seq)).field("unit", "kg").field("quality", "good")
        point.field("late", late > 0).field("boot", boot).field("shift_ns", 0.0)
        received = datetime.fromtimestamp(received_at // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        point.field("received_at", received).time(at, nanoseconds)
        lines.append(point.to_line_protocol())
    return lines


def best(work: Callable[[], object]) -> float:
    """Return the shortest of some runs in seconds."""
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def main() -> int:
    """Print points/s of both and their ratio; exit 1 below the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: dict[str, float] = {}
    for name, checks in (("reading", False), ("check", True)):
        batch = rows(checks)
        mine, other = best(lambda b=batch: ours(b)), best(lambda b=batch: theirs(b))  # type: ignore[misc]
        found[f"{name}: ours, points/s"] = N / mine
        found[f"{name}: Point.to_line_protocol, points/s"] = N / other
        found[f"{name}: ratio"] = other / mine
    for what, value in found.items():
        print(f"{what:45} {value:12,.1f}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return 0 if min(v for k, v in found.items() if k.endswith("ratio")) >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
