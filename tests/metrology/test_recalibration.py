"""As left before against as found now (METROLOGY §4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrology.baseline import Curve
from gateway.metrology.recalibration import Found, drift_between

CURVE = Curve.of([(5.0, 1.0, 1.0, 2.0), (10.0, 3.0, 1.6, 2.0)])


def test_the_drift_and_its_score_are_those_of_the_example() -> None:
    (found,) = drift_between(
        Curve.of([(None, 0.20, 0.10, 2.0)]), [Found(x=None, E=0.45, U=0.12, k=2.0)], correlation=0.0
    )
    assert found.drift == pytest.approx(0.25)
    assert found.en == pytest.approx(1.6005, abs=5e-5)
    assert found.significant is True


def test_the_earlier_curve_is_interpolated_and_never_extrapolated() -> None:
    inside, outside = drift_between(CURVE, [Found(x=8.0, E=2.2, U=1.0, k=2.0), Found(x=12.0, E=2.2, U=1.0, k=2.0)])
    assert inside.before == pytest.approx(2.2)
    assert inside.U_before == pytest.approx(1.36)
    assert inside.significant is False
    assert (outside.before, outside.drift, outside.en, outside.significant) == (None, None, None, None)
    assert outside.after == 2.2


def test_a_common_standard_makes_small_drifts_significant() -> None:
    after = [Found(x=5.0, E=2.2, U=1.0, k=2.0)]
    apart, together = (drift_between(CURVE, after, correlation=r)[0].en for r in (0.0, 0.5))
    assert apart == pytest.approx(1.2 / 2**0.5)
    assert together == pytest.approx(1.2)


@given(st.floats(-10, 10), st.floats(0.01, 10), st.floats(1.5, 4))
def test_a_score_does_not_depend_on_the_coverage_factor(E: float, u: float, k: float) -> None:
    (two,) = drift_between(CURVE, [Found(x=7.0, E=E, U=2 * u, k=2.0)])
    (other,) = drift_between(CURVE, [Found(x=7.0, E=E, U=k * u, k=k)])
    assert two.en == pytest.approx(other.en, rel=1e-9, abs=1e-12)


@given(st.floats(-10, 10), st.floats(0.01, 10))
def test_two_calibrations_that_say_the_same_agree(E: float, U: float) -> None:
    (same,) = drift_between(Curve.of([(None, E, U, 2.0)]), [Found(x=3.0, E=E, U=U, k=2.0)])
    assert (same.drift, same.en, same.significant) == (0.0, 0.0, False)
