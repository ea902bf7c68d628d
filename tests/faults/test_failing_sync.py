"""A disk that fails to sync now and then: what could not be made durable is not acknowledged, and comes again."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from bench.kill import Gateway, Publisher, await_session
from tests.conftest import Mosquitto
from tests.faults.kept import assert_all_kept

WAIT_S = 60.0
TROUBLE = "the ledger cannot be written: disk I/O error"
FAIL = ["-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO:when=30+97"]
"""The 30th sync of a thread fails, and then every 97th."""


@pytest.fixture
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed")
    if subprocess.run([found, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    return found


def test_a_failed_sync_acknowledges_nothing_and_loses_nothing(
    mosquitto: Mosquitto, strace: str, tmp_path: Path
) -> None:
    gateway = Gateway(tmp_path / "site", mosquitto.port)
    log = gateway.folder / "run.log"
    gateway.start([strace, "-D", "-f", "-qq", "-o", str(tmp_path / "trace"), *FAIL])
    try:
        await_session(gateway)
        publisher = Publisher(mosquitto.port, 200.0)
        try:
            until = time.monotonic() + WAIT_S
            while log.read_text().count(TROUBLE) < 3:
                assert time.monotonic() < until, log.read_text()[-2000:]
                time.sleep(0.1)
        finally:
            publisher.finish()
        while publisher.acknowledged - set(gateway.stored()):
            assert time.monotonic() < until, log.read_text()[-2000:]
            time.sleep(0.1)
        code, _ = gateway.stop()
    finally:
        gateway.kill()
    assert code == 0
    assert_all_kept(gateway, publisher)
