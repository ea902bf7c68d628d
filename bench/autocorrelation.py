"""Charts of autocorrelated checks: `python -m bench.autocorrelation [--quick] [--json FILE]`.

AR(1) checks with σ = 1 from a stationary start (the convention of METROLOGY §5.3), through the shipped charts, the
shipped test for autocorrelation and the shipped widening. Four questions, with 95 % intervals: how often independent
checks, dependent ones, and such with a drift or a step, are flagged; how many channels signal before the test has
decided at check 240; the run length from then on, with the limits as designed, for the true ρ, and as judged; and the
checks until a shift is found, which is what the widening costs. Exit code 1 if independent checks are flagged more
often than stated, or if, with ρ known, a run length is below the design.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.drift import Detector, Floats
from gateway.drift.charts import chart_dtype, detectors, run
from gateway.drift.dependence import DEPENDENCE, LOOKS, dependent_limit, follow_dependence, pair_spread
from gateway.drift.design import cusum_limit, ewma_limit
from gateway.drift.runlength import cusum_arl, ewma_arl, noise_arl, shewhart_arl

SEED = 20261123
PHIS = (0.0, 0.25, 0.5, 0.75, -0.5)
LEARN = LOOKS[-1]
BLOCK = 500
LONGEST = 15
"""Run lengths beyond that many times the design count as that: means are then too short, never too long."""

STATED = 0.01
"""Independent channels that are flagged in the end, by decision 23."""

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One shipped chart with its parameters (limit last) and its run length for independent checks."""

    detector: Detector
    settings: tuple[float, ...]
    nominal: float

    def __str__(self) -> str:
        return " ".join((self.detector.name, *(f"{v:g}" for v in self.settings)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """Share of channels flagged after each look, and mean ρ of those flagged after the last."""

    checks: str
    after: tuple[float, ...]
    half_width: float
    rho: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLength:
    """A mean run length (or delay, `shift` in σ) with its 95 % interval; `limits`: as designed, ρ known, as judged."""

    chart: str
    phi: float
    shift: float
    limits: str
    nominal: float
    mean: float
    low: float
    high: float
    median: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Early:
    """Share of channels with a signal among the first 240 checks, and its 95 % interval's half width."""

    chart: str
    phi: float
    as_designed: float
    as_judged: float
    half_width: float


def autoregressive(rng: np.random.Generator, phi: float, before: Floats, checks: int) -> Floats:
    """Return the next checks of AR(1) channels (rows) that were at `before`; marginal deviation 1."""
    z: Floats = math.sqrt(1.0 - phi * phi) * rng.standard_normal((len(before), checks))
    last = before
    for i in range(checks):
        last = z[:, i] = z[:, i] + phi * last
    return z


def tested(z: Floats) -> Floats:
    """Return ρ after each look, one column per look, of channels (rows) with at least one check more than looked at."""
    m, n = z.shape
    state = np.zeros(m, DEPENDENCE)
    rho = follow_dependence(state, np.repeat(np.arange(m), n), z.ravel(), np.ones(m)).reshape(m, n)
    return rho[:, list(LOOKS)]


def shares(channels: int, rng: np.random.Generator) -> list[Flagged]:
    """Return how often channels are flagged: independent, dependent, and independent with a change of the mean."""
    i = np.arange(LEARN + 1, dtype=np.float64)
    courses: dict[str, tuple[float, npt.NDArray[np.floating[Any]]]] = {
        f"φ {phi:g}": (phi, 0.0 * i) for phi in (*PHIS[:1], 0.1, *PHIS[1:])
    }
    courses |= {
        "step 1 σ at check 45": (0.0, 1.0 * (i >= 45)), "step 3 σ at check 45": (0.0, 3.0 * (i >= 45)),
        "drift 0.02 σ per check": (0.0, 0.02 * i), "drift 0.05 σ from check 100": (0.0, 0.05 * np.maximum(i - 100, 0)),
    }  # fmt: skip
    found = []
    for name, (phi, course) in courses.items():
        rho = tested(autoregressive(rng, phi, rng.standard_normal(channels), LEARN + 1) + course)
        share = (rho != 0.0).mean(axis=0)
        last = rho[:, -1]
        found.append(Flagged(
            checks=name, after=tuple(share.tolist()),
            half_width=1.96 * math.sqrt(max(share[-1] * (1.0 - share[-1]), 1.0 / channels) / channels),
            rho=float(last[last != 0.0].mean()) if last.any() else 0.0,
        ))  # fmt: skip
    return found


def early_signals(charts: Sequence[Chart], channels: int, rng: np.random.Generator) -> list[Early]:
    """Return how many channels signal while the test is looking."""
    rows = []
    for phi in PHIS:
        z = autoregressive(rng, phi, rng.standard_normal(channels), LEARN)
        unit = np.repeat(np.arange(channels), LEARN)
        rho = follow_dependence(np.zeros(channels, DEPENDENCE), unit, z.ravel(), np.ones(channels))
        for chart in charts:
            if chart.detector.name == "noise":
                continue
            d, (*parameters, limit) = chart.detector, chart.settings
            columns = {d.name: [np.full(channels, p) for p in parameters]}
            state = np.zeros(channels, chart_dtype((d,)))
            history, _ = run(
                (d,), z.ravel(), np.zeros(z.size, np.int64), np.full(channels, LEARN), columns, state
            )  # fmt: skip
            recorded = {f: history[f"{d.name}_{f}"] for f in (*d.state, *d.times)}
            limits = np.array([dependent_limit(d.name, limit, r, tuple(parameters)) for r in rho.tolist()])
            chosen = [np.full(z.size, p) for p in parameters]
            designed, judged = (
                float(d.read(recorded, z.ravel(), chosen, edge).signal.reshape(z.shape).any(axis=1).mean())
                for edge in (np.full(z.size, limit), limits)
            )
            rows.append(Early(
                chart=str(chart), phi=phi, as_designed=designed, as_judged=judged,
                half_width=1.96 * math.sqrt(max(judged * (1.0 - judged), 1.0 / channels) / channels),
            ))  # fmt: skip
    return rows


def first_signals(
    chart: Chart, rho: Floats, phi: float, shift: float, last: Floats, rng: np.random.Generator, longest: int
) -> Floats:
    """Return the checks until each channel signals, its chart fresh; those beyond `longest` count as `longest`."""
    d, n = chart.detector, len(rho)
    *parameters, limit = chart.settings
    spread = pair_spread(rho) if d.name == "noise" else np.ones(n)
    limits = np.array([dependent_limit(d.name, limit, r, tuple(parameters)) for r in rho.tolist()])
    state = np.zeros(n, chart_dtype((d,)))
    alive, found = np.arange(n), np.full(n, float(longest))
    done = 0
    while len(alive) and done < longest:
        checks = autoregressive(rng, phi, last, BLOCK)
        z = ((checks + shift) / spread[alive, None]).ravel()
        counts = np.full(len(alive), BLOCK)
        columns = {d.name: [np.full(len(alive), p) for p in parameters]}
        history, state = run((d,), z, np.zeros(len(z), np.int64), counts, columns, state)
        recorded = {f: history[f"{d.name}_{f}"] for f in (*d.state, *d.times)}
        edge = np.repeat(limits[alive], BLOCK)
        signal = d.read(recorded, z, [np.full(len(z), p) for p in parameters], edge).signal.reshape(-1, BLOCK)
        hit = signal.any(axis=1)
        found[alive[hit]] = done + 1.0 + signal[hit].argmax(axis=1)
        alive, last, state = alive[~hit], checks[~hit, -1], state[~hit]
        done += BLOCK
    capped: Floats = np.minimum(found, longest)
    return capped


def run_lengths(
    charts: Sequence[Chart], phis: Sequence[float], channels: int, shifts: Sequence[float], rng: np.random.Generator
) -> list[RunLength]:
    """Return mean run lengths by chart, φ, shift and kind of limits."""
    rows = []
    for chart in charts:
        longest = int(LONGEST * chart.nominal)
        for phi in phis:
            learnt = autoregressive(rng, phi, rng.standard_normal(channels), LEARN + 1)
            kinds = {
                "as designed": np.zeros(channels), "ρ known": np.full(channels, phi), "as judged": tested(learnt)[:, -1]
            }  # fmt: skip
            *parameters, limit = chart.settings
            if phi and dependent_limit(chart.detector.name, limit, phi, tuple(parameters)) == limit:
                kinds = {"as designed": kinds["as designed"]}
            for name, rho in kinds.items():
                for shift in shifts:
                    found = first_signals(chart, rho, phi, shift, learnt[:, -1], rng, longest)
                    mean, half = float(found.mean()), 1.96 * float(found.std()) / math.sqrt(channels)
                    rows.append(RunLength(
                        chart=str(chart), phi=phi, shift=shift, limits=name, nominal=chart.nominal,
                        mean=mean, low=mean - half, high=mean + half, median=float(np.median(found)),
                    ))  # fmt: skip
    return rows


def textbook_charts() -> list[Chart]:
    """Return the charts at the settings of METROLOGY §5.3, and the noise chart at its default."""
    by_name = {d.name: d for d in detectors()}
    return [
        Chart(detector=by_name["cusum"], settings=(0.5, 5.0), nominal=cusum_arl(0.5, 5.0)),
        Chart(detector=by_name["ewma"], settings=(0.2, 2.962), nominal=ewma_arl(0.2, 2.962)),
        Chart(detector=by_name["shewhart"], settings=(3.0,), nominal=shewhart_arl(3.0)),
        Chart(detector=by_name["noise"], settings=(1.848, 10.0, 10.0), nominal=noise_arl(1.848, 10.0, 10.0)),
    ]


def designed_charts(arl: float) -> list[Chart]:
    """Return CUSUM and EWMA as designed for that run length."""
    by_name = {d.name: d for d in detectors()}
    return [
        Chart(detector=by_name["cusum"], settings=(0.5, cusum_limit(0.5, arl)), nominal=arl),
        Chart(detector=by_name["ewma"], settings=(0.2, ewma_limit(0.2, arl)), nominal=arl),
    ]


def _print_flagged(rows: Sequence[Flagged]) -> None:
    print(f"Flagged after {', '.join(map(str, LOOKS))} checks (share of channels, last with its 95 % interval)")
    for f in rows:
        shares_ = "  ".join(f"{100.0 * s:6.2f} %" for s in f.after)
        print(f"  {f.checks:28} {shares_}  ± {100.0 * f.half_width:4.2f} %   mean ρ then {f.rho:5.2f}")


def _print_early(rows: Sequence[Early]) -> None:
    print(f"Channels that signal within the first {LEARN} checks (95 % intervals of the last)")
    for e in rows:
        print(f"  {e.chart:22} φ {e.phi:5.2f}  as designed {100.0 * e.as_designed:6.2f} %  "
              f"as judged {100.0 * e.as_judged:6.2f} % ± {100.0 * e.half_width:4.2f} %")  # fmt: skip


def _print_lengths(rows: Sequence[RunLength]) -> None:
    print("Run lengths from check 241 on, and checks until a shift is found (95 % intervals)")
    for r in rows:
        print(f"  {r.chart:22} φ {r.phi:5.2f}  shift {r.shift:3.1f}  {r.limits:11}  nominal {r.nominal:8.1f}  "
              f"mean {r.mean:9.1f} [{r.low:9.1f}; {r.high:9.1f}]  median {r.median:8.1f}")  # fmt: skip


def main() -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the channels")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    given = parser.parse_args()
    part = 10 if given.quick else 1
    rng = np.random.default_rng(SEED)
    flagged = shares(20_000 // part, rng)
    _print_flagged(flagged)
    early = early_signals([*textbook_charts(), *designed_charts(1e4)], 4000 // part, rng)
    _print_early(early)
    lengths = run_lengths(textbook_charts(), PHIS, 1000 // part, (0.0, 1.0, 2.0), rng)
    lengths += run_lengths(designed_charts(1e4), PHIS[1:4], 300 // part, (0.0,), rng)
    _print_lengths(lengths)
    often = flagged[0].after[-1] - flagged[0].half_width > STATED
    short = [r for r in lengths if r.limits == "ρ known" and r.shift == 0.0 and r.high < r.nominal]
    if given.json:
        tables: dict[str, Sequence[Any]] = {"flagged": flagged, "early": early, "lengths": lengths}
        given.json.write_text(json.dumps({n: [*map(asdict, rows)] for n, rows in tables.items()}))
    for r in short:
        print(f"too short: {r.chart} φ {r.phi}")
    return int(often or bool(short))


if __name__ == "__main__":
    raise SystemExit(main())
