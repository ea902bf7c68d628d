"""A full disk: the gateway keeps running, acknowledges nothing it cannot keep, and goes on once there is room again."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.kill import Gateway, Publisher, await_session
from tests.conftest import Mosquitto
from tests.faults.kept import assert_all_kept

RATE = 400.0
WAIT_S = 60.0
RESUMED_S = 5.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB in memory; `mount -o remount,size=` makes it larger."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "site" / "var"
    place.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def waited(for_what: Callable[[], bool], seconds: float = WAIT_S) -> float:
    """Wait until something holds; return how long (s) that took."""
    begun = time.monotonic()
    while not for_what():
        if time.monotonic() - begun > seconds:
            raise TimeoutError
        time.sleep(0.05)
    return time.monotonic() - begun


def test_a_full_disk_stops_acknowledging_and_loses_nothing(mosquitto: Mosquitto, small_disk: Path) -> None:
    gateway = Gateway(small_disk.parent, mosquitto.port)
    log = gateway.folder / "run.log"
    gateway.start()
    try:
        await_session(gateway)
        publisher = Publisher(mosquitto.port, RATE)
        try:
            waited(lambda: "the ledger cannot be written" in log.read_text())
            stuck = sum(gateway.stored().values())
            waited(lambda: publisher.published > stuck + 3 * RATE)
            assert gateway.process is not None
            assert gateway.process.poll() is None
            assert sum(gateway.stored().values()) - stuck < RATE  # a small batch may still find room
            subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
            before = sum(gateway.stored().values())
            assert waited(lambda: sum(gateway.stored().values()) > before) < RESUMED_S
        finally:
            publisher.finish()
        waited(lambda: set(gateway.stored()) >= publisher.acknowledged)
        code, _ = gateway.stop()
    finally:
        gateway.kill()
    assert code == 0
    assert_all_kept(gateway, publisher)
    assert "the ledger can be written again; nothing was lost" in log.read_text()
    subprocess.run(gateway.command("verify", "verdicts"), check=True, capture_output=True, **gateway.place)
