"""A small centre for tests of the core: scales without legal limits, and readings of them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np

from gateway.ledger.store import Ledger
from gateway.metrology.readings import Reading
from gateway.metrology.rulepacks import catalogue
from gateway.pipeline.compiling import compile_plan
from gateway.pipeline.plan import Plan
from gateway.registry.model import (
    Center,
    Certificate,
    Channel,
    Decision,
    Device,
    Event,
    Influence,
    Kind,
    Phase,
    Point,
    Registry,
)  # fmt: skip
from gateway.runtime.ingest import Batch, Ingest

DAY = 86_400 * 10**9
LATENESS = 30 * DAY


def scale(name: str, **channel: object) -> Device:
    given: dict[str, object] = {
        "name": "mass", "unit": "kg", "sigma": Decimal("0.0016"), "resolution": Decimal("0.0001"),
        "timeout_ns": 3 * DAY, "range": (Decimal(0), Decimal(15)), "stuck_n": 4,
    } | channel  # fmt: skip
    return Device(
        id=name, kind=Kind.WEIGHING, site="s", serial=None, name=None, rule_pack=None, parameters={}, in_service=True,
        decision=Decision.SIMPLE, channels={"mass": Channel(**given)},  # type: ignore[arg-type]
    )  # fmt: skip


def certificate(device: str, at: int = 0, *, name: str = "c1", error: str = "0.001", U: str = "0.0002") -> Certificate:
    return Certificate(
        id=name, device=device, channel="mass", kind="calibration", phase=Phase.AS_LEFT, performed_at=at, valid_to=None,
        laboratory=None,
        points=tuple(Point(x=Decimal(x), error=Decimal(error), U=Decimal(U), k=Decimal(2)) for x in (5, 10)),
    )  # fmt: skip


def plan_of(devices: Sequence[Device], certificates: Sequence[Certificate] = (), events: Sequence[Event] = ()) -> Plan:
    registry = Registry(devices={d.id: d for d in devices}, certificates=tuple(certificates), events=tuple(events))
    return compile_plan(registry, catalogue([]), {}, lambda _chart, limit, _parameters, _m: limit * 1.5)


def two_scales() -> Plan:
    return plan_of(
        [scale("a"), scale("b", sigma=None, center=Center.LEARNED, learn=5)],
        [certificate("a"), certificate("b"), certificate("a", 40 * DAY, name="c2", error="0.002")],
    )


def scales_with_optional_charts() -> Plan:
    """Two scales with a head start and supplementary rules; what b says follows its temperature."""
    drift = {"cusum": {"k": 0.5, "h": 5.0, "head_start": 2.5}, "shewhart": {"L": 3.0, "rules": 7.0}}
    return plan_of(
        [
            scale("a", drift=drift),
            scale("b", sigma=None, learn=10, drift=drift, influences=(Influence.TEMPERATURE, Influence.X)),
        ],
        [certificate("a"), certificate("b"), certificate("a", 40 * DAY, name="c2", error="0.002")],
    )


def scales_with_self_starting_charts() -> Plan:
    """Scale a, σ known and its centre to be learned, and b, nothing known, in subgroups of 2; c has no such chart."""
    drift = {"cusum": {"k": 0.5, "h": 5.0}, "self_starting": {"k": 0.5, "h": 4.0}}
    return plan_of(
        [
            scale("a", drift=drift, center=Center.LEARNED),
            scale("b", drift=drift, sigma=None, center=Center.LEARNED, learn=12, subgroup_n=2),
            scale("c"),
        ],
        [certificate("a"), certificate("b"), certificate("a", 40 * DAY, name="c2", error="0.002")],
    )


def check(
    device: str, day: float, value: float, *, reference: float | None = 5.0, seq: int | None = None,
    temperature: float | None = None,
) -> Reading:  # fmt: skip
    return Reading(
        device=device, channel="mass", time=int(day * DAY), value=value, unit="kg", reference=reference,
        reference_u=None if reference is None else 0.0001, seq=seq, boot=None if seq is None else "b1",
        temperature_C=temperature,
    )  # fmt: skip


def noisy_life(seed: int, n: int = 60, *, shift_at: int = 30) -> list[Reading]:
    """Two scales, one check or reading a day each; scale a shifts, b falls silent for a while; one missing seq."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(n):
        error = 0.001 + (0.008 if i >= shift_at else 0.0)
        out.append(check("a", i, round(5.0 + error + 0.0016 * rng.normal(), 4), seq=i + (i > 12)))
        if not 20 <= i < 26:
            reference = None if i % 7 == 3 else 5.0
            value = round(5.001 + 0.002 * rng.normal(), 4)
            temperature = None if i % 11 == 5 else 20.0 + i % 5
            out.append(check("b", i + 0.25, value, reference=reference, seq=i, temperature=temperature))
    return out


def ingest_in(folder: Path, plan: Plan) -> Ingest:
    return Ingest(Ledger.open(folder), plan, LATENESS)


def feed(ingest: Ingest, readings: Sequence[Reading], at: int = 10**19 // 2) -> None:
    ingest.process(Batch(readings=readings, received_at=[at], topic=["t"], payload=[b"{}"], at=at))
