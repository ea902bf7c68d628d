"""Lines, crossings and robust slopes against METROLOGY §5.5 and NIST's data with known answers."""

from __future__ import annotations

import math
import random
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from gateway.metrology.student import t_quantile, t_tail
from gateway.metrology.trend import Line, fit_line, kendall_p, moments, theil_sen

MONTHS = list(range(12))
ERRORS = [0.02, 0.05, 0.01, 0.11, 0.14, 0.13, 0.22, 0.19, 0.27, 0.26, 0.33, 0.34]
NIST = Path(__file__).resolve().parents[2].parent / "shared" / "inputs" / "nist-dataplot"


def column_data(name: str, after: str) -> list[list[Decimal]]:
    if not (NIST / name).exists():
        pytest.skip("the shared inputs are not here")
    lines = (NIST / name).read_text(encoding="latin-1").splitlines()
    start = max(i for i, line in enumerate(lines) if after in line and set(line.strip()) <= set("- ")) + 1
    return [[Decimal(v) for v in line.split()] for line in lines[start:] if line.strip()]


def digits(found: float, certified: str) -> float:
    """Return the digits in agreement (log relative error)."""
    off = abs(Fraction(found) - Fraction(Decimal(certified)))
    return 17.0 if not off else -math.log10(off / abs(Fraction(Decimal(certified))))


def exact_slope(x: list[Decimal], y: list[Decimal]) -> Fraction:
    """Return the slope by the normal equations, uncentred, in rationals."""
    xs, ys, n = [Fraction(v) for v in x], [Fraction(v) for v in y], len(x)
    xx, xy = sum((v * v for v in xs), Fraction(0)), sum((v * w for v, w in zip(xs, ys, strict=True)), Fraction(0))
    sx, sy = sum(xs, Fraction(0)), sum(ys, Fraction(0))
    return (n * xy - sx * sy) / (n * xx - sx * sx)


def test_least_squares_of_the_fact_sheet() -> None:
    line = fit_line(MONTHS, ERRORS)
    assert line.intercept == pytest.approx(0.002692, abs=5e-7)
    assert line.slope == pytest.approx(0.030874, abs=5e-7)
    assert math.sqrt(line.variance) == pytest.approx(0.027777, abs=5e-7)
    assert line.slope_u == pytest.approx(0.002323, abs=5e-7)
    assert line.interval() == pytest.approx((0.025699, 0.036050), abs=6e-7)
    assert line.g == pytest.approx(0.02810, abs=5e-6)


def test_crossings_of_the_fact_sheet() -> None:
    line = fit_line(MONTHS, ERRORS)
    found, single, nearer = line.crossing(1.0), line.crossing(1.0, single=True), line.crossing(0.8)
    assert found is not None
    assert single is not None
    assert nearer is not None
    assert (found.at, found.low, found.high) == pytest.approx((32.30, 28.42, 37.74), abs=5e-3)
    assert (single.low, single.high) == pytest.approx((27.99, 38.16), abs=5e-3)
    assert nearer.at == pytest.approx(25.82, abs=6e-3)


def test_theil_sen_of_the_fact_sheet() -> None:
    robust = theil_sen([float(m) for m in MONTHS], ERRORS)
    assert (robust.slope, robust.low, robust.high) == pytest.approx((0.030000, 0.025000, 0.035714), abs=5e-7)
    assert robust.tau == pytest.approx(0.8485, abs=5e-5)
    assert robust.p == pytest.approx(1.6e-5, rel=0.03)


def test_a_level_that_noise_alone_could_explain_is_never_crossed() -> None:
    assert fit_line(range(6), [0.1, -0.1, 0.05, -0.02, 0.03, 0.0]).crossing(1.0) is None
    assert fit_line(range(4), [0.5, 0.5, 0.5, 0.5]).crossing(1.0) is None


def test_an_exact_line_crosses_at_one_moment() -> None:
    found = fit_line([0, 1, 2, 3], [0, 0.25, 0.5, 0.75]).crossing(1.0)
    assert found is not None
    assert (found.low, found.at, found.high) == (4.0, 4.0, 4.0)


