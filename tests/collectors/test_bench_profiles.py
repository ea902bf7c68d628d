"""Runs on test benches, from the message on the wire to the verdict, by the shipped profiles (METROLOGY §2, §3a)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collectors.decoders import Address
from collectors.decoders.jsonpaths import decode
from collectors.profiles import parse_profile, read_profiles
from gateway.errors import Mistakes
from gateway.metrology.readings import Reading

SHIPPED = read_profiles([], [Path(__file__).resolve().parents[2] / "config" / "profiles"])


def read(profile: str, **message: Any) -> Reading:
    """Return the one reading of a message."""
    payload = json.dumps({"ts": 1772409600000} | message).encode()
    decoded = decode(payload, Address(device="m1"), 0, SHIPPED[profile], 0)
    assert decoded.refused == []
    (reading,) = decoded.readings
    return reading


def refused(profile: str, **message: Any) -> list[tuple[str, str]]:
    """Return (reason, detail) of what is refused."""
    payload = json.dumps({"ts": 1772409600000} | message).encode()
    decoded = decode(payload, Address(device="m1"), 0, SHIPPED[profile], 0)
    assert decoded.readings == []
    return [(r.reason.value, r.detail) for r in decoded.refused]


def test_a_water_run_carries_both_registers_start_and_stop() -> None:
    r = read("water-bench", V1=100.2, V2=110.3, Vc1=50, Vc2=60, Uc=0.01, Q=2.5, Tdh=24.5, seq=7, boot="b1")
    assert (r.channel, r.unit, r.value_start, r.value) == ("volume", "L", 100.2, 110.3)
    assert (r.reference_start, r.reference, r.reference_u) == (50.0, 60.0, 0.01)
    assert (r.flow_m3h, r.temperature_C, r.seq, r.boot) == (2.5, 24.5, 7, "b1")


def test_what_a_bench_does_not_say_is_absent() -> None:
    r = read("water-bench", V1=1, V2=2, Vc1=1, Vc2=2, Q=None)
    assert (r.flow_m3h, r.reference_u, r.standard, r.seq) == (None, None, None, None)


@pytest.mark.parametrize(("pulses", "constant", "energy"), [(1000, 3200, 0.3125), (3, 10, 0.3), (1, 3, 1 / 3)])
def test_pulses_are_energy_by_the_meters_constant(pulses: int, constant: int, energy: float) -> None:
    r = read("pulse-bench", N=pulses, k=constant, Wref=0.3, I=10, pf="0.5i")
    assert (r.channel, r.unit, r.value, r.reference) == ("active_energy", "kWh", energy, 0.3)
    assert (r.current_A, r.power_factor) == (10.0, 0.5)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"N": 1000}, "missing_field"),
        ({"N": 1000, "k": 0}, "wrong_type"),
        ({"N": 1000, "k": -1}, "wrong_type"),
        ({"N": 1000, "k": "3200"}, "wrong_type"),
        ({"N": 1e300, "k": 1e-300}, "not_finite"),
        ({"N": 1000, "k": 3200, "Wref": "0.3"}, "wrong_type"),
    ],
)
def test_a_run_that_cannot_be_counted_is_refused_whole(message: dict[str, Any], reason: str) -> None:
    assert [r for r, _ in refused("pulse-bench", **message)] == [reason]


def test_a_constant_may_stand_in_the_profile() -> None:
    text = "decoder: json-paths\nchannels:\n  active_energy: {path: N, per: 3200, unit: kWh, type: run}\n"
    profile = parse_profile("p", text, "p.yaml")
    decoded = decode(b'{"N": 1000}', Address(device="m1"), 0, profile, 5)
    assert [r.value for r in decoded.readings] == [0.3125]


def test_a_misspelt_field_of_a_profile_is_a_mistake() -> None:
    text = "decoder: json-paths\nchannels:\n  volume: {path: V2, unit: L, fields: {value_begin: V1}}\n"
    with pytest.raises(Mistakes, match="value_begin"):
        parse_profile("p", text, "p.yaml")
