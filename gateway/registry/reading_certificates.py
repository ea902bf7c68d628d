"""What certificate files say, without a registry (`metergate certificates read`, CONTRACTS §5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from gateway.errors import Mistake, Mistakes, WrongUse
from gateway.metrology.instants import add_months, format_instant
from gateway.metrology.units import Quantity, UnitError, convert
from gateway.registry.build import instant, not_yet, too_far_ahead
from gateway.registry.certify import disorder
from gateway.registry.files import read_registry
from gateway.registry.model import Phase
from gateway.registry.specs import CertificateSpec, Entry, PointSpec

if TYPE_CHECKING:
    from cryptography import x509

    from gateway.registry.dcc import Dcc, Role, Table
    from gateway.registry.dcc_mapping import Mappings
    from gateway.registry.dcc_table import CalibratedPoint

__all__ = ["DccReading", "Read", "Report", "read_certificates"]

Report = Mapping[str, object]
"""One certificate as CONTRACTS §5 lists it, for JSON."""

SCHEMA = "metergate"


@dataclass(frozen=True, slots=True, kw_only=True)
class DccReading:
    """How to read DCC XML: columns said and remembered for tables without refTypes, the sign, the trust, the time."""

    said: Mapping[Role, str] | None = None
    remembered: Mappings | None = None
    sign: Role | None = None
    trusted: Sequence[x509.Certificate] = ()
    now: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def columns(self, laboratory: str | None) -> list[Mapping[Role, str]]:
        """Return the mappings to try on a laboratory's tables, what was said first."""
        said = [] if not self.said else [self.said]
        return said if self.remembered is None else [*said, *self.remembered.of(laboratory)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """The certificates of one file, what is to be told beside them, and what is wrong with a signature."""

    reports: Sequence[Report]
    notes: Sequence[str] = ()
    invalid: Mistake | None = None


def read_certificates(path: Path, zone: ZoneInfo, dcc: DccReading | None = None, now: int | None = None) -> Read:
    """Return the certificates in a YAML, CSV or DCC XML file; Mistakes with line and key, WrongUse for other formats.

    With `now` (ns) one that has not been performed yet is a mistake.

    Each point is in one `unit`: that of its error and uncertainty as written where they differ in dimension from x (a
    relative error over a current or flow; x then is in `x_unit`, a key of such points alone), else that of x.
    `indication` is x + error, null where x cannot be added to the error.
    """
    if path.suffix.lower() == ".xml" and path.is_file():
        return _read_dcc(path, zone, dcc or DccReading(), now)
    specs = read_registry([path])
    if specs.mistakes:
        raise Mistakes(list(specs.mistakes))
    if not specs.certificates:
        raise WrongUse(f"{path} holds no certificate", remedy="list them under certificates")
    mistakes: list[Mistake] = [m for e in specs.certificates for m in (*_impossible(e, zone), *disorder(e))]
    mistakes += [] if now is None else not_yet(specs, zone, now)
    if mistakes:
        raise Mistakes(mistakes)
    reports: list[Report] = []
    for entry in specs.certificates:
        try:
            reports.append(_report(entry.spec, zone))
        except ValueError as error:
            mistakes.append(entry.mistake((), str(error)))
    if mistakes:
        raise Mistakes(mistakes)
    return Read(reports=_together([e.spec for e in specs.certificates], reports))


def _together(specs: Sequence[CertificateSpec], reports: Sequence[Report]) -> list[Report]:
    """Return one report for each certificate: as found and as left of one number are points of one, as in a DCC.

    They stay apart where they contradict each other in anything but their points.
    """
    pairs = list(zip(specs, reports, strict=True))
    left = {_said(spec, report): report for spec, report in pairs if spec.phase is Phase.AS_LEFT}
    found: list[Report] = []
    joined: set[int] = set()
    for spec, report in pairs:
        other = left.get(_said(spec, report))
        if spec.phase is not Phase.AS_FOUND or other is None or id(other) in joined or not _one_due(report, other):
            found.append(report)
            continue
        joined.add(id(other))
        points = [*_points_of(report), *_points_of(other)]
        found.append({**other, "valid_to": other["valid_to"] or report["valid_to"], "points": points})
    return [report for report in found if id(report) not in joined]


def _said(spec: CertificateSpec, report: Report) -> tuple[object, ...]:
    return spec.id, spec.device, spec.channel, spec.kind, report["performed_at"], report["laboratory"]


def _one_due(a: Report, b: Report) -> bool:
    return len({a["valid_to"], b["valid_to"]} - {None}) < 2


def _points_of(report: Report) -> list[object]:
    points = report["points"]
    return points if isinstance(points, list) else []


def _impossible(entry: Entry[CertificateSpec], zone: ZoneInfo) -> Iterator[Mistake]:
    """Yield a mistake when the certificate ends before it begins."""
    spec = entry.spec
    if spec.valid_to is not None and instant(spec.valid_to, zone) <= instant(spec.performed_at, zone):
        yield entry.mistake(("valid_to",), f"{spec.valid_to} is not after performed_at {spec.performed_at}")


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
    said = {
        "phase": spec.phase.value,
        "x": None if reference is None else float(reference),
        "indication": None if indication is None else float(indication),
        "error": float(size),
        "U": float(uncertainty),
        "k": float(point.k),
        "unit": unit,
    }
    return said | _x_unit(None if point.x is None else point.x.unit, unit)


def _x_unit(written: str | None, unit: str) -> dict[str, str]:
    """Return the unit of x where it is not that of the point."""
    return {} if written is None or written == unit else {"x_unit": written}


def _common_unit(x: Quantity, error: Quantity) -> str:
    """Return the unit of x where the error can be said in it, else that of the error."""
    try:
        convert(Decimal(1), error.unit, x.unit, difference=True)
    except UnitError:
        return error.unit
    return x.unit


def _in(value: Quantity, unit: str) -> Fraction:
    return Fraction(convert(value.value, value.unit, unit, difference=True))


def _read_dcc(path: Path, zone: ZoneInfo, reading: DccReading, now: int | None) -> Read:
    from gateway.registry.dcc import read_dcc
    from gateway.registry.dcc_points import points_of

    raw = path.read_bytes()
    dcc = read_dcc(raw, str(path))
    if isinstance(dcc, list):
        raise Mistakes(dcc)
    performed = datetime.fromisoformat(_utc(dcc.performed_at, zone))
    words = "" if now is None else too_far_ahead(dcc.performed_at, int(performed.timestamp()) * 10**9, now)
    if words:
        place = dcc.performed_place
        raise Mistakes([Mistake(file=str(path), line=place.line, key=place.path, message=words)])
    points = points_of(dcc, reading.columns(dcc.laboratory), reading.sign)
    if isinstance(points, list):
        raise Mistakes(points)
    state, notes, invalid = "none", [], None
    if dcc.signed:
        from gateway.registry.dcc_signature import Signature, check_signature

        signed = check_signature(raw, reading.trusted, reading.now)
        state = signed.state.value
        if signed.state is Signature.INVALID:
            invalid = Mistake(file=str(path), line=signed.line, key="ds:Signature", message=signed.reason)
        elif signed.reason:
            notes.append(f"{path}:{signed.line}: ds:Signature: {signed.reason}")
    if not points.points:
        notes += [_unnamed(path, table) for table in points.unnamed]
    notes += _no_baseline(path, points.points)
    return Read(
        reports=[_dcc_report(dcc, points.points, state, zone)],
        notes=notes,
        invalid=invalid,
    )


def _no_baseline(path: Path, points: Sequence[CalibratedPoint]) -> Iterator[str]:
    """Yield what `apply` will refuse though a certificate may well say it: a baseline has one error at each x."""
    seen: set[tuple[str, str, Decimal]] = set()
    for p in points:
        place = f"{path}:{p.place.line}: {p.place.name}"
        if p.error is None or p.reference is None:
            yield f"{place}: a point without a number (NaN) is no baseline; apply refuses it"
        elif p.reference is not None and (key := (p.phase.value, p.table, p.reference)) in seen:
            yield f"{place}: {p.reference} {p.x_unit} is there again (a loop?), which is no baseline; apply refuses it"
        else:
            seen.add(key)


def _unnamed(path: Path, table: Table) -> str:
    columns = ", ".join(f"#{i} {c.name!r}" for i, c in enumerate(table.columns, start=1) if c.numbers)
    return (
        f"{path}:{table.place.line}: {table.place.name}: no refType says what the columns of {table.name!r} are"
        f" ({columns or 'none with numbers'}); say it, such as --column reference='#1' --column indication='#2'"
    )


def _dcc_report(dcc: Dcc, points: Sequence[CalibratedPoint], signature: str, zone: ZoneInfo) -> Report:
    performed_at = _utc(dcc.performed_at, zone)
    valid_to = None if dcc.valid_to is None else _utc(dcc.valid_to, zone)
    if dcc.interval_months is not None:
        valid_to = _months_after(dcc.performed_at, dcc.interval_months, zone)
    return {
        "schema": dcc.schema,
        "id": dcc.id,
        "serial": next((i.serial for i in dcc.items if i.serial is not None), None),
        "laboratory": dcc.laboratory,
        "performed_at": performed_at,
        "valid_to": valid_to,
        "points": [_dcc_point(p) for p in points],
        "conformity": dcc.conformity,
        "signature": signature,
    }


def _dcc_point(point: CalibratedPoint) -> Report:
    said = {
        "phase": point.phase.value,
        "x": _float(point.reference),
        "indication": _float(point.indication),
        "error": _float(point.error),
        "U": _float(point.U),
        "k": _float(point.k),
        "unit": point.unit,
    }
    return said | _x_unit(point.x_unit, point.unit)


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _utc(text: str, zone: ZoneInfo) -> str:
    """Return a date (00:00 in the zone) or an instant in UTC; certificates are older than the readings' epoch."""
    time = datetime.fromisoformat(text)
    zoned = time if time.tzinfo is not None else time.replace(tzinfo=zone)
    return zoned.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _months_after(text: str, months: int, zone: ZoneInfo) -> str:
    """Return the same day so many months later, the last of the month where it has none."""
    from calendar import monthrange

    day = datetime.fromisoformat(text[:10])
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    clamped = min(day.day, monthrange(year, month + 1)[1])
    return _utc(day.replace(year=year, month=month + 1, day=clamped).isoformat() + text[19:], zone)
