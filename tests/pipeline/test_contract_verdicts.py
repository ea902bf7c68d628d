"""What a check says (CONTRACTS §4), against numbers worked out here by hand or from exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any

import pytest

from tests.pipeline.replayed import VERDICT_KEYS, replay_files

CHARTS = "drift: {shewhart: {L: 3}, ewma: {lambda: 0.2, L: 2.962}, cusum: {k: 0.5, h: 5}}"


def scale(*, parameters: str = "class: III, max: 15 kg, e: 5 g, d: 1 g", device: str = "", channel: str = "") -> str:
    """Return a scale with declared sigma 2 g unless `channel` says otherwise."""
    channel = channel or "sigma: 2 g, center: certificate"
    return f"""\
devices:
  - id: s1
    kind: weighing
    rule_pack: oiml-r76
    parameters: {{{parameters}}}
    {device or "in_service: true"}
    channels: {{mass: {{unit: kg, {channel}}}}}
    {CHARTS}
"""


CERTIFICATE = """\
certificates:
  - {id: c1, device: s1, channel: mass, kind: calibration, phase: as_left, performed_at: 2026-01-01,
     points: [{x: 5 kg, error: 1 g, U: 1 g, k: 2}, {x: 10 kg, error: 3 g, U: 1.6 g, k: 2}]}
