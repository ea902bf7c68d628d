"""D-SI unit expressions (`\\kilo\\watt\\hour`) as the unit symbols of Metergate (`kWh`), METROLOGY §10.

D-SI writes a unit as prefixes, names and powers, each after a backslash, with `\\per` before what divides. What has a
symbol in `gateway.metrology.units` gets that one; any other expression gets its SI symbol with points between, which a
channel of kind `other` may use literally. A text without a backslash is a non-SI unit of a hybrid and stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.metrology.units import UnitError, unit

__all__ = ["comparable", "is_ratio", "unit_symbol"]

_PREFIXES: Mapping[str, str] = {
    "quecto": "q", "ronto": "r", "yocto": "y", "zepto": "z", "atto": "a", "femto": "f", "pico": "p", "nano": "n",
    "micro": "µ", "milli": "m", "centi": "c", "deci": "d", "deca": "da", "hecto": "h", "kilo": "k", "mega": "M",
    "giga": "G", "tera": "T", "peta": "P", "exa": "E", "zetta": "Z", "yotta": "Y", "ronna": "R", "quetta": "Q",
    "kibi": "Ki", "mebi": "Mi", "gibi": "Gi",
}  # fmt: skip
_NAMES: Mapping[str, str] = {
    "metre": "m", "meter": "m", "kilogram": "kg", "gram": "g", "tonne": "t", "second": "s", "minute": "min",
    "hour": "h", "day": "d", "ampere": "A", "kelvin": "K", "mole": "mol", "candela": "cd", "one": "1",
    "percent": "%", "ppm": "ppm", "degreecelsius": "°C", "degreeCelsius": "°C", "hertz": "Hz", "newton": "N",
    "pascal": "Pa", "bar": "bar", "joule": "J", "watt": "W", "var": "var", "voltampere": "VA", "coulomb": "C",
    "volt": "V", "farad": "F", "ohm": "Ω", "siemens": "S", "weber": "Wb", "tesla": "T", "henry": "H", "litre": "L",
    "liter": "L", "lumen": "lm", "lux": "lx", "becquerel": "Bq", "gray": "Gy", "sievert": "Sv", "katal": "kat",
    "radian": "rad", "steradian": "sr", "degree": "°", "arcminute": "′", "arcsecond": "″", "hectare": "ha",
    "bit": "bit", "byte": "B", "bel": "B", "decibel": "dB", "neper": "Np", "electronvolt": "eV", "dalton": "u",
    "astronomicalunit": "au", "mmHg": "mmHg", "angstrom": "Å", "clight": "c", "planckbar": "ħ", "electronmass": "me",
    "hartree": "Eh", "bohr": "a0", "elementarycharge": "e", "barn": "b", "knot": "kn", "nauticalmile": "M",
    "faraday": "Fd",
}  # fmt: skip
_TOKEN = re.compile(r"\\([A-Za-z]+)(?:\{([+-]?[0-9]{1,3}(?:\.[0-9]{1,3})?)\})?")
_POWERS = str.maketrans("0123456789-.", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻·")
_SAME: Mapping[str, str] = {"dm³": "L", "dm³/h": "L/h", "dm³/min": "L/min", "cm³": "mL", "W·h": "Wh"}
_LONGEST = 100


def unit_symbol(text: str) -> str:
    """Return the symbol of a D-SI unit expression; ValueError names what is not understood.

    >>> unit_symbol(r"\\kilo\\watt\\hour"), unit_symbol(r"\\metre\\tothe{3}\\per\\hour")
    ('kWh', 'm³/h')
    """
    plain = text.strip().removeprefix("|").strip()
    if not plain or len(plain) > _LONGEST or not plain.isprintable():
        raise ValueError(f"{plain[:40]!r} is not a unit")
    return _known(_symbol(plain) if "\\" in plain else plain)


def _known(symbol: str) -> str:
    """Return the symbol the units table has for it, else the symbol itself."""
    for spelling in (symbol, _SAME.get(symbol, symbol), symbol.replace("·h", "h")):
        try:
            return unit(spelling).symbol
        except UnitError:
            continue
    return symbol


def _symbol(text: str) -> str:
    """Return numerator and denominator joined."""
    above: list[str] = []
    below: list[str] = []
    prefix, side, place = "", above, 0
    for found in _TOKEN.finditer(text):
        if text[place : found.start()].strip():
            break
        place = found.end()
        name, power = found.groups()
        if name == "per":
            side = below
        elif name == "tothe":
            if power is None or prefix or not side:
                raise ValueError(f"{text!r} is not a D-SI unit: \\tothe needs a unit before it and a number after it")
            side[-1] += "" if power in {"1", "+1"} else power.removeprefix("+").translate(_POWERS)
        elif name in _PREFIXES and not prefix:
            prefix = _PREFIXES[name]
        elif name in _NAMES:
            side.append(prefix + _NAMES[name])
            prefix = ""
        else:
            raise ValueError(f"{text!r} is not a D-SI unit: \\{name} is not known")
    if text[place:].strip() or prefix or not (above or below):
        raise ValueError(f"{text!r} is not a D-SI unit such as \\kilogram or \\metre\\tothe{{3}}\\per\\hour")
    top = "·".join(above) or "1"
    return f"{top}/{'·'.join(below)}" if below else top


def comparable(first: str, second: str) -> bool:
    """Return whether quantities in these two units can be converted into each other."""
    if first == second:
        return True
    try:
        return unit(first).dimension == unit(second).dimension
    except UnitError:
        return False


def is_ratio(symbol: str) -> bool:
    """Return whether a unit is that of a ratio, such as %."""
    return comparable(symbol, "%")
