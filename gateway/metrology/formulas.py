"""The small language of rule packs: products such as `0.5 e`, intervals such as `[0.1 Ib, Imax]`, power factors.

A product is numbers, units and names joined by spaces, `of`, `*` and `/`: `2.5 % Imin / I`, `1 % of MMQ`, `Q3 / R`.
Everything stays a fraction in base units of its dimension until a limit is resolved.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from gateway.metrology.units import UnitError, unit

__all__ = ["PowerFactors", "Product", "Span", "Table", "parse_power_factors", "parse_product", "parse_span"]

_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?")
_TOKEN = re.compile(r"\s*(?:(/)|(\*|of\b)|([^\s/*,\[\]()]+/(?:h|min|s)(?![^\s/*,\[\]()])|[^\s/*,\[\]()]+))\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A coefficient in base units times powers of names; `dimension` is what the units contribute."""

    coefficient: Fraction
    powers: tuple[tuple[str, int], ...] = ()
    units: tuple[tuple[str, int], ...] = ()

    def dimension(self, dimensions: Mapping[str, str]) -> dict[str, int]:
        """Return the dimension's powers, empty for a ratio, given the dimensions of the names."""
        total: Counter[str] = Counter()
        for name, power in (*self.units, *((dimensions[n], p) for n, p in self.powers)):
            total[name] += power
        total.pop("ratio", None)
        return {name: power for name, power in total.items() if power}

    def value(self, values: Mapping[str, Fraction]) -> Fraction:
        """Return the number in base units, given the values of the names in base units."""
        result = self.coefficient
        for name, power in self.powers:
            result *= values[name] ** power
        return result

    def times(self, other: Product) -> Product:
        """Return the product of both."""
        powers, units = Counter(dict(self.powers)), Counter(dict(self.units))
        powers.update(dict(other.powers))
        units.update(dict(other.units))
        return Product(
            coefficient=self.coefficient * other.coefficient,
            powers=tuple(sorted((n, p) for n, p in powers.items() if p)),
            units=tuple(sorted((n, p) for n, p in units.items() if p)),
        )

    def without(self, name: str) -> tuple[Product, int]:
        """Return the product without a name, and the power the name had."""
        power = dict(self.powers).get(name, 0)
        rest = tuple((n, p) for n, p in self.powers if n != name)
        return Product(coefficient=self.coefficient, powers=rest, units=self.units), power


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A number that depends on a choice, such as a percentage per class."""

    by: str
    values: Mapping[str, Product]


def parse_product(text: str, names: frozenset[str]) -> Product:
    """Return the product a text stands for; ValueError names what is not understood.

    >>> parse_product("1.25 Q3", frozenset({"Q3"})).value({"Q3": Fraction(5, 2)})
    Fraction(25, 8)
    """
    coefficient, powers, units = Fraction(1), Counter[str](), Counter[str]()
    sign, place, expecting = 1, 0, True
    stripped = text.strip()
    while place < len(stripped):
        found = _TOKEN.match(stripped, place)
        if found is None:
            raise ValueError(f"{text!r} is not understood at {stripped[place:]!r}")
        place = found.end()
        slash, times, word = found.groups()
        if word is None:
            if expecting:
                raise ValueError(f"{text!r} is not understood: {slash or times} joins nothing")
            sign, expecting = (-1 if slash else 1), True
            continue
        if _NUMBER.fullmatch(word):
            if sign < 0 and not Decimal(word):
                raise ValueError(f"{text!r} divides by zero")
            coefficient *= Fraction(Decimal(word)) ** sign
        elif word in names:
            powers[word] += sign
        else:
            scale, dimension = _unit_factor(word, names)
            coefficient *= scale**sign
            units[dimension] += sign
        sign, expecting = 1, False
    if expecting:
        raise ValueError(f"{text!r} is not a product")
    return Product(coefficient=coefficient, powers=tuple(sorted(powers.items())), units=tuple(sorted(units.items())))


def _unit_factor(word: str, names: frozenset[str]) -> tuple[Fraction, str]:
    try:
        found = unit(word)
    except UnitError:
        raise ValueError(f"{word!r} is neither a unit nor one of {', '.join(sorted(names))}") from None
    return found.factor, found.dimension


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """An interval between products; None is unbounded."""

    low: Product | None
    high: Product | None
    low_closed: bool
    high_closed: bool

    def holds(self, value: Fraction, values: Mapping[str, Fraction]) -> bool:
        """Return whether a number in base units lies inside, given the values of the names in base units."""
        low, high = (None if edge is None else edge.value(values) for edge in (self.low, self.high))
        above = low is None or value > low or (self.low_closed and value == low)
        return above and (high is None or value < high or (self.high_closed and value == high))


_SPAN = re.compile(r"([\[(])([^,]*),([^,]*)([\])])")
_UNBOUNDED = frozenset({"inf", "-inf"})


def parse_span(text: str, names: frozenset[str]) -> Span:
    """Return the interval a text stands for, `[` and `]` including their edge; ValueError otherwise.

    >>> parse_span("(500 e, 2000 e]", frozenset({"e"})).low_closed
    False
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not an interval such as (500 e, 2000 e]")
    opened, low, high, closed = found.groups()
    edges = [None if edge.strip() in _UNBOUNDED else parse_product(edge, names) for edge in (low, high)]
    return Span(low=edges[0], high=edges[1], low_closed=opened == "[", high_closed=closed == "]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerFactors:
    """Power factors a limit holds for: exact ones, or all from `inductive` over 1 to `capacitive`.

    Inductive ones are positive, capacitive ones negative; ±1 is 1.
    """

    exactly: tuple[float, ...] = ()
    inductive: float | None = None
    capacitive: float | None = None


_POWER_FACTOR = re.compile(r"(1|0\.[0-9]+)([ic]?)")


def parse_power_factors(text: str) -> PowerFactors:
    """Return the power factors of `1`, `0.5i, 0.8c` (these) or `0.5i .. 0.8c` (all between); ValueError otherwise."""
    if ".." in text:
        first, _, last = text.partition("..")
        inductive, capacitive = _power_factor(first), _power_factor(last)
        if not (inductive > 0 > capacitive):
            raise ValueError(f"{text!r} is not a range from inductive to capacitive such as 0.5i .. 0.8c")
        return PowerFactors(inductive=inductive, capacitive=capacitive)
    return PowerFactors(exactly=tuple(_power_factor(part) for part in text.split(",")))


def _power_factor(text: str) -> float:
    found = _POWER_FACTOR.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text.strip()!r} is not a power factor such as 1, 0.5i or 0.8c")
    size = float(found[1])
    return -size if found[2] == "c" and size < 1 else size
