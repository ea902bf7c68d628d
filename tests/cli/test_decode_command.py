"""`metergate decode` says how a payload is read, or why not, needing neither registry nor configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOPIC = "metergate/reading/van-giang/scale-07/mass"
GOOD = b'{"ts":"2026-03-02T07:00:00.5+07:00","value":10.012,"unit":"kg","reference":10,"power_factor":"0.8c"}'


def run(tmp_path: Path, *arguments: str, payload: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    root = Path(__file__).resolve().parents[2]
    code = "from gateway.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "decode", *arguments],
        input=payload, capture_output=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip


def document(tmp_path: Path, *arguments: str, payload: bytes, code: int = 0) -> Any:
    done = run(tmp_path, "--json", *arguments, payload=payload)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"readings", "refused", "notes"}
    return found


def test_a_reading_is_shown_with_the_fields_it_has(tmp_path: Path) -> None:
    found = document(tmp_path, "--topic", TOPIC, payload=GOOD)
    assert found["refused"] == []
    assert found["readings"] == [{
        "time": "2026-03-02T00:00:00.500Z", "device": "scale-07", "channel": "mass", "value": 10.012, "unit": "kg",
        "reference": 10.0, "power_factor": "0.8c",
    }]  # fmt: skip
    assert any("van-giang" in remark for remark in found["notes"])


def test_a_file_is_read_as_standard_input_is(tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_bytes(GOOD)
    from_file = document(tmp_path, "--topic", TOPIC, "payload.json", payload=b"")
    assert from_file == document(tmp_path, "--topic", TOPIC, "-", payload=GOOD)


def test_a_refused_record_is_named_and_the_exit_code_is_one(tmp_path: Path) -> None:
    pack = b"[" + GOOD + b',{"ts":1772409600000,"value":10,"unit":"kg","referense":10}]'
    found = document(tmp_path, "--topic", TOPIC, payload=pack, code=1)
    assert len(found["readings"]) == 1
    assert [(r["record"], r["reason"]) for r in found["refused"]] == [(1, "unknown_field")]
    assert "reference" in found["refused"][0]["detail"]


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        (TOPIC, b"", "not_json"),
        ("metergate/reading/van-giang/scale-07", GOOD, "bad_topic"),
        ("metergate/reading/van-giang/Scale/mass", GOOD, "bad_topic"),
        ("some/other/topic", GOOD, "unknown_profile"),
        ("a/+/b", GOOD, "bad_topic"),
    ],
)
def test_a_refused_message_is_one_refusal(tmp_path: Path, topic: str, payload: bytes, reason: str) -> None:
    found = document(tmp_path, "--topic", topic, payload=payload, code=1)
    assert [(r["record"], r["reason"]) for r in found["refused"]] == [(None, reason)]


def test_without_a_topic_the_payload_may_say_who_speaks(tmp_path: Path) -> None:
    found = document(tmp_path, payload=b'{"ts":1772409600,"value":1,"unit":"kg","device":"scale-07"}')
    assert found["readings"][0]["device"] == "scale-07"
    assert "channel" not in found["readings"][0]
    assert any("no topic" in remark for remark in found["notes"])
    assert any("1970" in remark for remark in found["notes"])


def test_a_profile_is_chosen_by_its_topic_or_by_name(tmp_path: Path) -> None:
    payload = b'{"Time":"2026-03-02T07:00:00","ENERGY":{"Total":1.5,"Power":47.11}}'
    by_topic = document(tmp_path, "--topic", "tele/plug-1/SENSOR", payload=payload)
    shown = [(r["device"], r["channel"], r["value"], r["unit"]) for r in by_topic["readings"]]
    assert shown == [("plug-1", "active_energy", 1.5, "kWh"), ("plug-1", "power", 47.11, "W")]
    by_name = document(tmp_path, "--profile", "tasmota-energy", payload=payload)
    assert [r["channel"] for r in by_name["readings"]] == ["active_energy", "power"]
    assert any("zone" in remark for remark in by_name["notes"])


def test_the_places_own_profiles_are_known(tmp_path: Path) -> None:
    folder = tmp_path / "config" / "profiles"
    folder.mkdir(parents=True)
    (folder / "plug.yaml").write_text("decoder: json-paths\nchannels: {power: {path: P, unit: W}}\n")
    assert document(tmp_path, "-p", "plug", payload=b'{"P":5}')["readings"][0]["value"] == 5
    (folder / "plug.yaml").write_text("decoder: json-paths\nchannels: {power: {path: P, unti: W}}\n")
    done = run(tmp_path, "-p", "plug", payload=b'{"P":5}')
    assert done.returncode == 2
    assert b"plug.yaml:2: channels.power.unti" in done.stderr


def test_senml_is_read_on_the_canonical_topic(tmp_path: Path) -> None:
    found = document(tmp_path, "--topic", TOPIC, payload=b'[{"bn":"scale-07:","n":"mass","v":1,"u":"kg"}]')
    assert found["readings"][0]["channel"] == "mass"
    assert any("receipt" in remark for remark in found["notes"])


@pytest.mark.parametrize("arguments", [("missing.json",), ("--profile", "no-such"), ("--no-such-option",), ("folder",)])
def test_wrong_use_is_one_line_and_exit_two(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "folder").mkdir()
    done = run(tmp_path, *arguments, payload=GOOD)
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr


def test_a_person_sees_a_table_and_the_reasons(tmp_path: Path) -> None:
    pack = b"[" + GOOD + b',{"ts":1,"value":"x","unit":"\\u001b[31m"}]'
    done = run(tmp_path, "--topic", TOPIC, payload=pack)
    assert done.returncode == 1
    assert b"10.012" in done.stdout
    assert b"refused: record 1: wrong_type" in done.stdout
    assert b"note:" in done.stderr


def test_control_characters_of_a_payload_do_not_reach_the_terminal(tmp_path: Path) -> None:
    done = run(tmp_path, "--topic", TOPIC, payload=b'{"ts":1,"value":1,"unit":"\\u001b[31m","x\\u001b":null}')
    assert b"\x1b" not in done.stdout + done.stderr
    done = run(tmp_path, "--topic", TOPIC, payload=b'{"ts":1,"value":1,"unit":"\\u001b[31m"}')
    assert b"\\x1b[31m" in done.stdout
    assert b"\x1b" not in done.stdout + done.stderr


def test_help_has_an_example(tmp_path: Path) -> None:
    assert b"Example: metergate decode" in run(tmp_path, "--help").stdout


@pytest.mark.parametrize(
    ("unit", "reason"), [("V", "wrong_dimension"), ("Kg", "unknown_unit"), ("furlong", "unknown_unit")]
)
def test_a_unit_that_the_channel_cannot_have_is_refused_as_a_gateway_does(
    tmp_path: Path, unit: str, reason: str
) -> None:
    pack = b"[" + GOOD + b"," + GOOD.replace(b'"kg"', f'"{unit}"'.encode()) + b"]"
    found = document(tmp_path, "--topic", TOPIC, payload=pack, code=1)
    assert [(r["record"], r["reason"]) for r in found["refused"]] == [(1, reason)]
    assert len(found["readings"]) == 1


def test_a_channel_of_a_name_of_its_own_may_have_any_unit(tmp_path: Path) -> None:
    payload = GOOD.replace(b'"kg"', b'"furlong"')
    found = document(tmp_path, "--topic", TOPIC.replace("mass", "length"), payload=payload)
    assert [r["unit"] for r in found["readings"]] == ["furlong"]
    assert any("furlong" in remark for remark in found["notes"])


def test_a_time_that_a_gateway_would_not_take_is_remarked_on(tmp_path: Path) -> None:
    found = document(tmp_path, "--topic", TOPIC, payload=GOOD.replace(b"2026", b"2200"))
    assert any("future_time" in remark for remark in found["notes"])
