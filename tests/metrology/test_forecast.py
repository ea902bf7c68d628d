from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrology.forecast import MONTH_NS, NO_FORECAST, TOO_FEW, forecast
from gateway.metrology.trend import Line, fit_line

ERRORS = [0.02, 0.05, 0.01, 0.11, 0.14, 0.13, 0.22, 0.19, 0.27, 0.26, 0.33, 0.34]
LINE = fit_line(range(12), ERRORS)
LAST = round(11 * MONTH_NS)
FAR = round(600 * MONTH_NS)


def months(at: int | None) -> float:
    assert at is not None
    return at / MONTH_NS


def test_a_forecast_dates_the_crossing_of_the_fact_sheet() -> None:
    f = forecast(LINE, origin=0, last=LAST, due=FAR, safe=0.8)
    assert (months(f.crosses_at), months(f.earliest), months(f.latest)) == pytest.approx(
        (32.30, 28.42, 37.74), abs=5e-3
    )
    assert months(f.safe_until) == pytest.approx(25.82, abs=6e-3)
    assert f.recheck_by == f.safe_until
    assert f.reason is None
    assert (f.rate, f.rate_low, f.rate_high) == pytest.approx((0.030874, 0.025699, 0.036050), abs=6e-7)


@given(st.integers(0, 600), st.floats(0.0, 1.0), st.floats(0.2, 1.0))
def test_no_advice_is_later_than_the_law(due: int, safe: float, initial: float) -> None:
    f = forecast(LINE, origin=0, last=LAST, due=round(due * MONTH_NS), safe=safe, initial=initial)
    assert f.recheck_by is not None
    assert f.recheck_by <= round(due * MONTH_NS)
    assert f.recheck_by >= min(LAST, round(due * MONTH_NS))


def test_limits_of_verification_that_come_first_decide_the_next_check() -> None:
    f = forecast(LINE, origin=0, last=LAST, due=None, initial=0.5)
    assert f.reason is not None
    assert f.reason.startswith("reaches the limits of verification on 1971-")
    assert months(f.recheck_by) == pytest.approx((0.5 - LINE.intercept) / LINE.slope, abs=1e-3)
    assert months(f.crosses_at) == pytest.approx(32.30, abs=5e-3)


def test_without_a_significant_slope_there_is_no_date_but_the_statutory_one() -> None:
    f = forecast(fit_line(range(6), [0.1, -0.1, 0.05, -0.02, 0.03, 0.0]), origin=0, last=LAST, due=FAR, safe=0.9)
    assert f.reason == NO_FORECAST == "no finite forecast"
    assert (f.crosses_at, f.earliest, f.latest, f.safe_until) == (None, None, None, None)
    assert f.recheck_by == FAR
    assert f.rate is not None


def test_too_few_checks_say_nothing() -> None:
    f = forecast(None, origin=0, last=LAST, due=None)
    assert f.reason == TOO_FEW
    assert f.recheck_by is None
    assert f.record() == {
        "rate": None, "rate_low": None, "rate_high": None, "per": "month", "crosses_at": None, "earliest": None,
        "latest": None, "safe_until": None, "recheck_by": None, "reason": "too few checks",
    }  # fmt: skip


def test_a_crossing_in_centuries_has_no_date() -> None:
    f = forecast(fit_line(range(200), [1e-4 * i for i in range(200)]), origin=0, last=LAST, due=FAR)
    assert f.crosses_at is None
    assert f.reason == "beyond 100 years"
    assert f.recheck_by == FAR


@given(st.floats(0.01, 0.5), st.floats(0.0, 0.3))
def test_over_and_under_indication_are_forecast_alike(rate: float, start: float) -> None:
    up = Line(n=20, x_mean=5.0, y_mean=start, sxx=200.0, sxy=200.0 * rate, syy=200.0 * rate**2 + 0.01)
    down = Line(n=20, x_mean=5.0, y_mean=-start, sxx=200.0, sxy=-200.0 * rate, syy=200.0 * rate**2 + 0.01)
    a, b = (forecast(line, origin=0, last=LAST, due=None, safe=0.7) for line in (up, down))
    assert (a.crosses_at, a.earliest, a.latest, a.safe_until) == (b.crosses_at, b.earliest, b.latest, b.safe_until)
    assert a.rate is not None
    assert b.rate is not None
    assert math.isclose(a.rate, -b.rate)