@given(st.floats(0.3, 300.0), st.floats(1e-9, 0.49))
def test_the_quantile_of_t_agrees_with_scipy(dof: float, tail: float) -> None:
    t = t_quantile(tail, dof)
    assert t == pytest.approx(float(stats.t.isf(tail, dof)), rel=1e-9)
    assert t_tail(t, dof) == pytest.approx(tail, rel=1e-10)


@pytest.mark.parametrize("n", [5, 12, 25])
def test_kendalls_exact_p_agrees_with_scipy(n: int) -> None:
    rng = random.Random(n)
    y = [rng.gauss(0.0, 1.0) + 0.05 * i for i in range(n)]
    assert theil_sen([float(i) for i in range(n)], y).p == pytest.approx(
        float(stats.kendalltau(range(n), y, method="exact").pvalue), rel=1e-12
    )
    assert kendall_p(0, n) == 1.0


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(-9, 9)), min_size=4, max_size=25))
def test_theil_sen_agrees_with_scipy_with_ties(points: list[tuple[int, int]]) -> None:
    x, y = [float(p[0]) for p in points], [float(p[1]) for p in points]
    assume(len(set(x)) > 2 and len(set(y)) > 2)
    n, repeats = len(x), [[v.count(w) for w in set(v)] for v in (x, y)]
    assume(n * (n - 1) * (2 * n + 5) > sum(t * (t - 1) * (2 * t + 5) for v in repeats for t in v))
    ours, (slope, _, low, high) = theil_sen(x, y), stats.theilslopes(y, x)
    assert ours.slope == pytest.approx(slope, abs=1e-12)
    assert ours.low <= ours.slope <= ours.high
    if len(set(y)) > 1:
        assert (ours.low, ours.high) == pytest.approx((low, high), abs=1e-12)


def test_the_line_of_pontius_has_the_digits_of_exact_arithmetic() -> None:
    rows = column_data("PONTIUS.DAT", "---")
    y, x = [r[0] for r in rows], [r[1] for r in rows]
    line = fit_line(x, y)
    assert len(x) == 40
    assert abs(Fraction(line.slope) / exact_slope(x, y) - 1) < Fraction(1, 10**14)


@pytest.mark.parametrize("name", ["LOADCELL.DAT", "CALIBRATIONLINE.DAT"])
def test_lines_of_the_handbook_have_fourteen_digits(name: str) -> None:
    rows = column_data(name, "---")
    x, y = [r[0] for r in rows], [r[1] for r in rows]
    assert abs(Fraction(fit_line(x, y).slope) / exact_slope(x, y) - 1) < Fraction(1, 10**14)


@pytest.mark.parametrize(("name", "mean", "sd", "lag1"), [
    ("NUMACC1.DAT", "10000002", "1", "-0.5"), ("NUMACC2.DAT", "1.2", "0.1", "-0.999"),
    ("NUMACC3.DAT", "1000000.2", "0.1", "-0.999"),
])  # fmt: skip
def test_numeric_accuracy_sets_have_fourteen_digits(name: str, mean: str, sd: str, lag1: str) -> None:
    found = moments([r[0] for r in column_data(name, "---")])
    assert digits(found.mean, mean) >= 14
    assert digits(found.sd, sd) >= 14
    assert digits(found.lag1, lag1) >= 14


def test_too_little_for_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="3 points"):
        fit_line([0, 1], [0, 1])
    with pytest.raises(ValueError, match="different x"):
        fit_line([1, 1, 1], [0, 1, 2])


@given(st.floats(1.001, 9.0))
def test_dependent_residuals_widen_every_interval(widening: float) -> None:
    free = fit_line(MONTHS, ERRORS)
    line = Line(n=free.n, x_mean=free.x_mean, y_mean=free.y_mean, sxx=free.sxx, sxy=free.sxy, syy=free.syy,
                widening=widening)  # fmt: skip
    assert line.slope == free.slope
    assert line.interval()[0] <= free.interval()[0]
    a, b = line.crossing(1.0), free.crossing(1.0)
    assert b is not None
    assert a is None or (a.low <= b.low + 1e-9 and a.high >= b.high - 1e-9)
