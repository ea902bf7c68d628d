"""A certificate as written becomes points on its channel's axis, in the channel's error unit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from gateway.errors import Mistake
from gateway.metrology.instants import add_months
from gateway.metrology.ordering import out_of_order
from gateway.metrology.units import Quantity, UnitError, convert, to_decimal
from gateway.registry.model import Axis, Certificate, Channel, ErrorKind, Point
from gateway.registry.specs import CertificateSpec, Entry, PointSpec
from gateway.registry.yamltext import Path

__all__ = ["certificate_from", "disorder"]

AXIS_UNITS = {Axis.FLOW: "m³/h", Axis.CURRENT: "A"}

Exact = Decimal | Fraction


def certificate_from(
    entry: Entry[CertificateSpec], channel: Channel | None, instant: Callable[[str], int], zone: ZoneInfo
) -> Certificate | list[Mistake]:
    """Return the certificate on its channel, or its mistakes.

    Points may run up or down (test benches begin with the largest flow) and are sorted by x; those that do neither, and
    two points of one condition at the same x, are refused.
    """
    spec, mistakes = entry.spec, list[Mistake]()
    performed_at = instant(spec.performed_at)
    valid_to = _valid_to(entry, performed_at, instant, zone, mistakes)
    points: list[Point] = []
    if channel is not None:
        if spec.x_is is not None and channel.axis.value in {"flow", "current"}:
            mistakes.append(
                entry.mistake(("x_is",), f"does not apply: the axis of {channel.name} is {channel.axis.value}")
            )
        points = _points(entry, channel, mistakes)
    if mistakes:
        return mistakes
    return Certificate(
        id=spec.id,
        device=spec.device,
        channel=spec.channel,
        kind=spec.kind,
        phase=spec.phase,
        performed_at=performed_at,
        valid_to=valid_to,
        laboratory=spec.laboratory,
        points=tuple(sorted(points, key=_order)),
    )


def disorder(entry: Entry[CertificateSpec]) -> Iterator[Mistake]:
    """Yield the points of a certificate as written whose x is out of order, or whose units are of another dimension.

    Only the points themselves are compared: what their channel says of the units is asked in `certificate_from`.
    """
    groups: dict[object, list[int]] = {}
    for i, point in enumerate(entry.spec.points):
        groups.setdefault((point.power_factor, point.phase, point.direction), []).append(i)
        first = entry.spec.points[0]
        pairs = [("x", point.x, first.x), (point.stated[0], point.stated[1], first.stated[1]), ("U", point.U, first.U)]
        for key, value, other in pairs:
            if value is not None and other is not None and (words := _mixed(value, other)):
                yield entry.mistake(("points", i, key), words)
        if words := _mixed(point.U, point.stated[1]):
            yield entry.mistake(("points", i, "U"), words)
    for group in groups.values():
        yield from _lone(entry, group)
        placed = [(i, x) for i in group if (x := _comparable(entry.spec.points[i].x, entry.spec.points[0].x))]
        yield from _doubled(entry, [(i, x) for i, (x,) in placed])
        yield from _out_of_order(entry, [i for i, _ in placed], [x for _, (x,) in placed])


def _lone(entry: Entry[CertificateSpec], group: Sequence[int]) -> Iterator[Mistake]:
    """Yield the points without x among several of one condition."""
    for i in group if len(group) > 1 else ():
        if entry.spec.points[i].x is None:
            yield entry.mistake(("points", i, "x"), "is missing; only a single point of its condition needs none")


def _doubled(entry: Entry[CertificateSpec], placed: Iterable[tuple[int, Exact]]) -> Iterator[Mistake]:
    """Yield the points at an x where their condition has one already."""
    first: dict[Fraction, int] = {}
    for i, x in placed:
        before = first.setdefault(Fraction(x), i)
        if before != i:
            words = f"is the x of points[{before}] again, under the same condition"
            yield entry.mistake(("points", i, "x"), words)


def _mixed(value: Quantity, other: Quantity) -> str:
    """Return why two quantities cannot be compared, empty if they can."""
    try:
        convert(value.value, value.unit, other.unit, difference=True)
    except UnitError as error:
        return f"the units of a certificate are mixed: {error}"
    return ""


def _comparable(x: Quantity | None, first: Quantity | None) -> tuple[Exact] | None:
    if x is None or first is None:
        return None
    try:
        return (convert(x.value, x.unit, first.unit),)
    except UnitError:
        return None


def _out_of_order(entry: Entry[CertificateSpec], numbers: Sequence[int], x: Sequence[Exact]) -> Iterator[Mistake]:
    wrong = out_of_order(x)
    if wrong is not None:
        written, before = (entry.spec.points[numbers[i]].x for i in (wrong, wrong - 1))
        message = f"{written} is out of order after {before}; write the points up or down"
        yield entry.mistake(("points", numbers[wrong], "x"), message)


def _order(point: Point) -> tuple[float, str, str, Decimal]:
    return (point.power_factor or 0.0, point.phase or "", point.direction or "", point.x or Decimal(0))


def _valid_to(
    entry: Entry[CertificateSpec],
    performed_at: int,
    instant: Callable[[str], int],
    zone: ZoneInfo,
    mistakes: list[Mistake],
) -> int | None:
    spec = entry.spec
    if spec.interval_months is not None:
        try:
            return add_months(performed_at, spec.interval_months, zone)
        except ValueError as error:
            mistakes.append(entry.mistake(("interval_months",), str(error)))
    if spec.valid_to is None:
        return None
    valid_to = instant(spec.valid_to)
    if valid_to <= performed_at:
        mistakes.append(entry.mistake(("valid_to",), f"{spec.valid_to} is not after performed_at {spec.performed_at}"))
    return valid_to


def _points(entry: Entry[CertificateSpec], channel: Channel, mistakes: list[Mistake]) -> list[Point]:
    found: list[Point] = []
    first: dict[object, int] = {}
    placed: dict[object, list[tuple[int, Decimal | None]]] = {}
    conditions = [(p.power_factor, p.phase, p.direction) for p in entry.spec.points]
    for i, spec in enumerate(entry.spec.points):
        path: Path = ("points", i)
        if spec.x is None and conditions.count(conditions[i]) > 1:
            mistakes.append(entry.mistake((*path, "x"), "is missing; only a single point of its condition needs none"))
            continue
        point = _point(entry, channel, spec, path, mistakes)
        if point is None:
            continue
        before = first.setdefault((conditions[i], point.x), i)
        if before != i:
            message = f"is the x of points[{before}] again, under the same condition"
            mistakes.append(entry.mistake((*path, "x"), message))
        found.append(point)
        placed.setdefault(conditions[i], []).append((i, point.x))
    for group in placed.values():
        known = [(i, x) for i, x in group if x is not None]
        mistakes += _out_of_order(entry, [i for i, _ in known], [x for _, x in known])
    return found


def _point(
    entry: Entry[CertificateSpec], channel: Channel, spec: PointSpec, path: Path, mistakes: list[Mistake]
) -> Point | None:
    """Return one point in the channel's units; a mistake and None when its units contradict the channel."""
    relative = channel.error is ErrorKind.RELATIVE
    error_unit = "%" if relative else channel.unit

    def converted(value: Quantity, target: str, key: str, *, difference: bool) -> Exact | None:
        try:
            return convert(value.value, value.unit, target, difference=difference)
        except UnitError as error:
            mistakes.append(entry.mistake((*path, key), str(error)))
            return None

    key, stated = spec.stated
    error = converted(stated, error_unit, key, difference=True)
    uncertainty = converted(spec.U, error_unit, "U", difference=True)
    target = AXIS_UNITS.get(channel.axis, channel.unit)
    written = None if spec.x is None else converted(spec.x, target, "x", difference=False)
    if error is None or uncertainty is None or (spec.x is not None and written is None):
        return None
    x = written
    if written is not None:
        try:
            x = _on_axis(Fraction(written), Fraction(error), channel, entry.spec.x_is)
        except ZeroDivisionError:
            mistakes.append(entry.mistake((*path, "error"), "an error of -100 % leaves no indication to relate x to"))
            return None
    return Point(
        x=None if x is None else to_decimal(x),
        error=to_decimal(error),
        U=to_decimal(uncertainty),
        k=spec.k,
        power_factor=spec.power_factor,
        phase=spec.phase,
        direction=spec.direction,
    )


def _on_axis(x: Fraction, error: Fraction, channel: Channel, x_is: str | None) -> Exact:
    """Return x on the channel's axis: I = R + E, or I = R (1 + E/100) for a relative error."""
    if x_is is None or x_is == channel.axis.value or channel.axis in AXIS_UNITS:
        return x
    if channel.error is ErrorKind.ABSOLUTE:
        return x + error if x_is == "reference" else x - error
    factor = 1 + error / 100
    return x * factor if x_is == "reference" else x / factor
