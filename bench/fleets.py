"""Whole fleets on designed charts: `python -m bench.fleets [--fleets 1000] [--json FILE]`.

Three tables on simulated truth: false alarms per fleet and month against the budget, for centres and σ that are known
and that are not; checks until a change is found, beside river's ADWIN and PageHinkley on the same streams (where river
is installed); coverage of the 95 % intervals of rate and crossing, and trend alarms of steady instruments. Exit code 1
if a fleet exceeds its budget by more than its standard error explains.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.drift import Detector, Floats
from gateway.drift.charts import chart_dtype, detectors, run
from gateway.drift.design import Budget, ChartDesign, Knowledge, charts_for
from gateway.drift.trend import MONTH_NS, TREND, trend_of
from gateway.drift.uncertain import EXACT
from gateway.metrology.student import t_quantile
from gateway.metrology.trend import Line

SEED = 20261123
CHANNELS = 50
MONTH = 30.4375
CHECKS = 122
BUDGET = Budget.parse("1/month")
AT_ONCE = 100
CALM = 3
LEARN = 30
TRENDS = 2000
TREND_TAIL = 5e-7

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A kind of fleet: how its centres and σ come about, and what its charts are designed for."""

    name: str
    centre_u: float = 0.0
    learned_centre: bool = False
    learned_sigma: bool = False
    designed: Knowledge = EXACT

    def charts(self) -> tuple[ChartDesign, ...]:
        """Return the designed charts of each channel, one check a day."""
        return charts_for([1.0] * CHANNELS, BUDGET, known=self.designed).channels[0].charts

    def stream(self, rng: np.random.Generator, channels: int, checks: int, change: Floats | float = 0.0) -> Floats:
        """Return z of that many channels (rows) after Phase I, with `change` (σ) added to each check."""
        x = rng.standard_normal((channels, checks)) + change
        phase1 = rng.standard_normal((channels, LEARN))
        centre = phase1.mean(1) if self.learned_centre else self.centre_u * rng.standard_normal(channels)
        sigma = phase1.std(1, ddof=1) if self.learned_sigma else np.ones(channels)
        z: Floats = (x - centre[:, None]) / sigma[:, None]
        return z


_LEARNED = Knowledge.of(1.0 / math.sqrt(LEARN))
SITES = (
    Site(name="known"),
    Site(name="certificate centre, u 0.1", centre_u=0.1, designed=Knowledge.of(0.1)),
    Site(name="certificate centre, u 0.2", centre_u=0.2, designed=Knowledge.of(0.2)),
    Site(name="learned centre", learned_centre=True, designed=_LEARNED),
    Site(name="learned centre and σ", learned_centre=True, learned_sigma=True,
         designed=Knowledge.of(_LEARNED.centre_u, LEARN)),
    Site(name="learned, designed as if known", learned_centre=True, learned_sigma=True),
)  # fmt: skip


def readings(charts: tuple[ChartDesign, ...], z: Floats) -> tuple[Bools, Bools]:
    """Return, per channel and check, whether any chart signals and whether all are within half their limit."""
    channels, checks = z.shape
    settings = {c.chart: c.settings for c in charts}
    used: list[Detector] = [d for d in detectors() if d.name in settings]
    parameters = {d.name: [np.full(channels, settings[d.name][p]) for p in d.parameters if p != d.limit] for d in used}
    state = np.zeros(channels, chart_dtype(used))
    times = np.tile(np.arange(1, checks + 1), channels)
    history, _ = run(used, z.ravel(), times, np.full(channels, checks), parameters, state)
    signal, calm = np.zeros(z.size, np.bool_), np.ones(z.size, np.bool_)
    for d in used:
        recorded = {f: history[f"{d.name}_{f}"] for f in (*d.state, *d.times)}
        columns = [np.full(z.size, settings[d.name][p]) for p in d.parameters]
        readout = d.read(recorded, z.ravel(), columns[:-1], columns[-1])
        signal |= readout.signal
        calm &= readout.nearness <= 0.5
    return signal.reshape(z.shape), calm.reshape(z.shape)


