from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drift import runlength
from gateway.drift.charts import chart_dtype, detectors, run
from gateway.drift.runlength import LimitShape, Sided, TooLong, cusum_arl, ewma_arl, noise_arl, shewhart_arl
from gateway.errors import WrongUse

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "inputs" / "arl-published" / "arl_step.csv"
SHIFTS = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3)


def computed(row: dict[str, str]) -> float:
    settings = dict(pair.split("=") for pair in row["params"].split(";"))
    shift, sided = float(row["shift"]), Sided(row["sided"])
    if row["chart"] == "ewma":
        return ewma_arl(
            float(settings["lambda"]), float(settings["L"]), shift, sided, LimitShape(settings.get("limits", "varying"))
        )
    return cusum_arl(
        float(settings["k"]), float(settings["h"]), shift, sided, float(settings.get("headstart", "0"))
    )  # fmt: skip


def test_published_run_lengths_are_reproduced() -> None:
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not here")
    rows = list(csv.DictReader(PUBLISHED.read_text(encoding="utf-8").splitlines()))
    as_printed = 0
    for row in rows:
        length, printed = computed(row), row["arl_published"]
        decimals = len(printed.partition(".")[2])
        as_printed += abs(length - float(printed)) <= 0.5001 * 10.0**-decimals
        assert length == pytest.approx(float(printed), rel=1 / 200), row
    assert len(rows) == 50
    assert as_printed == 46


COLUMNS: dict[str, tuple[Callable[[float], float], tuple[float, ...]]] = {
    "cusum .5/4": (lambda s: cusum_arl(0.5, 4, s), (167.7, 74.2, 26.6, 13.3, 8.38, 4.75, 3.34, 2.19)),
    "cusum .5/5": (lambda s: cusum_arl(0.5, 5, s), (465.4, 139.5, 38.0, 17.0, 10.38, 5.75, 4.01, 2.57)),
    "cusum .25/8.01": (lambda s: cusum_arl(0.25, 8.01, s), (370.3, 83.8, 28.8, 16.4, 11.41, 7.12, 5.22, 3.48)),
    "shewhart 3": (lambda s: shewhart_arl(3, s), (370.4, 281.2, 155.2, 81.2, 43.9, 15.0, 6.30, 2.00)),
}
FIXED = {
    (0.05, 2.615): (499.9, 84.0, 28.8, 16.4, 11.38, 7.11, 5.22, 3.50),
    (0.1, 2.814): (499.6, 106.3, 31.3, 15.8, 10.33, 6.08, 4.36, 2.87),
    (0.2, 2.962): (499.7, 150.2, 41.8, 18.2, 10.54, 5.50, 3.74, 2.38),
    (0.4, 3.054): (500.0, 223.7, 71.2, 28.4, 14.26, 5.87, 3.52, 2.02),
}
VARYING = {
    (0.05, 2.615): (469.5, 75.4, 23.22, 11.66, 7.20, 3.72, 2.40, 1.40),
    (0.1, 2.814): (486.4, 101.6, 28.51, 13.50, 8.16, 4.15, 2.64, 1.50),
    (0.2, 2.962): (494.4, 147.7, 40.34, 17.05, 9.55, 4.58, 2.86, 1.59),
    (0.4, 3.054): (498.1, 222.6, 70.49, 27.90, 13.84, 5.51, 3.17, 1.66),
}


def agrees(length: float, printed: float) -> bool:
    digits = 1 if printed >= 100 or (printed * 10) % 1 < 1e-9 else 2
    return abs(length - printed) <= 0.51 * 10.0**-digits + 0.006


@pytest.mark.parametrize("name", COLUMNS)
def test_step_run_lengths_of_the_fact_sheet_hold(name: str) -> None:
    run_length, printed = COLUMNS[name]
    assert all(agrees(run_length(s), p) for s, p in zip(SHIFTS, printed, strict=True))


@pytest.mark.parametrize(("shape", "table"), [(LimitShape.FIXED, FIXED), (LimitShape.VARYING, VARYING)])
def test_ewma_run_lengths_of_the_fact_sheet_hold(
    shape: LimitShape, table: dict[tuple[float, float], tuple[float, ...]]
) -> None:
    for (lam, L), printed in table.items():
        assert all(agrees(ewma_arl(lam, L, s, limits=shape), p) for s, p in zip(SHIFTS, printed, strict=True)), lam


def test_one_sided_and_head_start_figures_of_the_fact_sheet_hold() -> None:
    assert cusum_arl(0.5, 4, sided=Sided.ONE) == pytest.approx(335.4, abs=0.05)
    assert cusum_arl(0.5, 5, sided=Sided.ONE) == pytest.approx(930.9, abs=0.05)
    assert cusum_arl(0.5, 5, 0, Sided.ONE, 2.5) == pytest.approx(895.8, abs=0.05)
    assert cusum_arl(0.5, 5, 1, Sided.ONE, 2.5) == pytest.approx(6.35, abs=0.005)


