"""Registers through a replay: amounts over the top, multipliers, resolution (CONTRACTS §2-§4), and going back."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.metrology.readings import Reading
from gateway.pipeline.intake import fresh_seen, receive, settle
from gateway.pipeline.judge import judge
from gateway.pipeline.plan import Plan
from gateway.pipeline.state import dump, fresh
from gateway.registry.model import Channel, ChannelType, Event, EventKind
from tests.pipeline.centre import plan_of, scale
from tests.pipeline.replayed import replay_files


def energy(more: str, rest: str = "") -> str:
    """Return an electricity meter with a register."""
    return (
        "devices:\n  - id: m1\n    kind: electricity\n    rule_pack: none\n"
        f"    channels: {{active_energy: {{unit: kWh, type: register, sigma: 0.1 %{more}}}}}\n{rest}"
    )


def reading(minute: int, value: float, **more: Any) -> dict[str, object]:
    """Return a reading of the register."""
    time = f"2026-02-01T{minute // 60:02}:{minute % 60:02}:00Z"
    return {"time": time, "device": "m1", "channel": "active_energy", "value": value, "unit": "kWh"} | more


def check(value_start: float, value: float, reference: float, **more: Any) -> dict[str, object]:
    """Return a check of the register against an amount."""
    return reading(0, value, value_start=value_start, reference=reference, reference_u=0.0, **more)


def only_verdict(tmp_path: Path, registry: str, row: dict[str, object]) -> dict[str, Any]:
    """Return the verdict of one check."""
    (found,) = replay_files(tmp_path, registry, [row]).verdicts
    return found


def test_a_check_counts_over_the_top_of_the_register(tmp_path: Path) -> None:
    v = only_verdict(tmp_path, energy(", digits: 5"), check(99990.5, 9.6, 19.0))
    assert (v["indication"], v["reference"]) == (19.1, 19.0)


def test_without_digits_a_difference_stands_as_it_is(tmp_path: Path) -> None:
    v = only_verdict(tmp_path, energy(""), check(99990.5, 9.5, 19.0))
    assert v["indication"] == -99981.0


def test_the_multiplier_makes_the_register_the_true_amount(tmp_path: Path) -> None:
    v = only_verdict(tmp_path, energy(", multiplier: 40"), check(100.0, 100.3, 12.0))
    assert (v["indication"], v["reference"], v["error"]) == (12.0, 12.0, 0.0)


def test_the_multiplier_scales_the_resolution_and_not_the_reference_register(tmp_path: Path) -> None:
    row = check(100.0, 101.0, 1040.0, reference_start=1000.0)
    v = only_verdict(tmp_path, energy(", multiplier: 40, resolution: 0.1 kWh"), row)
    assert v["reference"] == 40.0
    assert v["sigma"] == pytest.approx(100.0 * 4.0 / 6**0.5 / 40.0, rel=1e-12)


STANDARD = "  - {id: std-1, kind: reference, channels: {active_energy: {unit: Wh, type: register, digits: 6}}}\n"


def test_a_reference_register_passes_its_top_by_the_standards_digits(tmp_path: Path) -> None:
    row = check(100.0, 120.0, 10.0, reference_start=990.0, standard="std-1")
    v = only_verdict(tmp_path, energy("", STANDARD), row)
    assert (v["indication"], v["reference"]) == (20.0, 20.0)


def test_a_standard_of_another_quantity_says_nothing_of_the_reference(tmp_path: Path) -> None:
    registry = """\
devices:
  - {id: m1, kind: other, rule_pack: none, channels: {speed: {unit: m/s, type: register, sigma: 1 m/s, standard: s1}}}
  - {id: s1, kind: reference, rule_pack: none, channels: {speed: {unit: furlong, type: register, digits: 3}}}
certificates:
  - {id: c1, device: s1, channel: speed, kind: calibration, phase: as_left, performed_at: 2025-12-01,
     points: [{error: 0 furlong, U: 1 furlong, k: 2}]}
