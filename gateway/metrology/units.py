"""Units by name, and exact conversion between those of one dimension (METROLOGY §10).

A unit is resolved once to a factor and an offset as fractions; a float is converted as the decimal text it was written
as, and rounded once. Spellings follow SI and UCUM and are case-sensitive: `mW` and `MW` differ by nine powers of ten,
so `KG` or `kwh` is refused with the spelling that was probably meant.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from math import inf, isfinite
from types import MappingProxyType

__all__ = [
    "CHANNEL_DIMENSIONS", "Quantity", "Unit", "UnitError", "convert", "convert_float", "dimension_for", "exact",
    "parse_quantity", "same_unit", "to_decimal", "unit",
]  # fmt: skip


class UnitError(ValueError):
    """A unit that is not known, or contradicts the dimension; `why` is the name of the refusal."""

    def __init__(self, why: str, message: str) -> None:
        super().__init__(message)
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit: a value v of it is `v * factor + offset` in the base unit of its dimension."""

    symbol: str
    dimension: str
    factor: Fraction
    offset: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number and its unit, as a person wrote them."""

    value: Decimal
    unit: str

    def __str__(self) -> str:
        return f"{self.value} {self.unit}"


CHANNEL_DIMENSIONS: Mapping[str, str] = MappingProxyType(
    {
        "mass": "mass",
        "active_energy": "energy",
        "reactive_energy": "reactive energy",
        "volume": "volume",
        "flow": "flow",
        "power": "power",
        "voltage": "voltage",
        "current": "current",
        "temperature": "temperature",
        "pressure": "pressure",
    }
)
"""The dimension a well-known channel fixes (CONTRACTS §2)."""

LITERAL_KINDS = frozenset({"other", "reference"})

_KELVIN = Fraction(27315, 100)
_FAHRENHEIT = Fraction(45967, 100) * Fraction(5, 9)

_TABLE: tuple[tuple[str, str, str, Fraction | int, Fraction | int], ...] = (
    # symbol, other spellings, dimension, factor, offset
    ("kg", "", "mass", 1, 0),
    ("g", "", "mass", Fraction(1, 10**3), 0),
    ("mg", "", "mass", Fraction(1, 10**6), 0),
    ("µg", "μg ug", "mass", Fraction(1, 10**9), 0),
    ("t", "tonne", "mass", 1000, 0),
    ("lb", "[lb_av]", "mass", Fraction(45359237, 10**8), 0),
    ("Wh", "W.h W·h", "energy", 1, 0),
    ("kWh", "kW.h kW·h", "energy", 10**3, 0),
    ("MWh", "MW.h MW·h", "energy", 10**6, 0),
    ("GWh", "GW.h GW·h", "energy", 10**9, 0),
    ("J", "", "energy", Fraction(1, 3600), 0),
    ("kJ", "", "energy", Fraction(10**3, 3600), 0),
    ("MJ", "", "energy", Fraction(10**6, 3600), 0),
    ("GJ", "", "energy", Fraction(10**9, 3600), 0),
    ("varh", "var.h var·h", "reactive energy", 1, 0),
    ("kvarh", "kvar.h kvar·h", "reactive energy", 10**3, 0),
    ("Mvarh", "Mvar.h Mvar·h", "reactive energy", 10**6, 0),
    ("VAh", "VA.h VA·h", "apparent energy", 1, 0),
    ("kVAh", "kVA.h kVA·h", "apparent energy", 10**3, 0),
    ("m³", "m3", "volume", 1, 0),
    ("hL", "hl", "volume", Fraction(1, 10), 0),
    ("L", "l", "volume", Fraction(1, 10**3), 0),
    ("dm³", "dm3", "volume", Fraction(1, 10**3), 0),
    ("cL", "cl", "volume", Fraction(1, 10**5), 0),
    ("mL", "ml", "volume", Fraction(1, 10**6), 0),
    ("cm³", "cm3", "volume", Fraction(1, 10**6), 0),
    ("m³/h", "m3/h", "flow", 1, 0),
    ("m³/min", "m3/min", "flow", 60, 0),
    ("m³/s", "m3/s", "flow", 3600, 0),
    ("L/h", "l/h dm3/h dm³/h", "flow", Fraction(1, 10**3), 0),
    ("L/min", "l/min dm3/min dm³/min", "flow", Fraction(60, 10**3), 0),
    ("L/s", "l/s dm3/s dm³/s", "flow", Fraction(3600, 10**3), 0),
    ("mL/min", "ml/min", "flow", Fraction(60, 10**6), 0),
    ("W", "", "power", 1, 0),
    ("mW", "", "power", Fraction(1, 10**3), 0),
    ("kW", "", "power", 10**3, 0),
    ("MW", "", "power", 10**6, 0),
    ("var", "", "reactive power", 1, 0),
    ("kvar", "", "reactive power", 10**3, 0),
    ("VA", "", "apparent power", 1, 0),
    ("kVA", "", "apparent power", 10**3, 0),
    ("V", "", "voltage", 1, 0),
    ("mV", "", "voltage", Fraction(1, 10**3), 0),
    ("kV", "", "voltage", 10**3, 0),
    ("A", "", "current", 1, 0),
    ("mA", "", "current", Fraction(1, 10**3), 0),
    ("kA", "", "current", 10**3, 0),
    ("K", "", "temperature", 1, 0),
    ("°C", "Cel degC oC ℃", "temperature", 1, _KELVIN),
    ("°F", "[degF] degF ℉", "temperature", Fraction(5, 9), _FAHRENHEIT),
    ("Pa", "", "pressure", 1, 0),
    ("hPa", "", "pressure", 100, 0),
    ("kPa", "", "pressure", 10**3, 0),
    ("MPa", "", "pressure", 10**6, 0),
    ("mbar", "", "pressure", 100, 0),
    ("bar", "", "pressure", 10**5, 0),
    ("%", "percent", "ratio", Fraction(1, 100), 0),
    ("‰", "", "ratio", Fraction(1, 1000), 0),
    ("ppm", "[ppm]", "ratio", Fraction(1, 10**6), 0),
    ("1", "", "ratio", 1, 0),
    ("%RH", "", "relative humidity", Fraction(1, 100), 0),
    ("Hz", "", "frequency", 1, 0),
    ("s", "", "time", 1, 0),
    ("min", "", "time", 60, 0),
    ("h", "", "time", 3600, 0),
)

_WARNINGS: Mapping[str, str] = MappingProxyType(
    {
        "Nm3": "a normal cubic metre is not a volume: its base conditions are not stated; give m³ as indicated",
        "Nm³": "a normal cubic metre is not a volume: its base conditions are not stated; give m³ as indicated",
        "Sm3": "a standard cubic metre is not a volume: its base conditions are not stated; give m³ as indicated",
        "Sm³": "a standard cubic metre is not a volume: its base conditions are not stated; give m³ as indicated",
        "C": "C is the coulomb; write °C",
        "F": "F is the farad; write °F",
    }
)


def _named() -> dict[str, Unit]:
    known: dict[str, Unit] = {}
    for symbol, spellings, dimension, factor, offset in _TABLE:
        found = Unit(symbol=symbol, dimension=dimension, factor=Fraction(factor), offset=Fraction(offset))
        for name in (symbol, *spellings.split()):
            known[unicodedata.normalize("NFC", name)] = found
    return known


_KNOWN = _named()
_FOLDED = {name.casefold(): found.symbol for name, found in reversed(_KNOWN.items())}


@lru_cache(maxsize=4096)
def unit(text: str) -> Unit:
    """Return the unit a text names; UnitError `unknown_unit` otherwise.

    >>> unit("m3/h").symbol
    'm³/h'
    """
    found = _KNOWN.get(text) or _KNOWN.get(unicodedata.normalize("NFC", text.strip()))
    if found is not None:
        return found
    hint = _WARNINGS.get(text.strip()) or _suggestion(text) or "write one such as kg, kWh, m³, L/h, V, A, °C, kPa, %"
    raise UnitError("unknown_unit", f"unit {text[:40]!r} is not known; {hint}")


def _suggestion(text: str) -> str:
    meant = _FOLDED.get(text.strip().casefold())
    return f"write {meant} (upper and lower case matter)" if meant else ""


def same_unit(a: str, b: str) -> bool:
    """Return whether two texts name one unit; texts that name none are compared literally."""
    if a == b:
        return True
    first, second = _KNOWN.get(unicodedata.normalize("NFC", a)), _KNOWN.get(unicodedata.normalize("NFC", b))
    return first is not None and second is not None and first == second


def dimension_for(kind: str, channel: str, text: str) -> str | None:
    """Return the dimension of a channel's unit; None where readings must match its unit literally.

    UnitError when a well-known channel has a unit of another dimension, or when a unit is unknown on a device whose
    kind is neither `other` nor `reference`.
    """
    wanted = CHANNEL_DIMENSIONS.get(channel)
    if kind in LITERAL_KINDS and (wanted is None or not _is_known(text)):
        return None
    found = unit(text)
    if wanted is not None and found.dimension != wanted:
        raise UnitError("wrong_dimension", f"{text} is {found.dimension}, the channel {channel} is {wanted}")
    return found.dimension


def _is_known(text: str) -> bool:
    return unicodedata.normalize("NFC", text.strip()) in _KNOWN


def exact(value: float) -> Decimal:
    """Return the shortest decimal that stands for the float, the one a person wrote.

    >>> exact(0.1)
    Decimal('0.1')
    """
    return Decimal(repr(value))


@lru_cache(maxsize=4096)
def _ratio(source: str, target: str) -> tuple[Fraction, Fraction]:
    """Return (factor, offset) from source to target; UnitError when the dimensions contradict."""
    a = unit(source)
    try:
        b = unit(target)
    except UnitError as error:
        raise UnitError("wrong_dimension", f"{source} cannot become {target[:40]}; {error}") from None
    if a.dimension != b.dimension:
        raise UnitError("wrong_dimension", f"{source} is {a.dimension}, {target} is {b.dimension}")
    return a.factor / b.factor, (a.offset - b.offset) / b.factor


def convert(value: Decimal, source: str, target: str, *, difference: bool = False) -> Decimal | Fraction:
    """Return the value in another unit, exactly: a Decimal, or a Fraction where no finite decimal exists.

    With `difference` the value is an interval (an error, an uncertainty, a resolution), so that 1 K is 1 °C.
    Raises UnitError when a unit is unknown or the dimensions contradict.
    """
    return value if source == target else _convert(value, source, target, difference)


@lru_cache(maxsize=4096)
def _convert(value: Decimal, source: str, target: str, difference: bool) -> Decimal | Fraction:
    """Return what `convert` does between two units; the same for 5 and 5.0."""
    factor, offset = _ratio(source, target)
    result = Fraction(value) * factor + (0 if difference else offset)
    return _finite_decimal(result) or result if result else Decimal(0)


def _finite_decimal(value: Fraction) -> Decimal | None:
    """Return the value as a Decimal if it has a finite one."""
    twos, fives, rest = 0, 0, value.denominator
    while rest % 2 == 0:
        rest //= 2
        twos += 1
    while rest % 5 == 0:
        rest //= 5
        fives += 1
    if rest != 1:
        return None
    places = max(twos, fives)
    scaled = value.numerator * 10**places // value.denominator
    return Decimal((scaled < 0, tuple(map(int, str(abs(scaled)))), -places))


_DIGITS = Context(prec=40)


def to_decimal(value: Decimal | Fraction) -> Decimal:
    """Return the value as a Decimal, to 40 significant digits where it has no finite one."""
    if isinstance(value, Decimal):
        return value
    return _finite_decimal(value) or _DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))


def convert_float(value: float, source: str, target: str, *, difference: bool = False) -> float:
    """Return the float in another unit: its shortest decimal text times an exact factor, rounded once.

    NaN and infinities stay; a result beyond the floats is an infinity. Raises UnitError as `convert` does.

    >>> convert_float(0.1, "t", "kg"), convert_float(2505.0, "g", "kg")
    (100.0, 2.505)
    """
    if source == target:
        return value
    factor, offset = _ratio(source, target)
    if not isfinite(value):
        return value
    top, bottom = Decimal(repr(value)).as_integer_ratio()
    top, bottom = top * factor.numerator, bottom * factor.denominator
    if offset and not difference:
        top, bottom = top * offset.denominator + bottom * offset.numerator, bottom * offset.denominator
    try:
        return top / bottom
    except OverflowError:
        return inf if top > 0 else -inf


_QUANTITY = re.compile(r"([+\-−]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+\-]?[0-9]{1,3})?)\s*(.*)", re.DOTALL)
_LONGEST = 100


@lru_cache(maxsize=4096)
def parse_quantity(text: str) -> Quantity:
    """Return number and unit of a text such as `5 g`; ValueError says what is wrong with any other.

    The unit is not looked up: channels of kind `other` may have any.

    >>> parse_quantity("-3.5 kg")
    Quantity(value=Decimal('-3.5'), unit='kg')
    """
    plain = unicodedata.normalize("NFC", text).strip()
    found = _QUANTITY.fullmatch(plain) if len(plain) <= _LONGEST else None
    if found is None:
        raise ValueError(f"{plain[:40]!r} is not a number and a unit, such as 5 g")
    number, name = found.groups()
    if not name:
        raise ValueError(f"{plain!r} has no unit; write a number and a unit, such as 5 g")
    if name[0] == ",":
        raise ValueError(f"{plain!r} has a comma; write a decimal point and no thousands separator, such as 1.5 kg")
    if name[0].isdigit() or name[0] == "'":
        raise ValueError(f"{plain!r} has a thousands separator; write the digits together, such as 1400 kg")
    if name[0] in ".+-−" or not name.isprintable():
        raise ValueError(f"{plain[:40]!r} is not a number and a unit, such as 5 g")
    value = Decimal(number.replace("−", "-"))
    if not isfinite(value):
        raise ValueError(f"{plain!r} is not a number that can be computed with")
    return Quantity(value=value, unit=name)
