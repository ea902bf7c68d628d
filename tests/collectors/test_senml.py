"""SenML: the examples of RFC 8428 resolve as printed there, and names, times and units become ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collectors.decoders import NOWHERE, Address, Decoded, canonical, senml
from gateway.metrology.instants import parse_epoch

INPUTS = Path(__file__).resolve().parents[2].parent / "shared" / "inputs" / "senml-rfc8428"
ADDRESS = Address(site="van-giang", device="meter-01", channel="voltage")
RECEIVED = 1772409600 * 10**9
UNITS = {"Cel": "°C", "/": "/", "%RH": "%RH", "V": "V", "A": "A"}


def read(payload: bytes | list[Any], address: Address = ADDRESS) -> Decoded:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    on_topic = canonical.decode(data, address, 0, None, RECEIVED)
    assert senml.decode(data, address, 0, None, RECEIVED) == on_topic
    return on_topic


def reasons(payload: list[Any]) -> list[str]:
    return [r.reason.value for r in read(payload).refused]


@pytest.mark.parametrize("name", ["ex1", "ex2", "ex3", "ex4", "ex9", "ex10"])
def test_the_examples_of_the_standard_resolve(name: str) -> None:
    if not INPUTS.is_dir():
        pytest.skip(f"{INPUTS} is not there")
    decoded = read((INPUTS / f"{name}.json").read_bytes(), Address(device="meter-01", channel="temperature"))
    resolved = json.loads((INPUTS / f"{name}.gen.resolved.json").read_text(), parse_float=str, parse_int=str)
    assert decoded.refused == []
    assert len(decoded.readings) == len(resolved)
    for reading, record in zip(decoded.readings, resolved, strict=True):
        tail = record["n"].split(":")[-1]
        assert reading.channel == ("temperature" if tail.startswith("10e2") else tail)
        assert (reading.device, reading.value) == ("meter-01", float(record["v"]))
        assert reading.unit == UNITS[record["u"]]
        is_of_generation = name in {"ex1", "ex2", "ex9"}
        assert reading.time == (RECEIVED if is_of_generation else parse_epoch(record["t"], 10**9))


def test_two_foreign_devices_in_one_pack_are_not_mixed() -> None:
    if not INPUTS.is_dir():
        pytest.skip(f"{INPUTS} is not there")
    decoded = read((INPUTS / "ex6.json").read_bytes())
    assert [(r.channel, r.value) for r in decoded.readings] == [("temperature", 25.2), ("humidity", 30.0)]
    assert [r.reason.value for r in decoded.refused] == ["identity_mismatch"] * 2


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("", "voltage"),
        ("voltage", "voltage"),
        ("current", "current"),
        ("meter-01", "voltage"),
        ("meter-01/current", "current"),
        ("meter-01:current", "current"),
        ("urn:dev:ow:meter-01:current", "current"),
        ("urn:dev:ow:10e2073a01080063", "voltage"),
        ("urn:dev:mac:0024befffe804ff1/current", "current"),
    ],
)
def test_a_name_says_the_channel(name: str, channel: str) -> None:
    (reading,) = read([{"n": name, "v": 1, "u": "V", "t": 1772409600}]).readings
    assert (reading.device, reading.channel) == ("meter-01", channel)


def test_the_name_alone_says_who_speaks_without_a_topic() -> None:
    (reading,) = read([{"bn": "urn:dev:sn:a1234:", "n": "mass", "v": 1, "u": "kg", "t": 1772409600}], NOWHERE).readings
    assert (reading.device, reading.channel) == ("a1234", "mass")


def test_another_device_by_id_is_refused() -> None:
    assert reasons([{"n": "meter-02/voltage", "v": 1, "u": "V"}]) == ["identity_mismatch"]


def test_sums_with_the_base_are_exact() -> None:
    pack = b'[{"bn":"","bt":1276020076.001,"bv":0.1,"bu":"V","n":"voltage","v":0.2,"t":0.000000001}]'
    (reading,) = read(pack).readings
    assert reading.value == 0.3
    assert reading.time == 1276020076001000001


@pytest.mark.parametrize(("t", "time"), [(0, RECEIVED), (-5, RECEIVED - 5 * 10**9), (2**28, 2**28 * 10**9)])
def test_small_times_count_from_the_receipt(t: int, time: int) -> None:
    assert read([{"n": "voltage", "v": 1, "u": "V", "t": t}]).readings[0].time == time


@pytest.mark.parametrize(("sent", "ours"), [("Cel", "°C"), ("l", "L"), ("/100", "%"), ("kWh", "kWh"), ("m3", "m³")])
def test_units_become_ours(sent: str, ours: str) -> None:
    assert read([{"n": "voltage", "v": 1, "u": sent}]).readings[0].unit == ours


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"n": "voltage", "vs": "high"}, "wrong_type"),
        ({"n": "voltage", "vb": True}, "wrong_type"),
        ({"n": "voltage", "s": 5, "u": "V"}, "wrong_type"),
        ({"n": "voltage", "v": "5", "u": "V"}, "wrong_type"),
        ({"n": "voltage", "u": "V"}, "missing_field"),
        ({"n": "voltage", "v": 5}, "missing_field"),
        ({"n": "voltage", "v": 5, "u": "V", "reference": 5}, "unknown_field"),
        ({"n": "voltage", "v": 5, "u": "V", "scale_": 5}, "unknown_field"),
        ({"n": "/voltage", "v": 5, "u": "V"}, "wrong_type"),
        ({"n": "voltage", "v": 5, "u": "V", "t": 1e30}, "bad_time"),
        ({"n": "voltage", "v": 5, "u": "V", "bver": 11}, "wrong_type"),
        ({"n": "voltage", "v": float("nan"), "u": "V"}, "not_finite"),
        ({"bn": "meter-01/"}, "missing_field"),
    ],
)
def test_what_is_no_reading_is_refused_by_name(record: dict[str, Any], reason: str) -> None:
    assert reasons([record]) == [reason]


def test_a_bad_record_goes_alone_but_a_bad_base_takes_what_builds_on_it() -> None:
    good = {"n": "voltage", "v": 1, "u": "V"}
    assert len(read([good, {"n": "voltage", "v": "x", "u": "V"}, good]).readings) == 2
    decoded = read([good, {"bt": "x", **good}, good])
    assert [r.record for r in decoded.readings] == [0]
    assert [r.reason.value for r in decoded.refused] == ["wrong_type", "missing_field"]


def test_unknown_fields_are_passed_over_and_noted() -> None:
    decoded = read([{"n": "voltage", "v": 1, "u": "V", "quality": 3}])
    assert len(decoded.readings) == 1
    assert any('"quality"' in remark for remark in decoded.notes)
