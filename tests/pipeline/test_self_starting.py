"""The self-starting chart in verdicts and alarms: from the third check on, beside everything else (decision 27)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.alarms.conditions import AlarmKind
from gateway.pipeline.judge import verdict_dtype
from gateway.pipeline.state import dump as dump_states
from gateway.pipeline.state import load as load_states
from gateway.registry.canonical import dump, load
from gateway.runtime.recorded import replay
from tests.influx.test_feed import of, points_of
from tests.pipeline.centre import (
    certificate,
    check,
    feed,
    ingest_in,
    noisy_life,
    plan_of,
    scale,
    scales_with_self_starting_charts,
    two_scales,
)
from tests.pipeline.replayed import Replayed, replay_files
from tests.pipeline.test_common_mode import told
from tests.pipeline.test_contract_charts import CHARTS, day, probe, steps
from tests.registry.conftest import mistakes, specs

ALL = "drift: {shewhart: {L: 3}, ewma: {lambda: 0.2, L: 2.962}, cusum: {k: 0.5, h: 5}, self_starting: {k: 0.5, h: 5}}"
RNG = np.random.default_rng(20261126)
SHIFTED = tuple(np.round(np.append(RNG.normal(0.0, 1.0, 12), RNG.normal(4.0, 1.0, 28)), 3).tolist())


def unknown(charts: str) -> str:
    """Return the probe with neither σ nor certificate."""
    return probe(charts=charts).replace(", sigma: 1 ohm.cm", "").split("certificates:")[0]


def early(found: Replayed) -> list[dict[str, Any] | None]:
    return [v["detectors"].get("self_starting") for v in found.verdicts]


def test_with_nothing_known_a_shift_is_found_while_the_other_charts_learn(tmp_path: Path) -> None:
    found = replay_files(tmp_path, unknown(ALL), steps(SHIFTED))
    said = early(found)
    assert said[:2] == [None, None]
    assert all(s is not None and s["limit"] == 5.0 for s in said[2:])
    assert all(set(v["detectors"]) == {"self_starting"} for v in found.verdicts[2:29])
    first, signalled = next((i, s) for i, s in enumerate(said) if s and s["signal"])
    assert 12 < first < 17
    raised = found.alarms[0]
    assert (raised["kind"], raised["transition"], raised["severity"]) == ("drift", "raised", "warning")
    assert raised["time"] == day(first, "12:00:00")
    assert raised["evidence"]["detectors"] == ["self_starting"]
    assert raised["evidence"]["chart"] == "self_starting"
    assert raised["evidence"]["onset"] == signalled["onset"] == day(12, "12:00:00")
    assert raised["evidence"]["size"] == signalled["size"] > 1.0
    assert f"self_starting {raised['evidence']['statistic']:.4g} beyond 5" in raised["text"]
    assert list(signalled) == ["upper", "lower", "limit", "signal", "onset", "size"]
    assert found.summary["devices"]["p1"]["first_signal"]["self_starting"] == raised["time"]
    assert len(found.alarms) == 1, "what is found is not learned, so the alarm stands"


def test_everything_else_of_a_verdict_stays_as_it_is_without(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    plain = replay_files(tmp_path / "one", unknown(CHARTS), steps(SHIFTED))
    asked = replay_files(tmp_path / "two", unknown(ALL), steps(SHIFTED))
    for a, b in zip(plain.verdicts, asked.verdicts, strict=True):
        assert b["detectors"].pop("self_starting", None) is not None or b["time"] < day(2)
        assert {k: v for k, v in a.items() if k not in {"id", "settings"}} == {
            k: v for k, v in b.items() if k not in {"id", "settings"}
        }
    assert "self_starting" not in plain.summary["devices"]["p1"]["first_signal"]


def test_exactly_the_named_charts_are_drawn_and_no_other_channel_has_it(tmp_path: Path) -> None:
    registry = unknown("drift: {self_starting: {}}").replace(
        "devices:\n", "devices:\n  - {id: p2, kind: reference, channels: {res: {unit: ohm.cm, sigma: 1 ohm.cm}}}\n"
    )
    rows = [r | {"device": d} for r in steps(SHIFTED[:10]) for d in ("p1", "p2")]
    found = replay_files(tmp_path, registry, rows)
    by_device = {d: [set(v["detectors"]) for v in found.verdicts if v["device"] == d] for d in ("p1", "p2")}
    assert by_device == {"p1": [set()] * 2 + [{"self_starting"}] * 8, "p2": [set()] * 10}
    signals = {d: set(about["first_signal"]) for d, about in found.summary["devices"].items()}
    assert signals == {"p1": {"shewhart", "ewma", "cusum", "self_starting"}, "p2": {"shewhart", "ewma", "cusum"}}


def test_a_new_chapter_starts_it_again(tmp_path: Path) -> None:
    registry = unknown(ALL) + f'events:\n  - {{device: p1, time: "{day(12)}", kind: adjustment}}\n'
    found = replay_files(tmp_path, registry, steps(SHIFTED[:24]))
    assert [s is None for s in early(found)] == ([True] * 2 + [False] * 10) * 2
    assert not found.alarms


def test_until_a_hundred_points_are_learned_and_no_longer(tmp_path: Path) -> None:
    plan = plan_of([scale("a", drift={"self_starting": {"k": 0.5, "h": 50.0}})], [certificate("a")])
    rng = np.random.default_rng(1)
    result = replay(plan, [check("a", i / 24, 5.0 + 0.0016 * rng.normal(), seq=i) for i in range(130)])
    charted = ~np.isnan(result.judgement.verdicts["self_starting_limit"])
    assert charted.tolist() == [False] + [True] * 99 + [False] * 30


def test_bytes_of_a_channel_do_not_hang_on_what_others_ask_for(tmp_path: Path) -> None:
    stored = []
    plans = [
        plan_of([scale("a"), scale("b", drift=drift)], [certificate("a"), certificate("b")])
        for drift in (None, {"self_starting": {"k": 0.5, "h": 4.0}})
    ]
    for place, plan in enumerate(plans):
        ingest = ingest_in(tmp_path / str(place), plan)
        feed(ingest, noisy_life(1))
        rows = ingest.ledger.connection.execute(
            "SELECT c.device, r.verdict FROM reading r JOIN channel c ON c.id = r.channel WHERE verdict IS NOT NULL"
        ).fetchall()
        stored.append({d: [bytes(v) for device, v in rows if device == d] for d in ("a", "b")})
        ingest.ledger.close()
    assert stored[0]["a"] == stored[1]["a"]
    assert {len(v) for v in stored[1]["a"]} == {verdict_dtype().itemsize}
    assert {len(v) for v in stored[1]["b"]} == {verdict_dtype(optional=True).itemsize}


def test_a_state_is_written_with_the_chart_only_where_it_has_begun_and_reads_back_the_same(tmp_path: Path) -> None:
    plan = plan_of([scale("a"), scale("b", drift={"self_starting": {"k": 0.5, "h": 4.0}}), scale("c")])
    ingest = ingest_in(tmp_path, plan)
    feed(ingest, [check(name, day, 5.0 + 0.001 * (day % 3)) for day in range(6) for name in "ab"])
    packed = dump_states(ingest.states)
    assert packed[0][:8] == packed[2][:8] != packed[1][:8]
    assert load_states(packed).tobytes() == ingest.states.tobytes()
    for damaged in (packed[0][:-1], packed[1][:-8], b"\0" + packed[0][1:]):
        with pytest.raises(ValueError, match="another version"):
            load_states([damaged])
    ingest.ledger.close()


def test_asking_for_it_later_supersedes_the_verdicts_of_that_channel_alone(tmp_path: Path) -> None:
    plain = plan_of([scale("a"), scale("b", sigma=None)], [certificate("a"), certificate("b")])
    asked = plan_of(
        [scale("a"), scale("b", sigma=None, drift={"self_starting": {"k": 0.5, "h": 4.0}})],
        [certificate("a"), certificate("b")],
    )
    ingest = ingest_in(tmp_path, plain)
    feed(ingest, noisy_life(1))
    ingest.ledger.close()
    ingest = ingest_in(tmp_path, asked)
    ingest.rejudge(10**19 // 2)
    amended = """SELECT c.device, a.verdict FROM amendment a JOIN reading r ON r.id = a.reading
        JOIN channel c ON c.id = r.channel"""
    assert {device for device, _ in ingest.ledger.connection.execute(amended)} == {"b"}
    feed(ingest, [check("a", 40.5, 5.002)])
    after = [verdict for device, verdict in ingest.ledger.connection.execute(amended) if device == "a"]
    assert {len(v) for v in after} == {verdict_dtype().itemsize}


def test_verdict_points_carry_its_numbers_while_others_learn(tmp_path: Path) -> None:
    ingest = ingest_in(tmp_path, scales_with_self_starting_charts())
    feed(ingest, noisy_life(1))
    ingest.ledger.close()
    fields = [dict(p.fields) for p in of(points_of(tmp_path), "verdict")]
    alone = [f for f in fields if "self_starting_upper" in f and "cusum_upper" not in f]
    assert alone
    assert all({"self_starting_lower", "self_starting_limit", "self_starting_signal"} <= set(f) for f in alone)


def test_devices_that_shift_together_while_learning_are_one_alarm_on_their_standard() -> None:
    plan = plan_of(
        [scale(n, sigma=None, standard="weights", drift={"self_starting": {"k": 0.5, "h": 5.0}}) for n in "abc"]
    )
    rng = np.random.default_rng(3)
    life = [
        check(name, day + n / 24, round(5.001 + (-0.012 if day >= 12 else 0.0) + 0.0016 * rng.normal(), 4), seq=day)
        for day in range(20)
        for n, name in enumerate("abc")
    ]
    assert [(kind, device) for kind, device, transition, _ in told(plan, life) if transition == "raised"][-1] == (
        "standard",
        "weights",
    )
    raised = [h for h in replay(plan, life).happenings if h.alarm.kind is AlarmKind.STANDARD]
    assert raised[0].alarm.evidence["direction"] == "down"


@pytest.mark.parametrize(
    ("charts", "message"),
    [
        ("{k: 0.5, h: 5, L: 3}", "unknown key; self_starting has k, h"),
        ("{k: 0}", "must be above 0"),
        ("{h: -5}", "must be above 0"),
        ("{h: [5]}", "must be a number"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(charts: str, message: str) -> None:
    assert any(message in line for line in mistakes(unknown(f"drift: {{self_starting: {charts}}}")))


def test_a_misspelt_name_is_refused_with_the_right_one() -> None:
    lines = mistakes(unknown("drift: {self-starting: {k: 0.5, h: 5}}"))
    assert any("unknown chart; did you mean self_starting?" in line for line in lines)


def test_it_is_refused_with_influences_which_are_learned_first() -> None:
    text = unknown(ALL).replace("unit: ohm.cm", "unit: ohm.cm, influences: [temperature_C]")
    assert any("cannot be charted before influences are learned" in line for line in mistakes(text))


def test_the_key_is_stored_and_read_back_the_same() -> None:
    found = specs(unknown(ALL))
    assert found.mistakes == ()
    stored = found.devices[0].spec
    assert load("device", dump(stored)) == stored
    assert b'"self_starting":{' in dump(stored)


def test_limits_of_a_design_and_of_few_checks_leave_it_alone() -> None:
    registry_plan = scales_with_self_starting_charts()
    assert registry_plan.limit["self_starting"].tolist() == registry_plan.limit_provisional["self_starting"].tolist()
    assert "self_starting" not in two_scales().limit
