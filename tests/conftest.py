"""What many tests share: a real mosquitto that can be stopped, killed and started again."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway  # noqa: F401  first of all: it says how many threads numpy may take

MARKERS = (
    "live: needs a real broker or store on this machine",
    "faults: breaks networks and processes on purpose",
)
READY_S = 10


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Mosquitto:
    """A mosquitto of our own on a loopback port, with its database in `folder`."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self._binary = binary
        self._config = folder / "mosquitto.conf"
        self._process: subprocess.Popen[str] | None = None
        self._drain: threading.Thread | None = None
        self.log: list[str] = []
        self.configure()

    def configure(self, *lines: str, anonymous: bool = True) -> None:
        """Write the configuration: these lines, and what a test bed needs; takes effect at the next start."""
        base = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'true' if anonymous else 'false'}",
            f"user {getpass.getuser()}",
            "persistence true",
            f"persistence_location {self.folder}/",
            "max_queued_messages 0",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "log_type notice",
            "log_type information",
        ]
        self._config.write_text("\n".join([*base, *lines, ""]))

    def password(self, user: str, password: str) -> str:
        """Return the configuration line that lets this user in."""
        file = self.folder / "passwords"
        tool = shutil.which("mosquitto_passwd", path="/usr/bin:/usr/sbin:/bin")
        if tool is None:
            pytest.skip("mosquitto_passwd is not installed")
        subprocess.run([tool, "-b", "-c", str(file), user, password], check=True, capture_output=True)
        return f"password_file {file}"

    def start(self) -> None:
        """Start, and return once it listens."""
        running = threading.Event()
        process = subprocess.Popen(
            [self._binary, "-c", str(self._config)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        self._process = process

        def drain() -> None:
            if process.stderr is not None:
                with process.stderr:
                    for line in process.stderr:
                        self.log.append(line)
                        if " running" in line:
                            running.set()

        self._drain = threading.Thread(target=drain, daemon=True)
        self._drain.start()
        if not running.wait(READY_S):
            self.kill()
            raise RuntimeError("mosquitto did not start: " + "".join(self.log[-5:]))

    def stop(self) -> None:
        """Stop in order: the database is written."""
        for _ in range(READY_S):
            if self._process is None:
                return
            # mosquitto forgets a signal that comes before its loop has begun, so it is told again.
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
                self._wait()

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._process.kill()
        self._wait()

    def forget(self) -> None:
        """Delete the database of a stopped broker: every session and retained message is gone."""
        (self.folder / "mosquitto.db").unlink(missing_ok=True)

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(READY_S)
        if self._drain is not None:
            self._drain.join(READY_S)
        self._process = self._drain = None


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running mosquitto; `configure` and `stop`/`start` to change it."""
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        pytest.skip("mosquitto is not installed")
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Mosquitto(binary, folder)
    broker.start()
    yield broker
    broker.kill()
