"""Alarms under late data: each event is within its alarm's life, and the order changes nothing of what stands."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from gateway.metrology.instants import parse_rfc3339
from gateway.metrology.readings import Reading
from tests.ledger.retained import Site, life


def with_late_ones(seed: int) -> list[list[Reading]]:
    """Return a life in batches, one reading in twenty held back until the next."""
    chance = random.Random(seed)
    left, held = life(seed), list[Reading]()
    batches: list[list[Reading]] = []
    while left:
        size = chance.randrange(1, 150)
        part, left = left[:size], left[size:]
        late = [r for r in part if chance.random() < 0.05]
        now = [r for r in part if r not in late] + held
        held = late
        chance.shuffle(now)
        batches.append(now)
    return [b for b in (*batches, held) if b]


@pytest.mark.parametrize("seed", [0, 1])
def test_no_event_is_dated_before_its_alarm_was_raised(seed: int, tmp_path: Path) -> None:
    site = Site(tmp_path)
    for batch in with_late_ones(seed):
        site.put(batch)
    events = site.rows("SELECT e.document, a.raised_at FROM alarm_event e JOIN alarm a ON a.id = e.alarm")
    site.close()
    assert len(events) > 100
    early = [document for document, raised_at in events if parse_rfc3339(json.loads(document)["time"]) < raised_at]
    assert early == []


@pytest.mark.parametrize("seed", [0, 1])
def test_what_stands_at_the_end_is_what_stands_in_order(seed: int, tmp_path: Path) -> None:
    standing = []
    for name, batches in (("late", with_late_ones(seed)), ("ordered", [life(seed)])):
        site = Site(tmp_path / name)
        for batch in batches:
            site.put(batch)
        standing.append(site.rows("SELECT id FROM alarm WHERE cleared_at IS NULL ORDER BY id"))
        site.close()
    assert standing[0] == standing[1]
