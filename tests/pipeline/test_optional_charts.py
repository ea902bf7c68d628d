"""Head start and supplementary rules of a replay: hand-set charts of the registry (decision 24)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.registry.canonical import dump, load
from tests.pipeline.replayed import replay_files
from tests.pipeline.test_contract_charts import charted, day, probe, steps
from tests.registry.conftest import specs

RULES = "drift: {shewhart: {L: 3, rules: [2of3, 4of5, 8run]}}"


def test_a_rule_signals_within_the_limit_and_the_alarm_says_which(tmp_path: Path) -> None:
    found = replay_files(tmp_path, probe(charts=RULES), steps((0.1, 2.2, -0.4, 2.4, 0.3, 1.1)))
    assert charted(found.verdicts, "shewhart", "signal") == [False, False, False, True, False, False]
    assert charted(found.verdicts, "shewhart", "limit") == [3.0] * 6
    assert found.summary["devices"]["p1"]["first_signal"]["shewhart"] == day(3, "12:00:00")
    raised = found.alarms[0]
    assert (raised["kind"], raised["transition"], raised["severity"]) == ("drift", "raised", "warning")
    assert raised["evidence"]["rules"] == ["2of3"]
    assert (raised["evidence"]["chart"], raised["evidence"]["limit"]) == ("shewhart", 3.0)
    assert "shewhart 2.4 by rule 2of3" in raised["text"]


def test_eight_checks_on_one_side_signal_and_a_check_on_the_centre_begins_anew(tmp_path: Path) -> None:
    zs = (0.3, 0.2, 0.0, *(0.1 + 0.05 * (i % 4) for i in range(9)))
    found = replay_files(tmp_path, probe(charts=RULES), steps(zs))
    assert charted(found.verdicts, "shewhart", "signal") == [False] * 10 + [True] * 2
    assert found.alarms[0]["evidence"]["rules"] == ["8run"]


def test_a_new_segment_forgets_what_the_rules_remember(tmp_path: Path) -> None:
    registry = (
        probe(charts=RULES)
        + f"""\
events:
  - {{device: p1, time: "{day(2)}", kind: adjustment}}
"""
    )
    found = replay_files(tmp_path, registry, steps((2.2, 2.1, 2.2, 0.1, 2.3)))
    assert charted(found.verdicts, "shewhart", "signal") == [False, True, False, False, True]


def test_a_head_start_holds_at_the_start_of_every_chapter_and_is_not_evidence(tmp_path: Path) -> None:
    charts = "drift: {cusum: {k: 0.5, h: 5, head_start: 2.5}}"
    registry = (
        probe(charts=charts)
        + f"""\
events:
  - {{device: p1, time: "{day(4)}", kind: repair}}
"""
    )
    found = replay_files(tmp_path, registry, steps((1.5, 1.5, 1.5, -4.0, -1.0, -1.5, -1.5)))
    assert charted(found.verdicts, "cusum", "upper") == pytest.approx([3.5, 4.5, 5.5, 1.0, 1.0, 0, 0])
    assert charted(found.verdicts, "cusum", "lower") == pytest.approx([0.5, 0, 0, 3.5, 3.0, 4.0, 5.0])
    assert charted(found.verdicts, "cusum", "signal") == [False, False, True, False, False, False, False]
    assert found.verdicts[2]["detectors"]["cusum"]["size"] == pytest.approx(1.5)
    assert found.verdicts[6]["detectors"]["cusum"]["size"] == pytest.approx(-4 / 3)
    assert found.verdicts[2]["detectors"]["cusum"]["onset"] == day(0, "12:00:00")


def test_files_without_the_new_keys_have_the_settings_they_had(tmp_path: Path) -> None:
    plain = replay_files(tmp_path, probe(charts="drift: {cusum: {k: 0.5, h: 5}}"), steps((0.5, 1.0)))
    other = replay_files(tmp_path, probe(charts="drift: {cusum: {k: 0.5, h: 5, head_start: 2.5}}"), steps((0.5, 1.0)))
    ids = [v["settings"] for r in (plain, other) for v in r.verdicts]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert sorted(plain.verdicts[0]["detectors"]["cusum"]) == sorted(other.verdicts[0]["detectors"]["cusum"])


@pytest.mark.parametrize(
    ("charts", "message"),
    [
        ("shewhart: {L: 3, rules: [9of9]}", "unknown rule '9of9'; known are 2of3, 4of5, 8run"),
        ("shewhart: {L: 3, rules: 2of3}", "not a number"),
        ("shewhart: {L: 3, rules: 2}", "must be a list of 2of3, 4of5, 8run"),
        ("shewhart: {L: 3, rules: [8run, 8run]}", "names a rule twice"),
        ("shewhart: {L: [3]}", "must be a number"),
        ("ewma: {rules: [8run]}", "unknown key; ewma has lambda, L"),
        ("cusum: {k: 0.5, h: 5, head_start: 3.1}", "must be at most h/2 + k = 3"),
        ("cusum: {k: 0.5, h: 5, head_start: 0}", "must be above 0"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(
    tmp_path: Path, charts: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:

    (tmp_path / "r.yaml").write_text(probe(charts=f"drift: {{{charts}}}"), encoding="utf-8")
    (tmp_path / "d.ndjson").write_text(json.dumps(steps((0.0,))[0]) + "\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(
            ["replay", str(tmp_path / "d.ndjson"), "--registry", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "o")]
        )
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_new_keys_are_stored_and_read_back_the_same() -> None:
    text = probe(charts="drift: {shewhart: {L: 3, rules: [8run, 2of3]}, cusum: {k: 0.5, h: 5, head_start: 2.5}}")
    found = specs(text)
    assert found.mistakes == ()
    stored = found.devices[0].spec
    assert load("device", dump(stored)) == stored
    assert b'"rules":["8run","2of3"]' in dump(stored)
