"""The pairs of calibrations in a registry, as left before and as found now, and the drift between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.metrology.baseline import Curve
from gateway.metrology.recalibration import Found, PointDrift, drift_between
from gateway.registry.model import Certificate, Event, Phase, Point, Registry

__all__ = ["ConditionDrift", "Recalibration", "recalibrations"]

Condition = tuple[float | None, str | None, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionDrift:
    """The drift at one point, under its power factor, phase and direction."""

    power_factor: float | None
    phase: str | None
    direction: str | None
    drift: PointDrift


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """A certificate as found, and the one in force before it.

    `interrupted`: what was done to the device between them, so that the difference is not drift alone.
    """

    before: Certificate
    after: Certificate
    interrupted: tuple[Event, ...]
    points: tuple[ConditionDrift, ...]

    @property
    def worst(self) -> float | None:
        """The largest |En| of its points."""
        return max((abs(p.drift.en) for p in self.points if p.drift.en is not None), default=None)

    @property
    def significant(self) -> bool | None:
        """Whether any point disagrees; None where none can be compared."""
        return None if self.worst is None else self.worst > 1


def recalibrations(registry: Registry, *, correlation: float = 0.0) -> Iterator[Recalibration]:
    """Yield every certificate as found that has one before it, in time order.

    Before is the latest earlier one on the channel, as left where it says so: what is in force until the next one.
    """
    for after in registry.certificates:
        if after.phase is not Phase.AS_FOUND or not after.points:
            continue
        before = _before(registry.certificates, after)
        if before is None:
            continue
        resolution = 0.0
        device = registry.devices.get(after.device)
        if device is not None and after.channel is not None and after.channel in device.channels:
            resolution = float(device.channels[after.channel].resolution)
        yield Recalibration(
            before=before,
            after=after,
            interrupted=tuple(
                e
                for e in registry.events
                if e.device == after.device and before.performed_at < e.time < after.performed_at
            ),
            points=tuple(_points(before, after, resolution, correlation)),
        )


def _before(certificates: Sequence[Certificate], after: Certificate) -> Certificate | None:
    earlier = [
        c
        for c in certificates
        if (c.device, c.channel) == (after.device, after.channel)
        and c.points
        and c.id != after.id
        and c.performed_at < after.performed_at
    ]
    return max(earlier, key=lambda c: (c.performed_at, c.phase is Phase.AS_LEFT), default=None)


def _points(before: Certificate, after: Certificate, resolution: float, r: float) -> Iterator[ConditionDrift]:
    for condition in dict.fromkeys(_condition(p) for p in after.points):
        known = [p for p in before.points if _condition(p) == condition]
        if not known:
            continue
        curve = Curve.of([(_x(p), float(p.error), float(p.U), float(p.k)) for p in known], resolution=resolution)
        found = [
            Found(x=_x(p), E=float(p.error), U=float(p.U), k=float(p.k))
            for p in after.points
            if _condition(p) == condition
        ]
        power_factor, phase, direction = condition
        for drift in drift_between(curve, found, correlation=r):
            yield ConditionDrift(power_factor=power_factor, phase=phase, direction=direction, drift=drift)


def _condition(point: Point) -> Condition:
    return (point.power_factor, point.phase, point.direction)


def _x(point: Point) -> float | None:
    return None if point.x is None else float(point.x)
