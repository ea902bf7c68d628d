"""When an instrument will leave its limits: the line through E/MPE, extended (METROLOGY §5.5, CONTRACTS §5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gateway.metrology.instants import format_instant
from gateway.metrology.trend import Line

__all__ = ["MONTH_NS", "NO_FORECAST", "TOO_FEW", "Forecast", "forecast"]

MONTH_NS = 30.4375 * 86_400e9
HORIZON_MONTHS = 1200.0
"""Further ahead no date is given."""

FEWEST = 3
NO_FORECAST = "no finite forecast"
TOO_FEW = "too few checks"
TOO_FAR = "beyond 100 years"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Rates are in E/MPE per month, instants in ns; None where the data do not say.

    `crosses_at` with [earliest, latest]: |E| reaches the MPE (95 %, Fieller). `safe_until`: |E| + U does. `recheck_by`:
    the first of `earliest`, `safe_until`, the crossing of the limits of verification, and the statutory due date.
    """

    rate: float | None = None
    rate_low: float | None = None
    rate_high: float | None = None
    crosses_at: int | None = None
    earliest: int | None = None
    latest: int | None = None
    safe_until: int | None = None
    recheck_by: int | None = None
    reason: str | None = None

    def record(self) -> dict[str, object]:
        """Return the record of CONTRACTS §5."""

        def text(at: int | None) -> str | None:
            return None if at is None else format_instant(at)

        return {
            "rate": self.rate,
            "rate_low": self.rate_low,
            "rate_high": self.rate_high,
            "per": "month",
            "crosses_at": text(self.crosses_at),
            "earliest": text(self.earliest),
            "latest": text(self.latest),
            "safe_until": text(self.safe_until),
            "recheck_by": text(self.recheck_by),
            "reason": self.reason,
        }


def forecast(
    line: Line | None, *, origin: int, last: int, due: int | None, safe: float | None = None, initial: float = 1.0
) -> Forecast:
    """Return the forecast of a line through E/MPE against months since `origin`; None: too few checks for a line.

    `last` is the time of the last check (all ns), `due` the statutory date, `safe` the level 1 - U/MPE, `initial` the
    MPE of verification over that in use. Nothing is to be done before `last`; no advice is later than `due`.
    """
    if line is None or line.n < FEWEST:
        return Forecast(recheck_by=due, reason=TOO_FEW)
    low, high = line.interval()
    sign = math.copysign(1.0, line.slope)
    crossing = line.crossing(sign)
    if crossing is None:
        return Forecast(rate=line.slope, rate_low=low, rate_high=high, recheck_by=due, reason=NO_FORECAST)
    first, point, end = (_instant(origin, v) for v in (crossing.low, crossing.at, crossing.high))
    until = None if safe is None else line.crossing(sign * safe)
    safe_until = None if until is None else _instant(origin, until.at)
    reason, verified = None, None
    if initial < 1.0:
        limit = line.crossing(sign * initial)
        verified = None if limit is None else _instant(origin, limit.at)
        if verified is not None:
            reason = f"reaches the limits of verification on {format_instant(verified)[:10]}"
    wanted = [max(v, last) for v in (first, safe_until, verified) if v is not None]
    dates = wanted if due is None else [*wanted, due]
    return Forecast(
        rate=line.slope, rate_low=low, rate_high=high, crosses_at=point, earliest=first, latest=end,
        safe_until=safe_until, recheck_by=min(dates, default=None), reason=TOO_FAR if point is None else reason,
    )  # fmt: skip


def _instant(origin: int, months: float) -> int | None:
    """Return the instant, to the second; None beyond the horizon."""
    if not abs(months) < HORIZON_MONTHS:
        return None
    return origin + round(months * MONTH_NS / 1e9) * 10**9
