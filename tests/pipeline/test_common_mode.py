"""Devices that share a standard and shift together are one alarm, on the standard (METROLOGY §5.7)."""

from __future__ import annotations

import random
from json import loads
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
from gateway.pipeline.plan import Plan
from gateway.runtime.ingest import Ingest
from gateway.runtime.recorded import replay
from tests.pipeline.centre import certificate, check, feed, ingest_in, plan_of, scale

NAMES = ("a", "b", "c", "d")


def bench(standards: dict[str, str | None] | None = None) -> Plan:
    """Four scales checked against one set of weights."""
    chosen = standards or dict.fromkeys(NAMES, "weights")
    return plan_of([scale(n, standard=chosen[n]) for n in NAMES], [certificate(n) for n in NAMES])


PLAN = bench()


def life(shifts: dict[str, tuple[int, float]], days: int = 40, seed: int = 1) -> list[Reading]:
    """A check a day each; `shifts`: from which day by how much (kg)."""
    rng = np.random.default_rng(seed)
    out = []
    for day in range(days):
        for n, name in enumerate(NAMES):
            since, size = shifts.get(name, (days, 0.0))
            error = 0.001 + (size if day >= since else 0.0)
            out.append(check(name, day + n / 24, round(5.0 + error + 0.0004 * rng.normal(), 4), seq=day))
    return out


def told(plan: Plan, readings: list[Reading]) -> list[tuple[str, str | None, str, str | None]]:
    result = replay(plan, readings)
    return [
        (h.alarm.kind.value, h.alarm.device, h.transition.value, h.reason)
        for h in result.happenings
        if h.alarm.kind in {AlarmKind.DRIFT, AlarmKind.STANDARD}
    ]


def test_three_that_shift_together_are_one_alarm_on_the_standard() -> None:
    shifts = {"a": (20, 0.012), "b": (20, 0.012), "c": (20, 0.012)}
    assert told(PLAN, life(shifts)) == [
        ("drift", "a", "raised", None),
        ("drift", "b", "raised", None),
        ("standard", "weights", "raised", None),
        ("drift", "a", "cleared", "common_mode"),
        ("drift", "b", "cleared", "common_mode"),
    ]


def test_the_alarm_names_the_devices_and_their_alarms_name_it() -> None:
    result = replay(PLAN, life(dict.fromkeys(NAMES, (20, -0.012))))
    (standard,) = [h.alarm for h in result.happenings if h.alarm.kind is AlarmKind.STANDARD]
    assert standard.severity.text == "major"
    assert standard.evidence["devices"] == ["a", "b", "c"]
    assert standard.evidence["direction"] == "down"
    cleared = [h.alarm for h in result.happenings if h.transition is Transition.CLEARED]
    assert [a.evidence["common_mode"] for a in cleared] == [standard.id] * 2
    assert [a.id for a in cleared] == standard.evidence["suppressed"][:2]  # type: ignore[index]
    raised = [h.alarm.device for h in result.happenings if h.transition is Transition.RAISED]
    assert "d" not in raised


@pytest.mark.parametrize(
    "shifts",
    [
        {"a": (20, 0.012), "b": (20, 0.012)},  # two are not three
        {"a": (20, 0.012), "b": (20, -0.012), "c": (20, 0.012)},  # not the same way
        {"a": (2, 0.012), "b": (20, 0.012), "c": (38, 0.012)},  # not together
    ],
)
def test_what_is_not_together_is_left_to_the_devices(shifts: dict[str, tuple[int, float]]) -> None:
    assert told(PLAN, life(shifts)) == [("drift", n, "raised", None) for n in sorted(shifts)]


def test_devices_of_other_standards_have_nothing_in_common() -> None:
    plan = bench({"a": "weights", "b": "weights", "c": "other", "d": None})
    assert {t[0] for t in told(plan, life(dict.fromkeys(NAMES, (20, 0.012))))} == {"drift"}