@pytest.mark.parametrize(
    ("drift", "cusum", "fixed", "slow", "shewhart", "varying", "slow_varying"),
    [
        (0.01, 57, 58, 52, 90, 57.7, 48.8),
        (0.02, 36, 37, 35, 57, 36.7, 32.5),
        (0.05, 20, 20, 21, 30.5, 20.2, 18.9),
        (0.1, 13, 13, 14, 18, 12.9, 12.4),
    ],
)
def test_ramp_run_lengths_of_the_fact_sheet_hold(
    drift: float, cusum: float, fixed: float, slow: float, shewhart: float, varying: float, slow_varying: float
) -> None:
    assert cusum_arl(0.5, 5, drift=drift) == pytest.approx(cusum, abs=0.51)
    assert ewma_arl(0.2, 2.962, limits=LimitShape.FIXED, drift=drift) == pytest.approx(fixed, abs=0.51)
    assert ewma_arl(0.05, 2.615, limits=LimitShape.FIXED, drift=drift) == pytest.approx(slow, abs=0.51)
    assert shewhart_arl(3, drift=drift) == pytest.approx(shewhart, abs=0.51)
    assert ewma_arl(0.2, 2.962, drift=drift) == pytest.approx(varying, abs=0.06)
    assert ewma_arl(0.05, 2.615, drift=drift) == pytest.approx(slow_varying, abs=0.06)


def test_a_drift_from_zero_delays_by_less_than_one_check() -> None:
    run_lengths: tuple[Callable[[int], float], ...] = (
        lambda first: cusum_arl(0.5, 5, drift=0.05, drift_from=first),
        lambda first: ewma_arl(0.2, 2.962, drift=0.05, drift_from=first),
        lambda first: shewhart_arl(3, drift=0.05, drift_from=first),
    )
    for run_length in run_lengths:
        assert 0.5 < run_length(0) - run_length(1) < 1.0


def test_more_nodes_change_nothing() -> None:
    cases = (
        runlength._Walk(retain=1.0, allowance=0.5, edge=5.0, reflecting=True),
        runlength._Walk(retain=1.0, allowance=0.0, edge=40.0, reflecting=True, start=3.0),
        runlength._Walk(retain=0.8, allowance=0.0, edge=2.962 / 0.6, reflecting=False),
        runlength._Walk(retain=0.99, allowance=0.0, edge=2.5 / math.sqrt(0.01 * 1.99), reflecting=False),
    )
    for walk in cases:
        for mean in (0.0, 0.7, 4.0):
            once, twice = (runlength._constant(walk, mean, 1.0, density) for density in (1.0, 2.0))
            assert once == pytest.approx(twice, rel=1e-6)


def test_the_pair_of_sides_followed_step_by_step_agrees_with_the_formula() -> None:
    for headstart in (0.0, 2.0, 2.5):
        for shift in (0.0, 0.6):
            walk = runlength._Walk(retain=1.0, allowance=0.5, edge=4.0, reflecting=True, start=headstart)
            course = runlength._Course(shift=shift, drift=0.0, first=1, scale=1.0)
            followed = runlength._both_sides(walk, course)
            assert followed == pytest.approx(cusum_arl(0.5, 4, shift, headstart=headstart), rel=1e-6)


def test_an_ewma_with_lambda_one_is_a_shewhart_chart() -> None:
    for shift in (0.0, 1.0, 3.0):
        for sided in Sided:
            assert ewma_arl(1.0, 3.0, shift, sided) == pytest.approx(shewhart_arl(3.0, shift, sided), rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 1.0), st.floats(1.0, 3.5), st.floats(0.0, 3.0), st.floats(0.05, 1.0))
def test_run_lengths_fall_with_the_shift_and_rise_with_the_limit(
    lam: float, L: float, shift: float, more: float
) -> None:
    assert 1.0 <= ewma_arl(lam, L, shift + more) < ewma_arl(lam, L, shift)
    assert ewma_arl(lam, L + more, shift) > ewma_arl(lam, L, shift)
    assert 1.0 <= cusum_arl(0.5, L + 1.0, shift + more) < cusum_arl(0.5, L + 1.0, shift)
    assert cusum_arl(0.5, L + 1.0, shift, headstart=0.5) < cusum_arl(0.5, L + 1.0, shift)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.3, 3.0), st.floats(0.0, 2.0))
def test_noise_of_another_scale_is_the_same_chart_in_other_units(scale: float, shift: float) -> None:
    assert cusum_arl(0.5 * scale, 4 * scale, shift * scale, scale=scale) == pytest.approx(cusum_arl(0.5, 4, shift))
    assert ewma_arl(0.3, 2.5 * scale, shift * scale, scale=scale) == pytest.approx(ewma_arl(0.3, 2.5, shift))
    assert shewhart_arl(3 * scale, shift * scale, scale=scale) == pytest.approx(shewhart_arl(3, shift))


