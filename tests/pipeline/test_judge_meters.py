"""Meters through a replay: the vectors of METROLOGY §2-§3, standards, learned centres (CONTRACTS §4)."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from tests.pipeline.replayed import replay_files

PACKS = {
    "electricity": "rule_pack: oiml-r46\n    parameters: {class: B, Ist: 0.02 A, Imin: 0.25 A, Itr: 0.5 A, Imax: 60 A}",
    "water": 'rule_pack: oiml-r49\n    parameters: {class: "2", Q3: 2.5 m3/h, R: 160, temperature_class: T30}',
    "fuel": 'rule_pack: oiml-r117\n    parameters: {class: "0.5", MMQ: 5 L}',
}


def meter(kind: str, channel: str, *, more: str = "") -> str:
    """Return one instrument under the limits of its kind."""
    return f"devices:\n  - id: m1\n    kind: {kind}\n    {PACKS[kind]}\n    channels: {{{channel}}}\n{more}"


def check(channel: str, unit: str, value: float, reference: float, hour: int = 0, **more: Any) -> dict[str, object]:
    """Return a check of m1."""
    row: dict[str, Any] = {
        "time": f"2026-02-{1 + hour // 24:02}T{hour % 24:02}:00:00Z", "device": "m1", "channel": channel,
        "value": value, "unit": unit, "reference": reference, "reference_u": 0.0,
    }  # fmt: skip
    return {k: v for k, v in (row | more).items() if v is not None}


@pytest.mark.parametrize(
    ("current", "power_factor", "mpe"),
    [
        (10, "1", 1.0), (10, "0.5i", 1.5), (0.3, "1", 1.5), (0.3, "0.5i", 1.8), (0.1, "1", 3.75), (0.01, "1", None),
        (0.5, "1", 1.0), (0.25, "1", 1.5), (60, "1", 1.0), (60.1, "1", None), (10, "0.8c", 1.5),
    ],
)  # fmt: skip
def test_electricity_limits(tmp_path: Path, current: float, power_factor: str, mpe: float | None) -> None:
    registry = meter("electricity", "active_energy: {unit: kWh, sigma: 0.1 %, type: run}")
    row = check("active_energy", "kWh", 1.0, 1.0, current_A=current, power_factor=power_factor)
    v = replay_files(tmp_path, registry, [row]).verdicts[0]
    assert v["mpe"] == (None if mpe is None else pytest.approx(mpe, rel=1e-12))
    assert ("mpe_unknown" in v["flags"]) == (mpe is None)


@pytest.mark.parametrize(
    ("flow", "mpe"), [(0.025, 2.0), (0.0249, 5.0), (3.2, None), (3.125, 2.0), (0.015625, 5.0), (0.0156, None)]
)
def test_water_limits(tmp_path: Path, flow: float, mpe: float | None) -> None:
    registry = meter("water", "volume: {unit: m3, sigma: 0.1 %, type: run}")
    v = replay_files(tmp_path, registry, [check("volume", "L", 100, 100, flow_m3h=flow)]).verdicts[0]
    assert (v["mpe"], v["x"], v["unit"]) == (mpe, flow, "m3")


@pytest.mark.parametrize(("litres", "mpe_percent"), [(5, 1.0), (10, 0.5), (20, 0.5)])
def test_fuel_limits_do_not_fall_below_the_least_error(tmp_path: Path, litres: float, mpe_percent: float) -> None:
    registry = meter("fuel", "volume: {unit: L, sigma: 0.01 %, type: run}")
    v = replay_files(tmp_path, registry, [check("volume", "L", litres, litres)]).verdicts[0]
    assert v["mpe"] == pytest.approx(mpe_percent, rel=1e-12)


def test_the_dispenser_of_the_fact_sheet(tmp_path: Path) -> None:
    registry = meter("fuel", "volume: {unit: L, sigma: 0.01 %, type: run}")
    v = replay_files(tmp_path, registry, [check("volume", "L", 20.00, 19.93)]).verdicts[0]
    assert v["error"] == v["error_percent"] == pytest.approx(100 * 0.07 / 19.93, rel=1e-12)
    assert v["conformity"] == "conforming"


STANDARD = """\
  - {id: std-1, kind: reference, channels: {volume: {unit: L}}}
certificates:
  - {id: cs, device: std-1, channel: volume, kind: calibration, phase: as_left, performed_at: 2025-03-01,
     interval_months: 12, points: [{x: 10 L, error: 0 L, U: 0.03 L, k: 3}, {x: 20 L, error: 0 L, U: 0.06 L, k: 3}]}
"""


def test_an_unsaid_reference_uncertainty_is_that_of_the_standards_certificate_at_k_2(tmp_path: Path) -> None:
    registry = meter("fuel", "volume: {unit: L, sigma: 0.1 %, type: run, standard: std-1}", more=STANDARD)
    v = replay_files(tmp_path, registry, [check("volume", "L", 15.0, 15.0, reference_u=None)]).verdicts[0]
    assert v["reference_u"] == pytest.approx(0.045 * 2 / 3, rel=1e-12)
    assert v["U"] == pytest.approx(2 * math.sqrt((100 * 0.03 / 15 / 2) ** 2 + 0.1**2), rel=1e-12)
    assert (v["standard"], "reference_u_unknown" in v["flags"], "standard_expired" in v["flags"]) == (
        "std-1",
        False,
        False,
    )


FLOW_STANDARD = """\
  - {id: std-1, kind: water, channels: {volume: {unit: m3}}}
