"""Sums that move check by check against the exact line of all checks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drift import Floats
from gateway.drift.charts import chart_dtype, run
from gateway.drift.trend import MONTH_NS, TREND, Trend, trend_of
from gateway.metrology.trend import fit_line

DAY = 86_400 * 10**9


def followed(y: Floats, every: int = DAY, begin: int = 1_700_000_000 * 10**9) -> tuple[dict[str, Floats], Trend]:
    times = begin + every * np.arange(len(y), dtype=np.int64)
    _, last = run([TREND], y, times, np.array([len(y)]), {"trend": ()}, np.zeros(1, chart_dtype([TREND])))
    sums = {name: last[f"trend_{name}"] for name in (*TREND.state, *TREND.times)}
    return sums, trend_of(sums)


@given(st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=60))
@settings(max_examples=60, deadline=None)
def test_moving_sums_end_in_the_line_of_all_checks(values: list[float]) -> None:
    _, line = followed(np.array(values))
    exact = fit_line([i * DAY / MONTH_NS for i in range(len(values))], values)
    scale = max(abs(v) for v in values) * MONTH_NS / DAY
    assert float(line.slope[0]) == pytest.approx(exact.slope, rel=1e-9, abs=1e-12 * scale)


def test_the_steps_give_the_durbin_watson_statistic_of_the_final_residuals() -> None:
    y = np.cumsum(np.random.default_rng(5).standard_normal(40)) * 0.1
    _, line = followed(y)
    months = np.arange(40) * DAY / MONTH_NS
    slope, intercept = np.polyfit(months, y, 1)
    e = y - slope * months - intercept
    assert float(line.rho[0]) == pytest.approx(1.0 - float((np.diff(e) ** 2).sum() / (2.0 * (e**2).sum())), rel=1e-9)
    assert float(line.widening[0]) > 1.0


def test_independent_residuals_widen_nothing_but_a_sure_trend_allows_for_what_is_not_seen() -> None:
    y = 0.02 * np.arange(30) + np.tile([0.05, -0.05], 15)
    _, line = followed(y)
    assert float(line.widening[0]) == 1.0
    noisy = np.random.default_rng(2).standard_normal(30) + 0.5 * np.arange(30)
    _, line = followed(noisy)
    assert abs(float(line.t_sure[0])) < abs(float(line.t[0]))


def test_a_constant_error_has_no_trend() -> None:
    _, line = followed(np.full(20, 0.3))
    assert float(line.slope[0]) == 0.0
    assert not abs(float(line.t[0])) > 0.0


def test_two_checks_are_no_line() -> None:
    assert math.isnan(float(followed(np.array([0.1, 0.2]))[1].slope[0]))
