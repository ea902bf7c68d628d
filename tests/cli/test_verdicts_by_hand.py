"""Verdicts of each kind of instrument against numbers worked out by hand from METROLOGY and CONTRACTS §4."""

from __future__ import annotations

from math import erf, sqrt
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.replayed import replay_files

SCALE = """\
devices:
  - id: s
    kind: weighing
    rule_pack: oiml-r76
    parameters: {class: III, max: 15 kg, e: 5 g, d: 5 g}
    in_service: IN_SERVICE
    decision: RULE
    channels: {mass: {unit: kg, sigma: 1.6 g}}
"""
WATER = """\
devices:
  - id: w
    kind: water
    rule_pack: oiml-r49
    parameters: {class: 2, Q3: 2.5 m3/h, R: 160, temperature_class: T30}
    decision: RULE
    channels: {volume: {unit: L, sigma: 0.4 %}}
"""
METER = """\
devices:
  - id: m
    kind: electricity
    rule_pack: iec-62053-21
    parameters: {class: 1, Ib: 5 A, Imax: 60 A, connection: direct}
    channels: {active_energy: {unit: kWh, type: register, resolution: 0.01 kWh, sigma: 0.05 %}}
certificates:
  - {id: c, device: m, channel: active_energy, performed_at: 2026-01-01,
     points: [{x: 1 A, error: 0.1 %, U: 0.1 %, k: 2}, {x: 11 A, error: 0.3 %, U: 0.2 %, k: 2}]}
"""
GAS = """\
devices:
  - id: g
    kind: gas
    rule_pack: oiml-r137
    parameters: {class: 1.5, Qmin: 0.04 m3/h, Qt: 0.6 m3/h, Qmax: 6 m3/h}
    in_service: IN_SERVICE
    channels: {volume: {unit: m3, sigma: 0.1 %}}
"""
PUMP = """\
devices:
  - id: p
    kind: fuel
    rule_pack: oiml-r117
    parameters: {class: 0.5, MMQ: 5 L}
    channels: {volume: {unit: L, sigma: 0.05 %}}
  - id: q
    kind: fuel
    rule_pack: dlvn-10
    channels: {volume: {unit: L, type: run, sigma: 0.05 %}}
"""


def phi(z: float) -> float:
    return 0.5 * (1.0 + erf(z / sqrt(2.0)))


def judge(tmp_path: Path, registry: str, *readings: dict[str, object], **words: str) -> list[dict[str, Any]]:
    for name, word in {"IN_SERVICE": "true", "RULE": "simple"}.items():
        registry = registry.replace(name, words.get(name, word))
    rows = [{"time": f"2026-05-01T08:{i:02}:00Z"} | r for i, r in enumerate(readings)]
    return replay_files(tmp_path, registry, rows).verdicts


def scale(value: float, reference: float, **more: object) -> dict[str, object]:
    return {"device": "s", "channel": "mass", "value": value, "unit": "kg", "reference": reference, **more}


