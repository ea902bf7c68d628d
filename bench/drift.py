"""Run lengths as computed against run lengths of the shipped charts: `python -m bench.drift [--quick] [--json FILE]`.

Three questions, each with a confidence interval: does the kernel run as long as the equations say (METROLOGY §5.3),
does the union of the charts keep a channel's share of the budget, and do widened limits keep the nominal run length in
nine of ten Phase I samples. Exit code 1 if an answer is outside its 99.99 % interval.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gateway.drift import Detector, Floats
from gateway.drift.charts import chart_dtype, detectors, run
from gateway.drift.design import CHARTS, design_for
from gateway.drift.phase1 import widened
from gateway.drift.runlength import LimitShape, TooLong, cusum_arl, ewma_arl, noise_arl, shewhart_arl

SURE = 3.89
"""Standard errors of a two-sided 99.99 % interval."""

SEED = 20261123
CHUNK = 400_000
SHIFTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
DRIFTS = (0.01, 0.02, 0.05, 0.1)
EWMAS = ((0.05, 2.615), (0.1, 2.814), (0.2, 2.962), (0.4, 3.054))
CUSUMS = ((0.5, 4.0), (0.5, 5.0), (0.25, 8.01))
NOISE_SLACK = 0.01
"""Accuracy that `noise_arl` states of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One shipped detector with its parameters (limit last)."""

    name: str
    settings: tuple[float, ...]

    @property
    def detector(self) -> Detector:
        """Return the detector."""
        return next(d for d in detectors() if d.name == self.name)

    def __str__(self) -> str:
        pairs = zip(self.detector.parameters, self.settings, strict=True)
        return " ".join((self.name, *(f"{n}={v:g}" for n, v in pairs)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run length: computed, simulated with its interval, and whether they agree (`at_least`: may be longer)."""

    table: str
    chart: str
    change: str
    computed: float
    simulated: float
    low: float
    high: float
    agrees: bool


def signals(charts: Sequence[Chart], history: npt.NDArray[np.void], z: Floats) -> npt.NDArray[np.bool_]:
    """Return where any of the charts signals."""
    out = np.zeros(len(z), np.bool_)
    for chart in charts:
        d = chart.detector
        state = {f: history[f"{d.name}_{f}"] for f in (*d.state, *d.times)}
        columns = [np.full(len(z), v) for v in chart.settings]
        out |= d.read(state, z, columns[:-1], columns[-1]).signal
    return out


