"""The simulated centre is what it says: seeded, with every fault, and honest elsewhere."""

from __future__ import annotations

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.simulator.centre import Centre
from collectors.simulator.faults import KINDS
from gateway.app import rule_packs
from gateway.registry.build import build
from gateway.registry.texts import parse_registry
from gateway.settings import Settings


@given(seed=st.integers(0, 10**9))
@settings(max_examples=50, deadline=None)
def test_every_seed_has_every_fault_on_another_instrument(seed: int) -> None:
    faults = Centre.build(seed).faults
    assert sorted(f.kind for f in faults) == sorted(KINDS)
    assert len({f.device for f in faults}) == len(KINDS)


def test_a_seed_says_the_same_every_time_and_another_says_something_else() -> None:
    first, again, other = (list(Centre.build(s).readings()) for s in (5, 5, 6))
    assert first == again
    assert first != other


def test_readings_come_in_time_order_from_known_instruments() -> None:
    centre = Centre.build(3)
    known = {f"metergate/reading/{centre.site}/{i.device}/{i.channel}" for i in centre.instruments}
    last = 0
    for at, topic, payload in centre.readings():
        assert at >= last
        assert topic in known
        assert json.loads(payload)["ts"] * 10**6 == at
        last = at


def test_the_registry_it_writes_is_sound() -> None:
    centre = Centre.build(1)
    site = Settings()
    registry = build(parse_registry(centre.registry_yaml(), "demo"), zone=site.zone, packs=rule_packs(None, site))
    assert len(registry.devices) == len(centre.instruments) >= 24


def test_honest_scales_scatter_with_the_sigma_they_declare() -> None:
    centre = Centre.build(2, faults=False)
    assert centre.faults == ()
    errors = [
        json.loads(p)["value"] - 5.0 - 0.0012
        for _, topic, p in centre.readings()
        if "/scale-03/" in topic and json.loads(p).get("reference") == 5
    ]
    spread = math.sqrt(sum(e * e for e in errors) / len(errors))
    assert len(errors) == 120
    assert 0.0008 * 0.75 < spread < 0.0008 * 1.3  # 99.99 % of χ² with 120 degrees of freedom