@pytest.mark.parametrize(
    ("load", "value", "in_service", "mpe", "conformity"),
    [
        (2.5, 2.505, "true", 0.005, "conforming"),
        (2.5, 2.505, "false", 0.0025, "not_conforming"),
        (2.505, 2.515, "true", 0.01, "conforming"),
        (2.505, 2.515, "false", 0.005, "not_conforming"),
        (10.0, 9.99, "true", 0.01, "conforming"),
        (10.0, 9.985, "true", 0.01, "not_conforming"),
        (10.005, 9.99, "true", 0.015, "conforming"),
        (15.0, 15.015, "true", 0.015, "conforming"),
        (2.5, 2.5025, "false", 0.0025, "conforming"),
        (2.5, 2.5025000001, "false", 0.0025, "not_conforming"),
    ],
)
def test_a_scale_at_the_edges_of_its_bands(
    tmp_path: Path, load: float, value: float, in_service: str, mpe: float, conformity: str
) -> None:
    (v,) = judge(tmp_path, SCALE, scale(value, load, reference_u=0.0005), IN_SERVICE=in_service)
    assert (v["mpe"], v["conformity"], v["error_unit"]) == (mpe, conformity, "kg")
    error = round(value - load, 10)
    assert v["error"] == pytest.approx(error, rel=1e-12)
    assert v["error_percent"] == pytest.approx(100 * error / load, rel=1e-12)
    U = 2 * sqrt(0.00025**2 + 0.0016**2)
    assert v["U"] == pytest.approx(U, rel=1e-12)
    assert v["margin"] == pytest.approx(mpe - abs(error), rel=1e-9, abs=1e-15)
    assert v["margin_percent"] == pytest.approx(100 * (1 - abs(error) / mpe), rel=1e-9, abs=1e-9)
    p = phi((mpe - error) / (U / 2)) - phi((-mpe - error) / (U / 2))
    assert v["p_conforming"] == pytest.approx(p, rel=1e-9)
    assert "zero_uncorrected" in v["flags"]
    assert ("u_too_large" in v["flags"]) is (mpe / 3 < U)


def test_a_scale_of_coarse_steps_has_its_rounding_for_sigma(tmp_path: Path) -> None:
    (v,) = judge(tmp_path, SCALE.replace("sigma: 1.6 g", "sigma: 0.5 g"), scale(5.0, 5.0, reference_u=0.0))
    assert v["sigma"] == pytest.approx(0.005 / sqrt(12), rel=1e-14)
    assert v["U"] == pytest.approx(2 * 0.005 / sqrt(12), rel=1e-14)
    assert "resolution_limited" in v["flags"]


def test_a_scale_is_resolution_limited_by_what_is_left_of_sigma(tmp_path: Path) -> None:
    # 5 g > 2 √(σ² - 25/12) g: σ < 2.886751… g
    for sigma, limited in (("2.886 g", True), ("2.888 g", False)):
        (v,) = judge(tmp_path, SCALE.replace("1.6 g", sigma), scale(5.0, 5.0))
        assert ("resolution_limited" in v["flags"]) is limited


def test_the_zero_error_corrects_conformity_and_not_the_error(tmp_path: Path) -> None:
    zero, load, late = judge(
        tmp_path,
        SCALE,
        scale(0.005, 0.0, reference_u=0.0),
        scale(2.51, 2.5, reference_u=0.0),
        scale(2.51, 2.5, reference_u=0.0, time="2026-05-01T08:10:00.000000001Z"),
    )
    assert (zero["mpe"], zero["conformity"], zero["error_percent"], zero["evidence"]) == (
        0.005, "conforming", None, "zero",
    )  # fmt: skip
    assert (load["error"], load["zero_error"], load["conformity"], load["margin"]) == (0.01, 0.005, "conforming", 0.0)
    assert "zero_uncorrected" not in load["flags"]
    assert (late["zero_error"], late["conformity"]) == (None, "not_conforming")
    assert "zero_uncorrected" in late["flags"]


def test_a_reading_in_grams_is_judged_in_kilograms(tmp_path: Path) -> None:
    grams = scale(2505, 2500, unit="g", reference_u=0.5)
    (v,) = judge(tmp_path, SCALE, grams)
    assert (v["indication"], v["reference"], v["reference_u"], v["unit"]) == (2.505, 2.5, 0.0005, "kg")
    assert (v["error"], v["mpe"], v["conformity"]) == (0.005, 0.005, "conforming")


