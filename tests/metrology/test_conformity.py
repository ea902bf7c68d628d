"""Decisions: the vectors of METROLOGY §4, edges taken on decimals, bits independent of the batch."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrology.conformity import (
    Conformity,
    Rule,
    conformance_probability,
    decide,
    en_score,
    expanded_uncertainty,
    within,
)  # fmt: skip

NAN = float("nan")


def column(*values: float) -> npt.NDArray[np.float64]:
    return np.array(values, np.float64)


def test_expanded_uncertainty_is_twice_the_root_of_the_squares() -> None:
    U = expanded_uncertainty(column(0.6, 0.0, 0.12, NAN, 1.0), column(0.4, 1.6, 0.0, 1.0, NAN))
    assert U[:3].tolist() == [1.0, 3.2, 0.12]
    assert np.isnan(U[3:]).all()


def test_conformance_probabilities_of_the_fact_sheet() -> None:
    error = column(0.8, 0.9, 1.0, 1.1, -0.8)
    p = conformance_probability(error, np.full(5, 1.0), np.full(5, 0.1))
    assert p == pytest.approx([0.97725, 0.84134, 0.5, 0.15866, 0.97725], abs=5e-6)


def test_a_hopeless_check_keeps_a_tiny_probability() -> None:
    p = conformance_probability(column(2.0), column(1.0), column(0.1))
    assert float(p[0]) == pytest.approx(7.619853024160526e-24, rel=1e-12)


def test_without_uncertainty_the_probability_is_one_or_zero() -> None:
    p = conformance_probability(column(1.0, -1.0, 1.1, NAN, 1.0), column(1.0, 1.0, 1.0, 1.0, NAN), np.zeros(5))
    assert p[:3].tolist() == [1.0, 1.0, 0.0]
    assert np.isnan(p[3:]).all()


def test_en_scores_of_the_fact_sheet() -> None:
    assert en_score(column(0.45), column(0.12), column(0.20), column(0.10))[0] == pytest.approx(1.6005, abs=5e-5)
    assert np.isnan(en_score(column(1.0, 1.0), column(0.0, NAN), column(0.0, 0.0), column(0.0, 1.0))).all()


def relative_error(indication: float, reference: float) -> float:
    return 100.0 * (indication - reference) / abs(reference)


@pytest.mark.parametrize(
    ("indication", "reference", "mpe", "conforms"),
    [
        (2.505, 2.5, 0.005, True),
        (2.495, 2.5, 0.005, True),
        (2.5050000001, 2.5, 0.005, False),
        (10.0075, 10.0, 0.0075, True),
        (80020.0, 80000.0, 20.0, True),
        (0.3, 0.1, 0.2, True),
        (1000000.001, 1000000.0, 0.001, True),
        (1000000.00100001, 1000000.0, 0.001, False),
    ],
)
def test_an_error_at_the_limit_conforms(indication: float, reference: float, mpe: float, conforms: bool) -> None:
    error = column(indication - reference)
    absolute = np.array([False])
    assert within(error, column(mpe), column(indication), column(reference), absolute).tolist() == [conforms]


def test_the_dispenser_of_the_fact_sheet_fails_one_limit_and_passes_the_other() -> None:
    error = column(relative_error(20.00, 19.93))
    assert float(error[0]) == pytest.approx(0.3512, abs=5e-5)
    relative = np.array([True])
    for mpe, conforms in ((0.3, False), (0.5, True)):
        assert within(error, column(mpe), column(20.00), column(19.93), relative).tolist() == [conforms]


@pytest.mark.parametrize(
    ("indication", "reference", "mpe", "conforms"),
    [
        (10.2, 10.0, 2.0, True),
        (9.8, 10.0, 2.0, True),
        (10.2000001, 10.0, 2.0, False),
        (3.0025, 3.0, 100 * 0.0025 / 3, True),
        (-10.2, -10.0, 2.0, True),
    ],
)
def test_a_relative_error_of_exactly_the_limit_conforms(
    indication: float, reference: float, mpe: float, conforms: bool
) -> None:
    error = column(relative_error(indication, reference))
    assert within(error, column(mpe), column(indication), column(reference), np.array([True])).tolist() == [conforms]


@given(
    reference=st.decimals(-(10**6), 10**6, places=4),
    limit=st.integers(1, 10**6),
    sign=st.sampled_from((1, -1)),
)
def test_decimals_decide_at_every_limit(reference: Decimal, limit: int, sign: int) -> None:
    mpe = Decimal(limit) / 10000
    step = Decimal("0.0001")
    for size, conforms in ((mpe - step, True), (mpe, True), (mpe + step, False)):
        indication = float(reference + sign * size)
        error = column(indication - float(reference))
        said = within(error, column(float(mpe)), column(indication), column(float(reference)), np.array([False]))
        assert said.tolist() == [conforms]


def decided(rule: Rule, indication: float, mpe: float, U: float) -> tuple[Conformity, bool, bool]:
    out = decide(
        np.array([rule], np.int8), column(indication - 10.0), column(mpe), column(U), column(indication), column(10.0),
        np.array([False]),
    )  # fmt: skip
    return Conformity(int(out.conformity[0])), bool(out.conditional_pass[0]), bool(out.conditional_fail[0])


def test_simple_acceptance_asks_nothing_of_the_uncertainty() -> None:
    assert decided(Rule.SIMPLE, 10.5, 0.5, NAN) == (Conformity.CONFORMING, False, False)
    assert decided(Rule.SIMPLE, 10.6, 0.5, 0.3) == (Conformity.NOT_CONFORMING, False, False)


def test_a_guard_band_is_as_wide_as_the_uncertainty() -> None:
    assert decided(Rule.GUARDED, 10.3, 0.5, 0.2) == (Conformity.CONFORMING, False, False)
    assert decided(Rule.GUARDED, 10.300001, 0.5, 0.2) == (Conformity.NOT_CONFORMING, False, False)
    assert decided(Rule.GUARDED, 10.0, 0.5, NAN)[0] is Conformity.UNKNOWN


def test_three_answers_and_two_conditions() -> None:
    assert decided(Rule.NON_BINARY, 9.7, 0.5, 0.2) == (Conformity.CONFORMING, False, False)
    assert decided(Rule.NON_BINARY, 9.69, 0.5, 0.2) == (Conformity.UNDECIDED, True, False)
    assert decided(Rule.NON_BINARY, 9.5, 0.5, 0.2) == (Conformity.UNDECIDED, True, False)
    assert decided(Rule.NON_BINARY, 9.49, 0.5, 0.2) == (Conformity.UNDECIDED, False, True)
    assert decided(Rule.NON_BINARY, 9.3, 0.5, 0.2) == (Conformity.UNDECIDED, False, True)
    assert decided(Rule.NON_BINARY, 9.29, 0.5, 0.2) == (Conformity.NOT_CONFORMING, False, False)
    assert decided(Rule.NON_BINARY, 9.29, 0.5, NAN)[0] is Conformity.UNKNOWN


def test_without_a_limit_nothing_is_decided() -> None:
    for rule in Rule:
        assert decided(rule, 10.0, NAN, 0.1) == (Conformity.UNKNOWN, False, False)


ROW = st.tuples(
    st.sampled_from(tuple(Rule)),
    st.decimals(9, 11, places=3),
    st.sampled_from((0.05, 0.1, 0.5, NAN)),
    st.sampled_from((0.0, 0.1, 0.2, NAN)),
    st.booleans(),
)


@given(st.lists(ROW, min_size=1, max_size=30))
def test_a_batch_decides_as_its_checks_alone_would(rows: list[tuple[Rule, Decimal, float, float, bool]]) -> None:
    rule = np.array([r[0] for r in rows], np.int8)
    indication = column(*(float(r[1]) for r in rows))
    reference = np.full(len(rows), 10.0)
    relative = np.array([r[4] for r in rows])
    error = np.where(relative, 100.0 * (indication - reference) / reference, indication - reference)
    mpe, U = column(*(r[2] for r in rows)), column(*(r[3] for r in rows))
    together = decide(rule, error, mpe, U, indication, reference, relative)
    p = conformance_probability(error, mpe, U / 2.0)
    for i in range(len(rows)):
        one = slice(i, i + 1)
        alone = decide(rule[one], error[one], mpe[one], U[one], indication[one], reference[one], relative[one])
        assert alone.conformity[0] == together.conformity[i]
        assert alone.conditional_pass[0] == together.conditional_pass[i]
        assert conformance_probability(error[one], mpe[one], U[one] / 2.0).tobytes() == p[one].tobytes()


@given(st.lists(ROW, min_size=1, max_size=30))
def test_a_guarded_pass_is_a_simple_pass(rows: list[tuple[Rule, Decimal, float, float, bool]]) -> None:
    indication = column(*(float(r[1]) for r in rows))
    reference, absolute = np.full(len(rows), 10.0), np.zeros(len(rows), np.bool_)
    mpe, U = column(*(r[2] for r in rows)), column(*(r[3] for r in rows))
    guarded, simple = (
        decide(np.full(len(rows), rule, np.int8), indication - reference, mpe, U, indication, reference, absolute)
        for rule in (Rule.GUARDED, Rule.SIMPLE)
    )
    passed = guarded.conformity == Conformity.CONFORMING
    assert (simple.conformity[passed] == Conformity.CONFORMING).all()
