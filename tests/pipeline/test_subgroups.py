"""Subgroups by count and by time: charts advance on the group's last check, however readings are cut or delayed."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger import readings as rows
from gateway.metrology.readings import Reading
from gateway.pipeline.checks import Flag
from gateway.pipeline.intake import fresh_seen, receive, settle
from gateway.pipeline.judge import Judgement, judge
from gateway.pipeline.plan import Plan
from gateway.pipeline.state import dump, fresh
from gateway.registry.model import Center
from tests.pipeline.centre import DAY, certificate, check, feed, ingest_in, plan_of, scale

HOUR = DAY // 24


def grouped() -> Plan:
    """By four, by six hours with learned σ and centre, by six hours with both given, and alone."""
    return plan_of(
        [
            scale("by4", subgroup_n=4, sigma=None, center=Center.LEARNED, learn=12),
            scale("by6h", subgroup_ns=6 * HOUR, sigma=None, center=Center.LEARNED, learn=12),
            scale("known", subgroup_ns=6 * HOUR),
            scale("single"),
        ],
        [certificate(name) for name in ("by4", "by6h", "known", "single")]
        + [certificate("by6h", 20 * DAY, name="c2", error="0.002")],
    )


PLAN = grouped()


def life(seed: int, days: int = 24) -> list[Reading]:
    """Checks at odd moments, some six hours empty; everything shifts half way."""
    rng = np.random.default_rng(seed)
    out = []
    for device in ("by4", "by6h", "known", "single"):
        for i in range(days * 3):
            if rng.random() < 0.15:
                continue
            error = 0.001 + (0.006 if i > days * 3 // 2 else 0.0)
            value = round(5.0 + error + 0.0016 * rng.normal(), 4)
            out.append(check(device, round(i / 3 + 0.2 * rng.random(), 6), value, seq=i))
    return out


def judged(plan: Plan, readings: list[Reading]) -> tuple[Any, Judgement]:
    seen = fresh_seen(len(plan))
    columns = settle(receive(plan, seen, readings, None), seen, [], None).columns
    return columns, judge(plan, fresh(len(np.unique(columns.channel))), columns)


def one_scale(errors: list[float], times: list[float], **channel: object) -> Any:
    plan = plan_of([scale("a", resolution=0, **channel)], [certificate("a")])
    _, judgement = judged(plan, [check("a", t, round(5.0 + e, 6)) for e, t in zip(errors, times, strict=True)])
    return judgement


def test_a_group_of_time_is_charted_on_its_last_check_once_the_next_one_has_come() -> None:
    times = [h / 24 for h in (0, 1, 5, 6, 7, 18)]
    v = one_scale([0.002, 0.003, 0.001, 0.004, 0.0, 0.002], times, subgroup_ns=6 * HOUR).verdicts
    assert [bool(np.isnan(z)) for z in v["z"]] == [True, True, False, True, False, True]
    assert v["z"][2] == pytest.approx((0.002 - 0.001) * 3**0.5 / 0.0016, rel=1e-9)
    assert v["z"][4] == pytest.approx((0.002 - 0.001) * 2**0.5 / 0.0016, rel=1e-9)


def test_a_learned_sigma_is_that_of_group_means() -> None:
    rng = np.random.default_rng(5)
    day_to_day = np.repeat(0.004 * rng.normal(size=12), 4)  # groups that differ more than their members do
    errors = (day_to_day + 0.0005 * rng.normal(size=48)).tolist()
    v = one_scale(errors, [float(i) for i in range(48)], subgroup_n=4, sigma=None, center=Center.LEARNED, learn=24)
    v = v.verdicts
    residuals = [round(5.0 + e, 6) - 5.0 - 0.001 for e in errors]
    means = [fmean(residuals[i : i + 4]) for i in range(0, 48, 4)]
    sigma = stdev(means[:6])
    assert np.isnan(v["z"][:24]).all()
    assert ((v["flags"][:24] & Flag.LEARNING) != 0).all()
    assert v["z"][27::4] == pytest.approx([(m - fmean(means[:6])) / sigma for m in means[6:]], rel=1e-7)
    assert v["sigma"][24:] == pytest.approx(sigma * 2, rel=1e-9)


def test_a_group_that_a_new_baseline_cuts_off_is_never_charted() -> None:
    plan = plan_of([scale("a", subgroup_n=4)], [certificate("a"), certificate("a", 6 * DAY, name="c2", error="0.002")])
    _, judgement = judged(plan, [check("a", i, 5.001) for i in range(12)])
    assert np.flatnonzero(~np.isnan(judgement.verdicts["z"])).tolist() == [3, 9]


@given(seed=st.integers(0, 50), cuts=st.lists(st.integers(1, 240), max_size=14))
@settings(max_examples=40, deadline=None)
def test_cutting_changes_no_state_and_no_alarm(seed: int, cuts: list[int]) -> None:
    ordered = sorted(life(seed), key=lambda r: r.time)
    _, whole = judged(PLAN, ordered)
    states, changes = fresh(len(PLAN)), []
    for start, end in pairwise([0, *sorted(c for c in set(cuts) if c < len(ordered)), len(ordered)]):
        seen = fresh_seen(len(PLAN))
        columns = settle(receive(PLAN, seen, ordered[start:end], None), seen, [], None).columns
        channels = np.unique(columns.channel)
        part = judge(PLAN, states[channels], columns)
        states[channels] = part.states
        changes += [(c.channel, c.kind, c.transition, c.time, c.level) for c in part.changes]
    assert dump(states) == dump(whole.states)
    assert sorted(changes) == sorted((c.channel, c.kind, c.transition, c.time, c.level) for c in whole.changes)
    assert {PLAN.facts[c.channel].device for c in whole.changes if c.kind == "drift"} >= {"by4", "known", "single"}


@given(seed=st.integers(0, 20), order=st.randoms(use_true_random=False), size=st.integers(1, 60), late=st.booleans())
@settings(max_examples=15, deadline=None)
def test_batches_and_late_readings_end_in_the_verdicts_of_a_replay(
    seed: int, order: random.Random, size: int, late: bool
) -> None:
    readings = sorted(life(seed, 10), key=lambda r: r.time)
    columns, whole = judged(PLAN, readings)
    pairs = zip(columns.channel[whole.check_row], columns.time[whole.check_row], strict=True)
    expected = dict(zip(pairs, whole.verdicts, strict=True))
    if late:
        order.shuffle(readings)
    with TemporaryDirectory() as folder:
        ingest = ingest_in(Path(folder), PLAN)
        for i in range(0, len(readings), size):
            feed(ingest, readings[i : i + size])
        assert dump(ingest.states) == dump(whole.states)
        found = {}
        for channel, number in enumerate(ingest.ids.tolist()):
            stored = rows.since(ingest.ledger.connection, channel, number, -(2**63))
            for time, verdict in zip(stored.columns.time.tolist(), stored.verdict, strict=True):
                v = np.frombuffer(bytes(verdict or b""), whole.verdicts.dtype)[0].copy()
                v["flags"] &= ~int(Flag.LATE)
                found[channel, time] = v.tobytes()
        ingest.ledger.close()
    assert found == {k: v.tobytes() for k, v in expected.items()}
