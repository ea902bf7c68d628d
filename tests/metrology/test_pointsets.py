"""Rules over whole sets of points: one sign (water, gas), weighted mean error (gas), in exact numbers."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrology.pointsets import MeasuredPoint, PointRuleKind, PointSetFinding, weighted_mean_error
from gateway.metrology.rulepacks import catalogue
from gateway.shipped import shipped_texts

PACKS = catalogue(shipped_texts("rulepacks"))
WATER = {"class": "2", "Q3": "2.5 m3/h", "R": "160", "temperature_class": "T30"}
GAS = {"class": "1", "Qmin": "0.04 m3/h", "Qt": "0.6 m3/h", "Qmax": "6 m3/h"}


def judge(
    pack: str, parameters: dict[str, str], points: list[tuple[str, str, str | None]]
) -> dict[PointRuleKind, PointSetFinding]:
    found = PACKS.get(pack, 0)
    assert found is not None
    measured = [
        MeasuredPoint(x=Fraction(x), error=Fraction(e), mpe=None if m is None else Fraction(m)) for x, e, m in points
    ]
    return {f.kind: f for f in (rule.judge(measured) for rule in found.point_set_rules(parameters))}


@pytest.mark.parametrize(
    ("errors", "holds"),
    [
        (("1.5", "1.9", "4"), False),  # METROLOGY §3a: one of them must be below half its MPE
        (("0.999", "1.9", "4"), True),
        (("1", "1.9", "4"), False),
        (("1.5", "1.9", "2.4"), True),
        (("1.5", "1.9", "2.5"), False),
        (("1.5", "-1.9", "4"), True),
        (("1.5", "0", "4"), True),
        (("-1.5", "-1.9", "-4"), False),
        (("-1.5", "-0.5", "-4"), True),
    ],
)
def test_errors_of_one_sign_of_a_water_meter(errors: tuple[str, str, str], holds: bool) -> None:
    points = [("2.5", errors[0], "2"), ("0.025", errors[1], "2"), ("0.015625", errors[2], "5")]
    found = judge("oiml-r49", WATER, [(x, e, m) for x, e, m in points])[PointRuleKind.SAME_SIGN]
    assert found.holds is holds
    assert found.points == 3
    assert not found.verified


def test_one_point_or_an_unknown_limit_says_nothing_of_the_sign() -> None:
    assert judge("oiml-r49", WATER, [("2.5", "1.9", "2")])[PointRuleKind.SAME_SIGN].holds is None
    unknown = judge("oiml-r49", WATER, [("2.5", "1.9", "2"), ("1", "0.1", None)])[PointRuleKind.SAME_SIGN]
    assert unknown.holds is None
    sure = judge("oiml-r49", WATER, [("2.5", "0.9", "2"), ("1", "0.1", None)])[PointRuleKind.SAME_SIGN]
    assert sure.holds is True


@pytest.mark.parametrize(
    ("points", "holds", "value"),
    [
        ([("6", "0.5", "1"), ("0.6", "0.1", "1")], True, 0.5),
        ([("6", "0.51", "1"), ("0.6", "0.1", "1")], False, 0.51),
        ([("6", "-0.6", "1"), ("0.6", "-0.1", "1")], False, 0.6),
        ([("6", "0.9", "1"), ("0.6", "-0.1", "1")], True, None),
        ([("6", "0.5", "1"), ("0.6", "0.1", "1"), ("0.599", "1.9", "2")], True, 0.5),
    ],
)
def test_gas_meters_of_class_1_with_errors_of_one_sign(
    points: list[tuple[str, str, str | None]], holds: bool, value: float | None
) -> None:
    found = judge("oiml-r137", GAS, points)[PointRuleKind.SAME_SIGN]
    assert (found.holds, found.value, found.verified) == (holds, value, True)


def test_the_weighted_mean_error_by_hand() -> None:
    # k: 6 -> 1.4 - 1 = 0.4; 4.2 -> 0.7; 2.4 -> 0.4; 0.6 -> 0.1. WME = (0.4·0.8 + 0.7·0.2 - 0.4·0.3 + 0.1·1)/1.6
    points: list[tuple[str, str, str | None]] = [
        ("6", "0.8", "1"), ("4.2", "0.2", "1"), ("2.4", "-0.3", "1"), ("0.6", "1", "1"),
    ]  # fmt: skip
    found = judge("oiml-r137", GAS, points)[PointRuleKind.WEIGHTED_MEAN]
    assert found.value == 0.275
    assert (found.holds, found.limit, found.verified) == (True, 0.4, False)
    assert judge("oiml-r137", {**GAS, "class": "0.5"}, points)[PointRuleKind.WEIGHTED_MEAN].holds is False
    assert PointRuleKind.SAME_SIGN not in judge("oiml-r137", {**GAS, "class": "1.5"}, points)
    assert weighted_mean_error([], Fraction(6)) is None


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(-300, 300)), min_size=1, max_size=8),
    st.integers(-100, 100),
)
def test_the_weighted_mean_lies_among_the_errors_and_moves_with_them(points: list[tuple[int, int]], shift: int) -> None:
    exact = [(Fraction(q), Fraction(e, 100)) for q, e in points]
    mean = weighted_mean_error(exact, Fraction(100))
    assert mean is not None
    errors = [e for _, e in exact]
    assert min(errors) <= mean <= max(errors)
    assert weighted_mean_error([(q, e + Fraction(shift, 100)) for q, e in exact], Fraction(100)) == mean + Fraction(
        shift, 100
    )
