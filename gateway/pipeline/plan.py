"""The plan: what the registry says, compiled to columns, one row per channel and one per epoch of a channel.

An epoch is a stretch in which one baseline, one segment and one version of the legal limits hold; charts restart where
the baseline or the segment changes (a new chapter), not where only the limits do. `compiling` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.drift import Detector
from gateway.metrology.baseline import Curve, CurveTable
from gateway.metrology.limits import Limits
from gateway.metrology.rulepacks import RulePack
from gateway.pipeline.columns import Floats, Ints
from gateway.registry.model import Axis, Center, Certificate, Decision, Influence, Kind

__all__ = [
    "AXES",
    "CENTERS",
    "DECISIONS",
    "FEWEST_GROUPS",
    "FOREVER",
    "INFLUENCES",
    "NEVER",
    "ChannelFacts",
    "Epoch",
    "Plan",
]

NEVER = -(2**63)
"""From the beginning on."""
FOREVER = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFacts:
    """What records need to know of a channel, as text."""

    device: str
    channel: str
    site: str | None
    kind: Kind
    unit: str
    error_unit: str
    decision: Decision
    standard: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One stretch of a channel's history: `start` (ns), its baseline certificate, segment, limits and pack."""

    start: int
    segment: int | None
    certificate: Certificate | None
    valid_to: int | None
    pack: RulePack | None
    limits: Limits | None
    initial_limits: Limits | None
    charts: Mapping[str, Mapping[str, float]]
    settings: str
    curves: tuple[tuple[tuple[float | None, str | None, str | None], Curve], ...]

    @property
    def chapter(self) -> tuple[int | None, str | None, str | None]:
        """What charts hang on: the segment and the baseline."""
        certificate = self.certificate
        if certificate is None:
            return self.segment, None, None
        return self.segment, certificate.id, certificate.phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The compiled registry. `e_*`, `limit` and `limit_provisional` have one row per epoch, others one per channel.

    `influences` are indexes in `INFLUENCES`, -1 for none.
    `standard` is the channel of the channel's own standard (-1: none in the plan), `standard_code` its `boot_code`.
    `extra`: channels that have an optional chart, and verdicts with its columns.
    """

    facts: tuple[ChannelFacts, ...]
    index: Mapping[tuple[str, str], int]
    devices: Mapping[str, tuple[int, ...]]
    charts: tuple[Detector, ...]
    unit: npt.NDArray[np.object_]
    relative: npt.NDArray[np.bool_]
    register: npt.NDArray[np.bool_]
    weighing: npt.NDArray[np.bool_]
    axis: npt.NDArray[np.int8]
    decision: npt.NDArray[np.int8]
    resolution: Floats
    turn: Floats
    multiplier: Floats
    exchanged: Mapping[int, Ints]
    sigma: Floats
    center: npt.NDArray[np.int8]
    learn: Ints
    influences: Ints
    subgroup_n: Ints
    subgroup_ns: Ints
    timeout: Ints
    low: Floats
    high: Floats
    stuck_n: Ints
    stuck_ns: Ints
    retired: Ints
    standard: Ints
    standard_code: Ints
    extra: npt.NDArray[np.bool_]
    parameters: Mapping[str, tuple[Floats, ...]]
    limit: Mapping[str, Floats]
    limit_provisional: Mapping[str, Floats]
    epochs: tuple[Epoch, ...]
    first_epoch: Ints
    epoch_count: Ints
    e_start: Ints
    e_chapter: Ints
    e_curve: Ints
    e_conditional: npt.NDArray[np.bool_]
    e_certified: npt.NDArray[np.bool_]
    e_limits: Ints
    e_unverified: npt.NDArray[np.bool_]
    e_valid_to: Ints
    limits: tuple[Limits, ...]
    curves: CurveTable
    conditions: Mapping[int, tuple[tuple[tuple[float | None, str | None, str | None], int], ...]]
    fingerprints: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def optional(self) -> bool:
        """Return whether any channel has an optional chart."""
        return any(d.optional for d in self.charts)


FEWEST_GROUPS = 5
"""A σ of means of subgroups is learned from at least so many: with fewer it is hardly known at all."""

AXES = tuple(Axis)
DECISIONS = tuple(Decision)
CENTERS = tuple(Center)
INFLUENCES = tuple(Influence)