"""
    row = check(5.0, 10.0, 5.0, channel="speed", unit="m/s", reference_start=900.0)
    v = only_verdict(tmp_path, registry, row | {"reference_u": None})
    assert (v["reference"], v["reference_u"]) == (-895.0, None)
    assert "reference_u_unknown" in v["flags"]


def test_amounts_at_the_ends_of_the_floats_are_judged_without_a_word(tmp_path: Path) -> None:
    rows = [check(-1e308, 1e308, 5.0), check(5.0, 1e-320, 1e-320)]
    assert len(replay_files(tmp_path, energy(", multiplier: 40"), rows).verdicts) == 2


def test_a_zero_amount_of_a_register_is_a_zero_reference(tmp_path: Path) -> None:
    v = only_verdict(tmp_path, energy(", digits: 5"), check(100.0, 100.0, 0.0))
    assert (v["error"], v["flags"].count("zero_reference")) == (0.0, 1)


def raised(tmp_path: Path, registry: str, values: list[float]) -> list[dict[str, Any]]:
    """Return the alarms that readings a minute apart raise."""
    rows = [reading(i, v) for i, v in enumerate(values)]
    return [a for a in replay_files(tmp_path, registry, rows).alarms if a["transition"] == "raised"]


EXCHANGED = "events:\n  - {device: m1, time: 2026-02-01T00:02:00Z, kind: meter_exchange}\n"
REPAIRED = "events:\n  - {device: m1, time: 2026-02-01T00:02:00Z, kind: repair}\n"


def test_a_register_that_goes_back_is_out_of_its_range(tmp_path: Path) -> None:
    (alarm,) = raised(tmp_path, energy(""), [100, 101, 0, 1, 2])
    assert (alarm["kind"], alarm["severity"], alarm["time"]) == ("range", "warning", "2026-02-01T00:02:00Z")
    assert alarm["evidence"] == {
        "reading": "2026-02-01T00:02:00Z", "value": 0.0, "unit": "kWh", "register": "went_back",
    }  # fmt: skip
    assert alarm["text"] == "m1 active_energy: the register went back to 0 kWh"


@pytest.mark.parametrize(
    ("registry", "values"),
    [
        (energy(""), [100, 101, 101, 102]),
        (energy(", digits: 5"), [99990, 99999, 3, 4]),
        (energy("", EXCHANGED), [100, 101, 0, 1]),
    ],
)
def test_advance_rollover_and_announced_exchange_raise_nothing(
    tmp_path: Path, registry: str, values: list[float]
) -> None:
    assert raised(tmp_path, registry, values) == []


def test_another_event_does_not_explain_a_register_that_goes_back(tmp_path: Path) -> None:
    assert [a["kind"] for a in raised(tmp_path, energy("", REPAIRED), [100, 101, 0, 1])] == ["range"]


def test_an_indication_may_fall(tmp_path: Path) -> None:
    assert raised(tmp_path, energy("").replace("register", "indication"), [100, 0, 50]) == []


def register_plan() -> Plan:
    """Return one register of two digits whose meter is exchanged at minute 10."""
    channel = Channel(name="active_energy", unit="kWh", type=ChannelType.REGISTER, digits=2)
    device = replace(scale("m1"), channels={"active_energy": channel})
    return plan_of([device], [], [Event(device="m1", time=600 * 10**9, kind=EventKind.METER_EXCHANGE)])


@given(
    values=st.lists(st.sampled_from([0.0, 3.0, 50.0, 97.0, 99.0]), min_size=1, max_size=25),
    cuts=st.lists(st.integers(1, 24), max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_what_goes_back_does_not_depend_on_cutting(values: list[float], cuts: list[int]) -> None:
    plan = register_plan()
    readings = [
        Reading(device="m1", channel="active_energy", time=i * 60 * 10**9, value=v, unit="kWh")
        for i, v in enumerate(values)
    ]

    def judged(edges: list[int]) -> tuple[list[bytes], list[tuple[object, ...]]]:
        states, seen = fresh(1), fresh_seen(1)
        changes: list[tuple[object, ...]] = []
        for a, b in pairwise(edges):
            columns = settle(receive(plan, seen, readings[a:b], None), seen, [], None).columns
            part = judge(plan, states, columns)
            states = part.states
            changes += [(c.kind, c.transition, c.time) for c in part.changes]
        return dump(states), changes

    edges = [0, *sorted({c for c in cuts if c < len(readings)}), len(readings)]
    assert judged(edges) == judged([0, len(readings)])
