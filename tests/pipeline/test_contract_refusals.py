"""Every kind of bad reading ends in the quarantine under its own name (CONTRACTS §3), through files and `decode`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main

REGISTRY = """\
devices:
  - id: s1
    kind: weighing
    rule_pack: none
    channels: {mass: {unit: kg, sigma: 2 g}}
"""
FIELDS: dict[str, Any] = {"device": "s1", "channel": "mass", "value": 8, "unit": "kg", "reference": 8}
ABSENT = object()


def line(**more: Any) -> str:
    """Return the NDJSON line of a good check with these changes."""
    row = {"time": "2026-02-01T00:00:00Z"} | FIELDS | more
    return json.dumps({k: v for k, v in row.items() if v is not ABSENT})


BAD = {
    "missing_field": [line(value=ABSENT), line(unit=ABSENT), line(time=ABSENT), line(device=ABSENT)],
    "unknown_field": [line(refernce=8), line(Value=8)],
    "wrong_type": [
        line(value="eight"),
        line(value=True),
        line(seq=-1),
        line(stable="yes"),
        line(evidence="magic"),
        "3",
    ],
    "not_finite": [line(value=float("nan")), line(reference=float("inf")), line().replace("8,", "1e999,", 1)],
    "bad_time": [line(time="yesterday"), line(time="2026-02-01T00:00:00"), line(time="2026-02-30T00:00:00Z")],
    "unknown_unit": [line(unit="stone7")],
    "wrong_dimension": [line(unit="kWh")],
    "unknown_device": [line(device="s9")],
    "unknown_channel": [line(channel="flow")],
    "duplicate_key": [line().replace("{", '{"unit": "g", ', 1)],
    "not_json": ['{"value":', "nonsense"],
    "too_deep": ["[" * 300 + "]" * 300],
}


def run(*arguments: str) -> int:
    """Run `metergate ARGUMENTS` and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return 0 if ended.value.code is None else int(ended.value.code)


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_goes_alone_and_under_its_name(tmp_path: Path, reason: str) -> None:
    (tmp_path / "r.yaml").write_text(REGISTRY, encoding="utf-8")
    good = [line(seq=1), line(seq=2)]
    (tmp_path / "a.ndjson").write_text("\n".join([good[0], *BAD[reason], good[1]]) + "\n", encoding="utf-8")
    arguments = ("--registry", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out"), "--keep-going")
    assert run("replay", str(tmp_path / "a.ndjson"), *arguments) == 0
    said = json.loads((tmp_path / "out" / "summary.json").read_text())
    n = len(BAD[reason])
    assert said["quarantine"] == {reason: n}
    assert said["readings"] == {"received": n + 2, "stored": 2, "duplicate": 0, "quarantined": n, "late": 0}
    assert said["checks"] == 2


def test_an_unreadable_row_stops_the_replay_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.yaml").write_text(REGISTRY, encoding="utf-8")
    (tmp_path / "a.csv").write_text(
        "time,device,channel,value,unit\n2026-02-01T00:00:00Z,s1,mass,8,kg\n2026-02-02T00:00:00Z,s1,mass,x,kg\n"
    )
    out = tmp_path / "out"
    assert run("replay", str(tmp_path / "a.csv"), "--registry", str(tmp_path / "r.yaml"), "--out", str(out)) == 2
    said = capsys.readouterr()
    assert "a.csv:3" in said.err
    assert not said.out
    assert not out.exists()


PAYLOADS = {
    "missing_field": b'{"ts": 1770000000000, "unit": "kg"}',
    "unknown_field": b'{"ts": 1770000000000, "value": 8, "unit": "kg", "refernce": 8}',
    "wrong_type": b'{"ts": 1770000000000, "value": "8", "unit": "kg"}',
    "not_finite": b'{"ts": 1770000000000, "value": NaN, "unit": "kg"}',
    "bad_time": b'{"ts": "2026-02-01T00:00:00", "value": 8, "unit": "kg"}',
    "duplicate_key": b'{"ts": 1770000000000, "value": 8, "value": 9, "unit": "kg"}',
    "not_json": b"{",
    "not_utf8": b'{"unit": "\xff"}',
    "too_deep": b"[" * 300 + b"]" * 300,
}


@pytest.mark.parametrize("reason", PAYLOADS)
def test_decode_refuses_a_bad_payload_under_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    (tmp_path / "p").write_bytes(PAYLOADS[reason])
    topic = "metergate/reading/van-giang/s1/mass"
    assert run("decode", str(tmp_path / "p"), "--topic", topic, "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert [r["reason"] for r in said["refused"]] == [reason]
    assert said["readings"] == []


def test_decode_lets_a_bad_record_of_an_array_go_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = b'{"ts": 1770000000000, "value": 8, "unit": "kg"}'
    (tmp_path / "p").write_bytes(b"[" + b",".join([good, PAYLOADS["unknown_field"], good]) + b"]")
    assert run("decode", str(tmp_path / "p"), "--topic", "metergate/reading/van-giang/s1/mass", "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert [len(said["readings"]), len(said["refused"])] == [2, 1]
    assert set(said) == {"readings", "refused", "notes"}
