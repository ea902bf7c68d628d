"""Where the figures are measured: a real mosquitto and `metergate run`, each a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Gateway", "broker"]

CONFIG = """listener {port} 127.0.0.1
allow_anonymous true
max_inflight_messages 2000
max_queued_messages 0
max_queued_bytes 0
"""
WAIT_S = 240.0


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """Run a mosquitto on a free loopback port."""
    binary = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "mosquitto.conf").write_text(CONFIG.format(port=port))
    process = subprocess.Popen([binary, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


class Gateway:
    """`metergate run` as a process with a data folder of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "METERGATE_SITE": "bench",
            "METERGATE_DATA_DIR": str(folder),
            "METERGATE_BROKER__URL": f"mqtt://127.0.0.1:{port}",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def apply(self, text: str) -> None:
        """Put a registry into the ledger."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "bench.yaml").write_text(text)
        command = [sys.executable, "-m", "gateway", "apply", str(self.folder / "bench.yaml")]
        subprocess.run(command, env=self.environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self) -> float:
        """Start it; return the seconds until it was subscribed."""
        begun = time.monotonic()
        path = self.folder / "run.log"
        with path.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "gateway", "run"], env=self.environment, stderr=log)
        while time.monotonic() - begun < WAIT_S and self.process.poll() is None:
            if b"connected to" in path.read_bytes():
                return time.monotonic() - begun
            time.sleep(0.01)
        raise RuntimeError(f"the gateway did not start: {path.read_text()[-500:]}")

    def stop(self) -> int:
        """Stop it; return its resident memory under load in kB."""
        if self.process is None:
            return 0
        resident = 0
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                resident = int(line.split()[1])
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        return resident

    def stored(self, connection: sqlite3.Connection) -> int:
        """Return how many readings are durable."""
        row = connection.execute("SELECT n FROM counter WHERE name = 'stored'").fetchone()
        return 0 if row is None else int(row[0])

    def drain(self, count: int) -> tuple[float, int]:
        """Start on a backlog; return readings/s from the first durable one to the last, and resident memory in kB."""
        connection = sqlite3.connect(self.folder / "ledger.sqlite")
        before = self.stored(connection)
        self.start()
        first: tuple[float, int] | None = None
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            now, n = time.monotonic(), self.stored(connection) - before
            if n and first is None:
                first = (now, n)
            if n >= count and first is not None:
                connection.close()
                return (n - first[1]) / max(now - first[0], 1e-9), self.stop()
            time.sleep(0.01)
        raise RuntimeError(f"only {n} of {count} readings were stored")