def test_two_sides_are_blind_to_the_sign() -> None:
    assert cusum_arl(0.5, 4, -1, headstart=1) == pytest.approx(cusum_arl(0.5, 4, 1, headstart=1))
    assert ewma_arl(0.2, 2.9, drift=-0.1) == pytest.approx(ewma_arl(0.2, 2.9, drift=0.1))
    assert cusum_arl(0.5, 4, drift=-0.1) == pytest.approx(cusum_arl(0.5, 4, drift=0.1))


@pytest.mark.parametrize(
    "ask",
    [
        lambda: ewma_arl(0.0, 3.0),
        lambda: ewma_arl(1.1, 3.0),
        lambda: ewma_arl(0.2, -1.0),
        lambda: cusum_arl(-0.1, 5.0),
        lambda: cusum_arl(0.5, 0.0),
        lambda: cusum_arl(0.5, 5.0, headstart=6.0),
        lambda: cusum_arl(0.5, 5.0, headstart=3.5),
        lambda: cusum_arl(0.5, 5.0, sided=Sided.ONE, drift=-0.1),
        lambda: shewhart_arl(math.nan),
        lambda: shewhart_arl(3.0, math.inf),
        lambda: noise_arl(5.0, 3.0, 4.0),
    ],
)
def test_impossible_settings_are_refused(ask: Callable[[], float]) -> None:
    with pytest.raises(WrongUse):
        ask()


def test_a_run_length_without_digits_left_is_refused_not_guessed() -> None:
    asks: tuple[Callable[[], float], ...] = (
        lambda: cusum_arl(0.5, 60.0),
        lambda: ewma_arl(0.2, 9.0),
        lambda: shewhart_arl(9.0),
    )
    for ask in asks:
        with pytest.raises(TooLong):
            ask()


def simulated(name: str, parameters: tuple[float, ...], limit: float, z: np.ndarray) -> np.ndarray:
    """Chart runs (rows of z) with the shipped kernel; return each first check beyond the limit, or 0."""
    detector = next(d for d in detectors() if d.name == name)
    runs, checks = z.shape
    flat = z.ravel()
    columns = [np.full(runs, p) for p in parameters]
    history, _ = run(
        (detector,), flat, np.arange(len(flat)), np.full(runs, checks), {name: columns},
        np.zeros(runs, chart_dtype((detector,))),
    )  # fmt: skip
    state = {f: history[f"{name}_{f}"] for f in (*detector.state, *detector.times)}
    per_check = [np.full(len(flat), p) for p in parameters]
    signal = detector.read(state, flat, per_check, np.full(len(flat), limit)).signal.reshape(runs, checks)
    return np.where(signal.any(axis=1), signal.argmax(axis=1) + 1, 0)


@pytest.mark.parametrize(
    ("name", "parameters", "limit", "shift", "sigma", "expected"),
    [
        ("cusum", (0.5,), 4.0, 1.0, 1.0, lambda: cusum_arl(0.5, 4.0, 1.0)),
        ("ewma", (0.2,), 2.962, 1.0, 1.0, lambda: ewma_arl(0.2, 2.962, 1.0)),
        ("ewma", (0.1,), 2.2, 0.5, 1.4, lambda: ewma_arl(0.1, 2.2, 0.5, scale=1.4)),
        ("shewhart", (), 2.0, 0.5, 1.0, lambda: shewhart_arl(2.0, 0.5)),
        ("noise", (1.848, 10.0), 6.0, 0.0, 2.0, lambda: noise_arl(1.848, 6.0, 10.0, 2.0)),
        ("noise", (1.848, 10.0), 10.0, 5.0, 1.6, lambda: noise_arl(1.848, 10.0, 10.0, 1.6)),
    ],
)
def test_the_shipped_charts_run_as_long_as_computed(
    name: str, parameters: tuple[float, ...], limit: float, shift: float, sigma: float, expected: Callable[[], float]
) -> None:
    """Mean of 4 000 simulated runs within its 99.9 % interval, widened by the 1 in 100 of the noise chart."""
    z = shift + sigma * np.random.default_rng(7).standard_normal((4000, 400))
    lengths = simulated(name, parameters, limit, z)
    assert np.all(lengths > 0)
    wanted = expected()
    slack = 0.01 * wanted if name == "noise" else 0.0
    assert abs(lengths.mean() - wanted) < 3.29 * lengths.std() / math.sqrt(len(lengths)) + slack


def test_the_shipped_cusum_finds_a_ramp_when_computed() -> None:
    z = 0.05 * np.arange(1, 151) + np.random.default_rng(11).standard_normal((4000, 150))
    lengths = simulated("cusum", (0.5,), 5.0, z)
    assert np.all(lengths > 0)
    assert abs(lengths.mean() - cusum_arl(0.5, 5.0, drift=0.05)) < 3.29 * lengths.std() / math.sqrt(len(lengths))