def alarms(signal: Bools, calm: Bools) -> npt.NDArray[np.int64]:
    """Return how often each channel's alarm rises: up at a signal, down after three calm checks."""
    up = np.zeros(len(signal), np.bool_)
    quiet = np.zeros(len(signal), np.int64)
    risen = np.zeros(len(signal), np.int64)
    for i in range(signal.shape[1]):
        risen += signal[:, i] & ~up
        up |= signal[:, i]
        quiet = np.where(calm[:, i], quiet + 1, 0)
        up &= quiet < CALM
    return risen


@dataclass(frozen=True, slots=True, kw_only=True)
class Realised:
    """False alarms per fleet and month, with the standard error over fleets, for a budget of 1."""

    site: str
    fleets: int
    per_month: float
    standard_error: float
    within: bool


def realised(site: Site, fleets: int) -> Realised:
    """Simulate fleets for four months."""
    rng = np.random.default_rng(SEED)
    charts = site.charts()
    found: list[float] = []
    while len(found) < fleets:
        signal, calm = readings(charts, site.stream(rng, AT_ONCE * CHANNELS, CHECKS))
        of_fleet = alarms(signal, calm).reshape(AT_ONCE, CHANNELS).sum(1)
        found += (of_fleet * MONTH / CHECKS).tolist()
    mean, error = float(np.mean(found)), float(np.std(found)) / math.sqrt(len(found))
    return Realised(site=site.name, fleets=len(found), per_month=mean, standard_error=error,
                    within=mean < 1.0 + 3.0 * error)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Mean checks until a change is found, among those found at all, and false alarms in 100 checks before it."""

    detector: str
    change: str
    share: float
    checks: float
    false_per_100: float


BEFORE, AFTER, STREAMS, PEER_STREAMS = 100, 400, 2000, 100
CHANGES = {"step 0.5 σ": (0.5, 0.0), "step 1 σ": (1.0, 0.0), "step 2 σ": (2.0, 0.0),
           "ramp 25 % MPE a month, σ 5 % MPE": (0.0, 0.25 / MONTH / 0.05)}  # fmt: skip


def delays() -> list[Found]:
    """Compare delays on the same streams: designed charts, and river's detectors with their own settings."""
    rows: list[Found] = []
    for change, (step, ramp) in CHANGES.items():
        i = np.arange(BEFORE + AFTER) - BEFORE + 1
        added = np.where(i > 0, step + ramp * i, 0.0)
        for site in (SITES[0], SITES[4]):
            z = site.stream(np.random.default_rng(SEED), STREAMS, BEFORE + AFTER, added)
            signal, calm = readings(site.charts(), z)
            false = float(alarms(signal[:, :BEFORE], calm[:, :BEFORE]).mean())
            late = signal[:, BEFORE:] & ~signal[:, BEFORE - 1 : BEFORE]
            rows.append(_found(f"Metergate, {site.name}", change, late, false))
        z = SITES[0].stream(np.random.default_rng(SEED), PEER_STREAMS, BEFORE + AFTER, added)
        rows += _peers(change, z)
    return rows


def _found(detector: str, change: str, signal: Bools, false: float) -> Found:
    hit = signal.any(1)
    checks = float((signal[hit].argmax(1) + 1).mean()) if hit.any() else math.nan
    return Found(detector=detector, change=change, share=float(hit.mean()), checks=checks, false_per_100=false)


