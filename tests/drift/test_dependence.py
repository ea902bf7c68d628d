"""Autocorrelation is found where it is, drifts are not taken for it, and widened limits keep the run length."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drift import Floats
from gateway.drift.dependence import (
    DEPENDENCE,
    LOOKS,
    dependent_limit,
    follow_dependence,
    lag_one,
    pair_spread,
)  # fmt: skip
from gateway.drift.runlength import cusum_arl

CHANNELS = 4000
LAST = LOOKS[-1]


def autoregressive(phi: float, channels: int, checks: int, seed: int = 1) -> Floats:
    z = np.random.default_rng(seed).standard_normal((channels, checks))
    for i in range(1, checks):
        z[:, i] = phi * z[:, i - 1] + math.sqrt(1.0 - phi * phi) * z[:, i]
    return z


def found(z: Floats, sigma: float = 1.0) -> Floats:
    """Return ρ as it holds for the check after each look."""
    channels, checks = z.shape
    state = np.zeros(channels, DEPENDENCE)
    unit = np.repeat(np.arange(channels), checks)
    return follow_dependence(state, unit, z.ravel(), np.full(channels, sigma)).reshape(z.shape)[:, list(LOOKS)]


def test_independent_checks_are_flagged_in_one_channel_of_a_hundred() -> None:
    share = (found(autoregressive(0.0, CHANNELS, LAST + 1)) != 0.0).mean(axis=0)
    assert (share <= 0.01 + 3.0 * math.sqrt(0.01 * 0.99 / CHANNELS)).all()
    assert share[-1] > 0.002


@pytest.mark.parametrize("phi", [0.5, 0.75, -0.5])
def test_dependent_checks_are_flagged_and_rho_is_right_on_average(phi: float) -> None:
    rho = found(autoregressive(phi, 1000, LAST + 1))
    assert ((rho != 0.0).mean(axis=0) >= (0.25, 0.7, 0.95, 0.99)).all()
    assert rho[:, -1].mean() == pytest.approx(phi, abs=0.03)


def test_a_drift_is_not_taken_for_autocorrelation() -> None:
    i = np.arange(LAST + 1)
    noise = autoregressive(0.0, CHANNELS, LAST + 1)
    for course in (0.02 * i, 0.1 * i, -0.05 * i):
        share = (found(noise + course) > 0.0).mean(axis=0)
        assert (share <= 0.01).all()


def test_a_step_is_seldom_taken_for_autocorrelation() -> None:
    i = np.arange(LAST + 1)
    noise = autoregressive(0.0, 1000, LAST + 1)
    raw = noise + 3.0 * (i >= 45)
    centred = raw[:, :120] - raw[:, :120].mean(axis=1, keepdims=True)
    apparent = (centred[:, 1:] * centred[:, :-1]).sum(axis=1) / (centred * centred).sum(axis=1)
    assert (apparent > 0.5).mean() > 0.9
    assert ((found(raw) > 0.0).mean(axis=0) < 0.25).all()


@pytest.mark.parametrize("course", [
    [3.0] * 300, [0.0] * 45 + [2.0] * 255, [0.1 * i for i in range(300)],
    [0.1 * max(i - 40, 0) for i in range(300)], [1e12] * 300,
])  # fmt: skip
def test_a_course_without_noise_shows_nothing(course: list[float]) -> None:
    assert not found(np.array([course])).any()


def test_noise_far_below_sigma_is_not_tested() -> None:
    z = autoregressive(0.8, 20, LAST + 1)
    assert found(z, 1.0).any()
    assert not found(z, 100.0).any()


def test_rho_holds_from_the_check_after_a_look() -> None:
    z = autoregressive(0.9, 1, LAST)
    state = np.zeros(1, DEPENDENCE)
    rho = follow_dependence(state, np.zeros(LAST, np.int64), z[0], np.ones(1))
    changes = np.flatnonzero(np.diff(rho)) + 1
    assert set(changes.tolist()) <= set(LOOKS)
    assert rho[-1] != 0.0
    assert not rho[: LOOKS[0]].any()


@given(seed=st.integers(0, 1000), n=st.integers(5, 60))
@settings(max_examples=50, deadline=None)
def test_sums_give_what_the_definition_gives(seed: int, n: int) -> None:
    y = autoregressive(0.4, 1, n, seed)[0] + 100.0
    state = np.zeros(1, DEPENDENCE)
    follow_dependence(state, np.zeros(n, np.int64), y, np.ones(1))
    r, shown, _ = lag_one(n, state["rho_sums"], state["rho_largest"], np.array([y[-1] - y[0]]))
    i = np.arange(n)
    e = y - np.polyval(np.polyfit(i, y, 1), i)
    assert r[0] == pytest.approx((e[1:] * e[:-1]).sum() / (e * e).sum(), abs=1e-9)
    steps, strides = np.diff(y) ** 2, (y[2:] - y[:-2]) ** 2
    near = (steps.sum() - steps.max()) / (n - 2)
    far = (strides.sum() - (strides[1:] + strides[:-1]).max()) / (n - 4)
    assert shown[0] == pytest.approx(far / near - 1.0, rel=1e-9)


@given(
    seed=st.integers(0, 100), counts=st.lists(st.integers(1, 300), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 299), max_size=8),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_cutting_gives_the_same_bits(seed: int, counts: list[int], cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    series = [np.cumsum(rng.standard_normal(c)) * 0.3 + rng.standard_normal(c) for c in counts]
    sigma = np.ones(len(counts))
    whole = np.zeros(len(counts), DEPENDENCE)
    units = np.repeat(np.arange(len(counts)), counts)
    at_once = follow_dependence(whole, units, np.concatenate(series), sigma)
    parts: list[list[float]] = [[] for _ in counts]
    state = np.zeros(len(counts), DEPENDENCE)
    for start, end in pairwise([0, *sorted(set(cuts)), 300]):
        present = [u for u, s in enumerate(series) if len(s[start:end])]
        unit = np.repeat(np.arange(len(present)), [len(series[u][start:end]) for u in present])
        if not len(unit):
            continue
        mine = state[present]
        rho = follow_dependence(mine, unit, np.concatenate([series[u][start:end] for u in present]), sigma[present])
        state[present] = mine
        for place, u in enumerate(present):
            parts[u] += rho[unit == place].tolist()
    assert [p for part in parts for p in part] == at_once.tolist()
    assert state.tobytes() == whole.tobytes()


@given(
    chart=st.sampled_from([("cusum", (0.5,)), ("cusum", (0.25,)), ("ewma", (0.2,)), ("shewhart", ()),
                           ("noise", (1.848, 10.0))]),
    limit=st.floats(2.0, 50.0), rho=st.floats(-0.95, 0.95), more=st.floats(0.0, 0.5),
)  # fmt: skip
def test_limits_are_never_narrowed_and_grow_with_the_limit(
    chart: tuple[str, tuple[float, ...]], limit: float, rho: float, more: float
) -> None:
    name, parameters = chart
    widened = dependent_limit(name, limit, rho, parameters)
    assert widened >= limit
    assert dependent_limit(name, limit, 0.0, parameters) == limit
    assert dependent_limit(name, limit + more, rho, parameters) >= widened


def test_without_dependence_the_widening_of_a_cusum_vanishes() -> None:
    assert dependent_limit("cusum", 5.0, 1e-9, (0.5,)) == pytest.approx(5.0, abs=1e-7)


def _cusum_run_lengths(phi: float, k: float, h: float, channels: int, seed: int) -> Floats:
    """Return run lengths of a two-sided CUSUM of AR(1) checks from a stationary start."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(channels)
    upper, lower, n = np.zeros(channels), np.zeros(channels), np.zeros(channels)
    alive = np.ones(channels, np.bool_)
    while alive.any():
        n[alive] += 1
        z = phi * z + math.sqrt(1.0 - phi * phi) * rng.standard_normal(channels)
        upper, lower = np.maximum(upper + z - k, 0.0), np.maximum(lower - z - k, 0.0)
        alive &= np.maximum(upper, lower) <= h
    return n


@pytest.mark.parametrize(("phi", "k", "h"), [(0.25, 0.5, 5.0), (0.5, 0.5, 5.0), (0.75, 0.5, 5.0), (0.5, 0.25, 8.0)])
def test_a_widened_cusum_runs_as_long_as_designed(phi: float, k: float, h: float) -> None:
    lengths = _cusum_run_lengths(phi, k, dependent_limit("cusum", h, phi, (k,)), 3000, 5)
    mean, error = float(lengths.mean()), float(lengths.std()) / math.sqrt(len(lengths))
    assert mean + 3.0 * error > cusum_arl(k, h)
    assert mean - 3.0 * error < 1.4 * cusum_arl(k, h)
    assert float(_cusum_run_lengths(phi, k, h, 500, 5).mean()) < 0.5 * cusum_arl(k, h)


def test_pairs_are_spread_by_negative_dependence_only() -> None:
    z = autoregressive(-0.5, 1, 40_000)[0]
    spread = float(pair_spread(np.array([-0.5]))[0])
    assert float((np.diff(z)[::2] ** 2).mean() / 2.0) == pytest.approx(spread * spread, rel=0.03)
    assert float(pair_spread(np.array([0.5]))[0]) == 1.0
