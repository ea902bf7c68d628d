from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drift.phase1 import FEWEST, widened
from gateway.drift.runlength import LimitShape, cusum_arl, ewma_arl, noise_arl, shewhart_arl, siegmund_arl
from gateway.errors import WrongUse

CUSUM, EWMA, NOISE = {"k": 0.5}, {"lambda": 0.2}, {"k": 1.848, "cap": 10.0}


@pytest.mark.parametrize(("checks", "h"), [(20, 13.95), (30, 9.87), (50, 8.03), (100, 6.62), (300, 5.70)])
def test_widened_cusum_limits_of_the_fact_sheet_hold(checks: int, h: float) -> None:
    """The fact sheet's are quantiles of 4 000 draws: at m = 20 that leaves 4 %, from 30 on 2 %."""
    assert widened("cusum", 5.0, CUSUM, checks) == pytest.approx(h, rel=0.04 if checks == 20 else 0.02)


@pytest.mark.parametrize(("checks", "h"), [(20, 6.32), (30, 5.94), (50, 5.58), (100, 5.28), (300, 5.11)])
def test_median_cusum_limits_of_the_fact_sheet_hold(checks: int, h: float) -> None:
    assert widened("cusum", 5.0, CUSUM, checks, share=0.5) == pytest.approx(h, rel=0.01)


def estimates(checks: int, draws: int, seed: int = 3) -> list[tuple[float, float]]:
    x = np.random.default_rng(seed).standard_normal((draws, checks))
    return list(zip(x.mean(axis=1).tolist(), x.std(axis=1, ddof=1).tolist(), strict=True))


def kept(checks: int, draws: int, run_length: Callable[[float, float], float], nominal: float) -> float:
    """Share of simulated Phase I samples whose true run length (exact equations) is at least the nominal one."""
    return sum(run_length(-mean / s, 1.0 / s) >= nominal for mean, s in estimates(checks, draws)) / draws


@pytest.mark.parametrize("checks", [20, 50])
def test_nine_in_ten_phase_one_samples_keep_the_nominal_run_length(checks: int) -> None:
    """Share of 400 samples within 0.9 ± 0.05, which is 99.9 % of binomial cases."""
    h, L, shewhart = (
        widened(*c, checks) for c in (("cusum", 5.0, CUSUM), ("ewma", 2.962, EWMA), ("shewhart", 3.0, {}))
    )
    noise = widened("noise", 10.0, NOISE, checks)
    fixed = LimitShape.FIXED

    def ewma(shift: float, scale: float) -> float:
        return ewma_arl(0.2, L, shift, limits=fixed, scale=scale)

    def cusum(shift: float, scale: float) -> float:
        return cusum_arl(0.5, h, shift, scale=scale)

    def individual(shift: float, scale: float) -> float:
        return shewhart_arl(shewhart, shift, scale=scale)

    def spread(_shift: float, scale: float) -> float:
        return noise_arl(1.848, noise, 10.0, scale)

    def reached(run_length: Callable[[float, float], float], nominal: float, draws: int = 400) -> float:
        def long(shift: float, scale: float) -> float:
            try:
                return run_length(shift, scale)
            except WrongUse:
                return math.inf

        return kept(checks, draws, long, nominal)

    assert reached(cusum, cusum_arl(0.5, 5.0)) == pytest.approx(0.9, abs=0.05)
    assert reached(ewma, ewma_arl(0.2, 2.962, limits=fixed)) == pytest.approx(0.9, abs=0.05)
    assert reached(individual, shewhart_arl(3.0)) == pytest.approx(0.9, abs=0.05)
    assert reached(spread, noise_arl(1.848, 10.0, 10.0), draws=200) == pytest.approx(0.9, abs=0.075)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["shewhart", "ewma", "cusum"]), st.integers(5, 100), st.floats(2.0, 6.5))
def test_a_widened_limit_is_wider_and_less_so_with_more_checks(chart: str, checks: int, limit: float) -> None:
    parameters = {"shewhart": {}, "ewma": EWMA, "cusum": CUSUM}[chart]
    wide, less = widened(chart, limit, parameters, checks), widened(chart, limit, parameters, checks + 40)
    assert limit < less < wide
    assert math.isfinite(wide)


def test_what_is_known_need_not_be_provided_for() -> None:
    both, centre, sigma = (
        widened("cusum", 5.0, CUSUM, 30, centre_known=c, sigma_known=s)
        for c, s in ((False, False), (True, False), (False, True))
    )
    assert 5.0 < centre < both
    assert 5.0 < sigma < both
    assert widened("cusum", 5.0, CUSUM, 30, centre_known=True, sigma_known=True) == 5.0


def test_an_offset_does_not_concern_the_noise_chart() -> None:
    assert widened("noise", 14.0, NOISE, 30, sigma_known=True) == 14.0


def test_limits_beyond_computable_run_lengths_are_still_finite() -> None:
    for chart, parameters in (("shewhart", {}), ("ewma", EWMA), ("cusum", CUSUM), ("noise", NOISE)):
        assert 60.0 <= widened(chart, 60.0, parameters, 30) < math.inf


def test_very_few_checks_count_as_the_fewest() -> None:
    assert widened("ewma", 3.0, EWMA, 2) == widened("ewma", 3.0, EWMA, FEWEST)


def test_the_limit_may_be_among_the_parameters() -> None:
    assert widened("ewma", 3.0, {"lambda": 0.2, "L": 3.0}, 30) == widened("ewma", 3.0, EWMA, 30)


def test_a_chart_without_run_length_is_refused() -> None:
    with pytest.raises(WrongUse, match="trend"):
        widened("trend", 3.0, {}, 30)


def test_siegmund_agrees_with_the_integral_equation() -> None:
    for k, h, shift in ((0.5, 5.0, 0.0), (0.5, 5.0, 1.0), (0.25, 8.0, 0.25), (0.5, 9.0, 0.5), (0.3, 12.0, 0.29)):
        approximate = float(siegmund_arl(np.array([k]), np.array([h]), np.array([shift]))[0])
        assert approximate == pytest.approx(cusum_arl(k, h, shift), rel=0.02)
