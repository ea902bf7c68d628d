from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import WrongUse
from gateway.metrology.intervals import (
    capped,
    drift_interval,
    exponential_interval,
    incremental_step,
    simple_reliability,
    simple_step,
)


@given(st.floats(0.01, 1.0), st.floats(0.01, 0.99))
def test_the_staircase_stands_still_at_its_reliability(a: float, b: float) -> None:
    R = simple_reliability(a, b)
    assert (1 + a) ** R * (1 - b) ** (1 - R) == pytest.approx(1.0)


@given(st.floats(0.5, 120.0), st.booleans(), st.floats(0.5, 0.99))
def test_incremental_response_lengthens_after_good_and_shortens_after_bad(
    now: float, good: bool, target: float
) -> None:
    after, _ = incremental_step(now, good, 1.0, target=target)
    assert (after > now) is good


def test_the_staircase_goes_up_and_down() -> None:
    assert simple_step(10.0, True) == pytest.approx(11.0)
    assert simple_step(10.0, False) == pytest.approx(4.5)


def test_incremental_response_halves_its_step_when_the_finding_turns() -> None:
    assert incremental_step(12.0, False, 1.0, before=True)[1] == 0.5
    assert incremental_step(12.0, True, 0.5, before=True)[1] == 0.5


def test_reliability_of_the_fact_sheet() -> None:
    assert exponential_interval(0.92, 12.0, 0.95) == pytest.approx(7.38, abs=5e-3)
    assert simple_reliability(0.1, 0.55) == pytest.approx(0.893, abs=5e-4)


def test_an_uncertain_rate_shortens_the_interval() -> None:
    assert drift_interval(1.0, 0.2, 0.1, 0.02, 0.01) < drift_interval(1.0, 0.2, 0.1, 0.02)
    assert drift_interval(1.0, 0.0, 0.0, 0.0) == math.inf


def test_the_law_is_a_ceiling() -> None:
    assert capped(35.0, 12.0) == 12.0
    assert capped(7.0, 12.0) == 7.0
    assert capped(math.inf, 12.0) == 12.0
    assert capped(math.inf, None) is None


@pytest.mark.parametrize(("observed", "interval", "target"), [(1.0, 12, 0.9), (0.9, 0, 0.9), (0.9, 12, 1.0)])
def test_impossible_reliabilities_are_refused(observed: float, interval: float, target: float) -> None:
    with pytest.raises(WrongUse):
        exponential_interval(observed, interval, target)
