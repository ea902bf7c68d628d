"""Kill: the gateway is killed with kill -9 again and again under load; what was acknowledged must be stored once.

A publisher sends readings with QoS 1 and remembers what the broker acknowledged; `metergate run` is killed at random
moments and started again; at the end it drains, ends in order, and the ledger is compared. A broker named by `--port`
must drop nothing for a client that is away (`max_queued_messages 0`): `python -m bench.kill --cycles 30`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from bench.place import broker

__all__ = ["Gateway", "Outcome", "Publisher", "Trial", "await_session", "drain", "run"]

SITE = "bench"
DEVICES = 200
"""So many that what has come while a gateway was down moves many channels at once (decision 31)."""
DRAIN_S = 90.0
STOP_S = 10.0
CONNECT_S = 10.0
MAIN = "from gateway.cli import main; main()"

Key = tuple[str, str, int]
"""(device, boot, seq)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is done: so many kills, readings per second while they happen, how long a gateway lives at most."""

    port: int
    folder: Path
    cycles: int = 30
    rate: float = 300.0
    life_s: float = 2.5
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the readings. `doubled`: keys stored more than once; `lost`: acknowledged, not stored.

    `differing`: verdicts that are not what a recomputation says; `together`: batches whose states waited for rows.
    """

    cycles: int
    published: int
    acknowledged: int
    stored: int
    lost: int
    doubled: int
    redelivered: int
    differing: int
    together: int
    counters: dict[str, int]
    cut_short: int
    exit_code: int
    stop_s: float

    @property
    def balanced(self) -> bool:
        """Every reading received ended in exactly one counter."""
        c = self.counters
        return c.get("received", 0) == c.get("stored", 0) + c.get("duplicate", 0) + c.get("quarantined", 0)


class Publisher:
    """Publishes readings at a rate on a thread of its own, and remembers which were acknowledged."""

    def __init__(self, port: int, rate: float) -> None:
        self.published = 0
        self.acknowledged: set[Key] = set()
        self._pending: dict[int, Key] = {}
        self._early: set[int] = set()
        self._lock = threading.Lock()
        self._rate = rate
        self._stop = threading.Event()
        self._connected = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bench-kill", clean_session=False)
        self._client.max_inflight_messages_set(500)
        self._client.on_publish = self._on_publish
        self._client.on_connect = lambda *_: self._connected.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        if not self._connected.wait(CONNECT_S):
            raise TimeoutError(f"no broker on port {port}")
        self._thread = threading.Thread(target=self._run, name="publisher")
        self._thread.start()

    def _on_publish(self, _client: Any, _data: Any, mid: int, _code: Any, _properties: Any) -> None:
        with self._lock:
            key = self._pending.pop(mid, None)
            if key is None:
                self._early.add(mid)
            else:
                self.acknowledged.add(key)

    def _run(self) -> None:
        begun = time.monotonic()
        while not self._stop.is_set():
            due = begun + self.published / self._rate
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            self._send(self.published)

    def _send(self, number: int) -> None:
        device, boot = f"d{number % DEVICES}", f"b{number // 2000}"
        seq = number // DEVICES
        payload = {
            "ts": _now_ms(), "value": round(5 + (number * 37 % 11 - 5) * 1e-4, 4), "unit": "kg",
            "seq": seq, "boot": boot,
        }  # fmt: skip
        if number % 3 == 0:
            payload |= {"reference": 5, "reference_u": 0.0001}
        sent = self._client.publish(f"metergate/reading/{SITE}/{device}/mass", json.dumps(payload), qos=1)
        with self._lock:
            key = (device, boot, seq)
            if sent.mid in self._early:
                self._early.discard(sent.mid)
                self.acknowledged.add(key)
            else:
                self._pending[sent.mid] = key
        self.published += 1

    def finish(self) -> None:
        """Stop publishing and wait until the broker has acknowledged everything."""
        self._stop.set()
        self._thread.join()
        until = time.monotonic() + DRAIN_S
        while self._pending and time.monotonic() < until:
            time.sleep(0.02)
        self._client.disconnect()
        self._client.loop_stop()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000  # noqa: TID251  what an instrument's clock says


def _registry() -> str:
    lines = ["devices:"]
    for d in range(DEVICES):
        lines += [
            f"  - id: d{d}",
            "    kind: weighing",
            f"    site: {SITE}",
            "    rule_pack: none",
            "    channels: {mass: {unit: kg, sigma: 1.6 g}}",
        ]
    return "\n".join([*lines, ""])


