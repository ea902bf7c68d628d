"""Self-starting charts: `python -m bench.selfstarting [--quick] [--json FILE]`.

The shipped chart with nothing known (σ, centre) and with σ declared: its run length in control against the exact one of
a CUSUM with both known, without the end after 100 points; and, as judged by the gateway, beside Shewhart 3, EWMA 0.2 /
2.962 and CUSUM 0.5 / 5 with centre (and σ) from 30 checks and widened limits, the share of channels with a false alarm
after 30 and 100 checks, and of channels in which a change that begins after 10, 20 or 30 checks is found within 10, 30
and 100 checks. 95 % intervals. Exit code 1 if a run length is not within 4 standard errors of the exact one.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gateway.design import widen
from gateway.drift import Floats
from gateway.drift.charts import chart_dtype, run
from gateway.drift.runlength import cusum_arl
from gateway.drift.self_starting import DETECTOR, advance
from gateway.metrology.readings import Reading
from gateway.metrology.rulepacks import catalogue
from gateway.pipeline.compiling import compile_plan
from gateway.pipeline.plan import Plan
from gateway.registry.model import Channel, Decision, Device, Kind, Registry
from gateway.runtime.recorded import replay

SEED = 20261126
K, H = 0.5, 5.0
ENDLESS = replace(DETECTOR, advance=partial(advance, points=math.inf))
BLOCK = 200
WITHIN = (10, 30, 100)
EARLY = (30, 100)
USUAL = ("shewhart", "ewma", "cusum")
DAY_NS = 86_400 * 10**9

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """Mean points with a score until the first signal, its standard error, and what is exact."""

    known: str
    simulated: float
    error: float
    exact: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Shares of channels, by one chart or any of the three usual ones, and the half width of the widest interval.

    Without a change: with a signal in the first 30 and 100 checks. With one: those without a signal before it in which
    it is found within 10, 30 and 100 checks, and the median of the checks it takes, infinite beyond 100.
    """

    known: str
    change: str
    after: int
    chart: str
    shares: tuple[float, ...]
    half_width: float
    median: float


def length(sigma: float, channels: int, rng: np.random.Generator) -> Length:
    """Return the run length in control; checks are drawn until every channel has signalled."""
    first = np.zeros(channels)
    waiting = np.arange(channels)
    state = np.zeros(channels, chart_dtype((ENDLESS,)))
    parameters = (K, H)
    while len(waiting):
        n = len(waiting)
        x = rng.normal(100.0, 1.0, n * BLOCK)
        taken = np.array([x, np.ones(len(x)), np.full(len(x), sigma), np.zeros(len(x))])
        history, state = run(
            (ENDLESS,), taken, np.arange(len(x)), np.full(n, BLOCK),
            {ENDLESS.name: [np.full(n, p) for p in parameters]}, state,
        )  # fmt: skip
        column = {f: history[f"{ENDLESS.name}_{f}"].reshape(n, BLOCK) for f in ("upper", "lower", "scored")}
        signal = np.maximum(column["upper"], column["lower"]) > H
        seen = np.cumsum(column["scored"], axis=1)
        done = signal.any(axis=1)
        first[waiting] += np.where(done, seen[np.arange(n), signal.argmax(axis=1)], seen[:, -1])
        waiting, state = waiting[~done], state[~done]
    return Length(
        known="σ" if sigma else "nothing", simulated=float(first.mean()),
        error=float(first.std() / math.sqrt(channels)), exact=cusum_arl(K, H),
    )  # fmt: skip


def site(channels: int, sigma: Decimal | None) -> Plan:
    """Return a plan of channels in a unit of their own, all with four charts and learned centres."""
    drift = {"shewhart": {"L": 3.0}, "ewma": {"lambda": 0.2, "L": 2.962}, "cusum": {"k": K, "h": H}}
    drift |= {"self_starting": {"k": K, "h": H}}
    devices = [
        Device(
            id=f"d{i:05}", kind=Kind.OTHER, site="s", serial=None, name=None, rule_pack=None, parameters={},
            in_service=True, decision=Decision.SIMPLE,
            channels={"x": Channel(name="x", unit="sigma", sigma=sigma, drift=drift)},
        )
        for i in range(channels)
    ]  # fmt: skip
    return compile_plan(Registry(devices={d.id: d for d in devices}), catalogue([]), {}, widen)


