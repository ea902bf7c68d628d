"""How long until the next calibration: methods that ILAC-G24:2022 / OIML D 10:2022 name, in the forms of NCSLI RP-1.

All intervals are in months, or in any unit of use (load cycles, kWh, m³): the formulas do not know. Group-2
instruments have a statutory interval, which is a ceiling (`capped`): advice may only be to come earlier.
"""

from __future__ import annotations

import math

from gateway.errors import WrongUse

__all__ = [
    "capped", "drift_interval", "exponential_interval", "incremental_step", "simple_reliability", "simple_step",
]  # fmt: skip


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise WrongUse(what, remedy="see docs/drift.md, intervals")


def simple_step(interval: float, in_tolerance: bool, a: float = 0.1, b: float = 0.55) -> float:
    """Return the next interval by method A1 (RP-1; "staircase"): longer by a share a, or shorter by a share b.

    >>> simple_step(12.0, True), round(simple_step(12.0, False), 9)
    (13.200000000000001, 5.4)
    """
    _require(interval > 0.0 and a > 0.0 and 0.0 < b < 1.0, "A1 needs interval > 0, a > 0 and 0 < b < 1")
    return interval * (1.0 + a) if in_tolerance else interval * (1.0 - b)


def simple_reliability(a: float = 0.1, b: float = 0.55) -> float:
    """Return the share R found in tolerance to which A1 settles: (1 + a)^R (1 - b)^(1 - R) = 1.

    >>> round(simple_reliability(), 3)
    0.893
    """
    _require(a > 0.0 and 0.0 < b < 1.0, "A1 needs a > 0 and 0 < b < 1")
    return -math.log1p(-b) / (math.log1p(a) - math.log1p(-b))


def incremental_step(
    interval: float, in_tolerance: bool, step: float, before: bool | None = None, target: float = 0.95
) -> tuple[float, float]:
    """Return (next interval, next step) by method A2 (RP-1): I[1 + Δ(-R)^(1-y)(1-R)^y], y = 1 in tolerance.

    `step` is Δ of the last time (1 at first), halved whenever the finding differs from the one `before`.

    >>> incremental_step(12.0, True, 1.0)
    (12.600000000000001, 1.0)
    """
    _require(interval > 0.0 and step > 0.0 and 0.0 < target < 1.0, "A2 needs interval, step > 0 and 0 < target < 1")
    size = step / 2.0 if before is not None and before != in_tolerance else step
    factor = 1.0 - target if in_tolerance else -target
    return interval * (1.0 + size * factor), size


def drift_interval(mpe: float, error: float, U: float, rate: float, rate_u: float = 0.0, k: float = 2.0) -> float:
    """Return the time until |error| + U reaches the MPE at a rate (per month) known within k·rate_u; inf without drift.

    I = (MPE - |E₀| - U)/(|b| + k·s_b): G24 method 2 with the uncertainty of the rate against the instrument; 0 where
    no room is left.

    >>> drift_interval(1.0, 0.2, 0.1, 0.02), drift_interval(1.0, 0.95, 0.1, 0.02)
    (35.0, 0.0)
    """
    _require(
        mpe > 0.0 and U >= 0.0 and rate_u >= 0.0 and k >= 0.0, "the MPE must be positive, U and rate_u not negative"
    )
    room = mpe - abs(error) - U
    speed = abs(rate) + k * rate_u
    if room <= 0.0:
        return 0.0
    return math.inf if speed == 0.0 else room / speed


def exponential_interval(observed: float, interval: float, target: float) -> float:
    """Return the interval at which a share `target` is still in tolerance, if `observed` were after `interval`.

    Constant failure rate λ = -ln(observed)/interval (G24 method 5, RP-1 S1): I = -ln(target)/λ.

    >>> round(exponential_interval(0.92, 12.0, 0.95), 2)
    7.38
    """
    _require(0.0 < observed < 1.0 and 0.0 < target < 1.0 and interval > 0.0, "reliabilities must be between 0 and 1")
    return interval * math.log(target) / math.log(observed)


def capped(interval: float, statutory: float | None) -> float | None:
    """Return the advice within the law: never above the statutory interval; None where neither says anything."""
    bound = interval if statutory is None else min(interval, statutory)
    return None if math.isinf(bound) else bound