def simulate(
    charts: Sequence[Chart], runs: int, *, shift: float = 0.0, drift: float = 0.0, sigma: float = 1.0, seed: int = SEED
) -> npt.NDArray[np.int64]:
    """Return the run lengths of that many charts run by the shipped kernel until their first signal."""
    rng = np.random.default_rng(seed)
    used = [c.detector for c in charts]
    state = np.zeros(runs, chart_dtype(used))
    alive, done, lengths = np.arange(runs), 0, np.zeros(runs, np.int64)
    while len(alive):
        n, checks = len(alive), min(max(CHUNK // len(alive), 20), 2000)
        index = np.arange(done + 1, done + checks + 1)
        z = (shift + drift * index[None, :] + sigma * rng.standard_normal((n, checks))).ravel()
        columns = {c.name: [np.full(n, v) for v in c.settings[:-1]] for c in charts}
        history, state = run(used, z, np.tile(index, n), np.full(n, checks), columns, state)
        hit = signals(charts, history, z).reshape(n, checks)
        found = hit.any(axis=1)
        lengths[alive[found]] = done + hit[found].argmax(axis=1) + 1
        alive, state, done = alive[~found], state[~found], done + checks
    return lengths


def compared(
    table: str, charts: Sequence[Chart], change: str, computed: float, lengths: npt.NDArray[np.int64], *,
    slack: float = 0.0, at_least: bool = False,
) -> Row:  # fmt: skip
    """Return the row of one simulation."""
    mean = float(lengths.mean())
    margin = SURE * float(lengths.std()) / math.sqrt(len(lengths)) + slack * computed
    agrees = computed < mean + margin and (at_least or computed > mean - margin)
    return Row(
        table=table, chart=" + ".join(map(str, charts)), change=change, computed=computed, simulated=mean,
        low=mean - margin, high=mean + margin, agrees=agrees,
    )  # fmt: skip


def step_rows(runs: int) -> list[Row]:
    """Compare the step table of METROLOGY §5.3 (EWMA with time-varying limits, as shipped)."""
    cases: list[tuple[Chart, Callable[[float], float]]] = [
        (Chart(name="shewhart", settings=(3.0,)), lambda s: shewhart_arl(3.0, s)),
        *((Chart(name="cusum", settings=c), partial(cusum_arl, *c)) for c in CUSUMS),
        *((Chart(name="ewma", settings=e), partial(ewma_arl, *e)) for e in EWMAS),
    ]
    return [
        compared("step", (chart,), f"shift {s:g}", arl(s), simulate((chart,), runs, shift=s))
        for chart, arl in cases
        for s in SHIFTS
    ]


def ramp_rows(runs: int) -> list[Row]:
    """Compare the ramp figures: the i-th check has mean drift·i."""
    cases: list[tuple[Chart, Callable[[float], float]]] = [
        (Chart(name="cusum", settings=(0.5, 5.0)), lambda b: cusum_arl(0.5, 5.0, drift=b)),
        (Chart(name="ewma", settings=(0.2, 2.962)), lambda b: ewma_arl(0.2, 2.962, drift=b)),
        (Chart(name="ewma", settings=(0.05, 2.615)), lambda b: ewma_arl(0.05, 2.615, drift=b)),
        (Chart(name="shewhart", settings=(3.0,)), lambda b: shewhart_arl(3.0, drift=b)),
    ]
    return [
        compared("ramp", (chart,), f"drift {b:g}", arl(b), simulate((chart,), runs, drift=b))
        for chart, arl in cases
        for b in DRIFTS
    ]


def noise_rows(runs: int) -> list[Row]:
    """Compare the noise chart in control and with a larger σ, which a shift must not touch."""
    chart = Chart(name="noise", settings=(1.848, 10.0, 8.0))
    return [
        compared(
            "noise", (chart,), f"σ ratio {r:g}, shift 3", noise_arl(1.848, 8.0, 10.0, r),
            simulate((chart,), runs, shift=3.0, sigma=r), slack=NOISE_SLACK,
        )
        for r in (1.0, 1.5, 2.0, 3.0)
    ]  # fmt: skip


def union_rows(runs: int, share: float) -> list[Row]:
    """Compare the union of all charts, each designed for n·share, with the share of the budget it must keep."""
    rows = []
    for names in (CHARTS, ("shewhart", "ewma", "cusum")):
        charts = [Chart(name=c.chart, settings=tuple(c.settings.values())) for c in design_for(share, names)]
        rows.append(compared("union", charts, "in control", share, simulate(charts, runs), at_least=True))
    textbook = [
        Chart(name=n, settings=s) for n, s in (("shewhart", (3.0,)), ("ewma", (0.2, 2.962)), ("cusum", (0.5, 5.0)))
    ]
    rows.append(compared("union", textbook, "in control", 200.7, simulate(textbook, runs)))
    return rows


def widened_rows(draws: int) -> list[Row]:
    """Compare the share of Phase I samples whose true run length (exact equations) keeps the nominal one with 0.9."""
    rng = np.random.default_rng(SEED)
    rows = []
    for m in (10, 20, 30, 50, 100):
        x = rng.standard_normal((draws, m))
        samples = list(zip((-x.mean(1) / x.std(1, ddof=1)).tolist(), (1 / x.std(1, ddof=1)).tolist(), strict=True))
        h = widened("cusum", 5.0, {"k": 0.5}, m)
        L = widened("ewma", 2.962, {"lambda": 0.2}, m)
        wide = widened("shewhart", 3.0, {}, m)
        cases: list[tuple[str, float, Callable[[float, float], float]]] = [
            (f"cusum k=0.5 h=5 -> {h:.3f}", cusum_arl(0.5, 5.0), partial(_cusum, h)),
            (f"ewma lambda=0.2 L=2.962 -> {L:.3f}", _ewma(2.962, 0.0, 1.0), partial(_ewma, L)),
            (f"shewhart L=3 -> {wide:.3f}", shewhart_arl(3.0), partial(_shewhart, wide)),
        ]
        for label, nominal, arl in cases:
            kept = np.array([_at_least(arl, s, c, nominal) for s, c in samples])
            rows.append(_share_row(label, m, float(kept.mean()), draws))
    return rows


def _cusum(h: float, shift: float, scale: float) -> float:
    return cusum_arl(0.5, h, shift, scale=scale)


def _ewma(L: float, shift: float, scale: float) -> float:
    return ewma_arl(0.2, L, shift, limits=LimitShape.FIXED, scale=scale)


def _shewhart(L: float, shift: float, scale: float) -> float:
    return shewhart_arl(L, shift, scale=scale)


def _at_least(arl: Callable[[float, float], float], shift: float, scale: float, nominal: float) -> bool:
    try:
        return arl(shift, scale) >= nominal
    except TooLong:
        return True


def _share_row(label: str, m: int, share: float, draws: int) -> Row:
    margin = SURE * math.sqrt(0.09 / draws) + 0.01
    return Row(
        table="widened", chart=label, change=f"m = {m}", computed=0.9, simulated=share, low=share - margin,
        high=share + margin, agrees=abs(share - 0.9) < margin,
    )  # fmt: skip


def main() -> int:
    """Print the tables; return 1 if anything disagrees."""
    parser = argparse.ArgumentParser(description="Simulated against computed run lengths.")
    parser.add_argument("--quick", action="store_true", help="fewer runs: less than a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as one JSON document")
    options = parser.parse_args()
    runs = 1_000 if options.quick else 20_000
    began = time.perf_counter()
    parts: list[Callable[[], list[Row]]] = [
        lambda: step_rows(runs),
        lambda: ramp_rows(runs),
        lambda: noise_rows(runs),
        lambda: union_rows(runs, 500.0),
        lambda: widened_rows(200 if options.quick else 2_000),
    ]
    rows = []
    print(f"{'table':8}{'chart':58}{'change':22}{'computed':>10}{'simulated':>11}   99.99 % interval")
    for part in parts:
        for row in part():
            rows.append(row)
            mark = "" if row.agrees else "   DISAGREES"
            print(
                f"{row.table:8}{row.chart[:57]:58}{row.change:22}{row.computed:10.4g}{row.simulated:11.4g}"
                f"   {row.low:.4g} … {row.high:.4g}{mark}"
            )
    elapsed = time.perf_counter() - began
    wrong = sum(not row.agrees for row in rows)
    print(f"{len(rows)} figures, {wrong} outside, {runs} runs each, {elapsed:.0f} s")
    if options.json:
        document = {"seed": SEED, "runs": runs, "elapsed_s": elapsed, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
