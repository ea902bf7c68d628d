"""Charts, chapters, order and alarms of a replay (CONTRACTS §2-§5), against vectors and an own reference chart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.replayed import VERDICT_KEYS, replay_files

Z = (0.2, -0.1, 1.1, 0.4, 1.3, 0.9, 1.6, 0.7, 1.9, 1.2, 1.4, 0.8)
"""The step vector of METROLOGY §5.4."""
UPPER = (0, 0, 0.6, 0.5, 1.3, 1.7, 2.8, 3.0, 4.4, 5.1, 6.0, 6.3)
EWMA = (0.0400, 0.0120, 0.2296, 0.2637, 0.4709, 0.5568, 0.7654, 0.7523, 0.9819, 1.0255, 1.1004, 1.0403)
EWMA_LIMIT = (0.5924, 0.7586, 0.8481, 0.9007, 0.9328, 0.9528, 0.9654, 0.9733, 0.9784, 0.9816, 0.9837, 0.9850)

CHARTS = "drift: {shewhart: {L: 3}, ewma: {lambda: 0.2, L: 2.962}, cusum: {k: 0.5, h: 5}}"
POINTS = "points: [{error: 0 ohm.cm, U: 0.0001 ohm.cm, k: 2}]}"


def probe(channel: str = "", *, charts: str = CHARTS, performed_at: str = "1990-01-01") -> str:
    """Return a reference device in a unit nobody knows, with sigma 1 of it."""
    return f"""\
devices:
  - id: p1
    kind: reference
    channels: {{res: {{unit: ohm.cm, sigma: 1 ohm.cm{channel}}}}}
    {charts}
