"""Channels with `influences`: what follows temperature or load is not charted as drift (decision 24)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.cli import main
from tests.pipeline.replayed import replay_files
from tests.pipeline.test_contract_charts import check, day, steps
from tests.pipeline.test_contract_charts import probe as certain_probe

INFLUENCED = ", center: learned, influences: [temperature_C]"
RNG = np.random.default_rng(21)
NOISE = RNG.normal(0, 1, 57).round(3).tolist()


def probe(channel: str = "") -> str:
    """Return a device whose certificate says little, so that a learned centre does not contradict it."""
    return certain_probe(channel).replace("U: 0.0001 ohm.cm", "U: 6 ohm.cm")


def warm(i: int) -> float:
    return round(20 + 5 * math.sin(i / 4.0), 2)


def seasonal(slope: float = 0.8, *, drift_from: int = 99) -> list[dict[str, object]]:
    """Return 57 checks whose error follows the temperature, and from `drift_from` on is 3 σ higher."""
    return [
        check(i, round(slope * (warm(i) - 20) + NOISE[i] + (3 if i >= drift_from else 0), 6), temperature_C=warm(i))
        for i in range(57)
    ]


def test_an_error_that_follows_the_temperature_is_no_drift(tmp_path: Path) -> None:
    plain = replay_files(tmp_path, probe(", center: learned"), seasonal())
    assert plain.summary["alarms"].get("drift")
    found = replay_files(tmp_path, probe(INFLUENCED), seasonal())
    assert not found.summary["alarms"].get("drift")


def test_z_is_that_of_the_regression_and_nothing_else_changes(tmp_path: Path) -> None:
    plain = replay_files(tmp_path, probe(", center: learned"), seasonal()).verdicts
    found = replay_files(tmp_path, probe(INFLUENCED), seasonal()).verdicts
    d = np.array([v["error"] for v in found])
    t = np.array([warm(i) for i in range(57)])
    design = np.column_stack([np.ones(30), t[:30]])
    (a, b), *_ = np.linalg.lstsq(design, d[:30], rcond=None)
    spread = np.sqrt(1 + (t - t[:30].mean()) ** 2 / ((t[:30] - t[:30].mean()) ** 2).sum())
    wanted = (d - a - b * t) / spread
    assert [v["z"] for v in found[:30]] == [None] * 30
    assert all("learning" in v["flags"] for v in found[:30])
    assert [v["z"] for v in found[30:]] == pytest.approx(wanted[30:].tolist(), abs=1e-9)
    for mine, other in zip(found, plain, strict=True):
        assert {mine["center"], other["center"]} == {"learned"}
        for key in ("error", "residual", "U", "en", "baseline_error", "conformity", "mpe", "sigma"):
            assert mine[key] == other[key], key


def test_a_drift_beside_the_influence_is_found(tmp_path: Path) -> None:
    found = replay_files(tmp_path, probe(INFLUENCED), seasonal(drift_from=45))
    raised = [a for a in found.alarms if a["kind"] == "drift" and a["transition"] == "raised"]
    assert day(45, "12:00:00") <= raised[0]["time"] <= day(49, "12:00:00")


def test_sigma_is_learned_about_the_regression_with_a_degree_of_freedom_less(tmp_path: Path) -> None:
    registry = probe(INFLUENCED).replace("sigma: 1 ohm.cm, ", "")
    found = replay_files(tmp_path, registry, seasonal()).verdicts
    d = np.array([v["error"] for v in found[:30]])
    t = np.array([warm(i) for i in range(30)])
    design = np.column_stack([np.ones(30), t])
    _, squares, *_ = np.linalg.lstsq(design, d, rcond=None)
    assert found[40]["sigma"] == pytest.approx(math.sqrt(float(squares[0]) / 28), rel=1e-9)
    assert "provisional" in found[40]["flags"]


def test_a_check_without_its_condition_is_judged_but_not_charted(tmp_path: Path) -> None:
    rows = seasonal()
    del rows[40]["temperature_C"]
    found = replay_files(tmp_path, probe(INFLUENCED), rows).verdicts
    assert found[40]["z"] is None
    assert found[40]["detectors"] == {}
    assert "axis_missing" in found[40]["flags"]
    assert found[40]["error"] is not None
    assert found[41]["z"] is not None


def test_a_temperature_far_from_those_of_phase_one_is_outside(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = seasonal()
    rows[40]["temperature_C"] = -20
    found = replay_files(tmp_path, probe(INFLUENCED), rows).verdicts
    assert (found[40]["z"], "outside_baseline" in found[40]["flags"]) == (None, True)
    assert (found[41]["z"] is None, "outside_baseline" in found[41]["flags"]) == (False, False)


def test_load_and_temperature_are_removed_together(tmp_path: Path) -> None:
    rows = [
        check(i, round(0.5 * (warm(i) - 20) + 0.02 * (x - 180) + NOISE[i], 6), temperature_C=warm(i), x=x)
        for i in range(57)
        for x in [100 + 40 * (i % 5)]
    ]
    registry = probe(", influences: [temperature_C, x]")
    found = replay_files(tmp_path, registry, rows)
    d = np.array([v["error"] for v in found.verdicts])
    c = np.array([[1.0, warm(i), 100 + 40 * (i % 5)] for i in range(57)])
    fit, *_ = np.linalg.lstsq(c[:30], d[:30], rcond=None)
    inverse = np.linalg.inv(c[:30].T @ c[:30])
    h = np.einsum("ij,jk,ik->i", c, inverse, c) - 1 / 30
    wanted = (d - c @ fit) / np.sqrt(1 + h)
    assert [v["z"] for v in found.verdicts[30:]] == pytest.approx(wanted[30:].tolist(), abs=1e-8)
    assert not found.summary["alarms"].get("drift")


def test_a_new_segment_learns_anew(tmp_path: Path) -> None:
    registry = (
        probe(", learn: 10, influences: [temperature_C]")
        + f"""\
