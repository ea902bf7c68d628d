"""False alarms and missed faults of the demo's centre over many seeds, judged without a broker.

python -m bench.seeds --seeds 100
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import orjson

from collectors.profiles import read_profiles
from collectors.simulator.centre import Centre
from collectors.topics import Router
from gateway.app import rule_packs
from gateway.demonstration import BUDGET, judge_outcome
from gateway.design import design_site, fleet, widen
from gateway.pipeline.compiling import compile_plan
from gateway.pipeline.plan import NEVER
from gateway.registry.build import build
from gateway.registry.texts import parse_registry
from gateway.runtime.recorded import replay
from gateway.settings import Settings


def one(seed: int) -> tuple[int, list[str]]:
    """Return false alarms and the faults not found of one seed."""
    centre = Centre.build(seed)
    settings = Settings()
    packs = rule_packs(None, settings)
    registry = build(parse_registry(centre.registry_yaml(), "demo"), zone=settings.zone, packs=packs)
    limits = design_site(registry, BUDGET, fleet(registry))
    plan = compile_plan(registry, packs, {k: [(NEVER, v)] for k, v in limits.items()}, widen, centre.site)
    router = Router([], read_profiles(()), site=centre.site)
    decoded = [router.decode(topic, payload, 0, at) for at, topic, payload in centre.readings()]
    result = replay(plan, [r for d in decoded for r in d.readings])
    refused = [(r.device, r.reason.value, orjson.loads(r.raw or b"{}").get("time")) for r in result.refused]
    findings, false = judge_outcome(centre.faults, result.happenings, refused)
    return len(false), [f.fault.kind for f in findings if f.found_at is None]


def main() -> None:
    """Run the seeds and print the rate with its 95 % interval (exact for 0, Wilson else)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    false, missed, dirty = 0, [], 0
    for seed in range(1, arguments.seeds + 1):
        alarms, lost = one(seed)
        false += alarms
        dirty += alarms > 0
        missed += [(seed, kind) for kind in lost]
        print(f"seed {seed}: {alarms} false alarms, missed {lost or 'none'}", file=sys.stderr, flush=True)
    n = arguments.seeds
    low, high = wilson(dirty, n)
    print(f"{n} seeds of 120 days: {false} false alarms in {dirty} seeds ({low:.3f} to {high:.3f} of seeds, 95 %)")
    print(f"faults missed: {len(missed)} of {9 * n} {missed or ''}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"seeds": n, "false_alarms": false, "dirty_seeds": dirty, "missed": missed})
        )


def wilson(k: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion."""
    centre = (k + z * z / 2) / (n + z * z)
    half = z * math.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z)
    return max(0.0, centre - half), min(1.0, centre + half)


if __name__ == "__main__":
    main()
