"""Forecasts of a replay: summary, alarms and segments (CONTRACTS §5, METROLOGY §5.5, §5.7)."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.metrology.trend import fit_line
from tests.pipeline.replayed import replay_files

START = datetime(2026, 1, 2, tzinfo=UTC)
ERRORS = [0.02, 0.05, 0.01, 0.11, 0.14, 0.13, 0.22, 0.19, 0.27, 0.26, 0.33, 0.34]


def meter(*, months: int = 60, events: str = "", in_service: str = "true") -> str:
    return f"""\
devices:
  - id: w1
    kind: water
    rule_pack: oiml-r49
    parameters: {{class: 2, Q3: 2.5 m3/h, R: 160, temperature_class: T30}}
    in_service: {in_service}
    channels: {{volume: {{unit: m3, type: run, sigma: 0.03 %}}}}
certificates:
  - {{id: c1, device: w1, channel: volume, kind: verification, phase: as_left, performed_at: 2026-01-01,
     interval_months: {months}, points: [{{error: 0 %, U: 0.02 %, k: 2}}]}}
{events}
"""


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def check(at: datetime, error: float) -> dict[str, Any]:
    """Return a check with this error in %."""
    value = 2.0 * (1.0 + error / 100.0)
    return {"time": at.isoformat().replace("+00:00", "Z"), "device": "w1", "channel": "volume", "value": value,
            "unit": "m3", "reference": 2.0, "reference_u": 0.0002, "flow_m3h": 2.0}  # fmt: skip


def drifting(days: int, per_month: float, *, noise: float = 0.03, seed: int = 1) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [check(day(d), per_month * d / 30.4375 + rng.gauss(0.0, noise)) for d in range(days)]


def forecast_of(summary: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = summary["devices"]["w1"]["forecast"]
    return found


def test_the_summary_has_the_line_of_the_fact_sheet(tmp_path: Path) -> None:
    rows = [check(day(30.4375 * i), 2.0 * e) for i, e in enumerate(ERRORS)]
    found = replay_files(tmp_path, meter(), rows)
    f = forecast_of(found.summary)
    mpe = found.verdicts[0]["mpe"]
    line = fit_line([30.4375 * i / 30.4375 for i in range(12)], [2.0 * e / mpe for e in ERRORS])
    assert set(f) == {"rate", "rate_low", "rate_high", "per", "crosses_at", "earliest", "latest", "safe_until",
                      "recheck_by", "reason"}  # fmt: skip
    assert f["per"] == "month"
    assert (f["rate"], f["rate_low"], f["rate_high"]) == pytest.approx((line.slope, *line.interval()), rel=1e-6)
    crossing = line.crossing(1.0)
    assert crossing is not None
    for key, months in (("crosses_at", crossing.at), ("earliest", crossing.low), ("latest", crossing.high)):
        assert datetime.fromisoformat(f[key]) == day(30.4375 * months).replace(microsecond=0) or abs(
            datetime.fromisoformat(f[key]) - day(30.4375 * months)
        ) < timedelta(minutes=1)


def test_a_drift_that_crosses_before_the_due_date_warns_once(tmp_path: Path) -> None:
    found = replay_files(tmp_path, meter(), drifting(120, 0.3))
    alarms = [a for a in found.alarms if a["kind"] == "forecast"]
    assert alarms[-1]["severity"] == "warning"
    assert [a["transition"] for a in alarms].count("raised") == 1
    assert alarms[-1]["evidence"]["crosses_at"] < alarms[-1]["evidence"]["due"]
    f = forecast_of(found.summary)
    assert f["earliest"] < f["crosses_at"] < f["latest"]
    assert f["recheck_by"] <= f["earliest"]


def test_a_drift_that_outlasts_the_due_date_is_only_told(tmp_path: Path) -> None:
    found = replay_files(tmp_path, meter(months=6), drifting(120, 0.1))
    assert {a["severity"] for a in found.alarms if a["kind"] == "forecast"} == {"info"}
    assert forecast_of(found.summary)["recheck_by"] <= "2026-07-01T00:00:00Z"


@pytest.mark.parametrize("seed", range(4))
def test_a_steady_meter_has_no_forecast_alarm(tmp_path: Path, seed: int) -> None:
    found = replay_files(tmp_path, meter(), drifting(150, 0.0, seed=seed))
    assert [a for a in found.alarms if a["kind"] == "forecast"] == []


def test_an_adjustment_starts_the_forecast_anew(tmp_path: Path) -> None:
    event = "events:\n  - {device: w1, time: 2026-05-01T00:00:00Z, kind: adjustment}\n"
    rows = drifting(119, 0.3) + [check(day(d), 0.0) for d in (119.5, 120.5)]
    found = replay_files(tmp_path, meter(events=event), rows)
    assert forecast_of(found.summary)["reason"] == "too few checks"
    assert [(a["transition"], a["reason"]) for a in found.alarms if a["kind"] == "forecast"][-1] == (
        "cleared", "new_segment",
    )  # fmt: skip


def test_without_limits_there_is_nothing_to_forecast(tmp_path: Path) -> None:
    text = meter().replace("rule_pack: oiml-r49", "rule_pack: none").replace(
        "parameters: {class: 2, Q3: 2.5 m3/h, R: 160, temperature_class: T30}", "parameters: {}"
    )  # fmt: skip
    assert forecast_of(replay_files(tmp_path, text, drifting(20, 0.3)).summary) is None