"""


def check(day: float, value: float, reference: float | None = 8.0, **more: Any) -> dict[str, object]:
    """Return a check of s1 `day` days after 1 February 2026, 00:00 UTC."""
    whole, part = divmod(day, 1)
    minutes = round(part * 1440)
    time = f"2026-{2 + int(whole) // 28:02}-{1 + int(whole) % 28:02}T{minutes // 60:02}:{minutes % 60:02}:00Z"
    row: dict[str, object] = {"time": time, "device": "s1", "channel": "mass", "value": value, "unit": "kg"}
    if reference is not None:
        row |= {"reference": reference, "reference_u": 0.0002}
    return row | more


def one(folder: Path, registry: str, **row: Any) -> dict[str, Any]:
    """Return the only verdict of one reading, given as `check` takes it."""
    return replay_files(folder, registry, [check(0, **row)]).verdicts[0]


def test_every_verdict_has_exactly_the_keys_of_the_contract_in_its_order(tmp_path: Path) -> None:
    rows = [check(0, 8.003), check(1, 0.001, 0), check(2, 30.0, 30), check(3, 8.0, reference_u=None)]
    found = replay_files(tmp_path, scale() + CERTIFICATE, rows)
    assert len(found.verdicts) == 4
    assert all(tuple(v) == VERDICT_KEYS for v in found.verdicts)


def test_a_check_at_the_first_moment_of_1970_has_its_time(tmp_path: Path) -> None:
    assert one(tmp_path, scale(), value=8.0, time="1970-01-01T00:00:00Z")["time"] == "1970-01-01T00:00:00Z"


def test_a_check_of_a_scale_says_what_hand_arithmetic_says(tmp_path: Path) -> None:
    v = one(tmp_path, scale() + CERTIFICATE, value=8.004)
    u = math.sqrt(0.0001**2 + 0.002**2)
    normal = NormalDist(0.004, u)
    expected = {
        "reference_u": 0.0002, "error": 0.004, "error_percent": 0.05, "U": 2 * u, "mpe": 0.010, "margin": 0.006,
        "margin_percent": 60.0, "p_conforming": normal.cdf(0.010) - normal.cdf(-0.010), "baseline_error": 0.0022,
        "baseline_U": 0.00136, "residual": 0.0018, "sigma": 0.002, "z": 0.9,
        "en": 0.0018 / math.sqrt(4 * u * u + 0.00136**2),
    }  # fmt: skip
    assert {n: v[n] for n in expected} == pytest.approx(expected, rel=1e-9)
    words = {
        "indication": 8.004, "reference": 8.0, "unit": "kg", "x": 8.0, "error_unit": "kg", "k": 2,
        "conformity": "conforming", "decision_rule": "simple", "baseline": "c1", "sigma_source": "declared",
        "center": "certificate", "evidence": "check_weight", "zero_error": None, "conditions": {}, "seq": None,
        "boot": None, "standard": None, "supersedes": None, "segment": None,
        "flags": ["zero_uncorrected", "u_too_large"],
    }  # fmt: skip
    assert {n: v[n] for n in words} == words
    assert str(v["rule_pack"]).startswith("oiml-r76@")


@pytest.mark.parametrize(
    ("reference", "error", "flag"),
    [
        (5.0, 0.001, None),
        (7.5, 0.002, None),
        (10.0, 0.003, None),
        (4.9, 0.001, None),
        (10.1, 0.003, None),
        (4.899, None, "outside_baseline"),
        (10.101, None, "outside_baseline"),
    ],
)
def test_the_baseline_is_linear_and_holds_one_percent_of_max_x_further(
    tmp_path: Path, reference: float, error: float | None, flag: str | None
) -> None:
    v = one(tmp_path, scale() + CERTIFICATE, value=reference, reference=reference)
    assert v["baseline_error"] == (None if error is None else pytest.approx(error, abs=1e-15))
    assert ("outside_baseline" in v["flags"]) == (flag is not None)
    if flag:
        assert (v["residual"], v["z"], v["en"], v["detectors"]) == (None, None, None, {})
        assert v["conformity"] == "conforming"


def test_the_domain_is_widened_by_the_resolution_where_that_is_more(tmp_path: Path) -> None:
    registry = scale(channel="sigma: 2 g, resolution: 200 g") + CERTIFICATE
    assert one(tmp_path, registry, value=4.8, reference=4.8)["baseline_error"] == 0.001
    assert one(tmp_path, registry, value=4.79, reference=4.79)["baseline_error"] is None


def test_x_given_by_indication_is_brought_to_the_axis(tmp_path: Path) -> None:
    registry = scale() + CERTIFICATE.replace("performed_at", "x_is: indication, performed_at")
    v = one(tmp_path, registry, value=7.0, reference=7.0)
    x1, x2 = Fraction("4.999"), Fraction("9.997")
    t = (7 - x1) / (x2 - x1)
    assert v["baseline_error"] == pytest.approx(float(Fraction("0.001") * (1 - t) + Fraction("0.003") * t), rel=1e-9)


def test_a_correction_is_the_error_with_the_other_sign(tmp_path: Path) -> None:
    registry = scale() + CERTIFICATE.replace("error:", "correction:")
    assert one(tmp_path, registry, value=8.0)["baseline_error"] == pytest.approx(-0.0022, rel=1e-12)


@pytest.mark.parametrize(
    ("load", "in_service", "mpe"),
    [
        (2.5, "true", 0.005),
        (2.505, "true", 0.010),
        (10.0, "false", 0.005),
        (10.005, "false", 0.0075),
        (0, "false", 0.0025),
    ],
)
def test_r76_limits_change_exactly_at_the_edges_of_their_bands(
    tmp_path: Path, load: float, in_service: str, mpe: float
) -> None:
    assert one(tmp_path, scale(device=f"in_service: {in_service}"), value=load, reference=load)["mpe"] == mpe


@pytest.mark.parametrize(
    ("value", "conformity"), [(2.505, "conforming"), (2.495, "conforming"), (2.506, "not_conforming")]
)
def test_an_error_of_exactly_the_mpe_conforms(tmp_path: Path, value: float, conformity: str) -> None:
    v = one(tmp_path, scale(), value=value, reference=2.5)
    assert (v["conformity"], v["margin"] >= 0) == (conformity, conformity == "conforming")


@pytest.mark.parametrize(
    ("decision", "error", "conformity", "flag"),
    [
        ("guarded", 0.005, "conforming", None),
        ("guarded", 0.007, "not_conforming", None),
        ("non_binary", 0.005, "conforming", None),
        ("non_binary", 0.009, "undecided", "conditional_pass"),
        ("non_binary", 0.010, "undecided", "conditional_pass"),
        ("non_binary", 0.011, "undecided", "conditional_fail"),
        ("non_binary", 0.015, "not_conforming", None),
        ("simple", 0.010, "conforming", None),
    ],
)
def test_decision_rules_guard_by_exactly_u(
    tmp_path: Path, decision: str, error: float, conformity: str, flag: str | None
) -> None:
    registry = scale(device=f"in_service: true\n    decision: {decision}")
    v = one(tmp_path, registry, value=round(8 + error, 3))
    conditional = [f for f in v["flags"] if f.startswith("conditional")]
    assert (v["conformity"], conditional, v["decision_rule"]) == (conformity, [flag] if flag else [], decision)


def test_sigma_below_the_rounding_of_the_resolution_is_lifted_to_it(tmp_path: Path) -> None:
    registry = scale(channel="sigma: 0.1 g, resolution: 1 g") + CERTIFICATE
    single = one(tmp_path, registry, value=8.0)
    assert single["sigma"] == pytest.approx(0.001 / math.sqrt(12), rel=1e-12)
    assert "resolution_limited" in single["flags"]
    double = one(tmp_path, registry, value=9.0, value_start=1.0)
    assert double["indication"] == 8.0
    assert double["sigma"] == pytest.approx(0.001 / math.sqrt(6), rel=1e-12)


@pytest.mark.parametrize(("sigma", "limited"), [("0.58 g", False), ("0.57 g", True)])
def test_resolution_limits_below_half_its_size_in_repeatability(tmp_path: Path, sigma: str, limited: bool) -> None:
    v = one(tmp_path, scale(channel=f"sigma: {sigma}, resolution: 1 g"), value=8.0)
    assert ("resolution_limited" in v["flags"]) == limited


@pytest.mark.parametrize(("reference_u", "large"), [(0.001, False), (0.0036, True)])
def test_u_is_too_large_beyond_a_third_of_the_mpe(tmp_path: Path, reference_u: float, large: bool) -> None:
    v = one(tmp_path, scale(channel="sigma: 0.3 g, resolution: 0 g"), value=8.0, reference_u=reference_u)
    assert ("u_too_large" in v["flags"]) == large


def test_u_of_exactly_a_third_of_the_mpe_is_not_too_large(tmp_path: Path) -> None:
    registry = """\
