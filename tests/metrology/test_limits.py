"""Legal limits of the shipped rule packs: the vectors of METROLOGY §1-§3, exact edges, and what every limit obeys."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrology.instants import parse_date
from gateway.metrology.limits import Limits
from gateway.metrology.rulepacks import catalogue
from gateway.metrology.units import convert_float
from gateway.shipped import shipped_texts

PACKS = catalogue(shipped_texts("rulepacks"))
NAN = float("nan")

SHOP = {"class": "III", "max": "15 kg", "e": "5 g", "d": "5 g"}
TRUCK = {"class": "III", "max": "80 t", "e": "20 kg", "d": "20 kg"}
BALANCE = {"class": "II", "max": "6200 g", "e": "0.1 g", "d": "0.1 g"}
WATER = {"class": "2", "Q3": "2.5 m3/h", "R": "160", "temperature_class": "T30"}
HOUSE = {"class": "B", "Ist": "0.02 A", "Imin": "0.25 A", "Itr": "0.5 A", "Imax": "60 A"}
DIRECT = {"class": "1", "Ib": "5 A", "Imax": "60 A", "connection": "direct"}
CT = {"class": "2", "In": "5 A", "Imax": "6 A", "connection": "ct"}
GAS = {"class": "1.5", "Qmin": "0.04 m3/h", "Qt": "0.6 m3/h", "Qmax": "6 m3/h"}
PUMP = {"class": "0.5", "MMQ": "5 L"}
PRECISE = {"class": "0.5S", "In": "5 A", "Imax": "6 A", "connection": "ct"}
OLD = {"class": "B", "Qn": "1.5 m3/h"}


def limits(
    pack: str, parameters: Mapping[str, str], unit: str, *, in_service: bool = False, error: str = "relative"
) -> Limits:
    found = PACKS.get(pack, 0)
    assert found is not None
    resolved = found.limits(parameters, in_service=in_service, unit=unit, error=error)
    assert resolved is not None
    return resolved


def mpe(
    of: Limits,
    reference: float = 1.0,
    *,
    flow: float = NAN,
    current: float = NAN,
    pf: float = NAN,
    single: bool = False,
    temperature: float = NAN,
) -> float:
    found = of.evaluate(
        reference=np.array([reference]),
        flow_m3h=np.array([flow]),
        current_A=np.array([current]),
        power_factor=np.array([pf]),
        single_phase=np.array([single]),
        temperature_C=np.array([temperature]),
    )
    return float(found[0])


def unknown(value: float) -> bool:
    return bool(np.isnan(value))


@pytest.mark.parametrize(
    ("parameters", "unit", "load", "wanted"),
    [
        (SHOP, "kg", 0.0, 0.0025),
        (SHOP, "kg", 2.5, 0.0025),
        (SHOP, "kg", 2.505, 0.005),
        (SHOP, "kg", 10.0, 0.005),
        (SHOP, "kg", 10.005, 0.0075),
        (SHOP, "kg", 15.0, 0.0075),
        (SHOP, "g", 2500.0, 2.5),
        (SHOP, "g", 2505.0, 5.0),
        (TRUCK, "kg", 10000.0, 10.0),
        (TRUCK, "kg", 10020.0, 20.0),
        (TRUCK, "kg", 40000.0, 20.0),
        (TRUCK, "kg", 40020.0, 30.0),
        (TRUCK, "t", 10.0, 0.01),
        (TRUCK, "t", 10.02, 0.02),
        (BALANCE, "g", 500.0, 0.05),
        (BALANCE, "g", 500.1, 0.1),
        (BALANCE, "g", 2000.1, 0.15),
        ({"class": "I", "max": "220 g", "e": "1 mg", "d": "0.1 mg"}, "g", 50.0, 0.0005),
        ({"class": "I", "max": "220 g", "e": "1 mg", "d": "0.1 mg"}, "g", 200.0, 0.001),
        ({"class": "I", "max": "220 g", "e": "1 mg", "d": "0.1 mg"}, "g", 200.001, 0.0015),
        ({"class": "IIII", "max": "50 kg", "e": "50 g", "d": "50 g"}, "kg", 2.5, 0.025),
        ({"class": "IIII", "max": "50 kg", "e": "50 g", "d": "50 g"}, "kg", 10.05, 0.075),
    ],
)
def test_scales(parameters: Mapping[str, str], unit: str, load: float, wanted: float) -> None:
    assert mpe(limits("oiml-r76", parameters, unit, error="absolute"), load) == wanted
    assert mpe(limits("oiml-r76", parameters, unit, error="absolute"), -load) == wanted
    in_service = limits("oiml-r76", parameters, unit, error="absolute", in_service=True)
    assert mpe(in_service, load) == float(2 * Decimal(repr(wanted)))


def test_the_scale_of_the_r76_example() -> None:
    example = limits("oiml-r76", {**SHOP, "max": "3 kg"}, "g", error="absolute")
    assert mpe(example, 1000.0) == 2.5


def test_nothing_is_required_beyond_max() -> None:
    assert unknown(mpe(limits("oiml-r76", SHOP, "kg", error="absolute"), 15.005))


def test_a_relative_scale_has_the_same_limit_in_percent() -> None:
    relative = limits("oiml-r76", SHOP, "kg")
    assert mpe(relative, 2.5) == 0.1
    assert mpe(relative, 3.0) == float(Fraction(1, 6))
    assert unknown(mpe(relative, 0.0))


@pytest.mark.parametrize(
    ("flow", "temperature", "wanted"),
    [
        (0.025, NAN, 2.0),
        (0.0249, NAN, 5.0),
        (0.015625, NAN, 5.0),
        (0.0156, NAN, NAN),
        (3.125, NAN, 2.0),
        (3.2, NAN, NAN),
        (NAN, NAN, NAN),
        (1.0, 30.0, 2.0),
        (1.0, 30.5, 3.0),
        (0.02, 50.0, 5.0),
    ],
)
def test_water_meters(flow: float, temperature: float, wanted: float) -> None:
    found = mpe(limits("oiml-r49", WATER, "L"), flow=flow, temperature=temperature)
    assert found == wanted or (unknown(found) and unknown(wanted))


def test_a_hot_water_meter_needs_the_temperature_only_where_it_matters() -> None:
    hot = limits("oiml-r49", {**WATER, "class": "1", "temperature_class": "T30/90"}, "m3")
    assert unknown(mpe(hot, flow=1.0))
    assert mpe(hot, flow=1.0, temperature=60.0) == 2.0
    assert mpe(hot, flow=0.02) == 3.0


@pytest.mark.parametrize(
    ("current", "pf", "wanted"),
    [
        (10.0, 1.0, 1.0),
        (10.0, 0.5, 1.5),
        (10.0, -0.8, 1.5),
        (10.0, 0.9, 1.5),
        (10.0, 0.4, NAN),
        (10.0, -0.7, NAN),
        (10.0, -1.0, 1.0),
        (0.3, 1.0, 1.5),
        (0.3, 0.5, 1.8),
        (0.1, 1.0, 3.75),
        (0.1, 0.5, 4.5),
        (0.07, 1.0, float(Fraction(375, 1000) / Fraction(7, 100))),
        (0.5, 1.0, 1.0),
        (0.25, 1.0, 1.5),
        (60.0, 1.0, 1.0),
        (60.1, 1.0, NAN),
        (0.01, 1.0, NAN),
        (10.0, NAN, NAN),
        (NAN, 1.0, NAN),
    ],
)
def test_electricity_meters_of_r46(current: float, pf: float, wanted: float) -> None:
    found = mpe(limits("oiml-r46", HOUSE, "kWh"), current=current, pf=pf)
    assert found == wanted or (unknown(found) and unknown(wanted))


@pytest.mark.parametrize(
    ("parameters", "current", "pf", "single", "wanted"),
    [
        (DIRECT, 0.25, 1.0, False, 1.5),
        (DIRECT, 0.24, 1.0, False, NAN),
        (DIRECT, 0.5, 1.0, False, 1.0),
        (DIRECT, 60.0, 1.0, False, 1.0),
        (DIRECT, 61.0, 1.0, False, NAN),
        (DIRECT, 0.5, 0.5, False, 1.5),
        (DIRECT, 1.0, 0.5, False, 1.0),
        (DIRECT, 1.0, -0.8, False, 1.0),
        (DIRECT, 1.0, 0.8, False, NAN),
        (DIRECT, 0.4, 0.5, False, NAN),
        (DIRECT, 5.0, 1.0, True, 2.0),
        (DIRECT, 0.25, 1.0, True, NAN),
        (DIRECT, 1.0, 0.5, True, 2.0),
        (DIRECT, 5.0, -0.8, True, NAN),
        (DIRECT, 5.0, NAN, False, NAN),
        (CT, 0.1, 1.0, False, 2.5),
        (CT, 0.25, 1.0, False, 2.0),
        (CT, 0.25, 0.5, False, 2.5),
        (CT, 0.5, 0.5, False, 2.0),
        (CT, 0.25, 1.0, True, 3.0),
        (CT, 0.5, 0.5, True, 3.0),
        (CT, 0.4, 0.5, True, NAN),
    ],
)
def test_electricity_meters_of_iec_62053_21(
    parameters: Mapping[str, str], current: float, pf: float, single: bool, wanted: float
) -> None:
    found = mpe(limits("iec-62053-21", parameters, "kWh"), current=current, pf=pf, single=single)
    assert found == wanted or (unknown(found) and unknown(wanted))


@pytest.mark.parametrize(
    ("flow", "initial", "in_service"), [(0.04, 3.0, 6.0), (0.5999, 3.0, 6.0), (0.6, 1.5, 3.0), (6.0, 1.5, 3.0)]
)
def test_gas_meters(flow: float, initial: float, in_service: float) -> None:
    assert mpe(limits("oiml-r137", GAS, "m3"), flow=flow) == initial
    assert mpe(limits("oiml-r137", GAS, "m3", in_service=True), flow=flow) == in_service


def test_gas_meters_outside_their_range() -> None:
    assert unknown(mpe(limits("oiml-r137", GAS, "m3"), flow=0.039))
    assert unknown(mpe(limits("oiml-r137", GAS, "m3"), flow=6.1))


@pytest.mark.parametrize(("volume", "percent"), [(5.0, 1.0), (10.0, 0.5), (20.0, 0.5), (8.0, 0.625), (200.0, 0.5)])
def test_a_dispenser_never_has_less_than_its_least_error(volume: float, percent: float) -> None:
    pump = limits("oiml-r117", PUMP, "L")
    assert mpe(pump, volume) == percent
    absolute = limits("oiml-r117", PUMP, "L", error="absolute")
    assert mpe(absolute, volume) == float(Decimal(repr(volume)) * Decimal(repr(percent)) / 100)
    assert mpe(limits("oiml-r117", PUMP, "mL"), volume * 1000) == percent


@pytest.mark.parametrize(
    ("volume_mL", "mpe_mL"),
    [
        (2000.0, 10.0),
        (1999.0, 10.0),
        (1000.0, 10.0),
        (999.0, 9.99),
        (400.0, 4.0),
        (399.0, 4.0),
        (200.0, 4.0),
        (199.0, 3.98),
        (100.0, 2.0),
        (99.0, 2.0),
        (1.0, 2.0),
    ],
)
def test_small_volumes(volume_mL: float, mpe_mL: float) -> None:
    tiny = limits("oiml-r117", {"class": "0.5", "MMQ": "10 mL"}, "mL", error="absolute")
    assert mpe(tiny, volume_mL) == mpe_mL


@pytest.mark.parametrize(
    ("current", "pf", "single", "wanted"),
    [
        (0.05, 1.0, False, (0.4, 1.0)),
        (0.0499, 1.0, False, (NAN, NAN)),
        (0.2499, 1.0, False, (0.4, 1.0)),
        (0.25, 1.0, False, (0.2, 0.5)),
        (6.0, 1.0, False, (0.2, 0.5)),
        (6.001, 1.0, False, (NAN, NAN)),
        (0.1, 0.5, False, (0.5, 1.0)),
        (0.0999, 0.5, False, (NAN, NAN)),
        (0.4999, -0.8, False, (0.5, 1.0)),
        (0.5, -0.8, False, (0.3, 0.6)),
        (6.0, 0.5, False, (0.3, 0.6)),
        (0.25, 1.0, True, (0.3, 0.6)),
        (0.2499, 1.0, True, (NAN, NAN)),
        (0.5, 0.5, True, (0.4, 1.0)),
        (0.4999, 0.5, True, (NAN, NAN)),
        (5.0, -0.8, True, (NAN, NAN)),
        (5.0, NAN, False, (NAN, NAN)),
    ],
)
def test_electricity_meters_of_iec_62053_22(
    current: float, pf: float, single: bool, wanted: tuple[float, float]
) -> None:
    for name, limit in zip(("0.2S", "0.5S"), wanted, strict=True):
        found = mpe(limits("iec-62053-22", {**PRECISE, "class": name}, "kWh"), current=current, pf=pf, single=single)
        assert found == limit or (unknown(found) and unknown(limit))


@pytest.mark.parametrize(
    ("name", "qn", "least", "transition"),
    [
        ("A", "1.5 m³/h", "0.06", "0.15"),
        ("B", "1.5 m³/h", "0.03", "0.12"),
        ("C", "1.5 m³/h", "0.015", "0.0225"),
        ("D", "1.5 m³/h", "0.01125", "0.01725"),
        ("A", "14.999 m³/h", "0.59996", "1.4999"),
        ("A", "15 m³/h", "1.2", "4.5"),
        ("B", "15 m³/h", "0.45", "3"),
        ("C", "15 m³/h", "0.09", "0.225"),
    ],
)
def test_water_meters_of_the_old_classes(name: str, qn: str, least: str, transition: str) -> None:
    old = limits("water-abcd", {"class": name, "Qn": qn}, "m3")
    most = float(Decimal(qn.split(maxsplit=1)[0]) * 2)
    assert mpe(old, flow=float(least)) == 5.0
    assert unknown(mpe(old, flow=np.nextafter(float(least), 0)))
    assert mpe(old, flow=float(transition)) == 2.0
    assert mpe(old, flow=float(np.nextafter(float(transition), 0))) == 5.0
    assert mpe(old, flow=most) == 2.0
    assert unknown(mpe(old, flow=float(np.nextafter(most, 99))))


def test_a_large_meter_of_class_d_has_no_limit() -> None:
    assert unknown(mpe(limits("water-abcd", {"class": "D", "Qn": "15 m3/h"}, "m3"), flow=10.0))


@pytest.mark.parametrize(("day", "version", "percent"), [("2013-08-18", "2011", 0.5), ("2013-08-19", "2013", 0.3),
                                                         ("2026-11-23", "2017", 0.3)])  # fmt: skip
def test_vietnamese_dispensers_by_the_procedure_in_force(day: str, version: str, percent: float) -> None:
    hcm = ZoneInfo("Asia/Ho_Chi_Minh")
    found = catalogue(shipped_texts("rulepacks"), zone=hcm).get("dlvn-10", parse_date(day, hcm))
    assert found is not None
    assert found.version == version
    resolved = found.limits({}, in_service=False, unit="L", error="relative")
    assert resolved is not None
    assert mpe(resolved, 20.0) == percent
    assert resolved.verified is (version == "2013")


def test_rules_do_not_speak_of_other_quantities() -> None:
    for pack, parameters in (("oiml-r76", SHOP), ("oiml-r49", WATER), ("oiml-r46", HOUSE)):
        found = PACKS.get(pack, 0)
        assert found is not None
        for unit in ("V", "°C", "pieces"):
            assert found.limits(parameters, in_service=True, unit=unit, error="absolute") is None


def test_equal_limits_have_one_key() -> None:
    a = limits("oiml-r76", SHOP, "kg", error="absolute")
    b = limits("oiml-r76", {**SHOP, "e": "0.005 kg", "max": "15000 g"}, "kg", error="absolute")
    c = limits("oiml-r76", SHOP, "kg", error="absolute", in_service=True)
    assert a == b
    assert a.key == b.key
    assert a.key != c.key


def test_what_was_verified_is_said_per_class() -> None:
    assert limits("oiml-r76", SHOP, "kg", in_service=True).verified
    assert limits("oiml-r49", WATER, "m3").verified
    assert not limits("oiml-r49", WATER, "m3", in_service=True).verified
    assert not limits("oiml-r49", {**WATER, "class": "1"}, "m3").verified
    assert not limits("oiml-r46", HOUSE, "kWh").verified
    assert not limits("oiml-r117", PUMP, "L").verified


CLASSES = ("I", "II", "III", "IIII")
SCALES = st.sampled_from(("1 g", "2 g", "5 g", "10 g", "0.1 kg"))


def many(of: Limits, loads: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    empty = np.full(len(loads), NAN)
    return of.evaluate(
        reference=loads,
        flow_m3h=empty,
        current_A=empty,
        power_factor=empty,
        single_phase=np.zeros(len(loads), np.bool_),
        temperature_C=empty,
    )


@given(e=SCALES, loads=st.lists(st.integers(0, 1000), min_size=2, max_size=20), chosen=st.sampled_from(CLASSES))
def test_scales_obey(e: str, loads: list[int], chosen: str) -> None:
    step = Decimal(e.split(maxsplit=1)[0]) * (1000 if e.endswith("kg") else 1)
    parameters = {"class": chosen, "max": f"{1000 * step} g", "e": e, "d": e}
    x = np.array(sorted(float(n * step) for n in loads))
    found = many(limits("oiml-r76", parameters, "g", error="absolute"), x)
    assert not np.isnan(found).any()
    assert (np.diff(found) >= 0).all(), "a heavier load never has a smaller limit"
    doubled = many(limits("oiml-r76", parameters, "g", error="absolute", in_service=True), x)
    assert doubled.tolist() == (found * 2).tolist()
    in_kg = many(limits("oiml-r76", parameters, "kg", error="absolute"), x_in(x, "g", "kg"))
    assert in_kg.tolist() == x_in(found, "g", "kg").tolist(), "the unit of the channel changes no side of an edge"
    for load, value in zip(x, found, strict=True):
        assert many(limits("oiml-r76", parameters, "g", error="absolute"), np.array([load])).tolist() == [value]


def x_in(values: npt.NDArray[np.float64], source: str, target: str) -> npt.NDArray[np.float64]:
    return np.array([convert_float(float(v), source, target) for v in values])


@given(load=st.integers(0, 1000))
def test_a_better_class_never_has_the_larger_limit(load: int) -> None:
    by_class = [
        mpe(limits("oiml-r76", {**SHOP, "class": c, "max": "5 kg"}, "g", error="absolute"), float(5 * load))
        for c in CLASSES
    ]
    assert all(better <= worse for better, worse in pairwise(by_class))


@given(
    flow=st.floats(0.001, 4.0),
    current=st.floats(0.001, 70.0),
    pf=st.sampled_from((1.0, 0.5, -0.8, 0.7)),
    temperature=st.floats(1.0, 90.0),
)
def test_a_better_meter_never_has_the_larger_limit(flow: float, current: float, pf: float, temperature: float) -> None:
    water = [
        mpe(limits("oiml-r49", {**WATER, "class": c}, "L"), flow=flow, temperature=temperature) for c in ("1", "2")
    ]
    energy = [mpe(limits("oiml-r46", {**HOUSE, "class": c}, "Wh"), current=current, pf=pf) for c in "DCBA"]
    for found in (water, energy):
        assert all(unknown(v) for v in found) or all(a <= b for a, b in pairwise(found))


@given(st.lists(st.floats(0.001, 100.0), min_size=1, max_size=20), st.sampled_from(("absolute", "relative")))
def test_a_batch_of_deliveries_is_judged_as_each_alone(volumes: list[float], error: str) -> None:
    pump = limits("oiml-r117", PUMP, "L", error=error)
    together = many(pump, np.array(volumes))
    for i, volume in enumerate(volumes):
        assert many(pump, np.array([volume])).tobytes() == together[i : i + 1].tobytes()
        least = Fraction(5, 100) if error == "absolute" else 5 / Fraction(repr(volume))
        assert together[i] >= float(least)


@pytest.mark.parametrize("name", PACKS.ids)
def test_no_checks_have_no_limits(name: str) -> None:
    of = {
        "oiml-r76": limits("oiml-r76", SHOP, "kg"),
        "oiml-r49": limits("oiml-r49", WATER, "L"),
        "oiml-r46": limits("oiml-r46", HOUSE, "kWh"),
        "oiml-r137": limits("oiml-r137", GAS, "m3"),
        "oiml-r117": limits("oiml-r117", PUMP, "L"),
        "iec-62053-21": limits("iec-62053-21", DIRECT, "Wh"),
        "iec-62053-22": limits("iec-62053-22", PRECISE, "Wh"),
        "water-abcd": limits("water-abcd", OLD, "L"),
        "dlvn-10": limits("dlvn-10", {}, "L"),
    }
    assert len(many(of[name], np.array([]))) == 0