def water(value: float, **more: object) -> dict[str, object]:
    return {"device": "w", "channel": "volume", "value": value, "unit": "L", "reference": 100, "reference_u": 0.6,
            "flow_m3h": 1.0, **more}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "value", "conformity", "flag"),
    [
        # reference_u 0.6 % and σ 0.4 %: U = 2 √(0.3² + 0.4²) = 1 %, MPE 2 %
        ("simple", 102.0, "conforming", None),
        ("simple", 102.0001, "not_conforming", None),
        ("simple", 98.0, "conforming", None),
        ("guarded", 101.0, "conforming", None),
        ("guarded", 101.0001, "not_conforming", None),
        ("guarded", 99.0, "conforming", None),
        ("non_binary", 101.0, "conforming", None),
        ("non_binary", 101.0001, "undecided", "conditional_pass"),
        ("non_binary", 102.0, "undecided", "conditional_pass"),
        ("non_binary", 102.0001, "undecided", "conditional_fail"),
        ("non_binary", 103.0, "undecided", "conditional_fail"),
        ("non_binary", 103.0001, "not_conforming", None),
        ("non_binary", 97.0, "undecided", "conditional_fail"),
        ("non_binary", 96.9999, "not_conforming", None),
    ],
)
def test_decision_rules_at_their_edges(
    tmp_path: Path, rule: str, value: float, conformity: str, flag: str | None
) -> None:
    (v,) = judge(tmp_path, WATER, water(value), RULE=rule)
    assert (v["mpe"], v["U"], v["decision_rule"], v["conformity"]) == (2.0, 1.0, rule, conformity)
    found = [f for f in v["flags"] if f.startswith("conditional")]
    assert found == ([flag] if flag else [])


@pytest.mark.parametrize(
    ("flow", "temperature", "mpe"),
    [
        (0.025, 20.0, 2.0),
        (0.02499999, 20.0, 5.0),
        (0.015625, None, 5.0),
        (0.0156249, None, None),
        (3.125, 30.0, 2.0),
        (3.1250001, 30.0, None),
        (1.0, 30.000001, 3.0),
        (None, 20.0, None),
    ],
)
def test_a_water_meter_by_flow_and_temperature(
    tmp_path: Path, flow: float | None, temperature: float | None, mpe: float | None
) -> None:
    reading = {k: v for k, v in water(101, flow_m3h=flow, temperature_C=temperature).items() if v is not None}
    (v,) = judge(tmp_path, WATER, reading)
    assert v["mpe"] == mpe
    assert ("mpe_unknown" in v["flags"]) is (mpe is None)
    assert (v["conformity"], v["margin"], v["p_conforming"]) == (None, None, None) or mpe is not None


def test_without_the_uncertainty_of_the_reference_a_simple_decision_stands(tmp_path: Path) -> None:
    reading = {k: v for k, v in water(101).items() if k != "reference_u"}
    for rule, conformity in (("simple", "conforming"), ("guarded", None), ("non_binary", None)):
        (v,) = judge(tmp_path, WATER, reading, RULE=rule)
        assert (v["U"], v["p_conforming"], v["en"], v["conformity"]) == (None, None, None, conformity)
        assert "reference_u_unknown" in v["flags"]


def test_an_electricity_meter_by_the_difference_of_its_register(tmp_path: Path) -> None:
    (v,) = judge(
        tmp_path,
        METER,
        {"device": "m", "channel": "active_energy", "value": 1000.3, "value_start": 990.2, "reference": 10.05,
         "unit": "kWh", "reference_u": 0.01, "current_A": 6, "power_factor": "1"},
    )  # fmt: skip
    error = 100 * (10.1 - 10.05) / 10.05
    sigma = max(0.05, 100 * 0.01 / sqrt(6) / 10.05)
    assert v["indication"] == 10.1
    assert v["error"] == pytest.approx(error, rel=1e-14)
    assert v["sigma"] == pytest.approx(sigma, rel=1e-14)
    assert v["U"] == pytest.approx(2 * sqrt((100 * 0.01 / 10.05 / 2) ** 2 + sigma**2), rel=1e-14)
    assert (v["mpe"], v["x"], v["error_unit"], v["conditions"]) == (
        1.0,
        6.0,
        "%",
        {"current_A": 6.0, "power_factor": "1"},
    )
    assert v["baseline_error"] == pytest.approx(0.2, rel=1e-14)
    assert v["baseline_U"] == pytest.approx(0.15, rel=1e-14)
    assert v["residual"] == pytest.approx(error - 0.2, rel=1e-12)
    assert v["en"] == pytest.approx((error - 0.2) / sqrt(v["U"] ** 2 + 0.15**2), rel=1e-12)