devices:
  - {id: s1, kind: fuel, rule_pack: dlvn-10, channels: {volume: {unit: L, type: run, sigma: 0.05 %}}}
"""
    row = check(0, 20.0, 20.0, channel="volume", unit="L", reference_u=0.0)
    v = replay_files(tmp_path, registry, [row]).verdicts[0]
    assert (v["U"], v["mpe"], "u_too_large" in v["flags"]) == (0.1, 0.3, False)


def test_a_reference_of_unknown_uncertainty_leaves_u_and_p_open_but_not_the_simple_decision(tmp_path: Path) -> None:
    simple = one(tmp_path, scale() + CERTIFICATE, value=8.0, reference_u=None)
    assert (simple["U"], simple["p_conforming"], simple["en"]) == (None, None, None)
    assert simple["conformity"] == "conforming"
    assert "reference_u_unknown" in simple["flags"]
    guarded = one(tmp_path, scale(device="in_service: true\n    decision: guarded"), value=8.0, reference_u=None)
    assert guarded["conformity"] is None


def test_without_a_certificate_the_baseline_is_zero_and_the_centre_is_learned(tmp_path: Path) -> None:
    v = one(tmp_path, scale(channel="sigma: 2 g"), value=8.004)
    assert (v["baseline"], v["baseline_error"], v["baseline_U"], v["residual"]) == (None, 0.0, None, 0.004)
    assert (v["z"], v["center"], v["en"]) == (None, "learned", None)
    assert {"no_certificate", "learning"} <= set(v["flags"])


@pytest.mark.parametrize(("minutes", "corrected"), [(10, True), (11, False)])
def test_a_zero_check_within_ten_minutes_corrects_conformity_but_not_drift(
    tmp_path: Path, minutes: int, corrected: bool
) -> None:
    rows = [check(0, 0.003, 0), check(minutes / 1440, 8.012)]
    v = replay_files(tmp_path, scale() + CERTIFICATE, rows).verdicts[1]
    assert v["error"] == 0.012
    assert v["residual"] == pytest.approx(0.0098, rel=1e-12)
    assert v["zero_error"] == (0.003 if corrected else None)
    assert v["conformity"] == ("conforming" if corrected else "not_conforming")
    assert ("zero_uncorrected" in v["flags"]) == (not corrected)


def test_a_zero_check_is_evidence_of_zero_and_is_not_called_uncorrected(tmp_path: Path) -> None:
    v = one(tmp_path, scale(), value=0.001, reference=0)
    assert (v["evidence"], v["error"], v["error_percent"], v["mpe"]) == ("zero", 0.001, None, 0.005)
    assert "zero_uncorrected" not in v["flags"]


def test_a_certificate_runs_out_at_its_due_date(tmp_path: Path) -> None:
    registry = scale() + CERTIFICATE.replace("performed_at", "valid_to: 2026-02-03, performed_at")
    vs = replay_files(tmp_path, registry, [check(1.7, 8.0), check(1.75, 8.0)]).verdicts
    assert [v["time"] for v in vs] == ["2026-02-02T16:48:00Z", "2026-02-02T18:00:00Z"]
    assert ["certificate_expired" in v["flags"] for v in vs] == [False, True], "3 February in Vietnam is 17:00 UTC"


METER = """\
devices:
  - id: s1
    kind: electricity
    rule_pack: oiml-r46
    parameters: {class: B, Ist: 0.02 A, Imin: 0.25 A, Itr: 0.5 A, Imax: 60 A}
    channels: {active_energy: {unit: kWh, type: register, sigma: 0.1 %, resolution: 0.001 kWh}}
