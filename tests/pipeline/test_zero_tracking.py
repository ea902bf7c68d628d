"""Zero checks of a scale that tracks its zero say nothing, and that is said (METROLOGY §1, §5.1; decision 27)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.alarms.conditions import AlarmKind, Transition
from gateway.metrology.readings import Reading
from gateway.pipeline.intake import fresh_seen, receive, settle
from gateway.pipeline.judge import judge
from gateway.pipeline.plan import Plan
from gateway.pipeline.state import dump, fresh
from gateway.pipeline.zeros import tracked_zeros
from gateway.registry.model import Center, Certificate, Event, EventKind, Phase, Point
from gateway.runtime.recorded import Replay, replay
from tests.pipeline.centre import DAY, check, feed, ingest_in, plan_of, scale
from tests.pipeline.replayed import Replayed, replay_files
from tests.pipeline.test_cutting_and_order import final

NIGHT = 0.5
SHEWHART = {"shewhart": {"L": 3.0}}


def certified(device: str) -> Certificate:
    return Certificate(
        id="c1", device=device, channel="mass", kind="calibration", phase=Phase.AS_LEFT, performed_at=0, valid_to=None,
        laboratory=None,
        points=tuple(
            Point(x=Decimal(x), error=Decimal(0), U=Decimal("0.0002"), k=Decimal(2)) for x in (0, 10)
        ),
    )  # fmt: skip


def one_scale(events: Sequence[Event] = (), **channel: object) -> Plan:
    given: dict[str, object] = {"resolution": Decimal("0.001"), "stuck_n": 4} | channel
    return plan_of([scale("a", **given)], [certified("a")], events)


def life(zeros: Sequence[float], loads: Sequence[float] | None = None, *, seed: int = 1) -> list[Reading]:
    """A zero check every midnight and a load check of 5 kg every noon, which reads 5 kg and noise, or `loads` more."""
    rng = np.random.default_rng(seed)
    out = []
    for day, zero in enumerate(zeros):
        error = 0.0016 * rng.normal() if loads is None else loads[day]
        out += [check("a", day, zero, reference=0.0), check("a", day + NIGHT, round(5.0 + error, 3))]
    return out


def noisy_zeros(n: int, seed: int = 1) -> list[float]:
    return [round(0.0015 * float(v), 3) for v in np.random.default_rng(seed).normal(size=n)]


def told(plan: Plan, readings: Sequence[Reading]) -> dict[str, object] | None:
    return tracked_zeros(plan, 0, replay(plan, readings).states[0])


def alarms(result: Replay, kind: AlarmKind) -> list[tuple[str, int]]:
    return [(h.transition.value, h.time) for h in result.happenings if h.alarm.kind is kind]


def test_zeros_that_never_move_are_named_after_enough_of_them() -> None:
    plan = one_scale()
    found = [told(plan, life([0.0] * n)) for n in (4, 5, 12)]
    assert found[0] is None
    assert found[1] is not None
    assert found[2] is not None
    assert found[2]["zero_checks"] == 12
    assert 0.0 < float(str(found[2]["chance"])) < float(str(found[1]["chance"])) < 0.01


@pytest.mark.parametrize("seed", range(5))
def test_a_zero_that_moves_is_not_named(seed: int) -> None:
    assert told(one_scale(), life(noisy_zeros(60, seed))) is None


def test_an_interval_that_hides_the_noise_is_not_named() -> None:
    assert told(one_scale(resolution=Decimal("0.005")), life([0.0] * 200)) is None


def test_one_other_zero_ends_it_until_the_next_chapter() -> None:
    adjusted = Event(device="a", time=int(30.2 * DAY), kind=EventKind.ADJUSTMENT, note="")
    plan = one_scale([adjusted])
    zeros = [0.0] * 12 + [0.002] + [0.0] * 30
    assert told(plan, life(zeros[:12])) is not None
    assert told(plan, life(zeros[:30])) is None
    assert told(plan, life(zeros[:33])) is None
    assert told(plan, life(zeros)) == told(plan, life([0.0] * 12)), "12 zero checks after the adjustment"


def test_a_learned_sigma_names_it_when_it_is_known() -> None:
    plan = one_scale(sigma=None, center=Center.LEARNED, learn=10)
    assert told(plan, life([0.0] * 4)) is None
    assert told(plan, life([0.0] * 30)) is not None


def test_unstable_and_other_checks_at_zero_are_no_zero_checks() -> None:
    plan = one_scale()
    readings = life([0.0] * 12)
    assert told(plan, [replace(r, stable=False) if r.reference == 0.0 else r for r in readings]) is None
    assert told(plan, [replace(r, evidence="self_test") if r.reference == 0.0 else r for r in readings]) is None
    assert told(plan, [replace(r, evidence="zero") if r.reference == 0.0 else r for r in readings]) is not None


def test_the_evidence_and_the_sentence_of_an_alarm_say_so() -> None:
    shifted = [0.0] * 12 + [0.012] * 4
    tracked = replay(one_scale(drift=SHEWHART), life([0.0] * 16, shifted))
    raised = next(h.alarm for h in tracked.happenings if h.alarm.kind is AlarmKind.DRIFT)
    assert raised.evidence["zero_tracking"] == told(one_scale(), life([0.0] * 13))
    assert raised.text.endswith("; all 13 zero checks read 0 and tell nothing (zero tracking suspected)")
    plain = replay(one_scale(drift=SHEWHART), life(noisy_zeros(16), shifted))
    raised = next(h.alarm for h in plain.happenings if h.alarm.kind is AlarmKind.DRIFT)
    assert "zero_tracking" not in raised.evidence
    assert "zero" not in raised.text


def test_a_silent_zero_check_calms_no_drift_and_a_load_check_does() -> None:
    plan = one_scale(drift=SHEWHART)
    found = life([0.0] * 12, [0.0] * 11 + [0.012])
    zeros = [check("a", 12 + i, 0.0, reference=0.0) for i in range(6)]
    assert [t for t, _ in alarms(replay(plan, [*found, *zeros]), AlarmKind.DRIFT)] == ["raised"]
    loads = [check("a", 18 + i, 5.0, reference=5.0) for i in range(3)]
    result = replay(plan, [*found, *zeros, *loads])
    assert alarms(result, AlarmKind.DRIFT)[-1] == ("cleared", 20 * DAY)
    moving = life(noisy_zeros(12), [0.0] * 11 + [0.012])
    assert [t for t, _ in alarms(replay(plan, [*moving, *zeros]), AlarmKind.DRIFT)] == ["raised", "cleared"]


SCALE = """
devices:
  - id: s1
    kind: weighing
    rule_pack: oiml-r76
    parameters: {class: III, max: 15 kg, e: 5 g, d: 0.1 g}
    channels: {mass: {unit: kg, sigma: 0.5 g, center: certificate}}