certificates:
  - {{id: c1, device: p1, channel: res, kind: calibration, phase: as_left, performed_at: {performed_at}, {POINTS}
"""


def day(i: int, time: str = "00:00:00") -> str:
    """Return a moment, `i` days after 1 January 1990."""
    month, rest = (1, i) if i < 31 else (2, i - 31)
    return f"1990-{month:02}-{rest + 1:02}T{time}Z"


def check(i: int, z: float, **more: Any) -> dict[str, object]:
    """Return the check that says this z on day `i`."""
    row: dict[str, Any] = {
        "time": day(i, "12:00:00"), "device": "p1", "channel": "res", "value": round(100 + z, 6), "unit": "ohm.cm",
        "reference": 100, "reference_u": 0,
    }  # fmt: skip
    return {k: v for k, v in (row | more).items() if v is not None}


def steps(zs: tuple[float, ...], first: int = 0) -> list[dict[str, object]]:
    """Return a check a day."""
    return [check(first + i, z) for i, z in enumerate(zs)]


def charted(verdicts: list[dict[str, Any]], chart: str, column: str) -> list[Any]:
    """Return one column of one chart."""
    return [v["detectors"][chart][column] for v in verdicts]


def test_the_step_vector_goes_through_all_charts(tmp_path: Path) -> None:
    found = replay_files(tmp_path, probe(), steps(Z))
    vs = found.verdicts
    assert [v["z"] for v in vs] == pytest.approx(Z, rel=1e-12)
    assert charted(vs, "cusum", "upper") == pytest.approx(UPPER, abs=1e-9)
    assert charted(vs, "cusum", "lower") == [0.0] * 12
    assert charted(vs, "ewma", "statistic") == pytest.approx(EWMA, abs=5.1e-5)
    assert charted(vs, "ewma", "limit") == pytest.approx(EWMA_LIMIT, abs=5.1e-5)
    assert charted(vs, "shewhart", "statistic") == pytest.approx(Z, rel=1e-12)
    assert charted(vs, "cusum", "signal") == [False] * 9 + [True] * 3
    assert charted(vs, "ewma", "signal") == [False] * 8 + [True] * 4
    assert not any(charted(vs, "shewhart", "signal"))
    at_signal = vs[9]["detectors"]["cusum"]
    assert at_signal["onset"] == day(2, "12:00:00")
    assert at_signal["size"] == pytest.approx(0.5 + 5.1 / 8)
    assert found.summary["devices"]["p1"]["first_signal"] == {
        "cusum": day(9, "12:00:00"), "ewma": day(8, "12:00:00"), "shewhart": None,
    }  # fmt: skip
    alarm = found.alarms[0]
    assert (alarm["kind"], alarm["severity"], alarm["transition"]) == ("drift", "warning", "raised")
    assert {"detectors", "baseline", "statistic", "limit", "onset", "size", "standard"} <= set(alarm["evidence"])


def test_the_mirrored_vector_is_mirrored(tmp_path: Path) -> None:
    vs = replay_files(tmp_path, probe(), steps(tuple(-z for z in Z))).verdicts
    assert charted(vs, "cusum", "lower") == pytest.approx(UPPER, abs=1e-9)
    assert charted(vs, "cusum", "upper") == [0.0] * 12
    assert vs[9]["detectors"]["cusum"]["size"] == pytest.approx(-(0.5 + 5.1 / 8))
    assert charted(vs, "ewma", "statistic") == pytest.approx([-v for v in EWMA], abs=5.1e-5)


def test_a_statistic_on_the_limit_is_no_signal_and_a_signal_resets_nothing(tmp_path: Path) -> None:
    vs = replay_files(tmp_path, probe(), steps((3.0, 3.0, 0.0, 0.0))).verdicts
    assert charted(vs, "shewhart", "signal") == [False] * 4
    assert charted(vs, "cusum", "upper") == [2.5, 5.0, 4.5, 4.0]
    assert charted(vs, "cusum", "signal") == [False] * 4
    vs = replay_files(tmp_path, probe(), steps((3.0, 3.5, 0.0, 0.0))).verdicts
    assert charted(vs, "shewhart", "signal") == [False, True, False, False]
    assert charted(vs, "cusum", "upper") == [2.5, 5.5, 5.0, 4.5]
    assert charted(vs, "cusum", "signal") == [False, True, False, False]


def test_exactly_the_charts_of_the_registry_are_drawn(tmp_path: Path) -> None:
    vs = replay_files(tmp_path, probe(charts="drift: {cusum: {k: 0.5, h: 5}}"), steps(Z)).verdicts
    assert all(set(v["detectors"]) == {"cusum"} for v in vs)
    vs = replay_files(tmp_path, probe(charts="name: all three"), steps(Z)).verdicts
    assert all(set(v["detectors"]) == {"shewhart", "ewma", "cusum"} for v in vs)


CENTRED = probe(", center: certificate")
ADJUSTED = CENTRED + f"events:\n  - {{device: p1, time: {day(6, '12:00:00')}, kind: adjustment, note: span}}\n"
SECOND = CENTRED + (
    f"  - {{id: c2, device: p1, channel: res, kind: calibration, phase: PHASE, performed_at: {day(6, '12:00:00')},\n"
    "     points: [{error: 1 ohm.cm, U: 0.0001 ohm.cm, k: 2}]}\n"
)


def test_a_segment_starts_the_charts_again_at_its_moment(tmp_path: Path) -> None:
    vs = replay_files(tmp_path, ADJUSTED, steps(Z)).verdicts
    assert vs[5]["detectors"]["cusum"]["upper"] == pytest.approx(1.7)
    assert vs[6]["detectors"]["cusum"]["upper"] == pytest.approx(1.1)
    assert vs[6]["detectors"]["ewma"]["limit"] == pytest.approx(0.5924)
    assert vs[6]["detectors"]["cusum"]["onset"] == day(6, "12:00:00")
    assert vs[5]["segment"] != vs[6]["segment"]
    assert {v["baseline"] for v in vs} == {"c1"}


@pytest.mark.parametrize("phase", ["as_left", "as_found"])
def test_a_new_certificate_is_a_new_baseline_from_its_moment(tmp_path: Path, phase: str) -> None:
    vs = replay_files(tmp_path, SECOND.replace("PHASE", phase), steps(Z)).verdicts
    assert [v["baseline"] for v in vs] == ["c1"] * 6 + ["c2"] * 6
    assert [v["z"] for v in vs[6:]] == pytest.approx([z - 1 for z in Z[6:]], abs=1e-9)
    assert vs[6]["detectors"]["cusum"]["upper"] == pytest.approx(0.1)


def test_of_one_calibration_what_was_left_counts(tmp_path: Path) -> None:
    moment = day(6, "12:00:00")
    both = SECOND.replace("PHASE", "as_left") + (
        f"  - {{id: c2, device: p1, channel: res, kind: calibration, phase: as_found, performed_at: {moment},\n"
        "     points: [{error: 7 ohm.cm, U: 0.0001 ohm.cm, k: 2}]}\n"
    )
    assert replay_files(tmp_path, both, steps(Z)).verdicts[-1]["baseline_error"] == 1.0


def test_a_certificate_without_points_only_sets_the_due_date(tmp_path: Path) -> None:
    registry = CENTRED + (
        "  - {id: v1, device: p1, channel: res, kind: verification, phase: as_left, performed_at: 1990-01-04,\n"
        "     valid_to: 1990-01-08}\n"
    )
    vs = replay_files(tmp_path, registry, steps(Z)).verdicts
    assert {v["baseline"] for v in vs} == {"c1"}
    assert charted(vs, "cusum", "upper") == pytest.approx(UPPER, abs=1e-9)
    assert ["certificate_expired" in v["flags"] for v in vs] == [False] * 7 + [True] * 5


def test_equal_times_are_ordered_by_boot_and_seq_whatever_the_file_says(tmp_path: Path) -> None:
    rows = [check(0, z, boot="b", seq=i) for i, z in enumerate(Z)]
    forward = replay_files(tmp_path, probe(), rows)
    backward = replay_files(tmp_path, probe(), rows[::-1])
    assert [v["seq"] for v in forward.verdicts] == list(range(12))
    assert charted(forward.verdicts, "cusum", "upper") == pytest.approx(UPPER, abs=1e-9)
    assert backward.verdicts == forward.verdicts
    assert backward.alarms == forward.alarms


def test_duplicates_conflicts_and_stored_add_up(tmp_path: Path) -> None:
    rows = [
        check(0, 0.1, boot="b", seq=1),
        check(0, 0.1, boot="b", seq=1),
        check(0, 0.2, boot="b", seq=1),
        check(1, 0.3),
        check(1, 0.3),
        check(1, 0.4),
        check(2, 0.3, seq=4),
        check(2, 0.3, seq=5),
        check(3, 0.1, boot="c", seq=1),
    ]
    said = replay_files(tmp_path, probe(), rows).summary
    assert said["readings"] == {"received": 9, "stored": 6, "duplicate": 2, "quarantined": 1, "late": 0}
    assert said["quarantine"] == {"sequence_conflict": 1}


def test_literal_units_match_literally(tmp_path: Path) -> None:
    said = replay_files(tmp_path, probe(), [check(0, 0), check(1, 0, unit="ohm.m")]).summary
    assert (said["readings"]["stored"], said["readings"]["quarantined"]) == (1, 1)
    assert set(said["quarantine"]) <= {"unknown_unit", "wrong_dimension"}


SCALE = """\
devices:
  - id: p1
    kind: weighing
    name: "'; DROP TABLE readings; -- \\U0001F980 \\u202E\\0{0}%s"
    rule_pack: oiml-r76
    parameters: {class: III, max: 15 kg, e: 5 g, d: 0.1 g}
    in_service: true
    channels: {mass: {unit: kg, sigma: 0.2 g, center: certificate, timeout: 36h, range: [0 kg, 15.05 kg], stuck: 5}}
    drift: {shewhart: {L: 3}}
certificates:
  - {id: c1, device: p1, channel: mass, kind: calibration, phase: as_left, performed_at: 1989-01-01,
     points: [{x: 1 kg, error: 0 g, U: 0.01 g, k: 2}, {x: 15 kg, error: 0 g, U: 0.01 g, k: 2}]}
"""


def plain(i: int, value: float, **more: Any) -> dict[str, object]:
    """Return a reading of the scale."""
    return check(i, 0, channel="mass", unit="kg", value=value, reference=None, reference_u=None, **more)


def load(i: int, error_g: float, **more: Any) -> dict[str, object]:
    """Return a check of the scale at 8 kg, where the MPE in service is 10 g."""
    given = {"reference": 8, "reference_u": 0.00002} | more
    return check(i, 0, channel="mass", unit="kg", value=round(8 + error_g / 1000, 7), **given)


def happened(alarms: list[dict[str, Any]], kind: str) -> list[tuple[str, str, str]]:
    """Return (transition, severity, time) of one kind."""
    return [(a["transition"], a["severity"], a["time"]) for a in alarms if a["kind"] == kind]


def test_names_of_any_text_are_safe(tmp_path: Path) -> None:
    found = replay_files(tmp_path, SCALE, [load(0, 0.1), load(1, 20)])
    assert len(found.verdicts) == 2


def test_an_error_beyond_the_mpe_beyond_doubt_is_critical_at_once(tmp_path: Path) -> None:
    found = replay_files(tmp_path, SCALE, [load(0, 0), load(1, 12)])
    assert happened(found.alarms, "mpe") == [("raised", "critical", day(1, "12:00:00"))]
    assert found.summary["devices"]["p1"]["drift"] == "outside"
    assert found.alarms[0]["site"]


def test_more_than_four_fifths_of_the_mpe_is_major_when_confirmed(tmp_path: Path) -> None:
    assert not happened(replay_files(tmp_path, SCALE, [load(0, 8.5), load(1, 0)]).alarms, "mpe")
    found = replay_files(tmp_path, SCALE, [load(0, 8.5), load(1, 8.5)])
    assert happened(found.alarms, "mpe") == [("raised", "major", day(1, "12:00:00"))]
    assert not happened(replay_files(tmp_path, SCALE, [load(0, 8.0), load(1, 8.0)]).alarms, "mpe")


def test_an_mpe_alarm_falls_after_three_calm_checks(tmp_path: Path) -> None:
    found = replay_files(tmp_path, SCALE, [load(i, e) for i, e in enumerate((12, 0, 0.1, 0, 0.1))])
    assert [t for t, *_ in happened(found.alarms, "mpe")] == ["raised", "cleared"]
    assert happened(found.alarms, "mpe")[-1][2] == day(3, "12:00:00")


def test_range_stuck_gap_and_silence_are_warnings_in_event_time(tmp_path: Path) -> None:
    rows = [plain(0, 15.06, boot="b", seq=0), plain(1, 15.05, boot="b", seq=1), plain(2, 1.0, boot="b", seq=4)]
    rows += [plain(i, 2.0, boot="b", seq=i + 2) for i in range(3, 8)] + [plain(12, 3.0, boot="b", seq=10)]
    found = replay_files(tmp_path, SCALE, rows)
    raised = {k: happened(found.alarms, k)[0] for k in ("range", "gap", "stuck", "silent")}
    assert raised == {
        "range": ("raised", "warning", day(0, "12:00:00")),
        "gap": ("raised", "warning", day(2, "12:00:00")),
        "stuck": ("raised", "warning", day(7, "12:00:00")),
        "silent": ("raised", "warning", day(9, "00:00:00")),
    }
    assert happened(found.alarms, "silent")[1][::2] == ("cleared", day(12, "12:00:00"))
    assert found.summary["readings"]["stored"] == len(rows)
    times = [a["time"] for a in found.alarms]
    assert times == sorted(times)


def test_the_largest_numbers_give_valid_json(tmp_path: Path) -> None:
    rows = [check(0, 0, value=1.7e308, reference=-1.7e308), check(1, 0), check(2, 0, value=5e-324, reference=5e-324)]
    rows += [check(3, 0, value=1e308, reference_u=1e308), check(4, 0, reference=0), check(5, 0, x=1e308)]
    found = replay_files(tmp_path, probe(), rows)
    assert len(found.verdicts) == 6
    assert all(tuple(v) == VERDICT_KEYS for v in found.verdicts)
    boundless = found.verdicts[0]
    assert (boundless["error"], boundless["z"], boundless["detectors"]) == (None, None, {})


def test_nist_check_standard_stays_within_three_sigma(tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[2].parent / "shared" / "inputs" / "nist-dataplot" / "MPC62.DAT"
    if not source.exists():
        pytest.skip("NIST data MPC62.DAT is not on this machine")
    rows = []
    for line in source.read_text(encoding="ascii").splitlines():
        w = line.split()
        if len(w) == 13 and w[0] == "51939":
            time = f"1990-{w[2]}-{w[3]}T{w[4]}:{w[5]}:00Z"
            rows.append(check(0, 0, time=time, value=float(w[10]), reference=97.06984))
    assert len(rows) == 25
    registry = probe(", center: certificate").replace("sigma: 1 ohm.cm", "sigma: 0.02680 ohm.cm")
    found = replay_files(tmp_path, registry, rows)
    zs = [v["z"] for v in found.verdicts]
    assert len(zs) == 25
    assert max(abs(z) for z in zs) < 3
    worst = max(abs(float(r["value"]) - 97.06984) for r in rows)  # type: ignore[arg-type]
    assert max(abs(z) for z in zs) == pytest.approx(worst / 0.0268, rel=1e-9)
    assert found.summary["devices"]["p1"]["first_signal"]["shewhart"] is None
    assert math.isfinite(sum(zs))
