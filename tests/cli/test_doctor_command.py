"""`metergate doctor` names what is wrong with a site, and the remedy, and changes nothing."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from gateway.doctor import all_checks
from gateway.doctor.checks.gateway import is_running
from gateway.ledger.store import hold
from tests.cli.support import Site, steady
from tests.conftest import Mosquitto, free_port


def findings(site: Site, *only: str, code: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.do("doctor", *only, "--json", code=code).document()["findings"]
    assert all(f["remedy"] for f in found if f["grade"] != "fine")
    return found


def test_every_check_is_found_by_walking_the_folder() -> None:
    assert {"broker", "ledger", "disk", "clock", "tls", "influx", "gateway", "secrets", "calibration"} <= set(
        all_checks()
    )


def test_a_site_without_a_broker_has_one_problem_and_keeps_its_folder_empty(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METERGATE_BROKER__URL", f"mqtt://127.0.0.1:{free_port()}")
    found = findings(site, code=1)
    assert [f["check"] for f in found if f["grade"] == "problem"] == ["broker"]
    assert not (site.folder / "var").exists()


def test_a_sound_ledger_is_said_to_be_whole_and_balanced(site: Site) -> None:
    site.apply()
    site.do("import", site.recording("may.csv", steady(range(1, 20))))
    said = [f["what"] for f in findings(site, "ledger")]
    assert any("is whole" in s for s in said)
    assert any("19 readings received: 19 stored" in s for s in said)


def test_a_damaged_ledger_is_a_problem(site: Site) -> None:
    site.apply()
    site.do("import", site.recording("may.csv", steady(range(1, 20))))
    file = site.folder / "var" / "ledger.sqlite"
    raw = bytearray(file.read_bytes())
    for page in range(5, len(raw) // 4096):
        raw[page * 4096 : page * 4096 + 100] = b"\x5a" * 100
    file.write_bytes(raw)
    assert "problem" in {f["grade"] for f in findings(site, "ledger", code=1)}


def test_a_reading_that_its_channel_has_elsewhere_is_a_problem(site: Site) -> None:
    site.apply()
    site.do("import", site.recording("may.csv", steady(range(1, 20))))
    with sqlite3.connect(site.folder / "var" / "ledger.sqlite") as connection:
        connection.execute("UPDATE moment SET time = time + 1 WHERE reading = 7")
    connection.close()
    said = [f["what"] for f in findings(site, "ledger", code=1) if f["grade"] == "problem"]
    assert any("is damaged: 1 entries of readings by time or number are wrong" in s for s in said), said


def test_counters_that_do_not_balance_are_a_problem(site: Site) -> None:
    site.apply()
    site.do("import", site.recording("may.csv", steady(range(1, 20))))
    with sqlite3.connect(site.folder / "var" / "ledger.sqlite") as connection:
        connection.execute("UPDATE counter SET n = n + 1 WHERE name = 'received'")
    connection.close()
    (found,) = [f for f in findings(site, "ledger", code=1) if f["grade"] == "problem"]
    assert "do not balance" in found["what"]


def test_a_held_folder_is_a_running_gateway(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERGATE_API__LISTEN", f"127.0.0.1:{free_port()}")
    folder = site.folder / "var"
    assert "no gateway runs" in findings(site, "gateway")[0]["what"]
    with hold(folder):
        assert is_running(folder)
        assert "does not answer" in findings(site, "gateway")[0]["what"]
    assert not is_running(folder)


def test_a_secret_that_others_can_read_is_a_warning(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    file = site.write("secrets/broker", "secret")
    monkeypatch.setenv("METERGATE_BROKER__USERNAME", "metergate")
    monkeypatch.setenv("METERGATE_BROKER__PASSWORD_FILE", "secrets/broker")
    file.chmod(0o644)
    assert findings(site, "secrets")[0]["grade"] == "warning"
    file.chmod(0o600)
    assert findings(site, "secrets")[0]["grade"] == "fine"


def test_an_expired_calibration_certificate_is_named(site: Site) -> None:
    text = (site.folder / "certificates.yaml").read_text().replace("2026-03-02", "2020-03-02")
    site.write("certificates.yaml", text)
    site.apply()
    (found,) = findings(site, "calibration")
    assert "scale-07" in found["what"]
    assert "expired" in found["what"]


def test_an_influxdb_that_is_not_there_is_a_problem_in_one_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERGATE_INFLUX__URL", f"http://127.0.0.1:{free_port()}")
    assert "no token" in findings(site, "influx", code=1)[0]["what"]
    monkeypatch.setenv("METERGATE_INFLUX__TOKEN", "t")
    said = site.do("doctor", "influx", code=1)
    assert len(said.out.splitlines()) == 1
    assert "influx.url" in said.out


def test_an_unknown_check_is_wrong_use(site: Site) -> None:
    assert "there is no check brokers" in site.do("doctor", "brokers", code=2).err


@pytest.mark.live
def test_a_wrong_password_and_an_open_door_are_told_apart(
    site: Site, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METERGATE_BROKER__URL", f"mqtt://127.0.0.1:{mosquitto.port}")
    monkeypatch.setenv("METERGATE_BROKER__USERNAME", "metergate")
    monkeypatch.setenv("METERGATE_BROKER__PASSWORD", "wrong")
    assert any("lets in anybody" in f["what"] for f in findings(site, "broker"))
    mosquitto.stop()
    mosquitto.configure(mosquitto.password("metergate", "secret"), anonymous=False)
    mosquitto.start()
    assert "does not let us in" in findings(site, "broker", code=1)[0]["what"]
    monkeypatch.setenv("METERGATE_BROKER__PASSWORD", "secret")
    assert {f["grade"] for f in findings(site, "broker") if "lets" in f["what"]} == {"fine"}


def test_a_ledger_that_a_full_disk_makes_unreadable_is_not_to_be_restored(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.apply()
    (site.folder / "var/ledger.sqlite").write_bytes(b"no database" * 1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"total": 1 << 30, "used": 1, "free": 0}))
    (said,) = [f for f in findings(site, "ledger", code=1) if f["grade"] == "problem"]
    assert said["remedy"].startswith("make room")


def test_a_ledger_that_cannot_be_reached_is_not_to_be_restored(site: Site) -> None:
    (site.folder / "var/ledger.sqlite").mkdir(parents=True)
    (said,) = [f for f in findings(site, "ledger", code=1) if f["grade"] == "problem"]
    assert said["remedy"] == "check the folder, its owner and the disk"