certificates:
  - id: c1
    device: s1
    channel: mass
    performed_at: 2026-01-01
    points: [{x: 0 kg, error: 0 g, U: 0.1 g, k: 2}, {x: 10 kg, error: 0 g, U: 0.1 g, k: 2}]
"""


def file_rows(zeros: Sequence[float], load: Sequence[float]) -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    for day, (zero, value) in enumerate(zip(zeros, load, strict=True), start=1):
        for hour, indication, reference in ((7, zero, 0.0), (9, value, 8.0)):
            out.append(
                {"time": f"2026-02-{day:02}T{hour:02}:00:00Z", "device": "s1", "channel": "mass",
                 "value": indication, "unit": "kg", "reference": reference, "reference_u": 0.0001}
            )  # fmt: skip
    return out


def mpe(found: Replayed) -> list[tuple[str, str]]:
    return [(a["transition"], a["severity"]) for a in found.alarms if a["kind"] == "mpe"]


def test_a_silent_zero_check_between_two_load_checks_unconfirms_nothing(tmp_path: Path) -> None:
    load = [8.0] * 8 + [8.0087] * 2
    tracked = replay_files(tmp_path, SCALE, file_rows([0.0] * 10, load))
    assert mpe(tracked) == [("raised", "major")]
    evidence = next(a for a in tracked.alarms if a["kind"] == "mpe")["evidence"]
    assert evidence["zero_tracking"]["zero_checks"] == 10


def test_a_scale_that_reads_0_at_each_zero_check_is_not_stuck() -> None:
    plan = one_scale(stuck_n=4)
    idle = [check("a", i, 0.0, reference=0.0) for i in range(40)]
    assert not alarms(replay(plan, idle), AlarmKind.STUCK)
    by_time = one_scale(stuck_n=None, stuck_ns=2 * DAY)
    assert not alarms(replay(by_time, [check("a", 0.5, 5.0), *idle[1:]]), AlarmKind.STUCK)


@pytest.mark.parametrize(("stands", "first"), [(5.0, 1.5), (0.0, 3.5)])
def test_a_stuck_scale_is_found_though_its_zero_checks_say_nothing(stands: float, first: float) -> None:
    plan = one_scale(stuck_n=4, range=None)
    stuck = [check("a", day + half, stands, reference=5.0 * (half > 0)) for day in range(8) for half in (0, NIGHT)]
    assert alarms(replay(plan, stuck), AlarmKind.STUCK)[0] == ("raised", int(first * DAY))


def test_plain_readings_of_an_empty_scale_still_count_for_stuck() -> None:
    idle = [check("a", i, 0.0, reference=None) for i in range(4)]
    assert alarms(replay(one_scale(stuck_n=4), idle), AlarmKind.STUCK) == [("raised", 3 * DAY)]


PLANS = (
    one_scale(stuck_n=3),
    one_scale(stuck_n=None, stuck_ns=3 * DAY, sigma=None, center=Center.LEARNED, learn=6, drift=SHEWHART),
    one_scale(drift=SHEWHART, subgroup_n=3),
    one_scale(drift=SHEWHART, subgroup_ns=2 * DAY, sigma=None, learn=6, center=Center.LEARNED),
    one_scale([Event(device="a", time=9 * DAY, kind=EventKind.REPAIR, note="")], drift=SHEWHART),
)


def mixed(seed: int, days: int = 18) -> list[Reading]:
    """Zero checks, most of them 0, load checks that shift for a while or stand still, and plain readings of 0."""
    rng = np.random.default_rng(seed)
    out = []
    for day in range(days):
        zero = 0.002 if rng.random() < 0.04 else 0.0
        error = 0.02 if 8 <= day < 11 else round(0.0016 * rng.normal() * (day % 7 > 2), 3)
        out.append(check("a", day, zero, reference=0.0))
        if rng.random() < 0.3:
            out.append(check("a", day + 0.2, 0.0, reference=None))
        if rng.random() < 0.8:
            out.append(check("a", day + NIGHT, round(5.0 + error, 3)))
    return out


def columns(plan: Plan, readings: Sequence[Reading]) -> Any:
    seen = fresh_seen(len(plan))
    return settle(receive(plan, seen, list(readings), None), seen, [], None).columns


@given(plan=st.sampled_from(PLANS), seed=st.integers(0, 60), cuts=st.lists(st.integers(1, 50), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_cutting_gives_the_same_states_and_changes(plan: Plan, seed: int, cuts: list[int]) -> None:
    readings = sorted(mixed(seed), key=lambda r: r.time)
    whole = judge(plan, fresh(1), columns(plan, readings))
    states, changes = fresh(1), []
    for start, end in pairwise([0, *sorted(set(cuts)), len(readings)]):
        part = columns(plan, readings[start:end])
        if len(part):
            judged = judge(plan, states, part)
            states = judged.states
            changes += [(c.kind, c.transition, c.time, c.level, dict(c.evidence)) for c in judged.changes]
    assert dump(states) == dump(whole.states)
    assert changes == [(c.kind, c.transition, c.time, c.level, dict(c.evidence)) for c in whole.changes]


@given(
    plan=st.sampled_from(PLANS),
    seed=st.integers(0, 60),
    order=st.randoms(use_true_random=False),
    size=st.integers(1, 30),
)
@settings(max_examples=20, deadline=None)
def test_late_readings_end_in_the_same_states_and_alarms(
    plan: Plan, seed: int, order: random.Random, size: int
) -> None:
    readings = mixed(seed)
    shuffled = readings[:]
    order.shuffle(shuffled)
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        straight, late = ingest_in(Path(one), plan), ingest_in(Path(two), plan)
        feed(straight, readings)
        for i in range(0, len(shuffled), size):
            feed(late, shuffled[i : i + size])
        try:
            assert final(late) == final(straight)
        finally:
            straight.ledger.close()
            late.ledger.close()


def test_the_life_of_these_properties_has_alarms_and_silent_zeros() -> None:
    results = [replay(plan, mixed(seed)) for plan in PLANS for seed in range(6)]
    kinds = {(h.alarm.kind, h.transition) for r in results for h in r.happenings}
    assert {(AlarmKind.DRIFT, Transition.RAISED), (AlarmKind.STUCK, Transition.RAISED)} <= kinds
    assert any("zero_tracking" in h.alarm.evidence for r in results for h in r.happenings)
