"""What certificate files say, without a registry (`metergate certificates read`, CONTRACTS §5)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.errors import Mistake, Mistakes, WrongUse
from gateway.metrology.instants import add_months, format_instant
from gateway.metrology.units import Quantity, UnitError, convert
from gateway.registry.build import instant
from gateway.registry.files import read_registry
from gateway.registry.specs import CertificateSpec, PointSpec

__all__ = ["Report", "read_certificates"]

Report = Mapping[str, object]
"""One certificate as CONTRACTS §5 lists it, for JSON."""

SCHEMA = "metergate"


def read_certificates(path: Path, zone: ZoneInfo) -> list[Report]:
    """Return the certificates in a YAML or CSV file; Mistakes with line and key, WrongUse for other formats.

    Each point is in one `unit`: that of its error and uncertainty as written where they differ in dimension from x (a
    relative error over a current or flow; x then is in `x_unit`), else that of x. `indication` is x + error, null
    where x cannot be added to the error.
    """
    specs = read_registry([path])
    if specs.mistakes:
        raise Mistakes(list(specs.mistakes))
    if not specs.certificates:
        raise WrongUse(f"{path} holds no certificate", remedy="list them under certificates")
    mistakes: list[Mistake] = []
    reports: list[Report] = []
    for entry in specs.certificates:
        try:
            reports.append(_report(entry.spec, zone))
        except ValueError as error:
            mistakes.append(entry.mistake((), str(error)))
    if mistakes:
        raise Mistakes(mistakes)
    return reports


def _report(spec: CertificateSpec, zone: ZoneInfo) -> Report:
    performed_at = instant(spec.performed_at, zone)
    valid_to = None
    if spec.valid_to is not None:
        valid_to = instant(spec.valid_to, zone)
    elif spec.interval_months is not None:
        valid_to = add_months(performed_at, spec.interval_months, zone)
    return {
        "schema": SCHEMA,
        "id": spec.id,
        "serial": None,
        "laboratory": spec.laboratory,
        "performed_at": format_instant(performed_at),
        "valid_to": None if valid_to is None else format_instant(valid_to),
        "points": [_point(spec, point) for point in spec.points],
        "conformity": None,
        "signature": "none",
    }


def _point(spec: CertificateSpec, point: PointSpec) -> Report:
    _, error = point.stated
    unit = error.unit if point.x is None else _common_unit(point.x, error)
    written = None if point.x is None else Fraction(point.x.value)
    size, uncertainty = _in(error, unit), _in(point.U, unit)
    reference, indication = written, None
    if written is not None and point.x is not None and unit == point.x.unit:
        indication = written + size
        if spec.x_is == "indication":
            reference, indication = written - size, written
    return {
        "phase": spec.phase.value,
        "x": None if reference is None else float(reference),
        "x_unit": None if point.x is None else point.x.unit,
        "indication": None if indication is None else float(indication),
        "error": float(size),
        "U": float(uncertainty),
        "k": float(point.k),
        "unit": unit,
    }


def _common_unit(x: Quantity, error: Quantity) -> str:
    """Return the unit of x where the error can be said in it, else that of the error."""
    try:
        convert(Decimal(1), error.unit, x.unit, difference=True)
    except UnitError:
        return error.unit
    return x.unit


def _in(value: Quantity, unit: str) -> Fraction:
    return Fraction(convert(value.value, value.unit, unit, difference=True))
