"""Zeros that come too often to be chance: a bound that holds wherever the zero lies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.metrology.zerotracking import FEWEST_ZEROS, UNLIKELY, chance_of_zeros, suspected


@given(st.floats(-2.0, 2.0), st.floats(0.2, 4.0), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_no_place_of_the_zero_gives_more_zeros_than_the_bound(place: float, noise: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, chapters = 3, 4000
    sigma = math.sqrt(noise**2 + 1.0 / 12.0)
    shown = np.round(place + noise * rng.standard_normal((chapters, n)))
    share = float((shown == 0.0).all(axis=1).mean())
    bound = chance_of_zeros(n, sigma, 1.0)
    assert share <= bound + 5.0 * math.sqrt(max(bound * (1.0 - bound), 1e-4) / chapters)


@pytest.mark.parametrize("noise", [0.2, 0.5, 1.0, 3.0])
def test_an_honest_scale_is_suspected_in_less_than_one_chapter_of_a_hundred(noise: float) -> None:
    rng = np.random.default_rng(20261126)
    sigma = math.sqrt(noise**2 + 1.0 / 12.0)
    needed = next((n for n in range(1, 400) if suspected(n, sigma, 1.0)), None)
    shown = np.round(noise * rng.standard_normal((20_000, needed or 400)))
    share = float((shown == 0.0).all(axis=1).mean()) if needed else 0.0
    assert share < UNLIKELY + 5.0 * math.sqrt(UNLIKELY / 20_000)


def test_few_zeros_coarse_intervals_and_unknown_noise_prove_nothing() -> None:
    assert not suspected(FEWEST_ZEROS - 1, 1.6, 0.1)
    assert suspected(FEWEST_ZEROS, 1.6, 0.1)
    assert not suspected(10_000, 1.4, 5.0)
    assert not suspected(10_000, math.nan, 1.0)
    assert not suspected(10_000, 1.0, 0.0)
