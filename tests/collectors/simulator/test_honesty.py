"""What the simulated centre claims of itself, held against what it sends: sizes, scatter, order, lost readings."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.simulator.centre import Centre, Instrument, _certified, _value
from collectors.simulator.faults import DAY_NS, KINDS, Fault, Signal

SIZES = {
    "span_ramp": (5.0, 7.0),
    "zero_shift": (4.0, 6.0),
    "step": (4.0, 6.0),
    "noise": (4.0, 6.0),
    "stuck": (1.0, 1.0),
    "silence": (4.0, 8.0),
    "gap": (3.0, 8.0),
    "unit_error": (2.0, 4.0),
    "over_mpe": (1.3, 1.8),
}
"""What is announced: σ for errors, a factor for noise, days or readings for what is lost, MPEs beyond the limit."""

SEED = 7


@given(seed=st.integers(0, 10**9))
@settings(max_examples=50, deadline=None)
def test_every_fault_has_an_announced_size_and_leaves_time_to_be_found(seed: int) -> None:
    centre = Centre.build(seed)
    for fault in centre.faults:
        low, high = SIZES[fault.kind]
        assert low <= abs(fault.size) <= high
        assert centre.start + 20 * DAY_NS < fault.injected_at < centre.end - 20 * DAY_NS


@cache
def _sent(seed: int, faults: bool) -> dict[str, list[dict[str, Any]]]:
    """Return the payloads of each device in the order sent."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _, topic, payload in Centre.build(seed, faults=faults).readings():
        found[topic.split("/")[3]].append(json.loads(payload))
    return found


def _residuals(instrument: Instrument, payloads: list[dict[str, Any]]) -> list[float]:
    """Return each check's error less the certificate's, in σ."""
    found = []
    for said in payloads:
        if (reference := said.get("reference")) is None:
            continue
        conditions = ",".join(f'"{k}":{said[k]}' for k in ("flow_m3h", "current_A") if k in said)
        error = said["value"] - reference
        if instrument.relative:
            error *= 100.0 / reference
        found.append((error - _certified(instrument, reference, conditions)) / instrument.sigma)
    return found


def test_honest_residuals_are_standard_normal() -> None:
    checked = [i for i in Centre.build(SEED, faults=False).instruments if i.is_checked]
    pooled = []
    for instrument in checked:
        z = _residuals(instrument, _sent(SEED, False)[instrument.device])
        pooled += z
        assert len(z) >= 240
        assert abs(math.fsum(z) / len(z)) < 4.5 / math.sqrt(len(z)) + 0.1
        assert math.sqrt(math.fsum(v * v for v in z) / len(z)) == pytest.approx(1.0, abs=0.2)
    n = len(pooled)
    beyond = {limit: sum(abs(v) > limit for v in pooled) / n for limit in (1.0, 2.0, 3.0)}
    for limit, share in beyond.items():
        expected = math.erfc(limit / math.sqrt(2.0))
        assert share == pytest.approx(expected, abs=4.5 * math.sqrt(expected / n))


def test_a_channel_without_a_fault_says_the_same_with_and_without_faults_elsewhere() -> None:
    faulty = {f.device for f in Centre.build(SEED).faults}
    for device, payloads in _sent(SEED, False).items():
        assert (_sent(SEED, True)[device] == payloads) is (device not in faulty)


def test_only_a_gap_and_a_silence_leave_out_numbers() -> None:
    lossy = {f.device: f for f in Centre.build(SEED).faults if f.kind in {"gap", "silence"}}
    for device, payloads in _sent(SEED, True).items():
        skipped = sum(b["seq"] - a["seq"] - 1 for a, b in pairwise(payloads))
        assert (skipped > 0) is (device in lossy)
        if device in lossy and lossy[device].kind == "gap":
            assert skipped == lossy[device].size


def _fault(kind: str) -> tuple[Fault, Instrument, list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the fault of a kind, its instrument, and what that sent before and after."""
    centre = Centre.build(SEED)
    fault = next(f for f in centre.faults if f.kind == kind)
    instrument = next(i for i in centre.instruments if i.device == fault.device)
    sent = _sent(SEED, True)[fault.device]
    at = fault.injected_at / 1e6
    return fault, instrument, [p for p in sent if p["ts"] < at], [p for p in sent if p["ts"] >= at]


@pytest.mark.parametrize("kind", ["step", "zero_shift"])
def test_a_shift_is_as_large_as_it_says(kind: str) -> None:
    fault, instrument, before, after = _fault(kind)
    means = [math.fsum(z) / len(z) for z in (_residuals(instrument, before), _residuals(instrument, after))]
    assert means[1] - means[0] == pytest.approx(fault.size, abs=1.0)


def test_a_span_error_grows_with_the_load_and_leaves_zero_alone() -> None:
    scale = next(i for i in Centre.build(SEED).instruments if i.kind == "weighing")
    moved = {}
    for load, _ in scale.loads:
        honest, faulty = (_value(scale, Random(1), load, "", 0.0, s) for s in (Signal(), Signal(span_sigma=6.0)))
        moved[load] = (faulty - honest) / scale.sigma
    assert moved == pytest.approx({0.0: 0.0, 5.0: 3.0, 10.0: 6.0}, abs=scale.resolution / scale.sigma)


def test_noise_multiplies_the_scatter() -> None:
    fault, instrument, _, after = _fault("noise")
    z = _residuals(instrument, after)
    assert math.sqrt(math.fsum(v * v for v in z) / len(z)) == pytest.approx(fault.size, rel=0.4)


def test_a_stuck_channel_repeats_one_value_and_an_honest_one_never_comes_close() -> None:
    fault, instrument, before, after = _fault("stuck")
    assert instrument.stuck is not None
    assert len({p["value"] for p in after}) == 1
    assert all(
        a["value"] != b["value"] or c["value"] != a["value"]
        for a, b, c in zip(before, before[1:], before[2:], strict=False)
    )
    assert len(after) > instrument.stuck
    assert fault.channel == instrument.channel


def test_a_unit_error_contradicts_the_channel_and_ends() -> None:
    fault, instrument, before, after = _fault("unit_error")
    wrong = [p for p in after if p["unit"] == instrument.wrong_unit]
    assert wrong
    assert {p["unit"] for p in before} == {instrument.unit}
    assert max(p["ts"] for p in wrong) * 1e6 < fault.injected_at + fault.size * DAY_NS
    assert after[-1]["unit"] == instrument.unit


def test_the_kinds_announced_are_the_contracts() -> None:
    assert set(SIZES) == set(KINDS)