def _peers(change: str, z: Floats) -> list[Found]:
    """Return what river's detectors find; nothing where river is not installed."""
    try:
        drift: Any = importlib.import_module("river.drift")
    except ImportError:
        return []
    rows = []
    for name in ("ADWIN", "PageHinkley"):
        signal = np.zeros(z.shape, np.bool_)
        for row, stream in enumerate(z.tolist()):
            detector = getattr(drift, name)()
            for i, value in enumerate(stream):
                detector.update(value)
                signal[row, i] = detector.drift_detected
        rows.append(_found(f"river {name}", change, signal[:, BEFORE:], float(signal[:, :BEFORE].sum(1).mean())))
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Share of the 95 % intervals that hold the truth, and of steady instruments that ever raise a trend alarm."""

    checks: int
    every_days: float
    autocorrelation: float
    rate: float
    crossing: float
    finite: float
    steady_alarms: float


def coverage(checks: int, every: float, phi: float, *, rate: float = 0.06, sigma: float = 0.05) -> Coverage:
    """Simulate E/MPE = rate·months + AR(1) noise, and the same without drift."""
    rng = np.random.default_rng(SEED)
    noise = rng.standard_normal((TRENDS, checks))
    for i in range(1, checks):
        noise[:, i] = phi * noise[:, i - 1] + math.sqrt(1.0 - phi * phi) * noise[:, i]
    t = np.round(np.arange(checks) * every * 86_400e9).astype(np.int64)
    last = _lines(t, rate * t / MONTH_NS + sigma * noise)[:, -1]
    in_rate = in_crossing = finite = 0
    widening = trend_of(_sums(last)).widening.tolist()
    for row, wide in zip(last, widening, strict=True):
        line = Line(n=checks, x_mean=float(row["trend_t_mean"]), y_mean=float(row["trend_y_mean"]),
                    sxx=float(row["trend_sxx"]), sxy=float(row["trend_sxy"]), syy=float(row["trend_syy"]),
                    widening=wide)  # fmt: skip
        low, high = line.interval()
        in_rate += low <= rate <= high
        crossing = line.crossing(1.0)
        if crossing is not None and line.slope > 0.0:
            finite += 1
            in_crossing += crossing.low <= 1.0 / rate <= crossing.high
    steady = trend_of(_sums(_lines(t, sigma * noise)))
    limit = np.array([[t_quantile(TREND_TAIL, float(d)) for d in range(1, checks + 1)]])[
        0, np.clip(steady.dof.astype(np.int64), 1, checks) - 1
    ]
    alarmed = ((np.abs(steady.t_sure) > limit) & (steady.n >= 8)).any(1)
    return Coverage(checks=checks, every_days=every, autocorrelation=phi, rate=in_rate / TRENDS,
                    crossing=in_crossing / max(finite, 1), finite=finite / TRENDS,
                    steady_alarms=float(alarmed.mean()))  # fmt: skip


def _lines(t: npt.NDArray[np.int64], y: Floats) -> npt.NDArray[Any]:
    channels, checks = y.shape
    state = np.zeros(channels, chart_dtype([TREND]))
    history, _ = run([TREND], y.ravel(), np.tile(t, channels), np.full(channels, checks), {"trend": ()}, state)
    return history.reshape(channels, checks)


def _sums(rows: npt.NDArray[Any]) -> dict[str, Any]:
    return {name: rows[f"trend_{name}"] for name in (*TREND.state, *TREND.times)}


def main() -> int:
    """Print the tables; return 1 if a fleet that was designed for what it is exceeds its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fleets", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = [realised(site, options.fleets) for site in SITES]
    print(f"False alarms per fleet ({CHANNELS} channels, daily checks) and month; budget {BUDGET}")
    for row in found:
        print(f"  {row.site:32} {row.per_month:7.3f} ± {row.standard_error:.3f}  ({row.fleets} fleets)")
    late = delays()
    print("Checks until found (share found; false alarms in 100 steady checks)")
    for d in late:
        print(f"  {d.change:34} {d.detector:34} {d.checks:7.1f}  ({d.share:.3f}; {d.false_per_100:.4f})")
    covered = [coverage(n, every, phi) for n, every in ((12, MONTH), (60, 1.0), (180, 1.0)) for phi in (0.0, 0.25, 0.5)]
    print("Coverage of 95 % intervals: rate, crossing (share finite); steady instruments with a trend alarm")
    for c in covered:
        print(f"  {c.checks:4} checks every {c.every_days:5.1f} d, φ {c.autocorrelation:4.2f}  {c.rate:.3f}  "
              f"{c.crossing:.3f} ({c.finite:.3f})  {c.steady_alarms:.4f}")  # fmt: skip
    if options.json:
        tables: dict[str, list[Any]] = {"false_alarms": found, "delays": late, "coverage": covered}
        options.json.write_text(json.dumps({k: [asdict(r) for r in v] for k, v in tables.items()}, indent=1), "utf-8")
    return int(any(not row.within for row in found[:-1]))


if __name__ == "__main__":
    raise SystemExit(main())
