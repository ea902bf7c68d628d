"""Optional charts: `python -m bench.optional [--quick] [--json FILE]`.

Run lengths of the shipped charts with a head start and with supplementary rules against their exact ones; and what
slopes learned in Phase I cost: false alarms of CUSUM and EWMA where the error follows one to three conditions that are
removed, beside charts whose centre alone is learned, with conditions that scatter from check to check or go with the
year. 95 % intervals. Exit code 1 if a run length is not within 4 standard errors of its exact one.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gateway.drift import Detector, Floats
from gateway.drift.charts import chart_dtype, detectors, run
from gateway.drift.influence import INFLUENCE, MOST, Sums, removed
from gateway.drift.runlength import cusum_arl
from gateway.drift.supplementary import RULES, rules_arl, rules_code

SEED = 20261124
CHARTS = {d.name: d for d in detectors()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """Mean checks until the first signal, its standard error, and what is exact."""

    chart: str
    shift: float
    simulated: float
    error: float
    exact: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """False alarms in 1000 checks (first signals over checks until then), and the share of checks not charted."""

    conditions: str
    slopes: int
    chart: str
    alarms: float
    error: float
    uncovered: float


def signals(detector: Detector, settings: tuple[float, ...], limit: float, z: Floats) -> npt.NDArray[np.bool_]:
    """Return where the shipped chart signals; one row of z per channel, NaN where a check is not charted."""
    channels = len(z)
    charted = ~np.isnan(z)
    counts, flat = charted.sum(axis=1), z[charted]
    history, _ = run(
        (detector,), flat, np.arange(len(flat)) + 1, counts, {detector.name: [np.full(channels, p) for p in settings]},
        np.zeros(channels, chart_dtype((detector,))),
    )  # fmt: skip
    recorded = {f: history[f"{detector.name}_{f}"] for f in (*detector.state, *detector.times)}
    read = detector.read(recorded, flat, [np.full(len(flat), p) for p in settings], np.full(len(flat), limit))
    found = np.zeros(z.shape, np.bool_)
    found[charted] = read.signal
    return found


def lengths(quick: bool) -> list[Length]:
    """Return run lengths of the charts with options."""
    rng = np.random.default_rng(SEED)
    cases: list[tuple[str, tuple[float, ...], float, float, float]] = []
    for shift in (0.0, 0.5, 1.0):
        cases.append(("cusum", (0.5, 2.5), 5.0, shift, cusum_arl(0.5, 5.0, shift, headstart=2.5)))
        cases.append(("cusum", (0.5, 2.0), 4.0, shift, cusum_arl(0.5, 4.0, shift, headstart=2.0)))
        for names in (("2of3",), RULES):
            code = rules_code(names)
            cases.append(("shewhart", (float(code),), 3.0, shift, rules_arl(3.0, code, shift)))
    out = []
    for name, settings, limit, shift, exact in cases:
        channels = 500 if quick else 4000
        first = np.full(channels, np.nan)
        most = int(exact * 14) + 20
        for block in np.array_split(np.arange(channels), max(channels * most // 2_000_000, 1)):
            found = signals(CHARTS[name], settings, limit, rng.normal(shift, 1.0, (len(block), most)))
            first[block] = np.where(found.any(axis=1), found.argmax(axis=1) + 1.0, most)
        told = f"rules {int(settings[0])}" if name == "shewhart" else f"head start {settings[1]:g}"
        out.append(
            Length(
                chart=f"{name} {limit:g} {told}", shift=shift, simulated=float(first.mean()),
                error=float(first.std() / math.sqrt(channels)), exact=exact,
            )
        )  # fmt: skip
    return out


def conditions_of(kind: str, checks: int, slopes: int, rng: np.random.Generator) -> Floats:
    """Return conditions in units of their spread; `year`: a cosine of 365 checks from a random day, with weather."""
    c = np.zeros((checks, MOST))
    scatter = rng.normal(0.0, 1.0, (checks, slopes))
    season = np.cos(2.0 * np.pi * (np.arange(checks) / 365.0 + rng.uniform()))
    c[:, :slopes] = scatter if kind == "scattering" else 1.2 * season[:, None] + 0.5 * scatter
    return c


def costs(quick: bool, learn: int) -> list[Cost]:
    """Return false alarms with slopes learned from `learn` checks, each worth 0.7 σ a unit of its condition."""
    rng = np.random.default_rng(SEED + learn)
    channels, checks = (300, 365) if quick else (3000, 365)
    out = []
    for kind, slopes in (("none", 0), ("scattering", 1), ("scattering", 3), ("year", 1)):
        z = np.full((channels, checks), np.nan)
        for i in range(channels):
            c = conditions_of(kind, learn + checks, slopes, rng)
            d = 0.7 * c.sum(axis=1) + rng.normal(0.0, 1.0, len(c))
            z[i] = charted(c, d, learn)
        for chart, settings, limit in (("cusum", (0.5,), 5.0), ("ewma", (0.2,), 2.962)):
            found = signals(CHARTS[chart], settings, limit, z)
            seen = np.cumsum(~np.isnan(z), axis=1)
            signalled = found.any(axis=1)
            until = np.where(signalled, np.take_along_axis(seen, found.argmax(axis=1)[:, None], 1)[:, 0], seen[:, -1])
            alarms = signalled.sum() / until.sum() * 1000.0
            out.append(
                Cost(
                    conditions=f"{kind}, learn {learn}", slopes=slopes, chart=chart, alarms=float(alarms),
                    error=float(alarms / math.sqrt(max(signalled.sum(), 1))), uncovered=float(np.isnan(z).mean()),
                )
            )  # fmt: skip
    return out


def charted(c: Floats, d: Floats, learn: int) -> Floats:
    """Return z of the checks after Phase I as `gateway.pipeline.learning` makes it, σ = 1 given."""
    sums, mean = Sums.of(np.zeros(1, INFLUENCE)), 0.0
    for n, (conditions, residual) in enumerate(zip(c[:learn].tolist(), d[:learn].tolist(), strict=True), start=1):
        mean += (residual - mean) / n
        sums = sums.with_check(n, conditions, residual - mean)
    state = np.zeros(1, INFLUENCE)
    sums.settled(learn, float(((d[:learn] - mean) ** 2).sum()))[0].store(state)
    told = removed(state, np.zeros(len(c) - learn, np.int64), c[learn:])
    return np.where(told.covered, (d[learn:] - told.shift - mean) / told.spread, np.nan)


def main() -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer channels")
    parser.add_argument("--json", type=Path, help="write the results there")
    asked = parser.parse_args()
    measured = lengths(asked.quick)
    print(f"{'chart':32} {'shift':>5} {'simulated':>18} {'exact':>9}")
    for m in measured:
        print(f"{m.chart:32} {m.shift:5g} {m.simulated:9.2f} ± {1.96 * m.error:6.2f} {m.exact:9.2f}")
    spent = [cost for learn in (30, 100) for cost in costs(asked.quick, learn)]
    print(f"\n{'conditions':28} {'slopes':>6} {'chart':6} {'false alarms/1000':>18} {'not charted':>12}")
    for s in spent:
        print(f"{s.conditions:28} {s.slopes:6} {s.chart:6} {s.alarms:9.2f} ± {1.96 * s.error:5.2f} {s.uncovered:12.1%}")
    if asked.json:
        asked.json.write_text(
            json.dumps({"lengths": [asdict(m) for m in measured], "costs": [asdict(s) for s in spent]})
        )
    return int(any(abs(m.simulated - m.exact) > 4.0 * m.error for m in measured))


if __name__ == "__main__":
    raise SystemExit(main())
