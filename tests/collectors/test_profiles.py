"""Profiles: a device model is one YAML file, its mistakes are named by line and key, and Tasmota is one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from collectors.decoders import Address, Decoded, Profile, jsonpaths
from collectors.profiles import parse_profile, read_profiles
from gateway.errors import Mistakes
from gateway.shipped import shipped_texts

INPUTS = Path(__file__).resolve().parents[2].parent / "shared" / "inputs"
PROFILES = read_profiles(shipped_texts("profiles"))
TASMOTA = PROFILES["tasmota-energy"]
RECEIVED = 1772409600 * 10**9


def read(payload: str, profile: Profile = TASMOTA) -> Decoded:
    return jsonpaths.decode(payload.encode(), Address(device="plug-1"), 0, profile, RECEIVED)


def values(payload: str) -> dict[str, tuple[float, str]]:
    return {r.channel: (r.value, r.unit) for r in read(payload).readings}


def zoned(zone: str, path: str) -> str:
    return (
        f"decoder: json-paths\ntimezone: {zone}\ntime: {{path: Time, format: local}}\n"
        f"channels: {{power: {{path: {path}, unit: W}}}}\n"
    )


def cases(path: str) -> Any:
    found = INPUTS / path
    if not found.is_file():
        pytest.skip(f"{found} is not there")
    return json.loads(found.read_text())


def test_a_whole_tasmota_message_is_read() -> None:
    sample = json.dumps(cases("home-assistant/tasmota_energy.json")["full_sample"])
    assert values(sample) == {
        "active_energy": (0.017, "kWh"),
        "active_energy_tariff_0": (0.0, "kWh"),
        "active_energy_tariff_1": (0.017, "kWh"),
        "power": (0.0, "W"),
        "voltage": (234.31, "V"),
        "current": (0.039, "A"),
    }


def test_the_cases_of_home_assistant_hold() -> None:
    names = {
        "energy_total": "active_energy", "energy_totaltariff": "active_energy_tariff",
        "analog_ctenergy1_energy": "active_energy", "analog_ctenergy1_power": "power",
    }  # fmt: skip
    told = 0
    for case in cases("home-assistant/tasmota_energy.json")["cases"]:
        if "TX23" in case["payload"]:
            assert [r.reason.value for r in read(case["payload"]).refused] == ["missing_field"]
            continue
        read_values = values(case["payload"])
        for entity, expected in case["expected"].items():
            stem = max((n for n in names if entity.startswith(n)), key=len)
            channel = names[stem] + entity.removeprefix(stem)
            assert read_values[channel][0] == float(expected.split()[0]), case
            told += 1
    assert told >= 10


def test_the_cases_of_evcc_hold() -> None:
    single, double = (case["payload"] for case in cases("evcc/tasmota.json")["cases"])
    assert values(single)["power"] == (47.11, "W")
    assert values(single)["active_energy"] == (1290.396, "kWh")
    assert values(double)["power_0"] == (8.15, "W")
    assert values(double)["voltage"] == (237.0, "V")


def test_a_sign_of_life_is_a_note() -> None:
    decoded = read("Online")
    assert (decoded.readings, decoded.refused) == ([], [])
    assert decoded.notes


def test_a_local_time_without_a_zone_is_refused_unless_the_profile_lets_the_receipt_count() -> None:
    payload = '{"Time":"2026-03-02T07:00:00","ENERGY":{"Power":5}}'
    text = "decoder: json-paths\ntime: {path: Time, format: local}\nchannels: {power: {path: ENERGY.Power, unit: W}}\n"
    refused = read(payload, parse_profile("plug", text, "plug.yaml")).refused
    assert [r.reason.value for r in refused] == ["bad_time"]
    decoded = read(payload)
    assert [(r.time, r.clock_suspect) for r in decoded.readings] == [(RECEIVED, True)]
    assert any("zone" in remark for remark in decoded.notes)


def test_a_local_time_is_read_in_the_zone_the_profile_names() -> None:
    payload = '{"Time":"2026-03-02T07:00:00","ENERGY":{"Power":5}}'
    text = zoned("Asia/Ho_Chi_Minh", "ENERGY.Power")
    (reading,) = read(payload, parse_profile("plug", text, "plug.yaml")).readings
    assert (reading.time, reading.clock_suspect) == (1772409600 * 10**9, False)


@pytest.mark.parametrize(
    ("local", "reason", "is_suspect"),
    [
        ("2026-03-29T02:30:00", "bad_time", None),
        ("2026-10-25T02:30:00", None, True),
        ("2026-10-25T04:30:00.5", None, False),
        ("2026-13-01T00:00:00", "bad_time", None),
    ],
)
def test_summer_time_is_neither_guessed_nor_invented(local: str, reason: str | None, is_suspect: bool | None) -> None:
    text = zoned("Europe/Berlin", "P")
    decoded = read(json.dumps({"Time": local, "P": 1}), parse_profile("plug", text, "plug.yaml"))
    assert [r.reason.value for r in decoded.refused] == ([reason] if reason else [])
    assert [r.clock_suspect for r in decoded.readings] == ([] if is_suspect is None else [is_suspect])


@pytest.mark.parametrize(
    ("form", "time", "expected"),
    [
        ("epoch_s", "1772409600.5", RECEIVED + 5 * 10**8),
        ("epoch_ms", "1772409600001", RECEIVED + 10**6),
        ("rfc3339", '"2026-03-02T07:00:00+07:00"', RECEIVED),
        ("local", '"2026-03-02T07:00:00+07:00"', RECEIVED),
    ],
)
def test_times_are_read_as_the_profile_says(form: str, time: str, expected: int) -> None:
    text = f"decoder: json-paths\ntime: {{path: a.t, format: {form}}}\nchannels: {{p: {{path: P, unit: W}}}}"
    decoded = read(f'{{"a":{{"t":{time}}},"P":1}}', parse_profile("plug", text, "plug.yaml"))
    assert [r.time for r in decoded.readings] == [expected]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ('{"ENERGY":{"Power":"5"}}', "wrong_type"),
        ('{"ENERGY":{"Power":{"a b":5}}}', "wrong_type"),
        ('{"ENERGY":{"Power":[[5]]}}', "wrong_type"),
        ('{"ENERGY":{"Power":1e999}}', "not_finite"),
        ('{"ENERGY":{"Power":NaN}}', "not_finite"),
        ('{"ENERGY":{"Power":1,"Power":2}}', "duplicate_key"),
        ('{"Time":5,"ENERGY":{"Power":1}}', "bad_time"),
        ('{"Time":"soon","ENERGY":{"Power":1}}', "bad_time"),
        ('{"ENERGY":{"Power":[' + "1," * 99 + "1]}}", "too_large"),
        ("[]", "wrong_type"),
        ("Onlin", "not_json"),
        ("{}", "missing_field"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(payload: str, reason: str) -> None:
    decoded = read(payload)
    assert decoded.readings == []
    assert [r.reason.value for r in decoded.refused] == [reason]


def test_every_mistake_is_named_with_its_line_and_key() -> None:
    text = """decoder: json-path
