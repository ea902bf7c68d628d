"""The verdicts of a channel whose checks are autocorrelated: flag, wider limits, the same statistics."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.drift.dependence import LOOKS, dependent_limit
from gateway.metrology.readings import Reading
from gateway.pipeline import learning
from gateway.pipeline.checks import Flag
from gateway.pipeline.intake import fresh_seen, receive, settle
from gateway.pipeline.judge import Judgement, judge
from gateway.pipeline.plan import Plan
from gateway.pipeline.state import dump, fresh
from gateway.registry.model import Center
from tests.pipeline.centre import DAY, certificate, check, plan_of, scale

SIGMA = 0.0016
STEADY = {"stuck_n": None, "resolution": Decimal(0)}


def steady(name: str, **channel: object) -> Any:
    return scale(name, **{**STEADY, **channel})


PLAN = plan_of([steady("a"), steady("b")], [certificate("a"), certificate("b")])


def life(device: str, phi: float, n: int, seed: int, *, offset: float = 0.0) -> list[Reading]:
    """One check a day with AR(1) errors of deviation σ about the certificate."""
    z = np.random.default_rng(seed).standard_normal(n)
    for i in range(1, n):
        z[i] = phi * z[i - 1] + math.sqrt(1.0 - phi * phi) * z[i]
    return [check(device, i + offset, float(5.001 + SIGMA * e)) for i, e in enumerate(z)]


def columns_of(plan: Plan, readings: list[Reading]) -> Any:
    seen = fresh_seen(len(plan))
    return settle(receive(plan, seen, readings, None), seen, [], None).columns


def judged(readings: list[Reading], plan: Plan = PLAN) -> Judgement:
    columns = columns_of(plan, readings)
    return judge(plan, fresh(len(plan))[np.unique(columns.channel)], columns)


def flagged(judgement: Judgement) -> Any:
    return (judgement.verdicts["flags"] & int(Flag.AUTOCORRELATED)) != 0


def test_dependent_checks_are_flagged_from_the_check_after_a_look() -> None:
    marks = flagged(judged(life("a", 0.8, 300, 3)))
    assert not marks[: LOOKS[0]].any()
    assert marks[LOOKS[-1] :].all()
    assert set((np.flatnonzero(np.diff(marks)) + 1).tolist()) <= set(LOOKS)


def test_limits_grow_and_statistics_stay_as_the_contract_says() -> None:
    judgement = judged(life("a", 0.7, 300, 3))
    v, rho = judgement.verdicts, float(judgement.states["rho"][0])
    assert rho == pytest.approx(0.7, abs=0.15)
    z, upper, ewma = v["z"], 0.0, 0.0
    for i in range(len(v)):
        upper, ewma = max(0.0, upper + z[i] - 0.5), 0.2 * z[i] + 0.8 * ewma
        assert v["cusum_upper"][i] == pytest.approx(upper, abs=1e-9)
        assert v["ewma_statistic"][i] == pytest.approx(ewma, abs=1e-9)
    assert v["shewhart_statistic"].tolist() == z.tolist()
    first, last = v[0], v[-1]
    kept = rho * 0.8
    assert last["cusum_limit"] == dependent_limit("cusum", float(first["cusum_limit"]), rho, (0.5,))
    assert last["cusum_limit"] > 2.0 * first["cusum_limit"]
    settled = PLAN.limit["ewma"][0] * math.sqrt(1.0 / 9.0)
    assert last["ewma_limit"] == pytest.approx(settled * math.sqrt((1.0 + kept) / (1.0 - kept)))
    assert last["shewhart_limit"] == first["shewhart_limit"]
    assert last["noise_limit"] == first["noise_limit"]


def test_independent_checks_have_the_bits_they_had_before_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = life("a", 0.0, 300, 7) + life("b", 0.8, 300, 8, offset=0.5)
    tested = judged(readings)
    assert flagged(tested)[300:].any()
    monkeypatch.setattr(learning, "follow_dependence", lambda state, unit, *_: state["rho"][unit])
    untested = judged(readings)
    assert tested.verdicts[:300].tobytes() == untested.verdicts[:300].tobytes()
    assert tested.verdicts[300:].tobytes() != untested.verdicts[300:].tobytes()
    assert [c for c in tested.changes if c.channel == 0] == [c for c in untested.changes if c.channel == 0]


@pytest.mark.parametrize("phi", [0.8, -0.8])
def test_signals_of_the_decided_come_a_third_as_often_at_most(phi: float, monkeypatch: pytest.MonkeyPatch) -> None:
    chart = "cusum" if phi > 0.0 else "noise"

    def signals() -> int:
        lives = [judged(life("a", phi, 600, seed)).verdicts[f"{chart}_signal"] for seed in range(12)]
        return sum(int((signal[LOOKS[-1] + 1 :] & ~signal[LOOKS[-1] : -1]).sum()) for signal in lives)

    now = signals()
    monkeypatch.setattr(learning, "follow_dependence", lambda state, unit, *_: state["rho"][unit])
    assert 3 * now < signals()


def test_a_drift_of_dependent_checks_is_still_found() -> None:
    readings = life("a", 0.6, 300, 5)
    shifted = [check("a", i, float(r.value + (3.0 * SIGMA if i >= 260 else 0.0))) for i, r in enumerate(readings)]
    v = judged(shifted).verdicts
    assert flagged(judged(shifted))[260:].all()
    assert not v["cusum_signal"][250:260].any()
    assert v["cusum_signal"][260:290].any()


@given(seed=st.integers(0, 30), phi=st.sampled_from([0.8, -0.8]), cuts=st.lists(st.integers(1, 259), max_size=10))
@settings(max_examples=25, deadline=None)
def test_any_cutting_into_batches_gives_the_same_bits(seed: int, phi: float, cuts: list[int]) -> None:
    learning_b = plan_of(
        [steady("a"), steady("b", sigma=None, center=Center.LEARNED, learn=40, subgroup_n=2)],
        [certificate("a"), certificate("b"), certificate("a", 200 * DAY, name="c2")],
    )
    both = [life("a", phi, 260, seed), life("b", phi, 260, seed + 1, offset=0.5)]
    readings = [r for pair in zip(*both, strict=True) for r in pair]
    whole = judged(readings, learning_b)
    states, verdicts = fresh(2), ([], [])  # type: tuple[Any, tuple[list[bytes], list[bytes]]]
    for start, end in pairwise([0, *sorted({2 * c for c in cuts}), len(readings)]):
        columns = columns_of(learning_b, readings[start:end])
        part = judge(learning_b, states, columns)
        states = part.states
        for v, row in zip(part.verdicts, part.check_row, strict=True):
            verdicts[int(columns.channel[row])].append(v.tobytes())
    assert verdicts[0] + verdicts[1] == [v.tobytes() for v in whole.verdicts]
    assert dump(states) == dump(whole.states)
    assert flagged(whole)[:260].any()


def test_a_new_baseline_begins_to_look_anew() -> None:
    plan = plan_of([steady("a"), steady("b")], [certificate("a"), certificate("a", 260 * DAY, name="c2")])
    marks = flagged(judged(life("a", 0.8, 600, 3), plan))
    assert marks[250:260].all()
    assert not marks[260 : 260 + LOOKS[0]].any()
    assert marks[260 + LOOKS[-1] :].all()


def test_learning_checks_count_for_the_test() -> None:
    plan = plan_of([steady("a", sigma=None, center=Center.LEARNED, learn=30), steady("b")], [certificate("a")])
    v = judged(life("a", 0.95, 60, 11), plan).verdicts
    marks = (v["flags"] & int(Flag.AUTOCORRELATED)) != 0
    assert marks[30:].all()
    assert v["charted"][30:].all()
    assert not v["charted"][:30].any()
