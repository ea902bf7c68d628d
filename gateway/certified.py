"""What a certificate's points say against the legal limits: each point by its MPE, all of them by the rules over sets.

A verification applies the initial limits, so these do, whatever the instrument is held to between verifications.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isnan

import numpy as np

from gateway.metrology.limits import Argument, Limits
from gateway.metrology.pointsets import MeasuredPoint, PointSetFinding
from gateway.metrology.rulepacks import RulePack, RulePacks
from gateway.metrology.units import exact, unit
from gateway.registry.model import Axis, Certificate, Channel, Device, ErrorKind, Phase, Point, Registry

__all__ = ["JudgedCertificate", "JudgedPoint", "judge_certificates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPoint:
    """One point with its MPE (error unit; None: no requirement, or a condition it needs is not stated)."""

    point: Point
    mpe: float | None

    @property
    def within(self) -> bool | None:
        """Whether |E| ≤ MPE (simple acceptance)."""
        return None if self.mpe is None else float(abs(self.point.error)) <= self.mpe

    @property
    def u_too_large(self) -> bool:
        """Whether U (at k = 2) is more than a third of the MPE: too coarse a calibration for this limit."""
        if self.mpe is None:
            return False
        return 6 * Fraction(self.point.U) / Fraction(self.point.k) > Fraction(exact(self.mpe))


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCertificate:
    """One certificate's points, and what the rules over sets of points say per condition."""

    certificate: Certificate
    pack: RulePack
    verified: bool
    points: tuple[JudgedPoint, ...]
    findings: tuple[PointSetFinding, ...]

    @property
    def conforms(self) -> bool | None:
        """False when a point or a rule fails; None when nothing fails and something cannot be told."""
        said = [p.within for p in self.points] + [f.holds for f in self.findings]
        if False in said:
            return False
        return None if None in said else True

    @property
    def finding(self) -> bool:
        """Whether the instrument was left outside what the law asks."""
        return self.conforms is False and self.certificate.phase is Phase.AS_LEFT


def judge_certificates(registry: Registry, packs: RulePacks, device: str | None = None) -> list[JudgedCertificate]:
    """Return the certificates with points of devices under a rule pack, judged by the pack of their day."""
    found = []
    for certificate in registry.certificates:
        owner = registry.devices[certificate.device]
        if device not in {None, owner.id} or certificate.channel is None or not certificate.points:
            continue
        judged = _judge(certificate, owner, owner.channels[certificate.channel], packs)
        if judged is not None:
            found.append(judged)
    return found


def _judge(certificate: Certificate, device: Device, channel: Channel, packs: RulePacks) -> JudgedCertificate | None:
    pack = packs.get(device.rule_pack, certificate.performed_at) if device.rule_pack else None
    if pack is None:
        return None
    limits = pack.limits(device.parameters, in_service=False, unit=channel.unit, error=channel.error)
    if limits is None:
        return None
    points = tuple(JudgedPoint(point=p, mpe=_mpe(limits, p, channel)) for p in certificate.points)
    findings = _findings(points, pack, device.parameters, limits, channel)
    return JudgedCertificate(
        certificate=certificate,
        pack=pack,
        verified=limits.verified and all(f.verified for f in findings),
        points=points,
        findings=tuple(findings),
    )


def _mpe(limits: Limits, point: Point, channel: Channel) -> float | None:
    nan = float("nan")
    x = nan if point.x is None else float(point.x)
    found = limits.evaluate(
        reference=np.array([_reference(point, channel)]),
        flow_m3h=np.array([x if channel.axis is Axis.FLOW else nan]),
        current_A=np.array([x if channel.axis is Axis.CURRENT else nan]),
        power_factor=np.array([nan if point.power_factor is None else point.power_factor]),
        single_phase=np.array([point.phase is not None]),
        temperature_C=np.array([nan]),
    )
    mpe = float(found[0])
    return None if isnan(mpe) else mpe


def _reference(point: Point, channel: Channel) -> float:
    """Return the reference of a point in the channel's unit; NaN where x is a flow or a current."""
    if point.x is None or channel.axis in {Axis.FLOW, Axis.CURRENT}:
        return float("nan")
    if channel.axis is Axis.REFERENCE:
        return float(point.x)
    x, error = Fraction(point.x), Fraction(point.error)
    return float(x - error if channel.error is ErrorKind.ABSOLUTE else x / (1 + error / 100))


def _findings(
    points: Sequence[JudgedPoint], pack: RulePack, parameters: Mapping[str, str], limits: Limits, channel: Channel
) -> list[PointSetFinding]:
    """Apply the rules over sets to the points of each condition."""
    if channel.error is not ErrorKind.RELATIVE:
        return []
    factor = unit(channel.unit).factor if limits.argument is Argument.REFERENCE else Fraction(1)
    groups: dict[object, list[MeasuredPoint]] = {}
    for judged in points:
        p = judged.point
        if p.x is None:
            continue
        mpe = None if judged.mpe is None else Fraction(exact(judged.mpe))
        measured = MeasuredPoint(x=Fraction(p.x) * factor, error=Fraction(p.error), mpe=mpe)
        groups.setdefault((p.power_factor, p.phase, p.direction), []).append(measured)
    return [rule.judge(group) for group in groups.values() for rule in pack.point_set_rules(parameters)]