certificates:
  - {id: cs, device: std-1, channel: volume, kind: calibration, phase: as_left, performed_at: 2026-01-01,
     points: [{x: 1 m3/h, error: 0 %, U: 0.1 %, k: 2}, {x: 3 m3/h, error: 0 %, U: 0.3 %, k: 2}]}
"""


@pytest.mark.parametrize(("flow", "percent"), [(1.0, 0.1), (2.0, 0.2), (5.0, None), (None, None)])
def test_a_standard_certified_over_the_flow_is_looked_up_at_the_flow_of_the_check(
    tmp_path: Path, flow: float | None, percent: float | None
) -> None:
    registry = meter("water", "volume: {unit: L, sigma: 0.1 %, type: run, standard: std-1}", more=FLOW_STANDARD)
    row = check("volume", "L", 2000.0, 2000.0, reference_u=None, flow_m3h=flow)
    v = replay_files(tmp_path, registry, [row]).verdicts[0]
    assert v["reference_u"] == (None if percent is None else pytest.approx(20.0 * percent, rel=1e-12))
    assert ("reference_u_unknown" in v["flags"]) == (percent is None)


POWER_STANDARD = """\
  - {id: std-1, kind: electricity, channels: {active_energy: {unit: kWh}}}
certificates:
  - {id: cs, device: std-1, channel: active_energy, kind: calibration, phase: as_left, performed_at: 2026-01-01,
     points: [{power_factor: 1, error: 0 %, U: 0.02 %, k: 2}, {power_factor: 0.5i, error: 0 %, U: 0.03 %, k: 2}]}
"""


@pytest.mark.parametrize(("power_factor", "u"), [("1", 0.0002), ("0.5i", 0.0003), ("0.8c", None)])
def test_the_conditions_of_a_standards_points_are_those_of_the_check(
    tmp_path: Path, power_factor: str, u: float | None
) -> None:
    channel = "active_energy: {unit: kWh, sigma: 0.1 %, type: run, standard: std-1}"
    row = check("active_energy", "kWh", 1.0, 1.0, reference_u=None, current_A=5, power_factor=power_factor)
    v = replay_files(tmp_path, meter("electricity", channel, more=POWER_STANDARD), [row]).verdicts[0]
    assert v["reference_u"] == (None if u is None else pytest.approx(u, rel=1e-12))


def test_an_expired_standard_is_flagged(tmp_path: Path) -> None:
    registry = meter("fuel", "volume: {unit: L, sigma: 0.1 %, type: run, standard: std-1}", more=STANDARD)
    row = check("volume", "L", 15.0, 15.0, time="2026-03-02T00:00:00Z")
    assert "standard_expired" in replay_files(tmp_path, registry, [row]).verdicts[0]["flags"]


NOISE = tuple(round(0.03 * math.sin(7.0 * i) + 0.02 * math.cos(3.1 * i * i), 4) for i in range(110))
CERTIFIED = """\
certificates:
  - {id: c1, device: m1, channel: volume, kind: calibration, phase: as_left, performed_at: 2025-12-01,
     points: [{error: 0 %, U: 0.1 %, k: 2}]}
"""


def life(offset: float) -> list[dict[str, object]]:
    """Return 110 checks an hour apart whose errors lie about `offset` %."""
    return [check("volume", "L", round(100 + offset + n, 6), 100, hour=i) for i, n in enumerate(NOISE)]


def test_a_learned_chapter_is_provisional_from_check_31_until_it_has_100(tmp_path: Path) -> None:
    registry = meter("fuel", "volume: {unit: L, type: run}", more=CERTIFIED)
    vs = replay_files(tmp_path, registry, life(0.01)).verdicts
    assert [i for i, v in enumerate(vs, 1) if "learning" in v["flags"]] == list(range(1, 31))
    provisional = [i for i, v in enumerate(vs, 1) if "provisional" in v["flags"]]
    assert provisional[0] == 31
    assert provisional == list(range(31, provisional[-1] + 1))
    assert provisional[-1] in {99, 100}
    limits = [v["detectors"]["cusum"]["limit"] for v in vs[30:]]
    assert limits[0] > limits[-1]
    sigma, centre = stdev(e["error"] for e in vs[:30]), fmean(e["error"] for e in vs[:30])
    assert vs[30]["sigma"] == vs[-1]["sigma"] == pytest.approx(sigma, rel=1e-9)
    assert vs[-1]["z"] == pytest.approx((vs[-1]["residual"] - centre) / sigma, rel=1e-7)


@pytest.mark.parametrize(("offset", "drift"), [(0.05, False), (0.5, True)])
def test_a_learned_centre_is_judged_once_against_the_certificate(tmp_path: Path, offset: float, drift: bool) -> None:
    registry = meter("fuel", "volume: {unit: L, type: run, center: learned}", more=CERTIFIED)
    found = replay_files(tmp_path, registry, life(offset))
    raised = [a for a in found.alarms if (a["kind"], a["transition"]) == ("drift", "raised")]
    assert bool(raised) == drift
    if drift:
        assert raised[0]["time"] == found.verdicts[30]["time"]
