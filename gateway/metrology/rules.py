"""A rule pack: the limits of one rule in one version, resolved for one instrument's parameters and one channel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from gateway.metrology.formulas import PowerFactors, Product, Span, Table
from gateway.metrology.limits import Argument, Band, Interval, Limits
from gateway.metrology.pointsets import PointRule, PointSetRule
from gateway.metrology.units import Unit, UnitError, parse_quantity
from gateway.metrology.units import unit as named_unit

__all__ = ["Parameter", "Row", "RulePack", "chosen_product"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of an instrument: one of `values`, a quantity of `dimension`, or a plain positive number.

    `also` maps other spellings to values. `when` lists, per other parameter, the values it belongs to.
    """

    name: str
    values: tuple[str, ...] = ()
    also: Mapping[str, str] = field(default_factory=dict)
    dimension: str | None = None
    prefix: str = ""
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def belongs(self, choices: Mapping[str, str]) -> bool | None:
        """Return whether it belongs to these choices; None while a choice it depends on is not known."""
        if any(name not in choices for name in self.when):
            return None
        return all(choices[name] in values for name, values in self.when.items())

    def choice(self, text: str) -> str:
        """Return the value a text stands for (`1.0` is `1`); ValueError otherwise."""
        plain = text.strip()
        plain = self.also.get(plain, plain)
        for value in self.values:
            if plain == value or _equal_numbers(plain, value):
                return value
        raise ValueError(f"{plain!r} is not one of {', '.join(self.values)}")

    def number(self, text: str) -> Fraction:
        """Return the positive number a text stands for, in base units; ValueError otherwise."""
        if self.dimension is None:
            return _positive(Fraction(_decimal(text.strip().removeprefix(self.prefix))), text)
        quantity = parse_quantity(text)
        try:
            found = named_unit(quantity.unit)
        except UnitError as error:
            raise ValueError(str(error)) from None
        if found.dimension != self.dimension:
            raise ValueError(f"{text!r} is {found.dimension}, not {self.dimension}")
        return _positive(Fraction(quantity.value) * found.factor + found.offset, text)


_PLAIN = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_LARGEST = 10**15


def _decimal(text: str) -> Decimal:
    if not _PLAIN.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a number")
    return Decimal(text)


def _positive(number: Fraction, text: str) -> Fraction:
    if number <= 0:
        raise ValueError(f"{text!r} is not positive")
    if not Fraction(1, _LARGEST) <= number <= _LARGEST:
        raise ValueError(f"{text!r} is out of all proportion")
    return number


def _equal_numbers(a: str, b: str) -> bool:
    try:
        return _decimal(a) == _decimal(b)
    except ValueError:
        return False


