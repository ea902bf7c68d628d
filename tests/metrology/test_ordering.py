"""The order in which calibrated points may be written."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrology.ordering import out_of_order


def numbers(text: str) -> list[Decimal]:
    return [Decimal(word) for word in text.split()]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", None),
        ("5", None),
        ("5 5 5", None),
        ("1 2 3", None),
        ("3 2 1", None),
        ("5 50 15", 2),
        ("10 5 15", 2),
        ("1 3 2 4", 2),
        ("0.201 0.500 0.800 0.901 0.801 0.500 0.200", None),
        ("273.149 283.151 333.150 303.151 273.151", 3),
        ("273.149 303.149 333.150 303.151 273.151", None),
    ],
)
def test_points_run_one_way_or_come_back_over_what_they_passed(text: str, wrong: int | None) -> None:
    assert out_of_order(numbers(text)) == wrong


@given(st.lists(st.integers(0, 10**6), max_size=12, unique=True).map(sorted))
def test_a_run_up_a_run_down_and_a_loop_are_in_order(x: list[int]) -> None:
    up = [Decimal(v) for v in x]
    assert out_of_order(up) is None
    assert out_of_order(up[::-1]) is None
    assert out_of_order(up + up[-2::-1]) is None
