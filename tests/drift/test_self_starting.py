"""The self-starting chart: exact scores with nothing known, in any cutting, and what it leaves out of learning."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from gateway.drift import Floats
from gateway.drift.charts import WIDE, chart_dtype, run
from gateway.drift.runlength import cusum_arl
from gateway.drift.self_starting import DETECTOR, POINTS, advance

ENDLESS = replace(DETECTOR, advance=partial(advance, points=math.inf))


def chart(
    x: Floats,
    *,
    h: float = 5.0,
    size: Floats | None = None,
    sigma: float = 0.0,
    rounding: float = 0.0,
    endless: bool = True,
) -> dict[str, Floats]:
    """Return the state after each point, of one channel or of several (rows), by name."""
    rows = np.atleast_2d(x)
    channels, n = rows.shape
    flat = rows.ravel()
    sizes = np.ones(len(flat)) if size is None else np.tile(size, channels)
    taken = np.array([flat, sizes, np.full(len(flat), sigma), np.full(len(flat), rounding)])
    detector = ENDLESS if endless else DETECTOR
    history, _ = run(
        (detector,), taken, np.arange(len(flat)), np.full(channels, n),
        {"self_starting": [np.full(channels, 0.5), np.full(channels, h)]}, np.zeros(channels, chart_dtype((detector,))),
    )  # fmt: skip
    return {f: history[f"self_starting_{f}"].reshape(x.shape) for f in (*DETECTOR.state, *DETECTOR.times)}


def scores(x: Floats, *, size: Floats | None = None, sigma: float = 0.0) -> Floats:
    """Return U of each point, seen by how the sums move with k = 0.5; the limit is out of reach."""
    told = chart(x, h=1e9, size=size, sigma=sigma)
    found = np.full(len(x), np.nan)
    upper = lower = 0.0
    for i in np.flatnonzero(told["scored"]):
        if told["upper"][i] > 0.0:
            found[i] = told["upper"][i] - upper + 0.5
        elif told["lower"][i] > 0.0:
            found[i] = -(told["lower"][i] - lower + 0.5)
        upper, lower = told["upper"][i], told["lower"][i]
    return found


@given(seed=st.integers(0, 10_000), mu=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3), grouped=st.booleans())
@settings(deadline=None, max_examples=50)
def test_a_score_is_the_normal_quantile_of_students_t_against_the_points_before(
    seed: int, mu: float, scale: float, grouped: bool
) -> None:
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 6, 30).astype(np.float64) if grouped else np.ones(30)
    x = mu + scale * rng.standard_t(3, 30) / np.sqrt(size)
    found = scores(x, size=size)
    for n in range(30):
        if n < 2:
            assert np.isnan(found[n])
            continue
        mean = np.average(x[:n], weights=size[:n])
        s = math.sqrt((size[:n] * (x[:n] - mean) ** 2).sum() / (n - 1))
        t = (x[n] - mean) / (s * math.sqrt(1 / size[n] + 1 / size[:n].sum()))
        expected = -math.copysign(1, t) * stats.norm.ppf(stats.t.sf(abs(t), n - 1))
        if not np.isnan(found[n]):
            assert found[n] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_with_a_declared_sigma_the_second_point_has_a_score() -> None:
    found = scores(np.array([10.0, 13.0, 8.0]), sigma=2.0)
    assert np.isnan(found[0])
    assert found[1:] == pytest.approx([3.0 / (2.0 * math.sqrt(2.0)), -3.5 / (2.0 * math.sqrt(1.5))])


@pytest.mark.parametrize("sigma", [0.0, 7.0])
def test_with_nothing_known_the_run_length_is_the_cusums(sigma: float) -> None:
    rng = np.random.default_rng(20261126)
    h, channels = 2.5, 1500
    exact = cusum_arl(0.5, h)
    told = chart(500.0 + 7.0 * rng.standard_normal((channels, 450)), h=h, sigma=sigma)
    found = np.maximum(told["upper"], told["lower"]) > h
    assert found.any(axis=1).all()
    charted = np.cumsum(told["scored"], axis=1)
    lengths = charted[np.arange(channels), found.argmax(axis=1)]
    assert abs(lengths.mean() - exact) < 4.0 * lengths.std() / math.sqrt(channels)


@given(counts=st.lists(st.integers(1, 130), min_size=WIDE, max_size=WIDE + 8), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=8)
def test_columns_and_floats_give_the_same_bits(counts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = np.array(counts)
    total = int(n.sum())
    x = np.where(rng.random(total) < 0.1, 0.0, rng.normal(0.0, 1.0, total))
    sigma = np.repeat(np.where(rng.random(len(n)) < 0.3, 1.0, 0.0), n)
    taken = np.array([x, rng.integers(1, 4, total).astype(np.float64), sigma, np.full(total, 0.1)])
    parameters = {"self_starting": [np.full(len(n), 0.5), np.full(len(n), 3.0)]}
    fresh = np.zeros(len(n), chart_dtype((DETECTOR,)))
    history, last = run((DETECTOR,), taken, np.arange(total), n, parameters, fresh)
    ends = np.cumsum(n)
    for i, (start, end) in enumerate(zip(ends - n, ends, strict=True)):
        alone = {"self_starting": [p[:1] for p in parameters["self_starting"]]}
        state, seen = fresh[:1], []
        for a in range(start, end):
            one, state = run((DETECTOR,), taken[:, a : a + 1], np.arange(a, a + 1), n[:1] * 0 + 1, alone, state)
            seen.append(one.tobytes())
        assert b"".join(seen) == history[start:end].tobytes()
        assert state.tobytes() == last[i : i + 1].tobytes()


@pytest.mark.filterwarnings("error")
def test_equal_values_are_not_charted_and_the_first_other_one_is_no_alarm() -> None:
    told = chart(np.array([5.1] * 20 + [5.2] + [5.1] * 9))
    assert not told["scored"][:21].any()
    assert told["scored"][21:].all()
    assert max(told["upper"].max(), told["lower"].max()) < 5.0


def test_a_deviation_counts_as_no_less_than_the_rounding() -> None:
    told = chart(np.array([5.0] * 20 + [5.1]), rounding=0.1 / math.sqrt(12.0))
    assert told["scored"][2:].all()
    assert 2.0 < told["upper"][20] < 3.0


def test_what_is_found_is_not_learned() -> None:
    rng = np.random.default_rng(4)
    told = chart(np.append(rng.normal(0.0, 1.0, 20), rng.normal(4.0, 1.0, 40)))
    signal = told["upper"] > 5.0
    assert signal[22:].all()
    assert told["mean"][-1] < 1.0
    assert told["n"][-1] < 25


def test_a_small_step_that_is_not_found_soon_is_learned_and_never_found() -> None:
    noise = np.tile([1.0, -1.0, 0.4, -0.4], 60)
    told = chart(noise + 0.8 * (np.arange(240) >= 8))
    known = np.maximum.accumulate(np.cumsum(noise[8:] + 0.8 - 0.5))
    assert known[60] > 5.0, "a chart with the true centre finds it"
    assert max(told["upper"].max(), told["lower"].max()) < 5.0
    assert told["mean"][-1] == pytest.approx(0.8, abs=0.05)


def test_the_chart_ends_when_enough_is_learned_but_not_while_it_signals() -> None:
    rng = np.random.default_rng(11)
    quiet = chart(rng.normal(0.0, 1.0, 150), h=50.0, endless=False)
    assert quiet["scored"].tolist() == [0.0] * 2 + [1.0] * (POINTS - 2) + [0.0] * 50
    assert quiet["n"][-1] == POINTS
    assert not quiet["upper"][POINTS:].any()
    shifted = chart(np.append(rng.normal(0.0, 1.0, 90), rng.normal(4.0, 1.0, 60)), endless=False)
    assert shifted["scored"][-1] == 1.0
    assert shifted["upper"][-1] > 5.0


@pytest.mark.filterwarnings("error")
def test_huge_and_tiny_values_are_no_error() -> None:
    for values in ([1e308, -1e308, 1e308, 5.0], [1e-320, 2e-320, 1e-320, 5.0], [0.0, 1e-300, 3e-300, 1e300]):
        with np.errstate(over="ignore", invalid="ignore"):
            told = chart(np.array(values))
        assert not np.isnan(told["upper"]).any()