def chosen_product(rule: Product | Table, choices: Mapping[str, str]) -> Product:
    """Return the number of a rule for these choices."""
    return rule.values[choices[rule.by]] if isinstance(rule, Table) else rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One limit: for which choices and sizes of parameters, where, under which conditions, how much.

    `mpe` is times argument ** `power` (0 or -1); `relative` when it is a share of the reference.
    """

    only: Mapping[str, tuple[str, ...]]
    at: Span
    mpe: Product | Table
    relative: bool
    power: int = 0
    power_factors: PowerFactors | None = None
    single_phase: bool | None = None
    temperature: Interval | None = None
    sizes: Mapping[str, Span] = field(default_factory=dict)
    verified: bool = False

    def applies(self, choices: Mapping[str, str], numbers: Mapping[str, Fraction]) -> bool:
        """Return whether the row is for an instrument of these choices and numbers (base units)."""
        return all(choices[name] in values for name, values in self.only.items()) and all(
            span.holds(numbers[name], numbers) for name, span in self.sizes.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePack:
    """The limits of one rule in one version; `effective_*` are ns instants, None is open.

    `symbol` is the name of the argument inside formulas. `digest` identifies the text of the file.
    """

    id: str
    version: str
    title: str
    source: str
    effective_from: int | None
    effective_to: int | None
    dimension: str
    argument: Argument
    symbol: str
    parameters: Mapping[str, Parameter]
    ascending: tuple[str, ...]
    derived: Mapping[str, Product | Table]
    assumed_temperature: tuple[str, Mapping[str, float]] | None
    in_service_factor: Fraction
    in_service_verified: bool
    at_least: Product | None
    at_least_verified: bool
    up_to: Product | None
    rows: tuple[Row, ...]
    point_rules: tuple[PointRule, ...]
    file: str
    digest: str

    @property
    def reference(self) -> str:
        """`id@version`, as records name the pack."""
        return f"{self.id}@{self.version}"

    @property
    def verified(self) -> bool:
        """Whether every number of the pack was checked against a published text."""
        rows = all(row.verified for row in self.rows)
        return rows and self.in_service_verified and (self.at_least is None or self.at_least_verified)

    def validate(self, parameters: Mapping[str, str]) -> list[str]:
        """Return what is wrong with an instrument's parameters: unknown or missing keys, classes, units, order."""
        return self._resolve(parameters)[2]

    def _resolve(self, given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Fraction], list[str]]:
        """Return choices, numbers in base units, and what is wrong."""
        choices: dict[str, str] = {}
        numbers: dict[str, Fraction] = {}
        unknown = sorted(given.keys() - self.parameters.keys())
        wrong = [f"{name}: is unknown; {self.id} takes {', '.join(self.parameters)}" for name in unknown]
        for parameter in sorted(self.parameters.values(), key=lambda p: not p.values):
            text = given.get(parameter.name)
            belongs = parameter.belongs(choices)
            if text is None and belongs:
                wrong.append(f"{parameter.name}: is missing")
            elif text is not None and belongs is False:
                met = ", ".join(f"{name} {choices[name]}" for name in parameter.when)
                wrong.append(f"{parameter.name}: does not belong to {met}")
            elif text is not None:
                try:
                    if parameter.values:
                        choices[parameter.name] = parameter.choice(text)
                    else:
                        numbers[parameter.name] = parameter.number(text)
                except ValueError as error:
                    wrong.append(f"{parameter.name}: {error}")
        for less, more in pairwise([name for name in self.ascending if name in numbers]):
            if numbers[less] > numbers[more]:
                wrong.append(f"{less}: {given[less]} is more than {more} {given[more]}")
        return choices, numbers, wrong

    def limits(self, parameters: Mapping[str, str], *, in_service: bool, unit: str, error: str) -> Limits | None:
        """Return the limits of a channel with this unit and error kind (`absolute` or `relative`).

        None when the rules do not speak of the channel's quantity. ValueError when `validate` finds something wrong.
        """
        channel = self._channel_unit(unit)
        if channel is None:
            return None
        choices, numbers = self._numbers(parameters)
        factor = self.in_service_factor if in_service else Fraction(1)
        rows = [row for row in self.rows if row.applies(choices, numbers)]
        assumed = None
        if self.assumed_temperature is not None:
            by, degrees = self.assumed_temperature
            assumed = degrees.get(choices[by])
        verified = all(row.verified for row in rows) and (self.at_least is None or self.at_least_verified)
        return Limits(
            argument=self.argument,
            relative=error == "relative",
            bands=tuple(self._band(row, choices, numbers, factor, channel.factor) for row in rows),
            floor=None if self.at_least is None else self.at_least.value(numbers) * factor / channel.factor,
            assumed_temperature_C=assumed,
            verified=verified and (self.in_service_verified or not in_service),
        )

    def point_set_rules(self, parameters: Mapping[str, str]) -> tuple[PointSetRule, ...]:
        """Return the rules over a whole set of verification points of an instrument.

        ValueError when `validate` finds something wrong.
        """
        choices, numbers = self._numbers(parameters)
        found = []
        for rule in self.point_rules:
            if not all(choices[name] in values for name, values in rule.only.items()):
                continue
            limit = rule.every if rule.limit is None else rule.limit
            percent = None if limit is None else chosen_product(limit, choices).value(numbers) * 100
            found.append(
                PointSetRule(
                    kind=rule.kind,
                    low=None if rule.at.low is None else rule.at.low.value(numbers),
                    high=None if rule.at.high is None else rule.at.high.value(numbers),
                    low_closed=rule.at.low_closed,
                    high_closed=rule.at.high_closed,
                    some=rule.some,
                    limit=percent,
                    full=None if rule.full is None else rule.full.value(numbers),
                    knee=rule.knee,
                    verified=rule.verified,
                    source=rule.source,
                )
            )
        return tuple(found)

    def _numbers(self, parameters: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Fraction]]:
        """Return choices, and given and derived numbers in base units; ValueError when something is wrong."""
        choices, numbers, wrong = self._resolve(parameters)
        if wrong:
            raise ValueError(f"{self.reference}: {'; '.join(wrong)}")
        for name, rule in self.derived.items():
            numbers[name] = chosen_product(rule, choices).value(numbers)
        return choices, numbers

    def _channel_unit(self, text: str) -> Unit | None:
        try:
            found = named_unit(text)
        except UnitError:
            return None
        return found if found.dimension == self.dimension else None

    def _band(
        self,
        row: Row,
        choices: Mapping[str, str],
        numbers: Mapping[str, Fraction],
        factor: Fraction,
        scale: Fraction,
    ) -> Band:
        """Return a row with its numbers filled in; `scale` is the channel's unit in base units."""
        edge_scale = scale if self.argument is Argument.REFERENCE else Fraction(1)
        low, high = (None if edge is None else edge.value(numbers) / edge_scale for edge in (row.at.low, row.at.high))
        closed = row.at.high_closed
        most = None if self.up_to is None else self.up_to.value(numbers) / edge_scale
        if most is not None and (high is None or high > most):
            high, closed = most, True
        mpe = chosen_product(row.mpe, choices).value(numbers) * factor
        return Band(
            at=Interval(
                low=float("-inf") if low is None else float(low),
                high=float("inf") if high is None else float(high),
                low_closed=row.at.low_closed,
                high_closed=closed,
            ),
            mpe=mpe * 100 if row.relative else mpe / scale,
            relative=row.relative,
            power=row.power,
            power_factors=row.power_factors,
            single_phase=row.single_phase,
            temperature=row.temperature,
        )
