"""Do conformance probabilities and uncertainties mean what they say? Verdicts against a simulated truth.

python -m bench.conformance --checks 100000 --seed 1

Each instrument's true error is drawn evenly over ±2 MPE (a flat prior, under which Φ((MPE-E)/u) - Φ((-MPE-E)/u) is the
probability that the true error conforms); the reference errs with reference_u/2, the check with σ, a scale rounds to d.
Prints, per class of p, how many truly conform, with a 95 % interval (Wilson), and how often |E - truth| ≤ U.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from gateway.app import rule_packs
from gateway.metrology.readings import Reading
from gateway.pipeline.compiling import compile_plan
from gateway.registry.build import build
from gateway.registry.texts import parse_registry
from gateway.runtime.recorded import replay
from gateway.settings import Settings

REGISTRY = """\
devices:
  - id: scale
    kind: weighing
    rule_pack: oiml-r76
    parameters: {class: III, max: 15 kg, e: 5 g, d: 1 g}
    in_service: false
    channels: {mass: {unit: g, sigma: SIGMA g}}
  - id: water
    kind: water
    rule_pack: oiml-r49
    parameters: {class: 2, Q3: 2.5 m3/h, R: 160, temperature_class: T30}
    channels: {volume: {unit: L, sigma: 0.3 %}}
"""
SCALE_REPEATS = 0.6
"""Repeatability of the simulated scale in g; its declared σ includes the rounding, √(0.6² + 1²/12) g."""
EDGES = (0.0, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """Verdicts with p in [low, high): how many, their mean p, and the share that truly conforms."""

    device: str
    low: float
    high: float
    n: int
    said: float
    conforming: float
    at_least: float
    at_most: float


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share."""
    share, spread = hits / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return middle - half, middle + half


def simulate(n: int, seed: int) -> tuple[list[Reading], dict[str, np.ndarray]]:
    """Return checks of both instruments and the true error of each, in error units."""
    rng = np.random.default_rng(seed)
    readings: list[Reading] = []
    truth = {"scale": rng.uniform(-10, 10, n), "water": rng.uniform(-4, 4, n)}
    true_load = 5000.0 + rng.normal(0, 0.4, n)
    shown = np.round(true_load + truth["scale"] + rng.normal(0, SCALE_REPEATS, n))
    true_volume = 100.0 * (1 + rng.normal(0, 0.2, n) / 100)
    volume = true_volume * (1 + (truth["water"] + rng.normal(0, 0.3, n)) / 100)
    for i in range(n):
        time = 10**18 + i * 10**12
        readings.append(Reading(device="scale", channel="mass", time=time, value=float(shown[i]), unit="g",
                                reference=5000.0, reference_u=0.8))  # fmt: skip
        readings.append(Reading(device="water", channel="volume", time=time, value=float(volume[i]), unit="L",
                                reference=100.0, reference_u=0.4, flow_m3h=1.0))  # fmt: skip
    return readings, truth


def measure(n: int, seed: int) -> tuple[list[Class], dict[str, float]]:
    """Return the classes of both instruments, and how often U holds the truth."""
    settings = Settings()
    packs = rule_packs(None, settings)
    text = REGISTRY.replace("SIGMA", repr(math.sqrt(SCALE_REPEATS**2 + 1 / 12)))
    registry = build(parse_registry(text, "bench"), zone=settings.zone, packs=packs)
    plan = compile_plan(registry, packs, {}, lambda _chart, limit, _parameters, _m: limit)
    readings, truth = simulate(n, seed)
    result = replay(plan, readings)
    devices = np.array([plan.facts[c].device for c in result.columns.channel[result.judgement.check_row].tolist()])
    classes: list[Class] = []
    held: dict[str, float] = {}
    for device in ("scale", "water"):
        v = result.judgement.verdicts[devices == device]
        true = truth[device]
        held[device] = float(np.mean(np.abs(v["error"] - true) <= v["U"]))
        conforms = np.abs(true) <= v["mpe"]
        for low, high in pairwise(EDGES):
            inside = (v["p_conforming"] >= low) & ((v["p_conforming"] < high) | (high == 1.0))
            count, hits = int(inside.sum()), int(conforms[inside].sum())
            if count:
                said = float(v["p_conforming"][inside].mean())
                at_least, at_most = wilson(hits, count)
                classes.append(Class(device=device, low=low, high=high, n=count, said=said, conforming=hits / count,
                                     at_least=at_least, at_most=at_most))  # fmt: skip
    return classes, held


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    classes, held = measure(given.checks, given.seed)
    if given.json:
        sys.stdout.write(json.dumps({"classes": [asdict(c) for c in classes], "U_holds_truth": held}) + "\n")
        return
    print("device  p from   to     checks    said     truly    95 % interval")
    for c in classes:
        mark = "" if c.at_least <= c.said <= c.at_most else "  *"
        print(f"{c.device:6}  {c.low:5.2f}  {c.high:5.2f}  {c.n:7}  {c.said:.4f}   {c.conforming:.4f}"
              f"   {c.at_least:.4f} {c.at_most:.4f}{mark}")  # fmt: skip
    for device, share in held.items():
        print(f"{device}: |E - truth| <= U (k = 2, nominal 95.45 %) in {100 * share:.2f} %")


if __name__ == "__main__":
    main()
