"""Differences and errors are those of the decimals people wrote, in every batch."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrology.decimals import exact_difference, exact_error
from gateway.metrology.units import exact

SHORT = st.decimals(-(10**7), 10**7, places=4).map(float)
LONG = st.floats(-1e15, 1e15)
ANY = st.floats(allow_nan=False, allow_infinity=False)


def test_a_float_difference_is_not_the_difference() -> None:
    assert 2.505 - 2.5 != 0.005
    assert exact_difference(np.array([2.505, 0.3]), np.array([2.5, 0.1])).tolist() == [0.005, 0.2]


@given(st.lists(st.tuples(SHORT | LONG, SHORT | LONG, st.booleans()), min_size=1, max_size=20))
def test_errors_are_exact_and_rounded_once(rows: list[tuple[float, float, bool]]) -> None:
    indication, reference = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    relative = np.array([r[2] for r in rows])
    found = exact_error(indication, reference, relative)
    for i, (a, b, share) in enumerate(rows):
        if share and b == 0:
            assert np.isnan(found[i])
            continue
        wanted = Fraction(exact(a)) - Fraction(exact(b))
        value = 100 * wanted / abs(Fraction(exact(b))) if share else wanted
        assert np.isnan(found[i]) if abs(value) >= 2**1024 else found[i] == float(value)
        alone = exact_error(indication[i : i + 1], reference[i : i + 1], relative[i : i + 1])
        assert alone.tobytes() == found[i : i + 1].tobytes()


@given(st.lists(st.tuples(ANY, ANY, st.booleans()), min_size=1, max_size=5))
def test_no_numbers_do_more_than_stay_absent(rows: list[tuple[float, float, bool]]) -> None:
    found = exact_error(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), np.array([r[2] for r in rows]))
    assert len(found) == len(rows)


def test_absent_numbers_stay_absent() -> None:
    nan = float("nan")
    assert np.isnan(exact_difference(np.array([nan, 1.0]), np.array([1.0, nan]))).all()
    assert len(exact_difference(np.array([]), np.array([]))) == 0


def test_a_register_difference_keeps_its_last_digit() -> None:
    before, after = 123456789.123, 123456789.456
    assert exact_difference(np.array([after]), np.array([before])).tolist() == [float(Decimal("0.333"))]