def signals(plan: Plan, x: Floats) -> dict[str, Bools]:
    """Return where each chart signals, as the gateway judges these checks (one row per channel)."""
    channels, n = x.shape
    readings = [
        Reading(device=plan.facts[i].device, channel="x", time=(day + 1) * DAY_NS, value=value, unit="sigma",
                reference=0.0, reference_u=0.0)
        for i, row in enumerate(x.tolist()) for day, value in enumerate(row)
    ]  # fmt: skip
    verdicts = replay(plan, readings).judgement.verdicts
    found = {name: verdicts[f"{name}_signal"].reshape(channels, n) for name in (*USUAL, DETECTOR.name)}
    return {"self_starting": found[DETECTOR.name], "the other three": np.any([found[c] for c in USUAL], axis=0)}


def shares(known: str, channels: int, rng: np.random.Generator) -> list[Found]:
    """Return what is found, and what is found that is not there."""
    plan = site(channels, Decimal(1) if known == "σ" else None)
    out = []
    courses = [("none", 0)] + [(c, at) for c in ("1 σ", "2 σ", "0.02 σ a check") for at in (10, 20, 30)]
    for change, at in courses:
        i = np.arange(at + max(WITHIN) if at else max(EARLY))
        size = float(change.split(" ", maxsplit=1)[0]) if at else 0.0
        ramp = np.maximum(i - at + 1, 0) if "check" in change else (i >= at)
        marked = signals(plan, rng.standard_normal((channels, len(i))) + size * ramp)
        for chart, signal in marked.items():
            clean = signal if not at else signal[~signal[:, :at].any(axis=1), at:]
            told = tuple(float(clean[:, :n].any(axis=1).mean()) for n in (WITHIN if at else EARLY))
            half = max(1.96 * math.sqrt(max(p * (1.0 - p), 1.0 / len(clean)) / len(clean)) for p in told)
            took = np.where(clean.any(axis=1), clean.argmax(axis=1) + 1.0, np.inf)
            middle = float(np.quantile(took, 0.5, method="lower"))
            out.append(
                Found(known=known, change=change, after=at, chart=chart, shares=told, half_width=half, median=middle)
            )
    return out


def main() -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer channels")
    parser.add_argument("--json", type=Path, help="write the results there")
    asked = parser.parse_args()
    rng = np.random.default_rng(SEED)
    lengths = [length(sigma, 500 if asked.quick else 10_000, rng) for sigma in (0.0, 1.0)]
    print(f"{'known':8} {'simulated':>18} {'exact':>8}")
    for m in lengths:
        print(f"{m.known:8} {m.simulated:9.1f} ± {1.96 * m.error:6.1f} {m.exact:8.1f}")
    found = [f for known in ("nothing", "σ") for f in shares(known, 200 if asked.quick else 2000, rng)]
    print(f"\n{'known':8} {'change':15} {'after':>5} {'chart':16} within 10, 30, 100 checks (none: 30, 100), median")
    for f in found:
        told = "  ".join(f"{share:6.1%}" for share in f.shares)
        print(f"{f.known:8} {f.change:15} {f.after:5} {f.chart:16} {told} ± {f.half_width:.1%}  {f.median:6g}")
    if asked.json:
        asked.json.write_text(
            json.dumps({"lengths": [asdict(m) for m in lengths], "found": [asdict(f) for f in found]})
        )
    return int(any(abs(m.simulated - m.exact) > 4.0 * m.error for m in lengths))


if __name__ == "__main__":
    raise SystemExit(main())
