"""Units: exact conversion, strict spelling, and refusals that name their reason."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrology.units import (
    CHANNEL_DIMENSIONS,
    UnitError,
    convert,
    convert_float,
    dimension_for,
    exact,
    parse_quantity,
    same_unit,
    to_decimal,
    unit,
)  # fmt: skip

MASSES = ("kg", "g", "mg", "µg", "t")
FLOATS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


@pytest.mark.parametrize(
    ("value", "source", "target", "wanted"),
    [
        ("5", "g", "kg", "0.005"),
        ("1.2", "t", "kg", "1200"),
        ("25", "L/h", "m3/h", "0.025"),
        ("1", "L/min", "m³/h", "0.06"),
        ("1", "L/s", "m3/h", "3.6"),
        ("2.5", "m³/h", "L/h", "2500"),
        ("50", "mL", "L", "0.05"),
        ("1", "hL", "m3", "0.1"),
        ("3.6", "MJ", "kWh", "1"),
        ("12.5", "kWh", "Wh", "12500"),
        ("7", "kW.h", "kWh", "7"),
        ("20", "°C", "K", "293.15"),
        ("0", "K", "Cel", "-273.15"),
        ("1013.25", "hPa", "kPa", "101.325"),
        ("1", "bar", "mbar", "1000"),
        ("1500", "mA", "A", "1.5"),
        ("1", "%", "ppm", "10000"),
    ],
)
def test_conversion_is_exact(value: str, source: str, target: str, wanted: str) -> None:
    assert convert(Decimal(value), source, target) == Decimal(wanted)
    assert convert_float(float(value), source, target) == float(wanted)


def test_what_has_no_finite_decimal_stays_a_fraction() -> None:
    third = convert(Decimal(1), "m3/h", "L/s")
    assert third == Fraction(1000, 3600)
    assert abs(to_decimal(third) - Decimal("0.27777777777777777777777777777777777778")) < Decimal("1e-38")


def test_an_interval_has_no_offset() -> None:
    assert convert(Decimal("0.05"), "K", "°C", difference=True) == Decimal("0.05")
    assert convert_float(0.05, "K", "°C", difference=True) == 0.05
    assert convert_float(18.0, "°F", "°C", difference=True) == 10.0
    assert convert_float(50.0, "°F", "°C") == 10.0


@pytest.mark.parametrize(
    ("a", "b"),
    [("m3", "m³"), ("L", "l"), ("dm3", "dm³"), ("µg", "μg"), ("°C", "Cel"), ("degC", "°C"), ("L/h", "l/h"), ("x", "x")],
)
def test_spellings_of_one_unit(a: str, b: str) -> None:
    assert same_unit(a, b)


def test_units_of_one_size_under_two_names_are_convertible_but_not_the_same() -> None:
    assert not same_unit("L", "dm3")
    assert convert(Decimal(3), "L", "dm3") == 3


@pytest.mark.parametrize("text", ["KG", "Kg", "kwh", "KWH", "Nm3", "Sm³", "C", "ton", "", " ", "kg/", "lít", "c", "M3"])
def test_wrong_and_ambiguous_spellings_are_unknown(text: str) -> None:
    with pytest.raises(UnitError) as refused:
        unit(text)
    assert refused.value.why == "unknown_unit"


def test_a_refusal_names_what_was_probably_meant() -> None:
    with pytest.raises(UnitError, match="write kg"):
        unit("KG")
    with pytest.raises(UnitError, match="base conditions"):
        unit("Nm3")


@pytest.mark.parametrize(
    ("source", "target"),
    [("kW", "kWh"), ("kvarh", "kWh"), ("L", "kg"), ("m3", "m3/h"), ("VAh", "Wh"), ("%RH", "%"), ("kg", "pieces")],
)
def test_contradicting_dimensions_are_named(source: str, target: str) -> None:
    for attempt in (lambda: convert(Decimal(1), source, target), lambda: convert_float(1.0, source, target)):
        with pytest.raises(UnitError) as refused:
            attempt()
        assert refused.value.why == "wrong_dimension"


def test_an_unknown_source_is_an_unknown_unit() -> None:
    with pytest.raises(UnitError) as refused:
        convert(Decimal(1), "pieces", "kg")
    assert refused.value.why == "unknown_unit"


def test_channels_fix_the_dimension() -> None:
    assert {unit(u).dimension for u in ("kg", "kWh", "kvarh", "m3", "L/h", "W", "V", "A", "°C", "bar")} == set(
        CHANNEL_DIMENSIONS.values()
    )
    assert dimension_for("weighing", "mass", "g") == "mass"
    with pytest.raises(UnitError) as refused:
        dimension_for("weighing", "mass", "L")
    assert refused.value.why == "wrong_dimension"
    with pytest.raises(UnitError) as refused:
        dimension_for("weighing", "stroke", "furlong")
    assert refused.value.why == "unknown_unit"


def test_a_channel_of_kind_other_may_use_any_text_which_is_then_literal() -> None:
    assert dimension_for("other", "turbidity", "NTU") is None
    assert dimension_for("reference", "light", "kg") is None
    assert dimension_for("reference", "mass", "kg") == "mass"


@given(value=FLOATS, source=st.sampled_from(MASSES), target=st.sampled_from(MASSES))
def test_a_float_is_rounded_once(value: float, source: str, target: str) -> None:
    once = Fraction(exact(value)) * unit(source).factor / unit(target).factor
    assert convert_float(value, source, target) == float(once)


@given(value=st.decimals(-(10**9), 10**9, places=6), a=st.sampled_from(MASSES), b=st.sampled_from(MASSES))
def test_there_and_back_changes_nothing(value: Decimal, a: str, b: str) -> None:
    assert convert(to_decimal(convert(value, a, b)), b, a) == value


def test_non_finite_floats_stay_and_overflow_is_an_infinity() -> None:
    assert convert_float(float("inf"), "kg", "g") == float("inf")
    assert str(convert_float(float("nan"), "kg", "g")) == "nan"
    assert convert_float(-1e308, "t", "µg") == float("-inf")


@pytest.mark.parametrize(
    ("text", "value", "name"),
    [
        ("5 g", "5", "g"),
        ("0.02 %", "0.02", "%"),
        ("25 L/h", "25", "L/h"),
        ("-3.5 kg", "-3.5", "kg"),
        ("−3.5 kg", "-3.5", "kg"),
        ("1.2e3 kg", "1200", "kg"),
        ("5 e", "5", "e"),
        ("80t", "80", "t"),
        (" 2.5 m³/h ", "2.5", "m³/h"),
        ("21.5 °C", "21.5", "°C"),
        (".5 kg", "0.5", "kg"),
    ],
)
def test_a_quantity_is_a_number_and_a_unit(text: str, value: str, name: str) -> None:
    quantity = parse_quantity(text)
    assert (quantity.value, quantity.unit) == (Decimal(value), name)


@pytest.mark.parametrize(
    "text",
    [
        "1,5 kg", "1 400 kg", "1\u00a0400 kg", "1'400 kg", "nan kg", "inf kg", "Infinity kg", "kg", "5", "", "1e5",
        "1.2.3 kg", "5 \x00g", "٥ kg", "--5 kg", "1e9999 kg", "1e999 kg", "5 " + "g" * 200,
    ],
)  # fmt: skip
def test_what_is_not_a_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|unit|comma|thousands"):
        parse_quantity(text)


@given(st.text())
def test_no_text_does_more_than_refuse(text: str) -> None:
    try:
        quantity = parse_quantity(text)
    except ValueError:
        return
    assert quantity.value.is_finite()
