"""The test for autocorrelation moves on value by value: however its values are cut into calls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.drift.dependence import DEPENDENCE, follow_dependence


def followed(values: list[float], size: int) -> tuple[bytes, list[float]]:
    state = np.zeros(1, DEPENDENCE)
    said: list[float] = []
    for start in range(0, len(values), size):
        part = np.array(values[start : start + size])
        said += follow_dependence(state, np.zeros(len(part), np.int64), part, np.ones(1)).tolist()
    return state.tobytes(), said


@given(st.lists(st.sampled_from([0.0, 1.0, 2.5, -3.0]), min_size=1, max_size=12), st.integers(1, 5))
def test_the_first_values_one_by_one_leave_what_they_leave_together(values: list[float], size: int) -> None:
    assert followed(values, size) == followed(values, len(values))


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_long_course_finds_the_same_dependence_under_any_cutting(size: int) -> None:
    rng = np.random.default_rng(3)
    values = [0.0]
    for shock in rng.normal(size=299):
        values.append(0.8 * values[-1] + shock)
    state, said = followed(values, size)
    assert (state, said) == followed(values, len(values))
    assert said[-1] > 0.5
