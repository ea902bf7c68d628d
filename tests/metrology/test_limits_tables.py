"""Every band of every shipped table at its edges: the float on the edge, the next below and the next above.

The tables are those of METROLOGY §1-§3, written here a second time; edges are exact and rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import inf, nextafter

import numpy as np
import pytest

from gateway.metrology.rulepacks import catalogue
from gateway.shipped import shipped_texts

PACKS = catalogue(shipped_texts("rulepacks"))
NAN = float("nan")
F = Fraction


def at(
    pack: str, parameters: Mapping[str, str], unit: str, *, in_service: bool = False, reference: float = 1.0,
    flow: float = NAN, current: float = NAN, pf: float = NAN, single: bool = False, temperature: float = NAN,
    error: str = "relative",
) -> float | None:  # fmt: skip
    found = PACKS.get(pack, 0)
    assert found is not None
    limits = found.limits(parameters, in_service=in_service, unit=unit, error=error)
    assert limits is not None
    mpe = limits.evaluate(
        reference=np.array([reference]), flow_m3h=np.array([flow]), current_A=np.array([current]),
        power_factor=np.array([pf]), single_phase=np.array([single]), temperature_C=np.array([temperature]),
    )  # fmt: skip
    value = float(mpe[0])
    return None if np.isnan(value) else value


def around(edge: Fraction) -> tuple[float, float, float]:
    """Return the float before an edge, on it, and after it."""
    on = float(edge)
    return nextafter(on, -inf), on, nextafter(on, inf)


TABLE_6 = {"I": (50_000, 200_000, None), "II": (5_000, 20_000, 100_000), "III": (500, 2_000, 10_000),
           "IIII": (50, 200, 1_000)}  # fmt: skip


@pytest.mark.parametrize("in_service", [False, True])
@pytest.mark.parametrize("e", ["1 mg", "0.1 g", "5 g", "20 kg"])
@pytest.mark.parametrize("name", TABLE_6)
def test_r76_table_6(name: str, e: str, in_service: bool) -> None:
    number, unit = e.split()
    step = F(number)
    parameters = {
        "class": name,
        "max": f"{300_000 * int(step * 1000)} {'mg' if unit == 'mg' else unit}",
        "e": e,
        "d": e,
    }
    factor = 2 if in_service else 1

    def mpe(load: float) -> float | None:
        return at("oiml-r76", parameters, unit, in_service=in_service, reference=load, error="absolute")

    first, second, third = TABLE_6[name]
    steps = [float(step * share * factor) for share in (F(1, 2), F(1), F(3, 2))]
    assert mpe(0.0) == steps[0]
    for edge, lower, upper in ((first, steps[0], steps[1]), (second, steps[1], steps[2])):
        assert [mpe(load) for load in around(edge * step)] == [lower, lower, upper]
    if third is not None:
        assert [mpe(load) for load in around(third * step)] == [steps[2], steps[2], None]
    else:
        assert mpe(float(250_000 * step)) == steps[2]


R46 = {  # METROLOGY §2a: at and above Itr, at and above Imin; power factor 1 and others
    "A": (("2.0", "2.5"), ("2.5", "2.5")), "B": (("1.0", "1.5"), ("1.5", "1.8")),
    "C": (("0.5", "0.6"), ("1.0", "1.3")), "D": (("0.2", "0.3"), ("0.4", "0.5")),
}  # fmt: skip


@pytest.mark.parametrize("in_service", [False, True])
@pytest.mark.parametrize("name", R46)
def test_r46_base_limits(name: str, in_service: bool) -> None:
    parameters = {"class": name, "Ist": "20 mA", "Imin": "0.25 A", "Itr": "0.5 A", "Imax": "60 A"}

    def mpe(current: float, pf: float) -> float | None:
        return at("oiml-r46", parameters, "kWh", in_service=in_service, current=current, pf=pf)

    for column, factors in enumerate(((1.0, -1.0), (0.5, 0.7, 0.999, -0.8, -0.9))):
        high, low = float(R46[name][0][column]), float(R46[name][1][column])
        for pf in factors:
            assert [mpe(i, pf) for i in around(F(60))] == [high, high, None]
            assert [mpe(i, pf) for i in around(F(1, 2))] == [low, high, high]
            below, on, above = (mpe(i, pf) for i in around(F(1, 4)))
            assert below is not None
            assert below >= low
            assert (on, above) == (low, low)
            below, on, above = (mpe(i, pf) for i in around(F(2, 100)))
            assert below is None
            assert on == float(F(R46[name][1][column]) * F(25, 2))
            assert mpe(0.1, pf) == float(F(R46[name][1][column]) * F(5, 2))
    assert mpe(10.0, 0.49) is None
    assert mpe(10.0, -0.79) is None


R49 = {"2": (5.0, 2.0, 3.0), "1": (3.0, 1.0, 2.0)}


@pytest.mark.parametrize(("q3", "ratio"), [("2.5", 160), ("1.6", 100), ("4", 315), ("6.3", 80), ("100", 40)])
@pytest.mark.parametrize("name", R49)
def test_r49_zones(name: str, q3: str, ratio: int) -> None:
    parameters = {"class": name, "Q3": f"{q3} m3/h", "R": str(ratio), "temperature_class": "T90"}
    lower, cold, hot = R49[name]

    def mpe(flow: float, temperature: float) -> float | None:
        return at("oiml-r49", parameters, "L", flow=flow, temperature=temperature)

    q1 = F(q3) / ratio
    for temperature, upper in ((0.1, cold), (30.0, cold), (nextafter(30.0, inf), hot), (90.0, hot)):
        assert [mpe(q, temperature) for q in around(q1)] == [None, lower, lower]
        assert [mpe(q, temperature) for q in around(q1 * F(16, 10))] == [lower, upper, upper]
        assert [mpe(q, temperature) for q in around(F(q3) * F(5, 4))] == [upper, upper, None]
    assert mpe(float(F(q3)), NAN) is None
    assert mpe(float(q1), NAN) == lower


@pytest.mark.parametrize(("name", "below", "above"), [("0.5", 1.0, 0.5), ("1", 2.0, 1.0), ("1.5", 3.0, 1.5)])
@pytest.mark.parametrize("in_service", [False, True])
def test_r137_zones(name: str, below: float, above: float, in_service: bool) -> None:
    parameters = {"class": name, "Qmin": "0.016 m3/h", "Qt": "250 L/h", "Qmax": "2.5 m3/h"}
    factor = 2 if in_service else 1

    def mpe(flow: float) -> float | None:
        found = at("oiml-r137", parameters, "m3", in_service=in_service, flow=flow)
        return None if found is None else found / factor

    assert [mpe(q) for q in around(F(16, 1000))] == [None, below, below]
    assert [mpe(q) for q in around(F(1, 4))] == [below, above, above]
    assert [mpe(q) for q in around(F(5, 2))] == [above, above, None]


@pytest.mark.parametrize("name", ["0.3", "0.5", "1.0", "1.5", "2.5"])
def test_r117_line_a_and_small_volumes(name: str) -> None:
    share = F(name) / 100
    parameters = {"class": name, "MMQ": "1 mL"}

    def wanted(litres: Fraction) -> float:
        amounts = ((F(2), litres), (F(1), F(2)), (F(4, 10), 2 * litres), (F(2, 10), F(8, 10)), (F(1, 10), 4 * litres))
        for edge, amount in amounts:
            if litres >= edge:
                return float(share * amount)
        return float(share * F(4, 10))

    for edge in ("2", "1", "0.4", "0.2", "0.1"):
        for litres in around(F(edge)):
            found = at("oiml-r117", parameters, "L", reference=litres, error="absolute")
            assert found == wanted(F(repr(litres)))
    for text in ("0.05", "0.15", "0.3", "0.7", "1.5", "5", "1000"):
        assert at("oiml-r117", parameters, "L", reference=float(text), error="absolute") == wanted(F(text))
    least = {"class": name, "MMQ": "5 L"}
    for text in ("0.05", "5", "9.99", "10", "10.01", "20"):
        found = at("oiml-r117", least, "L", reference=float(text), error="absolute")
        assert found == max(float(10 * share), wanted(F(text)))


IEC_21 = {"1": (1.0, 1.5, 2.0), "2": (2.0, 2.5, 3.0)}


@pytest.mark.parametrize(("connection", "basic", "unit_share"), [("direct", "Ib", F(1)), ("ct", "In", F(1, 2))])
@pytest.mark.parametrize("name", IEC_21)
def test_iec_62053_21_table(name: str, connection: str, basic: str, unit_share: Fraction) -> None:
    parameters = {"class": name, "connection": connection, basic: "5 A", "Imax": "60 A"}
    normal, wide, single = IEC_21[name]

    def mpe(current: float, pf: float, *, one_phase: bool = False) -> float | None:
        return at("iec-62053-21", parameters, "kWh", current=current, pf=pf, single=one_phase)

    tenth = F(5, 10) * unit_share  # 0.1 Ib, or 0.05 In
    least = F(5, 20) if connection == "direct" else F(1, 10)  # 0.05 Ib, or 0.02 In
    assert [mpe(i, 1.0) for i in around(least)] == [None, wide, wide]
    assert [mpe(i, 1.0) for i in around(tenth)] == [wide, normal, normal]
    assert [mpe(i, 1.0) for i in around(F(60))] == [normal, normal, None]
    for pf in (0.5, -0.8):
        assert [mpe(i, pf) for i in around(tenth)] == [None, wide, wide]
        assert [mpe(i, pf) for i in around(2 * tenth)] == [wide, normal, normal]
    assert [mpe(i, 1.0, one_phase=True) for i in around(tenth)] == [None, single, single]
    assert [mpe(i, 0.5, one_phase=True) for i in around(2 * tenth)] == [None, single, single]
    assert mpe(5.0, -0.8, one_phase=True) is None
    assert mpe(5.0, 0.8) is None
