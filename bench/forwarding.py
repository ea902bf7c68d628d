"""The forwarder on one core: rate into a stand-in, and an outage at 1 000 readings/s, time-compressed.

`python -m bench.forwarding [--seconds 3600]`. Forwarder and stand-in are processes of their own; the forwarder is bound
to one core. The stand-in keeps which points it was given, so that at the end both sets can be compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from pydantic import SecretStr

from gateway.history.forward_state import forwarding_state
from gateway.ledger import moments
from gateway.ledger.readings import insert_rows
from gateway.ledger.store import Ledger
from gateway.runtime.clock import now_ns
from gateway.runtime.forwarding import Forwarder
from gateway.settings import Influx
from tests.conftest import free_port
from tests.influx.standin import StandIn

CHANNELS = 100
RATE = 1000
LIVE = "live"
START = 1_700_000_000 * 10**9
COMMIT = 5000
WAIT_S = 600.0


class Counting(StandIn):
    """Keeps a number for each distinct point; for points of the channel `live`, how old they were on arrival."""

    def __init__(self, port: int) -> None:
        super().__init__(port=port)
        self.seen: set[int] = set()
        self.total = 0
        self.ages: list[float] = []

    def _write(self, _headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        now = now_ns()
        for line in body.split(b"\n"):
            if not line.startswith(b"reading,"):  # an alarm about the outage, say
                continue
            head, _, stamp = line.rpartition(b" ")
            series = head[: head.index(b" ")]
            number = key(series, int(stamp))
            self.total += 1
            if number not in self.seen:
                self.seen.add(number)
                if b"channel=live" in series:
                    self.ages.append((now - int(stamp)) / 1e9)
        return 204, {}, b""


def key(series: bytes, at: int) -> int:
    """Return a number that stands for a point."""
    return crc32(series) << 64 | at


def expected(channel: str, at: int) -> int:
    """Return the number of the point that a row of `fill` becomes."""
    return key(f"reading,channel={channel},device=d,kind=other,site=bench".encode(), at)


def serve(port: int, out: Path) -> None:
    """Run a stand-in until SIGTERM; then write down what it was given."""

    async def run() -> dict[str, float]:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        async with Counting(port) as standin:
            await stop.wait()
            ages = sorted(standin.ages)
            return {
                "distinct": len(standin.seen),
                "sum": sum(standin.seen),
                "lines": standin.total,
                "live_p99_s": ages[int(len(ages) * 0.99)] if ages else 0.0,
            }

    out.write_text(json.dumps(asyncio.run(run())))


def forward(folder: Path, port: int) -> None:
    """Run a forwarder until killed, on one core."""
    os.sched_setaffinity(0, {0})
    influx = Influx(url=f"http://127.0.0.1:{port}", token=SecretStr("write-token"))
    asyncio.run(Forwarder(folder, "bench", influx, now_ns).run())


@contextmanager
def process(role: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run this module in another role; ends with SIGTERM."""
    command = [sys.executable, "-m", "bench.forwarding", "--role", role, "--folder", str(folder), "--port", str(port)]
    running = subprocess.Popen(command)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(120)