titel: x
topics: ["tele/{devise}/SENSOR"]
timezone: Mars/Olympus
time: {path: Time, format: stardate, without_zone: guess}
seq: sometimes
channels:
  Power: {path: A..B, unit: W}
  power: {path: P, unti: W}
"""
    with pytest.raises(Mistakes) as raised:
        parse_profile("plug", text, "plug.yaml")
    said = {(m.line, m.key) for m in raised.value.mistakes}
    assert said >= {
        (1, "decoder"), (2, "titel"), (3, "topics[0]"), (4, "timezone"), (5, "time.format"), (5, "time.without_zone"),
        (6, "seq"),
        (8, "channels.Power"), (8, "channels.Power.path"), (9, "channels.power.unti"), (9, "channels.power.unit"),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["canonical", "Upper", "a b"])
def test_a_profile_needs_a_free_name(name: str) -> None:
    with pytest.raises(Mistakes, match="profile id"):
        parse_profile(name, "decoder: senml", f"{name}.yaml")


def test_the_sites_own_profiles_override_the_shipped_ones(tmp_path: Path) -> None:
    text = "decoder: json-paths\ntitle: 0123\ntimezone: Asia/Ho_Chi_Minh\nchannels: {power: {path: P, unit: W}}\n"
    (tmp_path / "tasmota-energy.yaml").write_text(text)
    found = read_profiles(shipped_texts("profiles"), [tmp_path, tmp_path / "missing"])["tasmota-energy"]
    assert (found.title, found.timezone) == ("0123", ZoneInfo("Asia/Ho_Chi_Minh"))


def test_mistakes_of_all_files_come_together(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("decoder: x")
    (tmp_path / "b.yaml").write_bytes(b"decoder: \xff")
    (tmp_path / "c.yaml").write_text("decoder: json-paths\ndecoder: json-paths")
    with pytest.raises(Mistakes) as raised:
        read_profiles([], [tmp_path])
    assert {Path(m.file).name for m in raised.value.mistakes} == {"a.yaml", "b.yaml", "c.yaml"}
