from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drift.influence import FARTHEST, INFLUENCE, MOST, PAIRS, Sums, removed


def fitted(c: np.ndarray, d: np.ndarray) -> tuple[Sums, float, int]:
    """Return what the shipped sums learn of conditions (rows of `MOST`) and residuals."""
    sums, mean = Sums.of(np.zeros(1, INFLUENCE)), 0.0
    for n, (conditions, residual) in enumerate(zip(c.tolist(), d.tolist(), strict=True), start=1):
        mean += (residual - mean) / n
        sums = sums.with_check(n, conditions, residual - mean)
    return sums.settled(len(d), float(((d - d.mean()) ** 2).sum()))


def stored(fit: Sums) -> np.ndarray:
    state = np.zeros(1, INFLUENCE)
    fit.store(state)
    assert Sums.of(state) == fit
    return state


@given(seed=st.integers(0, 1000), used=st.integers(1, MOST), n=st.integers(12, 60))
@settings(max_examples=60, deadline=None)
def test_the_fit_is_that_of_least_squares(seed: int, used: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    c = np.zeros((n, MOST))
    c[:, :used] = rng.normal(0, 1, (n, used)) * 10.0 ** rng.integers(-2, 3, used) + rng.normal(0, 20, used)
    d = c @ rng.normal(0, 1, MOST) + rng.normal(0, 1, n)
    fit, left, slopes = fitted(c, d)
    design = np.column_stack([np.ones(n), c[:, :used]])
    wanted, squares, *_ = np.linalg.lstsq(design, d, rcond=None)
    scale = c[:, :used].std(axis=0)
    assert slopes == used
    assert np.array(fit.xy[:used]) * scale == pytest.approx(wanted[1:] * scale, rel=1e-6, abs=1e-8)
    assert left == pytest.approx(float(squares[0]), rel=1e-6)
    told = removed(stored(fit), np.zeros(n, np.int64), c)
    hat = np.einsum("ij,jk,ik->i", design, np.linalg.inv(design.T @ design), design)
    assert told.spread**2 - 1.0 == pytest.approx(hat - 1.0 / n, abs=1e-6)
    assert d - told.shift - d.mean() == pytest.approx(d - design @ wanted, abs=1e-6)


def test_a_condition_that_did_not_vary_has_no_slope_and_covers_only_itself() -> None:
    rng = np.random.default_rng(3)
    c = np.zeros((30, MOST))
    c[:, 0], c[:, 1] = 20.0, rng.normal(5, 1, 30)
    fit, _, slopes = fitted(c, c[:, 1] * 0.3 + rng.normal(0, 0.1, 30))
    assert slopes == 1
    assert fit.xy[0] == 0.0
    told = removed(stored(fit), np.zeros(2, np.int64), np.array([[20.0, 5.0, 0.0], [20.5, 5.0, 0.0]]))
    assert told.covered.tolist() == [True, False]


def test_conditions_that_say_the_same_share_one_slope() -> None:
    rng = np.random.default_rng(4)
    c = np.zeros((30, MOST))
    c[:, 0] = rng.normal(20, 5, 30)
    c[:, 1] = 2.0 * c[:, 0] + 1.0
    d = 0.1 * c[:, 0] + rng.normal(0, 0.01, 30)
    fit, left, slopes = fitted(c, d)
    assert slopes == 1
    assert left < 30 * 0.02**2
    told = removed(stored(fit), np.zeros(30, np.int64), c)
    assert d - told.shift == pytest.approx(np.full(30, d.mean()), abs=0.05)


def test_far_beyond_what_was_seen_nothing_is_claimed() -> None:
    rng = np.random.default_rng(5)
    c = np.zeros((30, MOST))
    c[:, 0] = rng.uniform(18, 22, 30)
    fit, _, _ = fitted(c, rng.normal(0, 1, 30))
    asked = np.zeros((3, MOST))
    asked[:, 0] = (20.0, 22.0, 40.0)
    told = removed(stored(fit), np.zeros(3, np.int64), asked)
    assert told.covered.tolist() == [True, True, False]
    assert told.spread[0] < told.spread[1] < np.sqrt(1.0 + FARTHEST) < told.spread[2]


def test_the_table_of_products_has_every_pair_once() -> None:
    assert len(PAIRS) == len(set(PAIRS)) == MOST * (MOST + 1) // 2


def test_false_alarms_at_seasonal_temperatures_stay_near_those_of_a_known_slope() -> None:
    """z at conditions within Phase I has a deviation of 1, slope error included; without √(1 + h) it would not."""
    rng = np.random.default_rng(6)
    found = []
    for _ in range(400):
        c = np.zeros((30, MOST))
        c[:, 0] = rng.uniform(15, 25, 30)
        fit, _, _ = fitted(c, 0.3 * c[:, 0] + rng.normal(0, 1, 30))
        later = np.zeros((20, MOST))
        later[:, 0] = 26.0
        told = removed(stored(fit), np.zeros(20, np.int64), later)
        d = 0.3 * later[:, 0] + rng.normal(0, 1, 20)
        found.append((d - told.shift - 0.3 * c[:, 0].mean()) / told.spread)
    z = np.array(found)
    assert z.mean() == pytest.approx(0.0, abs=0.15)
    assert z.var() == pytest.approx(1.0, abs=0.1)