def fill(ledger: Ledger, first: int, n: int) -> None:
    """Write readings as ingest leaves them: `RATE` a second over all channels."""
    for start in range(first, first + n, COMMIT):
        numbers = range(start, min(start + COMMIT, first + n))
        times = [START + i * (10**9 // RATE) for i in numbers]
        with ledger.transaction() as connection:
            insert_rows(
                connection,
                "reading",
                {
                    "channel": [1 + i % CHANNELS for i in numbers],
                    "time": times,
                    "boot": ["b7"] * len(times),
                    "seq": [i // CHANNELS for i in numbers],
                    "value": [round(5 + i % 997 / 1000, 3) for i in numbers],
                    "clock": [0] * len(times),
                    "received_at": [t - t % 10**9 for t in times],
                    "late": [0] * len(times),
                    "quality": [0] * len(times),
                },
            )
            moments.place(connection)


def live(ledger: Ledger) -> None:
    """Write a hundred readings of now: a tenth of a second at the live rate."""
    at = now_ns()
    with ledger.transaction() as connection:
        connection.executemany(
            "INSERT INTO reading (channel, time, value, clock, received_at, late, quality) "
            "VALUES (?, ?, 1.0, 0, ?, 0, 0)",
            [(CHANNELS + 1, at + i, at) for i in range(RATE // 10)],
        )
        moments.place(connection)


def resident_mb(pid: int) -> float:
    """Return a process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_s(pid: int) -> float:
    """Return the processor time a process has used."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def ledger_sum(connection: sqlite3.Connection, after: int) -> tuple[int, int]:
    """Return how many points the ledger's readings after an id are, and the sum of their numbers."""
    found = {
        expected(channel, at)
        for channel, at in connection.execute(
            "SELECT c.channel, r.time FROM reading r JOIN channel c ON c.id = r.channel WHERE r.id > ?", (after,)
        )
    }
    return len(found), sum(found)


def wait_drained(ledger: Ledger, watched: subprocess.Popen[bytes], *, feed_live: bool = False) -> tuple[float, float]:
    """Wait until all is sent; return the seconds since InfluxDB answers, and the forwarder's largest memory (MB)."""
    begun = time.monotonic()
    largest = 0.0
    ends = begun + WAIT_S
    while time.monotonic() < ends:
        largest = max(largest, resident_mb(watched.pid))
        state = forwarding_state(ledger)
        if state.failing_since is not None:  # it is still waiting before its next try
            begun = time.monotonic()
        elif state.lag <= (RATE if feed_live else 0) and state.backlog == 0 and state.target:
            return time.monotonic() - begun, largest
        elif feed_live:
            live(ledger)
        time.sleep(0.1)
    raise RuntimeError(f"not drained: {state}")


def main() -> int:
    """Print the figures; exit 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="length of the outage in time of the readings")
    parser.add_argument("--role", choices=("standin", "forwarder"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.role == "standin":
        serve(given.port, given.folder / "seen.json")
        return 0
    if given.role == "forwarder":
        forward(given.folder, given.port)
        return 0
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), given.seconds)
    for what, value in found.items():
        print(f"{what:52} {value:14,.2f}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    good = found["rate, readings/s"] >= 50_000 and found["outage: growth of memory, MB"] < 32
    return 0 if good and not found["outage: points missing or too many"] else 1


def measure(folder: Path, seconds: int) -> dict[str, float]:
    """Return the figures of one run."""
    port, warm = free_port(), 200_000
    with Ledger.open(folder) as ledger:
        with ledger.transaction() as connection:
            names = [("d", f"c{i:03}") for i in range(CHANNELS)] + [("d", LIVE)]
            connection.executemany("INSERT INTO channel (device, channel) VALUES (?, ?)", names)
        fill(ledger, 0, 5000)
        with process("forwarder", folder, port) as forwarder:
            with process("standin", folder, port):
                wait_drained(ledger, forwarder)
                before = cpu_s(forwarder.pid)
                fill(ledger, 5000, warm)
                filled = forwarding_state(ledger).lag
                took, _ = wait_drained(ledger, forwarder)
                cpu = cpu_s(forwarder.pid) - before
            at_rest = resident_mb(forwarder.pid)
            head = int(ledger.connection.execute("SELECT MAX(id) FROM reading").fetchone()[0])
            fill(ledger, 5000 + warm, seconds * RATE)
            down = resident_mb(forwarder.pid)
            with process("standin", folder, port):
                drain_s, draining = wait_drained(ledger, forwarder, feed_live=True)
                wait_drained(ledger, forwarder)
            said = json.loads((folder / "seen.json").read_text())
        n, total = ledger_sum(ledger.connection, head)
    return {
        "rate, readings/s": filled / took,
        "rate, readings per CPU-second of the forwarder": warm / cpu,
        "CPU-seconds per million readings": cpu / warm * 1e6,
        "outage: readings": seconds * RATE,
        "outage: memory of the forwarder before, MB": at_rest,
        "outage: memory while down, MB": down,
        "outage: growth of memory, MB": max(down, draining) - at_rest,
        "outage: drained in, s": drain_s,
        "outage: drained at, readings/s": seconds * RATE / drain_s,
        "outage: live readings meanwhile, p99 of their age, s": said["live_p99_s"],
        "outage: points missing or too many": abs(said["distinct"] - n) + (said["sum"] != total),
        "outage: lines sent more than once": said["lines"] - said["distinct"],
    }


if __name__ == "__main__":
    sys.exit(main())
