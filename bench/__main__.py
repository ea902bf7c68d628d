"""The gateway against a bare subscriber, in one run: rates, latency, memory, and replay. `make bench`.

A real mosquitto, the load in a process of its own, QoS 1, ledger FULL, all charts on. Rates are of a drained backlog:
the broker holds the messages before the subscriber starts. Prints a table, and JSON with --json FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import latency, replaying
from bench.load import Load, registry_yaml
from bench.peer import drain_paho, fill, subscribe
from bench.place import Gateway, broker


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    what: str
    value: float
    unit: str
    goal: str
    met: bool


def backlog_rate(port: int, folder: Path, load: Load) -> tuple[float, int]:
    """Return the gateway's rate on a backlog of this load, and its resident memory."""
    gateway = Gateway(folder, port)
    gateway.apply(registry_yaml(load))
    gateway.start()
    gateway.stop()
    fill(load)
    return gateway.drain(load.count * load.pack)


def measure(quick: bool) -> list[Figure]:
    """Run everything."""
    figures: list[Figure] = []
    scale = 4 if quick else 1
    with tempfile.TemporaryDirectory(prefix="metergate-bench-", dir=os.environ.get("METERGATE_BENCH_DIR")) as name:
        folder = Path(name)
        with broker(folder) as port:
            singles = Load(port=port, count=80_000 // scale, devices=1000)
            subscribe(port, "peer")
            fill(singles)
            peer = drain_paho(port, "peer", singles.count)
        with broker(folder) as port:
            ours, _ = backlog_rate(port, folder / "single", Load(port=port, count=singles.count, devices=1000))
            share = 100 * ours / peer.per_s
            figures += [
                Figure(what="bare paho subscriber, single readings", value=peer.per_s, unit="/s", goal="", met=True),
                Figure(what="gateway, single readings", value=ours, unit="/s", goal="", met=True),
                Figure(what="share of the bare subscriber", value=share, unit="%", goal=">= 35", met=share >= 35),
            ]
            p50, p99 = latency.measure(port, folder / "single", rate=ours / 2, seconds=20 / scale)
            figures.append(
                Figure(what="publish to durable at half the rate, median", value=p50, unit="ms", goal="", met=True)
            )
            figures.append(
                Figure(what="publish to durable at half the rate, p99", value=p99, unit="ms", goal="< 50", met=p99 < 50)
            )
        with broker(folder) as port:
            packs = Load(port=port, count=8000 // scale, pack=100, devices=1000)
            rate, _ = backlog_rate(port, folder / "packs", packs)
            figures.append(
                Figure(what="gateway, packs of 100", value=rate, unit="readings/s", goal=">= 40000", met=rate >= 40_000)
            )
        with broker(folder) as port:
            many = Load(port=port, count=40_000 // scale, devices=10_000)
            rate, peak = backlog_rate(port, folder / "many", many)
            figures.append(
                Figure(what="gateway, 10 000 devices, single readings", value=rate, unit="/s", goal="", met=True)
            )
            figures.append(
                Figure(
                    what="memory with 10 000 devices", value=peak / 1024, unit="MiB", goal="< 200", met=peak < 200_000
                )
            )
        rate = replaying.measure(folder / "replay", checks=400_000)
        figures.append(
            Figure(
                what="replay with verdicts and all charts",
                value=rate,
                unit="checks/s",
                goal=">= 40000",
                met=rate >= 40_000,
            )
        )
    return figures


def main() -> None:
    """Measure, print the table, write JSON; exit 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the load")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = measure(arguments.quick)
    width = max(len(f.what) for f in figures)
    for f in figures:
        print(f"{f.what:<{width}}  {f.value:>12,.1f} {f.unit:<11} {f.goal:<9} {'' if f.met else 'MISSED'}".rstrip())
    if arguments.json:
        about = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
        arguments.json.write_text(json.dumps({**about, "figures": [asdict(f) for f in figures]}, indent=1))
    sys.exit(0 if all(f.met for f in figures) else 1)


if __name__ == "__main__":
    main()
