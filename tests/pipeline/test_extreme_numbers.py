"""Numbers are finite, that is all (CONTRACTS §1): whatever an instrument sends, judging it goes on."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from tests.pipeline.replayed import replay_files

REGISTRY = """\
devices:
  - id: s1
    kind: weighing
    rule_pack: oiml-r76
    parameters: {class: III, max: 15 kg, e: 5 g, d: 5 g}
    decision: non_binary
    channels: {mass: {unit: kg, sigma: 2 g, standard: std}}
  - id: w1
    kind: water
    rule_pack: oiml-r49
    parameters: {class: "2", Q3: 2.5 m3/h, R: 160, temperature_class: T30}
    channels: {volume: {unit: L, type: register, digits: 5, multiplier: 10, standard: std, learn: 8, resolution: 0.1 L}}
  - id: e1
    kind: electricity
    rule_pack: oiml-r46
    parameters: {class: B, Ist: 0.02 A, Imin: 0.25 A, Itr: 0.5 A, Imax: 60 A}
    decision: guarded
    channels: {active_energy: {unit: kWh, subgroup: 3, learn: 12}}
  - id: g1
    kind: gas
    rule_pack: oiml-r137
    parameters: {class: "1.5", Qmin: 0.016 m3/h, Qt: 0.25 m3/h, Qmax: 2.5 m3/h}
    channels: {volume: {unit: m3, influences: [temperature_C], learn: 12}}
  - id: f1
    kind: fuel
    rule_pack: oiml-r117
    parameters: {class: "0.5", MMQ: 5 L}
    channels: {volume: {unit: L, sigma: 0.1 %, type: run, center: certificate}}
  - id: std
    kind: reference
    channels: {mass: {unit: g}, volume: {unit: m3, error: relative, axis: flow, type: register, digits: 4}}
certificates:
  - {id: cs, device: std, channel: mass, performed_at: 2020-01-01, points: [{error: 0 g, U: 0.1 g, k: 2}]}
  - {id: cv, device: std, channel: volume, performed_at: 2020-01-01, points: [{error: 0 %, U: 0.1 %, k: 2}]}
"""
SIZES = (
    0.0, 5e-324, 2.2e-308, 1e-300, 1e-200, 1e-20, 0.1, 1.0, 5.0, 20.0, 99999.0, 9007199254740993.0, 1e22, 1e100, 1e155,
    1e200, 1e300, 1.7976931348623157e308,
)  # fmt: skip
UNITS = {"mass": ("kg", "g", "t"), "volume": ("L", "m3"), "active_energy": ("kWh", "Wh")}
CHANNELS = {"s1": "mass", "w1": "volume", "e1": "active_energy", "g1": "volume", "f1": "volume"}


@pytest.mark.parametrize("seed", range(4))
def test_no_size_of_a_number_stops_the_judging(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    def size() -> float:
        return chance.choice(SIZES) * chance.choice((1, 1, -1))

    rows: list[dict[str, object]] = []
    for i in range(600):
        device, value = chance.choice(list(CHANNELS)), size()
        near = value if chance.random() < 0.4 else size()
        row: dict[str, object] = {
            "time": 1_770_000_000 + i * 3600, "device": device, "channel": CHANNELS[device], "value": value,
            "unit": chance.choice(UNITS[CHANNELS[device]]), "reference": near, "value_start": size(),
        }  # fmt: skip
        if device != "w1" and chance.random() < 0.5:
            del row["value_start"]
        row |= {n: size() for n in ("flow_m3h", "current_A", "temperature_C", "x") if chance.random() < 0.6}
        row |= {n: abs(size()) for n in ("reference_u",) if chance.random() < 0.5}
        rows.append(row | {"power_factor": chance.choice(("1", "0.5i"))})
    found = replay_files(tmp_path, REGISTRY, rows)
    assert found.summary["checks"] == found.summary["readings"]["stored"]
    assert set(found.summary["quarantine"]) <= {"not_finite"}


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e155, 1e300])
def test_a_trend_of_any_size_has_a_forecast_or_none(tmp_path: Path, size: float) -> None:
    rows = [
        {"time": 1_770_000_000 + i * 86_400, "device": "f1", "channel": "volume", "unit": "L", "reference_u": 0,
         "value": size * (3 + i), "reference": min(size, 1) * 3}
        for i in range(20)
    ]  # fmt: skip
    assert replay_files(tmp_path, REGISTRY, rows).summary["checks"] == 20


def test_a_number_that_vanishes_in_the_channels_unit_is_0_as_it_is_kept(tmp_path: Path) -> None:
    row = {"time": 1_770_000_000, "device": "g1", "channel": "volume", "value": -5e-324, "unit": "L", "reference": 1}
    (found,) = replay_files(tmp_path, REGISTRY, [row]).verdicts
    assert math.copysign(1.0, found["indication"]) == 1.0
