"""Baselines: the vectors of METROLOGY §4, no extrapolation, bits independent of the batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrology.baseline import Curve, CurveTable

SCALE = Curve.of([(10.0, 3.0, 1.6, 2.0), (5.0, 1.0, 1.0, 2.0)])
NAN = float("nan")


def at(curve: Curve, *x: float) -> tuple[list[float], list[float], list[bool]]:
    looked = CurveTable.of([curve]).lookup(np.zeros(len(x), np.int64), np.array(x))
    return looked.E.tolist(), looked.U.tolist(), looked.outside.tolist()


def test_the_scale_of_the_fact_sheet() -> None:
    E, U, outside = at(SCALE, 8.0)
    assert pytest.approx([2.2]) == E
    assert pytest.approx([1.36]) == U
    assert outside == [False]


def test_the_thermometer_of_the_fact_sheet() -> None:
    x = (306.32, 373.21, 448.36, 523.31, 593.07)
    error = (0.072, 0.089, 0.107, -0.009, -0.084)
    curve = Curve.of([(a, e, 0.061, 2.0) for a, e in zip(x, error, strict=True)])
    E, U, _ = at(curve, 400.0)
    assert pytest.approx([0.095417], abs=5e-7) == E
    assert pytest.approx([0.061]) == U


def test_points_are_met_exactly() -> None:
    E, U, _ = at(SCALE, 5.0, 10.0)
    assert (E, U) == ([1.0, 3.0], [1.0, 1.6])


def test_end_values_hold_in_the_widened_margin_and_nothing_beyond() -> None:
    E, _, outside = at(SCALE, 4.9, 4.899999, 10.1, 10.100001)
    assert (E[0], E[2]) == (1.0, 3.0)
    assert np.isnan([E[1], E[3]]).all()
    assert outside == [False, True, False, True]


def test_a_coarse_resolution_widens_further() -> None:
    curve = Curve.of([(5.0, 1.0, 1.0, 2.0), (10.0, 3.0, 1.6, 2.0)], resolution=0.2)
    assert at(curve, 4.8, 10.2)[2] == [False, False]
    assert at(curve, 4.79, 10.21)[2] == [True, True]


def test_a_single_point_holds_near_its_x() -> None:
    curve = Curve.of([(5.0, 1.0, 0.5, 2.0)])
    E, U, outside = at(curve, 4.95, 5.0, 5.05, 5.06)
    assert (E[:3], U[:3]) == ([1.0] * 3, [0.5] * 3)
    assert outside == [False, False, False, True]


def test_a_point_without_x_holds_everywhere() -> None:
    curve = Curve.of([(None, 0.2, 0.1, 2.0)])
    E, U, outside = at(curve, -1e9, 0.0, NAN)
    assert (E, U, outside) == ([0.2] * 3, [0.1] * 3, [False] * 3)


def test_without_x_or_without_a_curve_nothing_is_known() -> None:
    looked = CurveTable.of([SCALE]).lookup(np.array([0, -1]), np.array([NAN, 8.0]))
    assert np.isnan(looked.E).all()
    assert not looked.outside.any()
    empty = CurveTable.of([]).lookup(np.array([-1]), np.array([8.0]))
    assert np.isnan(empty.E).all()


def test_curves_that_contradict_themselves_are_refused() -> None:
    for points in ([], [(5.0, 1.0, 1.0, 2.0), (5.0, 2.0, 1.0, 2.0)], [(None, 1.0, 1.0, 2.0), (5.0, 1.0, 1.0, 2.0)]):
        with pytest.raises(ValueError, match=r"point"):
            Curve.of(points)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    x = draw(st.lists(st.floats(0, 1e3), min_size=1, max_size=9, unique=True))
    values = st.floats(-10, 10)
    return Curve.of([(a, draw(values), abs(draw(values)), 2.0) for a in x])


@given(st.lists(curves(), min_size=1, max_size=5), st.data())
def test_a_batch_reads_curves_as_each_alone_would(found: list[Curve], data: st.DataObject) -> None:
    table = CurveTable.of(found)
    which = data.draw(st.lists(st.integers(0, len(found) - 1), min_size=1, max_size=20))
    x: npt.NDArray[np.float64] = np.array([data.draw(st.floats(-10, 1100)) for _ in which])
    looked = table.lookup(np.array(which), x)
    for i, c in enumerate(which):
        curve = found[c]
        alone = CurveTable.of([curve]).lookup(np.array([0]), x[i : i + 1])
        assert alone.E.tobytes() == looked.E[i : i + 1].tobytes()
        assert looked.outside[i] == (not curve.low <= x[i] <= curve.high)
        if looked.outside[i]:
            continue
        assert min(curve.E) - 1e-9 <= looked.E[i] <= max(curve.E) + 1e-9
        points = np.array([v for v in curve.x if v is not None])
        assert looked.E[i] == pytest.approx(float(np.interp(x[i], points, curve.E)), abs=1e-9)
        assert looked.U[i] == pytest.approx(float(np.interp(x[i], points, curve.U)), abs=1e-9)
