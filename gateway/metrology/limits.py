"""Maximum permissible errors of one channel under one rule pack, as bands over load, flow or current.

A band's edges are the exact numbers of its rule, rounded once to floats: a reading written as the same decimal is the
same float, so `0.005 kg` and `5 g` fall on the same side. A limit that depends on the reading is computed on its
decimals and rounded once. Bits do not depend on the batch. NaN stands for an absent number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import isfinite

import numpy as np
import numpy.typing as npt

from gateway.metrology.formulas import PowerFactors
from gateway.metrology.units import exact

__all__ = ["Argument", "Band", "Interval", "Limits"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class Argument(StrEnum):
    """What the bands of a rule pack run over: |R| in the channel's unit, flow in m³/h, current in A."""

    REFERENCE = "reference"
    FLOW = "flow"
    CURRENT = "current"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An interval of floats, each edge inside when it is closed."""

    low: float
    high: float
    low_closed: bool
    high_closed: bool

    def holds(self, x: Floats) -> Bools:
        """Return where x lies inside; False for NaN."""
        above = x >= self.low if self.low_closed else x > self.low
        below = x <= self.high if self.high_closed else x < self.high
        return above & below


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One row of a table of limits: where it holds, and its MPE.

    `mpe` is in the channel's unit, or in % of the reference where `relative`; times argument ** `power` (0 or -1).
    None is "whatever it is": no condition on that quantity.
    """

    at: Interval
    mpe: Fraction
    relative: bool
    power: int = 0
    power_factors: PowerFactors | None = None
    single_phase: bool | None = None
    temperature: Interval | None = None

    def meets(
        self, argument: Floats, power_factor: Floats, single_phase: Bools, temperature: Floats
    ) -> tuple[Bools, Bools]:
        """Return where the band holds, and where it might: a condition it needs is missing, none contradicts."""
        conditions = [(self.at.holds(argument), np.isnan(argument))]
        if self.power_factors is not None:
            conditions.append((_among(power_factor, self.power_factors), np.isnan(power_factor)))
        if self.single_phase is not None:
            conditions.append((single_phase == self.single_phase, np.zeros(len(argument), np.bool_)))
        if self.temperature is not None:
            conditions.append((self.temperature.holds(temperature), np.isnan(temperature)))
        holds = np.logical_and.reduce([yes for yes, _ in conditions])
        possible = np.logical_and.reduce([yes | missing for yes, missing in conditions])
        return holds, possible & ~holds


def _among(power_factor: Floats, wanted: PowerFactors) -> Bools:
    """Return where a signed power factor (inductive positive, ±1 being 1) is among the wanted ones."""
    signed = np.where(power_factor == -1.0, 1.0, power_factor)
    found = np.isin(signed, wanted.exactly)
    if wanted.inductive is not None and wanted.capacitive is not None:
        found |= (signed >= wanted.inductive) & (signed <= 1.0)
        found |= (signed <= wanted.capacitive) & (signed >= -1.0)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one channel: bands tried in order, the first that holds decides.

    `relative` says the channel's error is in %; `floor` is the least MPE, in the channel's unit. A missing temperature
    is taken as `assumed_temperature_C` (a class that may only be used up to 30 °C). `verified`: every number that can
    apply was checked against a published text.
    """

    argument: Argument
    relative: bool
    bands: tuple[Band, ...]
    floor: Fraction | None = None
    assumed_temperature_C: float | None = None
    verified: bool = False

    @property
    def key(self) -> str:
        """Text that is equal for equal limits, whatever pack they come from."""
        return repr((self.argument.value, self.relative, self.bands, self.floor, self.assumed_temperature_C))

    def evaluate(
        self,
        *,
        reference: Floats,
        flow_m3h: Floats,
        current_A: Floats,
        power_factor: Floats,
        single_phase: Bools,
        temperature_C: Floats,
    ) -> Floats:
        """Return the MPE of each check in the channel's error unit; `reference` is in the channel's unit.

        `power_factor` is signed (0.5 inductive, -0.8 capacitive). NaN where a condition that decides is missing, or
        where the rules ask nothing.
        """
        size = np.abs(reference)
        argument = size
        if self.argument is not Argument.REFERENCE:
            argument = np.abs(flow_m3h if self.argument is Argument.FLOW else current_A)
        temperature = temperature_C
        if self.assumed_temperature_C is not None:
            temperature = np.where(np.isnan(temperature_C), self.assumed_temperature_C, temperature_C)
        out = np.full(len(reference), np.nan)
        undecided = np.ones(len(reference), np.bool_)
        for band in self.bands:
            holds, perhaps = band.meets(argument, power_factor, single_phase, temperature)
            rows = np.flatnonzero(undecided & holds)
            if len(rows):
                out[rows] = self._mpe(band, size[rows], argument[rows])
            undecided &= ~(holds | perhaps)
        return out

    def _mpe(self, band: Band, size: Floats, argument: Floats) -> Floats:
        """Return the band's MPE in the error unit, not below the floor."""
        per_argument = (argument,) if band.power else ()
        mpe = self._in_error_unit(band.mpe, relative=band.relative, size=size, per=per_argument)
        if self.floor is None:
            return mpe
        with np.errstate(divide="ignore", invalid="ignore"):
            rough = 100.0 * float(self.floor) / size if self.relative else np.full(len(size), float(self.floor))
        near = np.flatnonzero(~(rough < mpe * (1.0 - 1e-9)))
        least = self._in_error_unit(self.floor, relative=False, size=size[near], per=())
        mpe[near] = np.maximum(mpe[near], least)
        return mpe

    def _in_error_unit(self, number: Fraction, *, relative: bool, size: Floats, per: tuple[Floats, ...]) -> Floats:
        if relative == self.relative:
            return _scaled(number, (), per, len(size))
        if relative:
            return _scaled(number / 100, (size,), per, len(size))
        return _scaled(number * 100, (), (*per, size), len(size))


def _scaled(number: Fraction, times: Sequence[Floats], per: Sequence[Floats], n: int) -> Floats:
    """Return number · Π times / Π per of each element, on shortest decimals, rounded once.

    NaN over zero, and beyond the floats.
    """
    if not times and not per:
        return np.full(n, float(number))
    out = np.empty(n)
    known: dict[tuple[float, ...], float] = {}
    for i, terms in enumerate(zip(*(c.tolist() for c in (*times, *per)), strict=True)):
        if terms not in known:
            known[terms] = _product(number, terms[: len(times)], terms[len(times) :])
        out[i] = known[terms]
    return out


def _product(number: Fraction, times: Sequence[float], per: Sequence[float]) -> float:
    if not all(isfinite(v) for v in (*times, *per)) or 0.0 in per:
        return float("nan")
    for value in times:
        number *= Fraction(exact(value))
    for value in per:
        number /= Fraction(exact(value))
    try:
        return float(number)
    except OverflowError:
        return float("nan")
