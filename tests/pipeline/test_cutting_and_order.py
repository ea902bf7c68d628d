"""Results never depend on how readings were cut into batches or when they arrived (CONTRACTS §4), bit for bit."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.metrology.readings import Reading
from gateway.pipeline.checks import Flag
from gateway.pipeline.intake import fresh_seen, receive, settle
from gateway.pipeline.judge import judge, verdict_dtype
from gateway.pipeline.plan import Plan
from gateway.pipeline.state import dump, fresh
from gateway.runtime.ingest import Ingest
from tests.pipeline.centre import (
    feed,
    ingest_in,
    noisy_life,
    scales_with_optional_charts,
    scales_with_self_starting_charts,
    two_scales,
)

PLAN = two_scales()
PLANS = st.sampled_from([PLAN, scales_with_optional_charts(), scales_with_self_starting_charts()])


def _sorted_columns(readings: list[Reading]) -> Any:
    seen = fresh_seen(len(PLAN))
    return settle(receive(PLAN, seen, readings, None), seen, [], None).columns


@given(plan=PLANS, seed=st.integers(0, 50), cuts=st.lists(st.integers(1, 118), max_size=12))
@settings(max_examples=60, deadline=None)
def test_any_cutting_into_batches_gives_the_same_bits(plan: Plan, seed: int, cuts: list[int]) -> None:
    readings = sorted(noisy_life(seed), key=lambda r: r.time)
    whole = judge(plan, fresh(2), _sorted_columns(readings))
    states, changes = fresh(2), []
    verdicts: dict[int, list[bytes]] = {0: [], 1: []}
    edges = [0, *sorted(set(cuts)), len(readings)]
    for start, end in pairwise(edges):
        columns = _sorted_columns(readings[start:end])
        if not len(columns):
            continue
        channels = np.unique(columns.channel)
        part = judge(plan, states[channels], columns)
        states[channels] = part.states
        for v, row in zip(part.verdicts, part.check_row, strict=True):
            verdicts[int(columns.channel[row])].append(v.tobytes())
        changes += [(c.channel, c.kind, c.transition, c.time, c.level) for c in part.changes]
    assert [v.tobytes() for v in whole.verdicts] == verdicts[0] + verdicts[1]
    assert dump(states) == dump(whole.states)
    assert sorted(changes) == sorted((c.channel, c.kind, c.transition, c.time, c.level) for c in whole.changes)
    assert any(c.kind == "drift" for c in whole.changes)


def final(ingest: Ingest) -> tuple[dict[tuple[str, int, float], bytes], list[bytes], dict[Any, Any]]:
    """Return the verdicts that hold, the states, and the open alarms."""
    found = {}
    rows = ingest.ledger.connection.execute(
        """SELECT c.device, r.time, r.value, COALESCE(
             (SELECT a.verdict FROM amendment a WHERE a.reading = r.id ORDER BY version DESC LIMIT 1), r.verdict)
           FROM reading r JOIN channel c ON c.id = r.channel"""
    )
    for device, time, value, verdict in rows:
        if verdict is not None:
            optional = len(verdict) != verdict_dtype().itemsize
            v = np.frombuffer(verdict, verdict_dtype(optional=optional)).copy()
            v["flags"] &= ~int(Flag.LATE)
            found[device, time, value] = v.tobytes()
    alarms = {key: (a.id, a.severity, a.raised_at) for key, a in ingest.alarms.items()}
    return found, dump(ingest.states), alarms


@given(plan=PLANS, seed=st.integers(0, 20), order=st.randoms(use_true_random=False), size=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_late_and_shuffled_readings_end_in_the_same_verdicts_states_and_alarms(
    plan: Plan, seed: int, order: random.Random, size: int
) -> None:
    life = noisy_life(seed, 28, shift_at=14)
    shuffled = life[:]
    order.shuffle(shuffled)
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        straight, mixed = ingest_in(Path(one), plan), ingest_in(Path(two), plan)
        feed(straight, life)
        for i in range(0, len(shuffled), size):
            feed(mixed, shuffled[i : i + size])
        try:
            assert final(mixed) == final(straight)
        finally:
            straight.ledger.close()
            mixed.ledger.close()


@given(seed=st.integers(0, 20), repeats=st.lists(st.integers(0, 55), max_size=30))
@settings(max_examples=15, deadline=None)
def test_repeated_readings_change_nothing_and_every_reading_ends_in_one_counter(seed: int, repeats: list[int]) -> None:
    life = noisy_life(seed, 30)
    with TemporaryDirectory() as one:
        ingest = ingest_in(Path(one), PLAN)
        feed(ingest, life)
        before = final(ingest)
        again = [life[i] for i in repeats if i < len(life)]
        feed(ingest, again)
        after = final(ingest)
        counted = dict(ingest.ledger.connection.execute("SELECT name, n FROM counter"))
        ingest.ledger.close()
    assert after == before
    assert counted["received"] == counted["stored"] + counted.get("duplicate", 0) + counted.get("quarantined", 0)
    assert counted["stored"] == len(life)