events:
  - {{device: p1, time: "{day(40)}", kind: adjustment}}
"""
    )
    found = replay_files(tmp_path, registry, seasonal()).verdicts
    assert [v["z"] is None for v in found] == [i < 10 or 40 <= i < 50 for i in range(57)] or all(
        v["z"] is not None or "learning" in v["flags"] or "outside_baseline" in v["flags"] for v in found
    )
    assert all("learning" in v["flags"] for v in found[40:50])
    assert "learning" not in found[50]["flags"]


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        (", influences: [pressure]", "temperature_C"),
        (", influences: [x, x]", "must be up to 3 different conditions"),
        (", center: certificate, influences: [x]", "influences are learned with the centre; use center: learned"),
        (", subgroup: 5, influences: [x]", "influences are removed check by check; leave subgroup out"),
        (", learn: 15, influences: [x, temperature_C]", "must be at least 10 checks for each influence"),
    ],
)
def test_influences_that_cannot_be_are_refused(
    tmp_path: Path, channel: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "registry.yaml").write_text(probe(channel), encoding="utf-8")
    (tmp_path / "r.ndjson").write_text("", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "replay",
                str(tmp_path / "r.ndjson"),
                "--registry",
                str(tmp_path / "registry.yaml"),
                "--out",
                str(tmp_path),
            ]
        )
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_steps_alone_need_no_conditions(tmp_path: Path) -> None:
    """A channel without influences is judged as ever, whatever conditions its checks state."""
    bare = replay_files(tmp_path, probe(), steps((0.3, -0.2)))
    told = replay_files(tmp_path, probe(), [check(0, 0.3, temperature_C=20), check(1, -0.2, temperature_C=35)])
    assert [v["z"] for v in bare.verdicts] == [v["z"] for v in told.verdicts]
