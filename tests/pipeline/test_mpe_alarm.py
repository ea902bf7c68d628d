"""An `mpe` alarm falls by good checks where it was raised, not by those of other loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.pipeline.replayed import Replayed, replay_files

SCALE = """
devices:
  - id: s1
    kind: weighing
    rule_pack: oiml-r76
    parameters: {class: III, max: 15 kg, e: 5 g, d: 5 g}
    channels: {mass: {unit: kg, sigma: 0.5 g, resolution: 0.1 g, center: certificate}}
certificates:
  - id: c1
    device: s1
    channel: mass
    performed_at: 2026-01-01
    points: [{x: 0 kg, error: 0 g, U: 0.1 g, k: 2}, {x: 10 kg, error: 0 g, U: 0.1 g, k: 2}]
"""


def days(folder: Path, zeros: Sequence[float], registry: str = SCALE) -> Replayed:
    """Every day a zero check with this indication (kg), and good checks of 5, 8 and 10 kg far from it in time."""
    rows = []
    for day, zero in enumerate(zeros, start=1):
        date = f"2026-{2 + day // 28:02d}-{1 + day % 28:02d}"
        for hour, value, reference in ((7, zero, 0.0), (9, 5.0, 5.0), (10, 8.0, 8.0), (11, 10.0, 10.0)):
            rows.append(
                {"time": f"{date}T{hour:02d}:00:00Z", "device": "s1", "channel": "mass", "value": value,
                 "unit": "kg", "reference": reference, "reference_u": 0.0001}
            )  # fmt: skip
    return replay_files(folder, registry, rows)


def mpe(found: Replayed) -> list[str]:
    return [a["transition"] for a in found.alarms if a["kind"] == "mpe"]


def test_a_zero_that_stays_beyond_its_limit_is_one_alarm(tmp_path: Path) -> None:
    assert mpe(days(tmp_path, [0.007] * 20)) == ["raised"]


def test_the_alarm_falls_when_the_zero_is_good_again(tmp_path: Path) -> None:
    assert mpe(days(tmp_path, [0.007] * 5 + [0.0] * 5)) == ["raised", "cleared"]


def test_after_an_adjustment_every_good_check_counts(tmp_path: Path) -> None:
    event = "events:\n  - {device: s1, time: 2026-02-05T08:00:00Z, kind: adjustment}\n"
    found = days(tmp_path, [0.007] * 3 + [0.007, 0.0, 0.0], SCALE + event)
    cleared = [a["time"] for a in found.alarms if a["kind"] == "mpe" and a["transition"] == "cleared"]
    assert cleared == ["2026-02-05T11:00:00Z"]


def test_the_sentence_of_the_alarm_has_units(tmp_path: Path) -> None:
    raised = next(a for a in days(tmp_path, [0.007] * 3).alarms if a["kind"] == "mpe")
    assert "error 0.007 kg against MPE 0.005 kg, conforming" in raised["text"]


def test_the_sentence_of_the_alarm_has_the_error_that_was_judged(tmp_path: Path) -> None:
    rows = [
        {"time": f"2026-02-{day:02d}T07:0{minute}:00Z", "device": "s1", "channel": "mass", "value": value,
         "unit": "kg", "reference": reference, "reference_u": 0.0001}
        for day in range(1, 4)
        for minute, value, reference in ((1, -0.004, 0.0), (5, 10.009, 10.0))
    ]  # fmt: skip
    raised = next(a for a in replay_files(tmp_path, SCALE, rows).alarms if a["kind"] == "mpe")
    assert (raised["evidence"]["error"], raised["evidence"]["zero_error"]) == (0.009, -0.004)
    assert "error 0.013 kg (zero error -0.004 kg taken off) against MPE 0.01 kg, conforming" in raised["text"]