@pytest.mark.parametrize(
    ("current", "power_factor", "phase", "mpe"),
    [
        (0.25, "1", None, 1.5), (0.5, "1", None, 1.0), (0.5, "0.5i", None, 1.5), (1, "0.8c", None, 1.0),
        (60, "1", "L1", 2.0), (60, "0.5i", "L1", 2.0), (60, "0.8c", "L1", None), (10, None, None, None),
        (0.2499, "1", None, None), (60.001, "1", None, None), (10, "0.9i", None, None),
    ],
)  # fmt: skip
def test_an_electricity_meter_by_current_and_power_factor(
    tmp_path: Path, current: float, power_factor: str | None, phase: str | None, mpe: float | None
) -> None:
    said = {"power_factor": power_factor, "phase": phase}
    reading = {"device": "m", "channel": "active_energy", "value": 110, "value_start": 100, "reference": 10,
               "unit": "kWh", "current_A": current} | {k: v for k, v in said.items() if v}  # fmt: skip
    (v,) = judge(tmp_path, METER, reading)
    assert v["mpe"] == mpe
    assert ("mpe_unknown" in v["flags"]) is (mpe is None)


@pytest.mark.parametrize(
    ("flow", "in_service", "mpe"),
    [(0.04, "false", 3.0), (0.5999, "true", 6.0), (0.6, "false", 1.5), (6.0, "true", 3.0), (6.0001, "true", None)],
)
def test_a_gas_meter_initial_and_in_service(tmp_path: Path, flow: float, in_service: str, mpe: float | None) -> None:
    reading = {"device": "g", "channel": "volume", "value": 1.015, "unit": "m3", "reference": 1, "flow_m3h": flow,
               "reference_u": 0.001}  # fmt: skip
    (v,) = judge(tmp_path, GAS, reading, IN_SERVICE=in_service)
    assert (v["mpe"], v["error"]) == (mpe, 1.5)
    assert v["conformity"] == (None if mpe is None else "conforming")
    assert ("rule_pack_unverified" in v["flags"]) is (in_service == "true")


@pytest.mark.parametrize(
    ("device", "value", "reference", "mpe", "conformity"),
    [
        ("p", 5.05, 5.0, 1.0, "conforming"),  # Emin 50 mL
        ("p", 5.06, 5.0, 1.0, "not_conforming"),
        ("p", 10.05, 10.0, 0.5, "conforming"),
        ("p", 20.1, 20.0, 0.5, "conforming"),
        ("p", 20.0, 19.93, 0.5, "conforming"),
        ("q", 20.0, 19.93, 0.3, "not_conforming"),
        ("q", 20.06, 20.0, 0.3, "conforming"),
    ],
)
def test_fuel_dispensers(
    tmp_path: Path, device: str, value: float, reference: float, mpe: float, conformity: str
) -> None:
    reading = {"device": device, "channel": "volume", "value": value, "unit": "L", "reference": reference}
    (v,) = judge(tmp_path, PUMP, reading)
    assert (v["mpe"], v["conformity"]) == (mpe, conformity)
    assert v["error"] == pytest.approx(100 * (value - reference) / reference, rel=1e-12)
    if (value, reference) == (20.0, 19.93):
        assert v["error"] == pytest.approx(0.3512, abs=5e-5)


def test_a_relative_channel_at_zero_has_an_absolute_error_and_no_limit(tmp_path: Path) -> None:
    reading = {"device": "p", "channel": "volume", "value": 0.02, "unit": "L", "reference": 0, "reference_u": 0.001}
    (v,) = judge(tmp_path, PUMP, reading)
    assert (v["error"], v["error_unit"], v["error_percent"], v["mpe"], v["z"]) == (0.02, "L", None, None, None)
    assert "zero_reference" in v["flags"]
    assert "mpe_unknown" not in v["flags"]
