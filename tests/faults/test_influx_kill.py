"""kill -9 of the gateway and of InfluxDB under load: at the end ledger and InfluxDB hold the same set (issue 4)."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.kill import SITE, Gateway, Publisher, await_session, drain
from gateway.history.forward_state import forwarding_state
from gateway.ledger.store import Ledger
from tests.conftest import Mosquitto, free_port
from tests.influx.real import Bucket
from tests.influx.standin import StandIn
from tests.influx.support import in_influx, in_ledger

CYCLES = int(os.environ.get("METERGATE_TEST_CYCLES", "4"))
WAIT_S = 120.0
ADMIN = "an-operator-token-of-this-test"


class Influxd:
    """A real InfluxDB with its data in `folder`, that can be killed and started again on its port."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir()
        self._command = [
            binary, "--bolt-path", f"{folder}/bolt", "--sqlite-path", f"{folder}/sqlite", "--engine-path",
            f"{folder}/engine", "--http-bind-address", f"127.0.0.1:{self.port}", "--reporting-disabled", "--log-level",
            "error",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def ready(self) -> None:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=1):  # noqa: S310  loopback
                    return
            except OSError:
                time.sleep(0.05)
        raise TimeoutError("InfluxDB did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def influxd(tmp_path: Path) -> Iterator[Influxd]:
    binary = os.environ.get("METERGATE_TEST_INFLUXD") or shutil.which("influxd")
    if binary is None:
        pytest.skip("no influxd on this machine: set METERGATE_TEST_INFLUXD")
    server = Influxd(binary, tmp_path / "influxd")
    server.start()
    server.ready()
    yield server
    server.kill()


def site(folder: Path, broker: int, url: str, token: str) -> Gateway:
    gateway = Gateway(folder, broker)
    file = folder / "config/gateway.yaml"
    file.write_text(file.read_text() + f"influx: {{url: {url}, token: {token}}}\napi: {{listen: 127.0.0.1:0}}\n")
    return gateway


def await_sent(folder: Path) -> None:
    """Wait until the forwarder has nothing left."""
    until = time.monotonic() + WAIT_S
    with Ledger.open(folder / "var") as ledger:
        while (state := forwarding_state(ledger)).lag or state.waiting or state.target is None:
            assert time.monotonic() < until, f"not drained: {state}\n{(folder / 'run.log').read_text()[-2000:]}"
            time.sleep(0.1)


def kill_and_publish(
    gateway: Gateway, broker: int, seed: int, influx: Influxd | None, cycles: int, *, life_s: float
) -> int:
    """Kill at random moments while readings are published; return how many were acknowledged."""
    chance = random.Random(seed)
    gateway.start()
    try:
        await_session(gateway)
        publisher = Publisher(broker, 200.0)
        try:
            for _ in range(cycles):
                time.sleep(chance.uniform(0.3, life_s))
                if influx is not None and chance.random() < 0.5:
                    influx.kill()
                    time.sleep(chance.uniform(0.0, 0.5))
                    influx.start()
                if influx is None or chance.random() < 0.7:
                    gateway.kill()
                    gateway.start()
        finally:
            publisher.finish()
        if influx is not None:
            influx.ready()
        drain(gateway, publisher.acknowledged)
        await_sent(gateway.folder)
        assert gateway.stop()[0] == 0
    finally:
        gateway.kill()
    return len(publisher.acknowledged)


def test_killing_the_gateway_leaves_the_same_set_in_both(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with StandIn().in_thread() as standin:
        gateway = site(tmp_path / "site", mosquitto.port, standin.url, standin.token)
        acknowledged = kill_and_publish(gateway, mosquitto.port, 3, None, 3, life_s=4.0)
        assert in_influx(standin) == in_ledger(tmp_path / "site/var")
        assert len(in_influx(standin)) >= acknowledged > 0
        assert {dict(tags)["site"] for _, tags, _ in standin.points} == {SITE}


def test_killing_gateway_and_influxdb_leaves_the_same_set_in_both(
    mosquitto: Mosquitto, influxd: Influxd, tmp_path: Path
) -> None:
    real = Bucket(influxd.url, ADMIN, "metergate", "metergate")
    wanted = {"username": "admin", "password": "of-this-test", "org": real.org, "bucket": real.name, "token": ADMIN}
    real.call("POST", "/api/v2/setup", wanted)
    gateway = site(tmp_path / "site", mosquitto.port, influxd.url, ADMIN)
    acknowledged = kill_and_publish(gateway, mosquitto.port, 11, influxd, CYCLES, life_s=5.0)
    held = in_ledger(tmp_path / "site/var")
    assert real.readings() == held
    assert len(held) >= acknowledged > 0
    with Ledger.open(tmp_path / "site/var") as ledger:
        checks = ledger.connection.execute("SELECT COUNT(verdict) FROM reading").fetchone()[0]
        assert forwarding_state(ledger).poison == 0
    assert len(real.points("verdict", "error")) == checks
