"""How fast a history answers: a year of one-minute readings of one channel. `python -m bench.history`.

In the library: 1h over the year, as a register and as an indication, and one raw day, from a ledger whose hours are
rolled up; then the year without roll-ups, for comparison. As a command: `metergate history` above its own start-up.
On a machine that others use too the least of many runs, and processor time, say more than p95.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gateway.history import ChannelSettings, Query
from gateway.history.ledger import LedgerHistory
from gateway.history.rolling import catch_up
from gateway.ledger.store import Ledger
from gateway.metrology.instants import parse_rfc3339

MINUTE = 60 * 10**9
DAY = 1440 * MINUTE
START = parse_rfc3339("2025-01-01T00:00:00Z")
READINGS = 525_600
REGISTRY = """\
devices:
  - id: meter
    kind: electricity
    site: bench
    rule_pack: none
    channels: {active_energy: {unit: kWh, type: register, every: 1m}}
"""


def fill(folder: Path) -> float:
    """Import the year as a person would; return readings/s."""
    (folder / "devices.yaml").write_text(REGISTRY)
    with (folder / "year.csv").open("w") as file:
        file.write("time,device,channel,value,unit,seq,boot\n")
        for i in range(READINGS):
            file.write(f"{(START + i * MINUTE) // 10**9},meter,active_energy,{1000 + i * 0.013:.3f},kWh,{i},b\n")
    begun = time.perf_counter()
    command("import", "year.csv", "--registry", "devices.yaml", folder=folder)
    return READINGS / (time.perf_counter() - begun)


def command(*arguments: str, folder: Path) -> float:
    """Run `metergate ARGUMENTS` in the folder, byte code kept as in an installation; return the seconds it took."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    ours = {"METERGATE_DATA_DIR": "var", "PYTHONPYCACHEPREFIX": "pyc", "PYTHONPATH": str(Path(__file__).parent.parent)}
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=folder, check=True, stdout=subprocess.DEVNULL, env={**kept, **ours},
    )  # fmt: skip
    return time.perf_counter() - begun


def seconds(work: Callable[[], object], times: int) -> list[float]:
    """Return how long each of some runs took."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return sorted(found)


def say(what: str, found: list[float], goal_ms: float | None = None) -> None:
    """Print minimum, median and p95 in ms."""
    p95 = found[min(len(found) - 1, round(0.95 * len(found)))]
    goal = "" if goal_ms is None else f"   goal p95 < {goal_ms:g} ms: {'met' if p95 * 1000 < goal_ms else 'NOT MET'}"
    least, middle = found[0] * 1000, statistics.median(found) * 1000
    print(f"{what:52} min {least:7.1f} ms  median {middle:7.1f} ms  p95 {p95 * 1000:7.1f} ms{goal}")


def children_s() -> float:
    """Return the processor time that commands have used so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def processor(work: Callable[[], object]) -> float:
    """Return the processor time of one command."""
    begun = children_s()
    work()
    return children_s() - begun


def main() -> None:
    """Run everything; takes about a minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"import of {READINGS} readings with roll-ups: {fill(folder):,.0f} readings/s")
        settings = {("meter", "active_energy"): ChannelSettings(unit="kWh", register=True, every_ns=MINUTE)}
        with Ledger.open(folder / "var") as ledger:
            begun = time.perf_counter()
            made = catch_up(ledger, START + 400 * DAY)
            print(f"roll-ups that import had left to make: {made} hours in {time.perf_counter() - begun:.3f} s")
            year = Query(device="meter", start=START, end=START + READINGS * MINUTE)
            day = Query(device="meter", start=START + 200 * DAY, end=START + 201 * DAY)
            store, plain = LedgerHistory(ledger, settings), LedgerHistory(ledger, settings, rollups=False)
            hours = list(store.buckets(year, "1h"))
            if hours != list(plain.buckets(year, "1h")) or len(hours) != READINGS // 60:
                raise SystemExit("the roll-ups do not say what the readings say")
            shown = {("meter", "active_energy"): ChannelSettings(unit="kWh", every_ns=MINUTE)}
            indication = LedgerHistory(ledger, shown)
            say("a year at 1h, a register", seconds(lambda: list(store.buckets(year, "1h")), times), 50)
            say("a year at 1h, an indication", seconds(lambda: list(indication.buckets(year, "1h")), times), 50)
            say("a year at 1d", seconds(lambda: list(store.buckets(year, "1d")), times))
            say("a raw day", seconds(lambda: list(store.raw(day)), times), 30)
            say("a year at 1h without roll-ups", seconds(lambda: list(plain.buckets(year, "1h")), 3))
            say("a year at 1m", seconds(lambda: list(plain.buckets(year, "1m")), 1))
        asked = ("history", "meter", "--from", "2025-01-01", "--to", "2026-01-01", "--resolution", "1h", "-f", "csv")
        command(*asked, folder=folder)  # byte code is made
        runs = {"`metergate --version`": ("--version",), "`metergate history --help`": ("history", "--help")}
        start_up = 0.0
        for what, arguments in runs.items():
            found = sorted(processor(lambda a=arguments: command(*a, folder=folder)) for _ in range(15))  # type: ignore[misc]
            start_up = found[0]
            say(f"start-up, {what}, processor time", found, 400)
        answer = sorted(processor(lambda: command(*asked, folder=folder)) for _ in range(15))
        say("`metergate history`, a year at 1h, processor time", answer)
        above = [max(0.0, a - start_up) for a in answer]
        say("the same above its start-up", above, 300)


if __name__ == "__main__":
    main()
