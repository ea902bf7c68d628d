"""The demo as a whole: a real in-process broker, the real gateway, every fault found and nothing else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from collectors.simulator.faults import KINDS
from gateway.cli import main
from gateway.demonstration import Demo, frames


@pytest.mark.filterwarnings("ignore")
def test_the_demo_finds_every_fault_and_nothing_else(tmp_path: Path) -> None:
    outcome = asyncio.run(Demo(seed=1, seconds=8, folder=tmp_path).run())
    assert {f.fault.kind for f in outcome.findings if f.found_at is not None} == set(KINDS)
    assert outcome.false_alarm_texts == ()
    r = outcome.readings
    assert r["received"] == r["stored"] + r["duplicate"] + r["quarantined"] > 10_000


@pytest.mark.filterwarnings("ignore")
def test_the_demo_command_prints_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--headless", "--seconds", "6", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert stopped.value.code == 0
    assert set(said) == {"faults", "false_alarms", "readings", "alarms"}
    assert {f["fault"] for f in said["faults"]} == set(KINDS)
    assert all(
        set(f) == {"device", "fault", "injected_at", "found_at", "by", "delay_s"} and f["delay_s"] >= 0
        for f in said["faults"]
    )


def test_frames_keep_every_message_and_its_order() -> None:
    stream = [(t, f"topic/{t % 3}", str(t).encode()) for t in (0, 1, 5, 9, 10, 25, 26)]
    cut = list(frames(stream, 10))
    assert [at for at, _ in cut] == [9, 10, 26]
    flat = sorted(int(p) for _, frame in cut for payloads in frame.values() for p in payloads)
    assert flat == [t for t, _, _ in stream]