def test_a_standard_named_by_the_readings_counts() -> None:
    plan = bench(dict.fromkeys(NAMES))
    readings = [replace(r, standard="weights") for r in life(dict.fromkeys(NAMES, (20, 0.012)))]
    assert ("standard", "weights", "raised", None) in told(plan, readings)


def test_when_the_standard_is_right_again_its_alarm_falls() -> None:
    back = [r for r in life({}, 130) if r.time >= 30 * 86_400 * 10**9]
    readings = [*life({"a": (20, 0.006), "b": (20, 0.006), "c": (20, 0.006)}, 30), *back]
    found = told(PLAN, readings)
    assert ("standard", "weights", "cleared", "back to normal") in found
    assert found.count(("standard", "weights", "raised", None)) == 1


def _open(ingest: Ingest) -> set[Any]:
    kinds = {AlarmKind.DRIFT, AlarmKind.STANDARD}
    return {(a.id, a.raised_at) for a in ingest.alarms.values() if a.kind in kinds}


@given(order=st.randoms(use_true_random=False), size=st.integers(1, 200), late=st.booleans())
@settings(max_examples=20, deadline=None)
def test_batches_and_late_readings_end_in_the_same_open_alarms(order: random.Random, size: int, late: bool) -> None:
    readings = life({"a": (20, 0.012), "b": (20, 0.012), "c": (20, 0.012)}, 28)
    expected = {h.alarm.id for h in replay(PLAN, readings).happenings if h.alarm.kind is AlarmKind.STANDARD}
    assert expected
    if late:
        order.shuffle(readings)
    with TemporaryDirectory() as folder:
        ingest = ingest_in(Path(folder), PLAN)
        for i in range(0, len(readings), size):
            feed(ingest, readings[i : i + size])
        found = {name for name, _ in _open(ingest)}
        ingest.ledger.close()
    assert found == expected


def test_an_alarm_that_stood_the_other_way_when_the_shift_came_belongs_to_it(tmp_path: Path) -> None:
    """c was off downwards for a day; its alarm still stands when all three go up."""
    shifted = life({"a": (20, 0.012), "b": (20, 0.012), "c": (20, 0.012)}, 24)
    readings = [replace(r, value=r.value - 0.008) if (r.device, r.seq) == ("c", 18) else r for r in shifted]
    before = [r for r in readings if (r.seq or 0) < 20]
    assert told(PLAN, before) == [("drift", "c", "raised", None)]
    raised = [h.alarm.id for h in replay(PLAN, readings).happenings if h.alarm.kind is AlarmKind.STANDARD]
    assert len(raised) == 1
    ingest = ingest_in(tmp_path, PLAN)
    for i in range(0, len(readings), 7):
        feed(ingest, readings[i : i + 7])
    assert [name for name, _ in _open(ingest)] == raised
    ingest.ledger.close()


def test_late_readings_that_undo_one_shift_amend_the_alarm() -> None:
    """c is off by 2.5 σ for three checks: enough for CUSUM, unless good checks lay between them."""
    readings = life({"a": (20, 0.012), "b": (20, 0.012), "c": (20, 0.004)}, 23)
    calm = [
        check("c", 20.2 + n + i / 40, 5.001 + i % 2 * 1e-4, seq=1000 + 20 * n + i) for n in range(2) for i in range(20)
    ]
    with TemporaryDirectory() as folder:
        ingest = ingest_in(Path(folder), PLAN)
        feed(ingest, readings)
        assert {(k, d) for d, _, k in ingest.alarms} == {(AlarmKind.STANDARD, "weights")}
        feed(ingest, calm)
        assert {(k, d) for d, _, k in ingest.alarms} == {(AlarmKind.DRIFT, "a"), (AlarmKind.DRIFT, "b")}
        documents = [loads(row[0]) for row in ingest.ledger.connection.execute("SELECT document FROM alarm_event")]
        ingest.ledger.close()
    last = [d for d in documents if d["kind"] == "standard"][-1]
    assert (last["transition"], last["reason"]) == ("cleared", "amended")