certificates:
  - {id: c1, device: s1, channel: active_energy, kind: calibration, phase: as_left, performed_at: 2026-01-01,
     points: [{x: 0.25 A, error: 0.2 %, U: 0.01 %, k: 2}, {x: 60 A, error: 0.4 %, U: 0.01 %, k: 2}]}
"""


def energy(**more: Any) -> dict[str, object]:
    """Return a check of a register against a reference meter."""
    row: dict[str, object] = {
        "time": "2026-02-01T00:00:00Z", "device": "s1", "channel": "active_energy", "unit": "kWh", "value": 1005.05,
        "value_start": 1000, "reference": 5.0, "reference_u": 0.002, "current_A": 10, "power_factor": "1",
    }  # fmt: skip
    return {k: v for k, v in (row | more).items() if v is not None}


def test_a_register_check_is_relative_and_takes_the_amounts(tmp_path: Path) -> None:
    v = replay_files(tmp_path, METER, [energy()]).verdicts[0]
    sigma = 0.1
    baseline = float(Fraction("0.2") + Fraction("0.2") * (10 - Fraction("0.25")) / Fraction("59.75"))
    U = 2 * math.sqrt(0.02**2 + sigma**2)
    expected = {
        "indication": 5.05, "reference": 5.0, "error": 1.0, "error_percent": 1.0, "reference_u": 0.002, "x": 10.0,
        "mpe": 1.0, "margin": 0.0, "margin_percent": 0.0, "sigma": sigma, "U": U, "baseline_error": baseline,
        "residual": 1.0 - baseline,
    }  # fmt: skip
    assert {n: v[n] for n in expected} == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (v["unit"], v["error_unit"], v["conformity"], v["evidence"]) == ("kWh", "%", "conforming", "reference_meter")
    assert v["conditions"] == {"current_A": 10.0, "power_factor": "1"}
    assert replay_files(tmp_path, METER, [energy(reference=25.0, reference_start=20.0)]).verdicts[0]["error"] == 1.0


def test_a_register_check_without_start_is_refused_as_ambiguous(tmp_path: Path) -> None:
    found = replay_files(tmp_path, METER, [energy(value_start=None)])
    assert found.summary["quarantine"] == {"ambiguous_check": 1}
    assert not found.verdicts


def test_a_missing_axis_or_condition_is_said(tmp_path: Path) -> None:
    v = replay_files(tmp_path, METER, [energy(current_A=None)]).verdicts[0]
    assert (v["x"], v["baseline_error"], v["z"], v["mpe"], v["conformity"]) == (None,) * 5
    assert {"axis_missing", "mpe_unknown"} <= set(v["flags"])
    v = replay_files(tmp_path, METER, [energy(power_factor=None)]).verdicts[0]
    assert (v["mpe"], v["margin"], v["margin_percent"], v["conformity"]) == (None,) * 4
    assert "mpe_unknown" in v["flags"]


def test_a_relative_check_at_zero_reference_is_absolute_and_nothing_more(tmp_path: Path) -> None:
    v = replay_files(tmp_path, METER, [energy(value=1000.002, reference=0.0, evidence="no_load")]).verdicts[0]
    assert (v["error"], v["error_unit"], v["error_percent"], v["evidence"]) == (0.002, "kWh", None, "no_load")
    assert (v["mpe"], v["conformity"], v["z"], v["residual"], v["detectors"]) == (None, None, None, None, {})
    assert "zero_reference" in v["flags"]
    assert "mpe_unknown" not in v["flags"]
    assert v["sigma"] is None, "a sigma in % is not in the error unit kWh"
    assert v["U"] is None, "half of it would be in %"


def learned() -> str:
    """Return a scale whose sigma is learned from five checks."""
    return scale(channel="resolution: 0 g, learn: 5")


NOISE = (0.001, -0.002, 0.0005, 0.003, -0.001, 0.0015, -0.0005, 0.002)


def test_sigma_and_centre_come_from_the_first_checks_then_hold(tmp_path: Path) -> None:
    rows = [check(i, round(8 + 0.002 + n, 4)) for i, n in enumerate(NOISE)]
    vs = replay_files(tmp_path, learned() + CERTIFICATE, rows).verdicts
    residuals = [0.002 + n - 0.0022 for n in NOISE]
    for v in vs[:5]:
        assert (v["z"], v["sigma"], v["sigma_source"], v["U"]) == (None,) * 4
        assert "learning" in v["flags"]
        assert "provisional" not in v["flags"]
    sigma, centre = stdev(residuals[:5]), fmean(residuals[:5])
    for v, d in zip(vs[5:], residuals[5:], strict=True):
        assert (v["sigma_source"], v["center"]) == ("learned", "learned")
        assert v["sigma"] == pytest.approx(sigma, rel=1e-9)
        assert v["z"] == pytest.approx((d - centre) / sigma, rel=1e-9)
        assert "provisional" in v["flags"]
        assert "learning" not in v["flags"]
        assert v["detectors"]["cusum"]["limit"] > 5


@pytest.mark.parametrize("row", [{"reference": 20.0, "value": 20.0}, {"value": 8.0, "stable": False}])
def test_a_learned_sigma_also_gives_u_to_checks_that_are_not_charted(tmp_path: Path, row: dict[str, Any]) -> None:
    rows = [check(i, round(8 + 0.002 + n, 4)) for i, n in enumerate(NOISE)]
    odd = check(20, **row)
    vs = replay_files(tmp_path, learned() + CERTIFICATE, [*rows, odd]).verdicts
    assert vs[-1]["sigma"] == pytest.approx(vs[-2]["sigma"])
    assert vs[-1]["U"] == pytest.approx(vs[-2]["U"])


@pytest.mark.parametrize(("U", "center"), [("0.8 g", "certificate"), ("0.82 g", "learned")])
def test_auto_takes_the_certificate_up_to_a_fifth_of_sigma(tmp_path: Path, U: str, center: str) -> None:
    registry = scale(channel="sigma: 2 g, resolution: 0 g") + CERTIFICATE.replace("U: 1.6 g", f"U: {U}")
    v = one(tmp_path, registry, value=10.0, reference=10.0, reference_u=0.0)
    assert (v["center"], v["z"] is None) == (center, center == "learned")


def test_the_unit_of_a_reading_is_converted_exactly(tmp_path: Path) -> None:
    v = one(tmp_path, scale() + CERTIFICATE, value=8004, reference=8000, reference_u=0.2, unit="g")
    plain = one(tmp_path, scale() + CERTIFICATE, value=8.004)
    assert {k: w for k, w in v.items() if k != "id"} == {k: w for k, w in plain.items() if k != "id"}


SUBGROUPS = scale(channel="sigma: 2 g, resolution: 0 g, center: certificate, subgroup: 4") + CERTIFICATE


def test_charts_advance_on_the_last_check_of_a_subgroup(tmp_path: Path) -> None:
    errors = (0.001, 0.003, 0.002, 0.006, 0.0, 0.004, 0.002, 0.002)
    vs = replay_files(tmp_path, SUBGROUPS, [check(i, round(8 + e, 4)) for i, e in enumerate(errors)]).verdicts
    assert [v["z"] is None for v in vs] == [True, True, True, False] * 2
    for at in (3, 7):
        mean = fmean(errors[at - 3 : at + 1]) - 0.0022
        assert vs[at]["z"] == pytest.approx(mean * 2 / 0.002, rel=1e-9)


def test_conditions_of_a_point_are_matched_exactly(tmp_path: Path) -> None:
    registry = METER.replace("{x: 0.25 A,", "{x: 0.25 A, power_factor: 1,").replace(
        "{x: 60 A,", "{x: 60 A, power_factor: 1,"
    )
    known = replay_files(tmp_path, registry, [energy()]).verdicts[0]
    assert known["baseline_error"] is not None
    other = replay_files(tmp_path, registry, [energy(power_factor="0.5i")]).verdicts[0]
    assert (other["baseline_error"], other["z"]) == (None, None)
    assert "outside_baseline" in other["flags"]