class Gateway:
    """`metergate run` in a folder; what it says goes to run.log."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        root = str(Path(__file__).resolve().parents[1])
        self._environment = {**os.environ, "PYTHONPATH": root}
        (folder / "config").mkdir(parents=True, exist_ok=True)
        (folder / "config/gateway.yaml").write_text(
            f"site: {SITE}\ndata_dir: var\nbroker: {{url: mqtt://127.0.0.1:{port}, client_id: bench-gateway}}\n"
        )
        (folder / "devices.yaml").write_text(_registry())
        subprocess.run(self.command("apply", "devices.yaml"), check=True, capture_output=True, **self.place)
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> list[str]:
        """Return a `metergate` command."""
        return [sys.executable, "-c", MAIN, *arguments]

    @property
    def place(self) -> dict[str, Any]:
        """Where and with what surroundings commands run."""
        return {"cwd": self.folder, "env": self._environment}

    def start(self, under: Sequence[str] = ()) -> None:
        """Start it, as the argument of the command `under` if one is given; it is left to itself."""
        with (self.folder / "run.log").open("ab") as log:
            self.process = subprocess.Popen([*under, *self.command("run")], stdout=log, stderr=log, **self.place)

    def kill(self) -> bool:
        """Kill -9; return whether it was alive until then."""
        if self.process is None:
            return False
        alive = self.process.poll() is None
        self.process.kill()
        self.process.wait()
        return alive

    def stop(self) -> tuple[int, float]:
        """Stop by SIGTERM; return the exit code and how long it took (s)."""
        if self.process is None:
            raise RuntimeError("the gateway is not running")
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_S)
        return code, time.monotonic() - begun

    def stored(self) -> Counter[Key]:
        """Return how often each (device, boot, seq) is in the ledger."""
        rows = self._ask("SELECT c.device, r.boot, r.seq FROM reading r JOIN channel c ON c.id = r.channel")
        return Counter((str(d), str(b), int(s)) for d, b, s in rows)

    def counters(self) -> dict[str, int]:
        """Return the counters."""
        return {str(k): int(n) for k, n in self._ask("SELECT name, n FROM counter")}

    def together(self) -> int:
        """Return how many batches moved so many channels that their states were one entry."""
        return int(self._ask("SELECT COALESCE(MAX(id), 0) FROM state_change")[0][0])

    def differing(self) -> int:
        """Return how many verdicts `metergate verify verdicts` finds to be others than were stored."""
        said = subprocess.run(
            self.command("verify", "verdicts", "--json"), check=False, capture_output=True, **self.place
        )
        return int(json.loads(said.stdout)["differing"])

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.folder / "var/ledger.sqlite", timeout=10)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()


def run(trial: Trial) -> Outcome:
    """Kill, start again, drain, compare."""
    chance = random.Random(trial.seed)
    gateway = Gateway(trial.folder, trial.port)
    gateway.start()
    try:
        await_session(gateway)
        publisher = Publisher(trial.port, trial.rate)
        cut_short = 0
        try:
            for _ in range(trial.cycles):
                time.sleep(chance.uniform(0.2, trial.life_s))
                cut_short += gateway.kill()
                gateway.start()
        finally:
            publisher.finish()
        drain(gateway, publisher.acknowledged)
        code, stop_s = gateway.stop()
    finally:
        gateway.kill()
    stored, counters = gateway.stored(), gateway.counters()
    return Outcome(
        cycles=trial.cycles,
        published=publisher.published,
        acknowledged=len(publisher.acknowledged),
        stored=sum(stored.values()),
        lost=len(publisher.acknowledged - set(stored)),
        doubled=sum(n > 1 for n in stored.values()),
        redelivered=counters.get("duplicate", 0),
        differing=gateway.differing(),
        together=gateway.together(),
        counters=counters,
        cut_short=cut_short,
        exit_code=code,
        stop_s=round(stop_s, 2),
    )


def await_session(gateway: Gateway) -> None:
    """Wait until the gateway is subscribed: the broker holds nothing for a session it has never seen."""
    log = gateway.folder / "run.log"
    until = time.monotonic() + DRAIN_S
    probe = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _d, m: probe.set() if m.payload == b"online" else None
    port = int((gateway.folder / "config/gateway.yaml").read_text().split("127.0.0.1:")[1].split(",")[0])
    client.connect("127.0.0.1", port)
    client.subscribe(f"metergate/status/{SITE}", 1)
    client.loop_start()
    try:
        if not probe.wait(until - time.monotonic()):
            raise TimeoutError("the gateway did not come online:\n" + log.read_text()[-2000:])
    finally:
        client.disconnect()
        client.loop_stop()


def drain(gateway: Gateway, acknowledged: set[Key]) -> None:
    """Wait until everything acknowledged is stored, or nothing more can be hoped for."""
    until = time.monotonic() + DRAIN_S
    while time.monotonic() < until and acknowledged - set(gateway.stored()):
        time.sleep(0.3)


def main() -> None:
    """Run one trial, and print a table; exit 1 if anything was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, help="of a broker on this machine; without it one is started")
    parser.add_argument("--cycles", type=int, default=30)
    parser.add_argument("--rate", type=float, default=300.0, help="readings per second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metergate-kill-") as name, contextlib.ExitStack() as started:
        folder = Path(name)
        port = given.port or started.enter_context(broker(folder))
        outcome = run(Trial(port=port, folder=folder, cycles=given.cycles, rate=given.rate, seed=given.seed))
    if given.json:
        print(json.dumps(asdict(outcome) | {"balanced": outcome.balanced}, indent=2))
    else:
        for name, value in (asdict(outcome) | {"balanced": outcome.balanced}).items():
            print(f"{name:14} {value}")
    wrong = outcome.lost + outcome.doubled + outcome.differing
    fine = not wrong and outcome.balanced and outcome.exit_code == 0
    raise SystemExit(0 if fine else 1)


if __name__ == "__main__":
    main()
