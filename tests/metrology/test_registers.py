"""Registers: four different events, consumption that never spikes, and steps that depend on neighbours only."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrology.registers import RegisterEvent, amounts, increments, over_the_top, settled, turn_of

E = RegisterEvent
UNKNOWN = float("nan")


def steps(
    *value: float, turn: float = UNKNOWN, meter: list[int] | None = None
) -> tuple[list[float], list[tuple[int, RegisterEvent]]]:
    """Return the increments, and (place, event) of every event."""
    found = increments(np.array(value), turn=turn, meter=None if meter is None else np.array(meter))
    return found.increment.tolist(), [(i, E(e)) for i, e in enumerate(found.event.tolist()) if e]


def test_an_advancing_register_has_no_events_and_decimal_steps() -> None:
    assert steps(0.1, 0.3, 0.3, 0.7) == ([0.0, 0.2, 0.0, 0.4], [])


def test_a_register_that_passes_its_top_goes_on_counting() -> None:
    assert steps(99990.0, 99999.5, 12.0, 13.0, turn=1e5) == ([0.0, 9.5, 12.5, 1.0], [(2, E.ROLLOVER)])


def test_without_known_digits_the_same_is_a_reset() -> None:
    assert steps(99990.0, 99999.5, 12.0, 13.0) == ([0.0, 9.5, 0.0, 1.0], [(2, E.RESET)])


def test_a_fall_from_the_middle_is_a_reset_though_digits_are_known() -> None:
    assert steps(45000.0, 45001.0, 0.0, 1.0, turn=1e5) == ([0.0, 1.0, 0.0, 1.0], [(2, E.RESET)])


def test_a_momentary_zero_is_a_glitch() -> None:
    assert steps(500.0, 501.0, 0.0, 502.0, 503.0) == ([0.0, 1.0, 0.0, 1.0, 1.0], [(2, E.GLITCH)])


def test_a_momentary_zero_near_the_top_is_no_rollover() -> None:
    assert steps(99990.0, 0.0, 99991.0, turn=1e5) == ([0.0, 0.0, 1.0], [(1, E.GLITCH)])


def test_a_momentary_spike_is_a_glitch() -> None:
    assert steps(500.0, 9e8, 502.0, 503.0) == ([0.0, 0.0, 2.0, 1.0], [(1, E.GLITCH)])


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_glitch_may_be_said_again(times: int) -> None:
    found, events = steps(500.0, *[0.0] * times, 501.0)
    assert sum(found) == 1.0
    assert events == [(1, E.GLITCH)]


def test_where_a_register_stays_it_stands() -> None:
    assert steps(500.0, 0.0, 0.0, 0.0, 0.0, 1.0)[1] == [(1, E.RESET)]


def test_an_announced_exchange_is_a_replacement_whichever_way_the_count_jumps() -> None:
    for begins in (12.0, 70000.0):
        found = steps(500.0, 501.0, begins, begins + 1, meter=[0, 0, 1, 1], turn=1e5)
        assert found == ([0.0, 1.0, 0.0, 1.0], [(2, E.REPLACEMENT)])


def test_a_new_meter_that_begins_low_and_passes_the_old_count_is_no_glitch() -> None:
    assert steps(5.0, 0.0, 9.0, meter=[0, 1, 1]) == ([0.0, 0.0, 9.0], [(1, E.REPLACEMENT)])


def test_the_four_events_in_one_history() -> None:
    value = [99998.0, 3.0, 4.0, 0.0, 5.0, 900.0, 901.0, 0.0, 2.0, 3.0]
    found, events = steps(*value, turn=1e5, meter=[0] * 5 + [1] * 5)
    assert events == [(1, E.ROLLOVER), (3, E.GLITCH), (5, E.REPLACEMENT), (7, E.RESET)]
    assert found == [0.0, 5.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 2.0, 1.0]


def test_the_last_reading_is_taken_without_the_next_one() -> None:
    assert steps(500.0, 501.0, 0.0)[1] == [(2, E.RESET)]
    assert steps(99999.0, 2.0, turn=1e5)[1] == [(1, E.ROLLOVER)]


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_readings_have_no_steps(n: int) -> None:
    assert steps(*[7.0] * n) == ([0.0] * n, [])
    assert not settled(np.array([7.0] * n)).any()


def test_a_rollover_is_at_most_a_tenth_of_a_turn() -> None:
    assert over_the_top(950.0, 50.0, 1000.0) == 100.0
    assert over_the_top(950.0, 50.1, 1000.0) is None
    assert over_the_top(1200.0, 50.0, 1000.0) is None
    assert np.isnan(turn_of(None))


small = st.integers(0, 30).map(float)
registers = st.lists(small, min_size=1, max_size=30)
turns = st.sampled_from([UNKNOWN, 32.0])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), turns)
def test_a_register_that_only_advances_has_plain_differences(gains: list[int], turn: float) -> None:
    value = np.array(list(accumulate(gains)), np.float64)
    found = increments(value, turn=turn)
    assert not found.event.any()
    assert found.increment.sum() == value[-1] - value[0]


@given(st.lists(st.integers(0, 90), min_size=1, max_size=60), st.integers(0, 999))
def test_rollovers_lose_and_invent_nothing(gains: list[int], begin: int) -> None:
    true = np.array(list(accumulate(gains, initial=begin)), np.float64)
    shown = true % 1000.0
    found = increments(shown, turn=1000.0)
    assert found.increment.sum() == true[-1] - true[0]
    assert set(found.event.tolist()) <= {E.NONE, E.ROLLOVER}


@given(registers, turns)
def test_no_step_is_negative_or_beyond_what_the_register_can_hold(value: list[float], turn: float) -> None:
    found = increments(np.array(value), turn=turn).increment
    assert (found >= 0.0).all()
    assert (found <= 32.0).all()


@given(registers, registers, registers, turns)
def test_between_settled_readings_steps_depend_on_nothing_outside(
    before: list[float], inside: list[float], after: list[float], turn: float
) -> None:
    sure = np.flatnonzero(settled(np.array(inside))).tolist()
    if len(sure) < 2:
        return
    start, end = sure[0], sure[-1]
    alone = increments(np.array(inside), turn=turn)
    joined = increments(np.array([*before, *inside, *after]), turn=turn)
    for name in ("increment", "event"):
        a = getattr(alone, name)[start + 1 : end + 1]
        b = getattr(joined, name)[len(before) + start + 1 : len(before) + end + 1]
        assert a.tolist() == b.tolist()


def test_amounts_of_a_test_run_pass_the_top_in_either_direction() -> None:
    start, stop = np.array([99990.0, 5.0, 100.0, 99990.0]), np.array([10.0, 99995.0, 110.0, 10.0])
    expected, turn = np.array([20.1, -10.0, 10.0, 20.0]), np.array([1e5, 1e5, 1e5, UNKNOWN])
    assert amounts(start, stop, expected, turn).tolist() == [20.0, -10.0, 10.0, -99980.0]


def test_a_wrong_amount_is_not_explained_away_by_a_turn() -> None:
    assert amounts(*map(np.array, ([100.0], [101.0], [900.0], [1000.0]))).tolist() == [1.0]
    assert amounts(*map(np.array, ([100.0], [99.0], [1.0], [1000.0]))).tolist() == [-1.0]
