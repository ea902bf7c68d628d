"""Limits for centres and σ that are not exactly known, against simulated fleets and Student's t."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from gateway.drift import runlength, uncertain
from gateway.drift.charts import chart_dtype, detectors, run
from gateway.drift.design import Knowledge, allowance, design_for, mean_limit
from gateway.drift.runlength import LONGEST, LimitShape, TooLong, cusum_arl, ewma_arl, noise_arl, shewhart_arl
from gateway.drift.uncertain import EXACT, mean_rate

LEARNED = Knowledge.of(1.0 / math.sqrt(30.0), 30)


@pytest.mark.parametrize("L", [3.0, 4.0, 5.0])
def test_a_shewhart_chart_on_learned_estimates_is_students_prediction_interval(L: float) -> None:
    known = Knowledge(centre_u=1.0 / math.sqrt(20.0), sigma_checks=20)
    exact = 2.0 * stats.t.sf(L / math.sqrt(1.0 + 1.0 / 20.0), 19)
    assert mean_rate("shewhart", (), L, known) == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize(("chart", "parameters", "limit"),
                         [("shewhart", (), 3.5), ("ewma", (0.2,), 3.3), ("cusum", (0.5,), 6.0),
                          ("noise", (1.848, 10.0), 12.0)])  # fmt: skip
def test_the_mean_rate_is_the_mean_of_one_over_the_run_length(
    chart: str, parameters: tuple[float, ...], limit: float
) -> None:
    """Draws of centre and σ, each with its exact run length, against the quadrature."""
    rng = np.random.default_rng(7)
    known = Knowledge(centre_u=0.15, sigma_checks=30)
    n = 100
    offset = 0.15 * stats.norm.ppf((rng.permutation(n) + 0.5) / n)
    s = np.sqrt(stats.chi2.ppf((np.arange(n) + 0.5) / n, 29) / 29.0)

    def length(delta: float, scale: float) -> float:
        if chart == "shewhart":
            return shewhart_arl(limit * scale, delta)
        if chart == "ewma":
            return ewma_arl(0.2, limit * scale, delta)
        if chart == "cusum":
            return cusum_arl(0.5 * scale, limit * scale, delta)
        return noise_arl(1.848, limit, 10.0, 1.0 / scale)

    rates = np.array([1.0 / length(float(d), float(v)) for d, v in zip(offset, s, strict=True)])
    spread = 4.0 * rates.std() / math.sqrt(n)
    assert mean_rate(chart, parameters, limit, known) == pytest.approx(rates.mean(), abs=spread, rel=0.04)


def test_a_fleet_with_learned_centres_keeps_its_budget() -> None:
    """Phase I and 1 000 checks of 4 000 instruments on designed charts: false alarms by first signal, within budget."""
    arl, fleet, checks = 10_000.0, 4_000, 1_000
    charts = design_for(arl, known=LEARNED)
    rng = np.random.default_rng(11)
    phase1 = rng.standard_normal((fleet, 30))
    z = (rng.standard_normal((fleet, checks)) - phase1.mean(1, keepdims=True)) / phase1.std(1, ddof=1, keepdims=True)
    used = [d for d in detectors() if d.name in {c.chart for c in charts}]
    settings = {c.chart: c for c in charts}
    parameters = {
        d.name: [np.full(fleet, settings[d.name].settings[p]) for p in d.parameters if p != d.limit] for d in used
    }
    state = np.zeros(fleet, chart_dtype(used))
    counts = np.full(fleet, checks)
    history, _ = run(used, z.ravel(), np.arange(z.size), counts, parameters, state)
    found = np.zeros(fleet, bool)
    for d in used:
        recorded = {f: history[f"{d.name}_{f}"] for f in (*d.state, *d.times)}
        columns = [np.full(z.size, settings[d.name].settings[p]) for p in d.parameters]
        found |= d.read(recorded, z.ravel(), columns[:-1], columns[-1]).signal.reshape(fleet, checks).any(1)
    expected = fleet * checks / arl
    assert found.sum() < expected + 3.0 * math.sqrt(expected)
    assert found.sum() > expected / 10.0


def test_nominal_limits_would_break_the_budget_many_times_over() -> None:
    nominal = {c.chart: c.limit for c in design_for(10_000.0)}
    learned = Knowledge.of(0.183, 30)
    assert mean_rate("cusum", (0.5,), nominal["cusum"], learned) > 20.0 / 40_000.0
    assert mean_rate("ewma", (0.2,), nominal["ewma"], learned) > 20.0 / 40_000.0


def test_limits_widen_with_what_is_not_known() -> None:
    known = [EXACT, Knowledge.of(0.1), Knowledge.of(0.2), Knowledge.of(0.2, 30), Knowledge.of(0.2, 20)]
    for designs in zip(
        *(design_for(500.0, known=k, parameters={"cusum": {"k": 0.5}, "noise": {"k": 1.848}}) for k in known),
        strict=True,
    ):
        limits = [d.limit for d in designs]
        assert limits == sorted(limits)


def test_a_cusum_keeps_its_k_until_it_would_be_twice_as_slow() -> None:
    assert allowance("cusum", 1e6, EXACT) == 0.5
    assert allowance("cusum", 500.0, LEARNED) == 0.5
    assert allowance("cusum", 1e6, LEARNED) > 0.5
    (kept,) = design_for(1e6, ("cusum",), {"cusum": {"k": 0.5}}, LEARNED)
    assert kept.settings["k"] == 0.5


def test_an_uncertainty_is_rounded_up_so_that_a_fleet_shares_designs() -> None:
    assert Knowledge.of(0.1201).centre_u == 0.14
    assert Knowledge.of(0.12).centre_u == 0.12
    assert Knowledge.of(0.0) == EXACT


def test_a_run_length_no_limit_reaches_counts_as_no_alarm() -> None:
    with pytest.raises(TooLong):
        ewma_arl(0.2, 20.0)
    assert mean_rate("ewma", (0.2,), 20.0, EXACT) < 1e-11


def test_no_run_length_that_must_be_too_long_is_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    solved: list[float] = []

    def counted(lam: float, L: float, shift: float, **how: Any) -> float:
        solved.append(L - 3.0 * shift)
        return ewma_arl(lam, L, shift, **how)

    monkeypatch.setattr(runlength, "ewma_arl", counted)
    uncertain._ewma_log_arl.cache_clear()
    known = Knowledge.of(1.0 / math.sqrt(3.0), 3)
    assert mean_limit("ewma", (0.2,), 137.0, known, 3.0) == pytest.approx(11.35, abs=0.5)
    assert solved
    assert max(solved) < 8.0, "a chart this wide runs beyond 10^12 checks, and takes a minute for a site"


@pytest.mark.parametrize(("row", "column"), [(28, 0), (30, 0), (40, 8), (40, 12)])
def test_what_is_not_solved_is_what_would_be_found(row: int, column: int) -> None:
    try:
        found = math.log(ewma_arl(0.2, row * 0.25, column * 0.1, limits=LimitShape.FIXED))
    except TooLong:
        found = math.log(LONGEST)
    assert uncertain._ewma_log_arl(0.2, row, column) == found
