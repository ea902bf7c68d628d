"""The history of a register as people ask for it: right across rollover, glitch, exchange and reset, in true units."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main

REGISTRY = """\
devices:
  - id: m1
    kind: electricity
    rule_pack: none
    channels: {active_energy: {unit: kWh, type: register, digits: 5, multiplier: 40, sigma: 0.1 %}}
events:
  - {device: m1, time: 2026-02-01T05:30:00Z, kind: meter_exchange}
"""
SHOWN = (99998.5, 99999.7, 0.1, 0.0, 1.0, 1.4, 500.0, 500.3, 0.0, 0.2)
USED = [0.0, 48.0, 16.0, 0.0, 36.0, 16.0, 0.0, 12.0, 0.0, 8.0]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code in {0, None}
    return capsys.readouterr().out


def test_consumption_never_spikes_and_is_in_true_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METERGATE_DATA_DIR", str(tmp_path / "var"))
    (tmp_path / "registry.yaml").write_text(REGISTRY)
    rows = [f"2026-02-01T{h:02}:00:00Z,m1,active_energy,{v},kWh" for h, v in enumerate(SHOWN)]
    lines = rows[::2] + rows[1::2]  # the order of a file does not matter
    (tmp_path / "readings.csv").write_text("\n".join(["time,device,channel,value,unit", *lines]) + "\n")
    run(capsys, "import", "readings.csv", "--registry", "registry.yaml")
    buckets = [
        json.loads(line)
        for line in run(capsys, "history", "m1", "--resolution", "1h", "--format", "ndjson").splitlines()
    ]
    assert [b["delta"] for b in buckets] == USED
    assert [b["last"] for b in buckets] == list(SHOWN)
    assert all(b["mean"] is None for b in buckets)
