"""Faults that are injected into the simulated centre: where, when, what, how large."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "Fault", "Signal"]

KINDS = ("span_ramp", "zero_shift", "step", "noise", "stuck", "silence", "gap", "unit_error", "over_mpe")
"""Every kind is injected once or more for every seed (CONTRACTS §5)."""

DAY_NS = 86_400 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `size`: σ for errors, a factor for noise, readings for a gap, days for silence and unit errors."""

    device: str
    channel: str
    kind: str
    injected_at: int
    size: float

    @property
    def text(self) -> str:
        """Say how large the fault is."""
        units = {
            "span_ramp": "σ within 30 days", "zero_shift": "σ", "step": "σ", "noise": "times the σ", "stuck": "",
            "silence": "days", "gap": "readings lost", "unit_error": "days", "over_mpe": "times the MPE",
        }  # fmt: skip
        size = "" if self.kind == "stuck" else f"{self.size:.3g} "
        return f"{size}{units[self.kind]}".strip() or "for good"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What a channel's faults do to it at a moment: errors in σ, factor of σ, and what becomes of the reading.

    `span_sigma` is what a span error makes at the largest load checked; it is in proportion below.
    """

    shift_sigma: float = 0.0
    span_sigma: float = 0.0
    over_mpe: float = 0.0
    noise: float = 1.0
    stuck: bool = False
    lost: bool = False
    wrong_unit: bool = False


def signal_at(  # noqa: C901  one branch per kind of fault
    faults: tuple[Fault, ...], at: int, reading: int
) -> Signal:
    """Return what these faults of one channel do at `at` (ns) to its `reading`-th reading since the first of them."""
    shift, span, over, noise = 0.0, 0.0, 0.0, 1.0
    stuck = lost = wrong = False
    for fault in faults:
        days = (at - fault.injected_at) / DAY_NS
        if days < 0:
            continue
        if fault.kind == "span_ramp":
            span += fault.size * min(days / 30.0, 1.0)
        elif fault.kind in {"zero_shift", "step"}:
            shift += fault.size
        elif fault.kind == "noise":
            noise *= fault.size
        elif fault.kind == "stuck":
            stuck = True
        elif fault.kind == "over_mpe":
            over += fault.size
        elif fault.kind == "silence":
            lost = lost or days < fault.size
        elif fault.kind == "gap":
            lost = lost or reading < fault.size
        elif fault.kind == "unit_error":
            wrong = wrong or days < fault.size
    return Signal(
        shift_sigma=shift, span_sigma=span, over_mpe=over, noise=noise, stuck=stuck, lost=lost, wrong_unit=wrong
    )
