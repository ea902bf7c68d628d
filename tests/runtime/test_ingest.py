"""One batch, one transaction: late data, repeats, conflicts, a full disk, silence undone (CONTRACTS §3)."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.history import Query
from gateway.history.ledger import LedgerHistory
from gateway.ledger import quarantine, states
from gateway.ledger.store import Ledger
from gateway.metrology.readings import Reading
from gateway.pipeline.checks import Flag
from gateway.pipeline.judge import verdict_dtype
from gateway.pipeline.plan import Plan
from gateway.pipeline.state import dump
from gateway.runtime.ingest import Batch, Done, Ingest
from tests.pipeline.centre import DAY, LATENESS, certificate, check, noisy_life, plan_of, scale, two_scales

SECOND = 10**9
FIVE_MINUTES = 300 * SECOND
PLAN = two_scales()
PAIR = plan_of(
    [replace(scale("a"), channels={n: replace(scale("a").channels["mass"], name=n) for n in ("mass", "tare")})]
)
ALONE = plan_of([scale("a")], [certificate("a")])


def take(ingest: Ingest, *readings: Reading, at: int | None = None, recorded: bool = False) -> Done:
    now = max(r.time for r in readings) + SECOND if at is None else at
    return ingest.process(
        Batch(readings=readings, received_at=[now], topic=["t"], payload=[b"{}"], at=now, recorded=recorded)
    )


def asked(ingest: Ingest, sql: str) -> list[tuple[Any, ...]]:
    return ingest.ledger.connection.execute(sql).fetchall()


def counters(ingest: Ingest) -> dict[str, int]:
    return dict(asked(ingest, "SELECT name, n FROM counter"))


def verdict(blob: bytes) -> Any:
    return np.frombuffer(blob, verdict_dtype())[0]


def steady(days: Sequence[float]) -> list[Reading]:
    return [check("a", d, 5.001 + 0.0004 * (int(d) % 3 - 1), seq=int(d)) for d in days]


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[Ingest]:
    with Ledger.open(tmp_path) as ledger:
        yield Ingest(ledger, ALONE, LATENESS)


def again(folder: Path, plan: Plan = ALONE) -> Ingest:
    return Ingest(Ledger.open(folder), plan, LATENESS)


def test_late_data_supersedes_later_verdicts_and_keeps_the_old_ones(ingest: Ingest) -> None:
    take(ingest, *steady([d for d in range(10) if d != 4]))
    before = asked(ingest, "SELECT id, verdict FROM reading ORDER BY id")
    done = take(ingest, check("a", 4, 5.006, seq=4), at=9 * DAY + SECOND)
    assert (done.stored, done.late) == (1, 1)
    assert asked(ingest, "SELECT id, verdict FROM reading ORDER BY id")[: len(before)] == before
    amended = asked(
        ingest, "SELECT r.time, a.version, a.supersedes FROM amendment a JOIN reading r ON r.id = a.reading"
    )
    assert amended
    assert all(time > 4 * DAY and version == 1 and supersedes for time, version, supersedes in amended)
    assert asked(ingest, f"SELECT late FROM reading WHERE time = {4 * DAY}") == [(1,)]


def test_late_data_leaves_the_states_that_data_in_order_would_have_left(ingest: Ingest, tmp_path: Path) -> None:
    life = [*steady(range(4)), check("a", 4, 5.006, seq=4), *steady(range(5, 12))]
    take(ingest, *life[:4], *life[5:])
    take(ingest, life[4], at=12 * DAY)
    in_order = again(tmp_path / "in-order")
    take(in_order, *life)
    assert dump(ingest.states) == dump(in_order.states)
    in_order.ledger.close()


def test_beyond_the_horizon_a_check_is_judged_alone_and_moves_no_chart(ingest: Ingest) -> None:
    take(ingest, *steady(range(40, 50)))
    standing = dump(ingest.states)
    done = take(ingest, check("a", 18.9, 5.3, seq=900), at=50 * DAY)
    assert (done.stored, done.late, done.happenings) == (1, 1, [])
    assert dump(ingest.states) == standing
    assert asked(ingest, "SELECT COUNT(*) FROM amendment") == [(0,)]
    found = verdict(asked(ingest, "SELECT verdict FROM reading WHERE seq = 900")[0][0])
    assert int(found["flags"]) & Flag.BEYOND_LATENESS
    assert np.isnan(found["z"])
    assert found["error"] == pytest.approx(0.3)


def test_just_at_the_horizon_it_is_still_charted(ingest: Ingest) -> None:
    take(ingest, *steady(range(40, 50)))
    take(ingest, check("a", 49 - LATENESS // DAY, 5.0, seq=900), at=50 * DAY)
    found = verdict(asked(ingest, "SELECT verdict FROM reading WHERE seq = 900")[0][0])
    assert not int(found["flags"]) & Flag.BEYOND_LATENESS
    assert not np.isnan(found["z"])


def test_one_number_with_two_contents_is_a_conflict(ingest: Ingest) -> None:
    first = check("a", 1, 5.001, seq=7)
    take(ingest, first)
    done = take(ingest, msgspec.structs.replace(first, value=5.002))
    assert (done.stored, done.duplicate, done.quarantined) == (0, 0, 1)
    assert [e.reason for e in quarantine.entries(ingest.ledger.connection)] == ["sequence_conflict"]
    assert asked(ingest, "SELECT value FROM reading") == [(5.001,)]


def test_another_boot_may_use_the_same_number(ingest: Ingest) -> None:
    first = check("a", 1, 5.001, seq=7)
    done = take(ingest, first, msgspec.structs.replace(first, boot="b2", time=2 * DAY))
    assert (done.stored, done.quarantined) == (2, 0)


def test_two_contents_of_one_moment_are_two_readings(ingest: Ingest) -> None:
    first = check("a", 1, 5.001)
    done = take(ingest, first, msgspec.structs.replace(first, value=5.002), first)
    assert (done.stored, done.duplicate) == (2, 1)
    assert take(ingest, first).duplicate == 1


def test_a_live_reading_may_be_five_minutes_ahead_and_no_more(ingest: Ingest) -> None:
    at = 100 * DAY
    edge = msgspec.structs.replace(check("a", 0, 5.001, seq=1), time=at + FIVE_MINUTES)
    ahead = msgspec.structs.replace(check("a", 0, 5.001, seq=2), time=at + FIVE_MINUTES + 1)
    assert take(ingest, edge, at=at).stored == 1
    assert take(ingest, ahead, at=at).quarantined == 1
    assert [e.reason for e in quarantine.entries(ingest.ledger.connection)] == ["future_time"]
    assert take(ingest, ahead, at=at, recorded=True).stored == 1


def test_what_comes_again_after_a_restart_is_a_duplicate(tmp_path: Path) -> None:
    life = noisy_life(3, n=20)
    for turn in range(3):
        ingest = again(tmp_path, PLAN)
        done = take(ingest, *life)
        assert (done.stored, done.duplicate) == ((len(life), 0) if turn == 0 else (0, len(life)))
        ingest.ledger.close()


def test_without_numbers_a_repeat_is_known_by_its_content(tmp_path: Path) -> None:
    reading = check("a", 1, 5.001)
    for stored in (1, 0):
        ingest = again(tmp_path)
        assert take(ingest, reading).stored == stored
        ingest.ledger.close()


@pytest.mark.parametrize("seed", range(5))
def test_every_reading_ends_in_exactly_one_counter(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    life = noisy_life(seed, n=30)
    mixed = [*life, *chance.sample(life, 15)]
    mixed += [msgspec.structs.replace(r, value=r.value + 1) for r in chance.sample(life, 5)]
    mixed += [msgspec.structs.replace(r, device="nobody") for r in chance.sample(life, 5)]
    mixed += [msgspec.structs.replace(r, unit="kWh") for r in chance.sample(life, 5)]
    chance.shuffle(mixed)
    ingest = again(tmp_path, PLAN)
    while mixed:
        size = chance.randint(1, 20)
        part, mixed = mixed[:size], mixed[size:]
        done = take(ingest, *part, at=100 * DAY)
        assert done.received == len(part) == done.stored + done.duplicate + done.quarantined
    c = counters(ingest)
    assert c["received"] == c["stored"] + c["duplicate"] + c["quarantined"]
    assert asked(ingest, "SELECT COUNT(*) FROM reading") == [(c["stored"],)]
    assert asked(ingest, "SELECT COUNT(*) FROM quarantine") == [(c["quarantined"],)]
    ingest.ledger.close()


def test_late_is_what_is_older_than_the_newest_on_arrival_however_it_was_batched(tmp_path: Path) -> None:
    late = []
    arrived = [*steady([1, 2, 5]), *steady([3]), *steady([6])]
    for size in (1, 2, 5):
        ingest = again(tmp_path / str(size))
        for start in range(0, len(arrived), size):
            take(ingest, *arrived[start : start + size], at=7 * DAY)
        late.append(asked(ingest, "SELECT time, late, quality FROM reading ORDER BY time"))
        ingest.ledger.close()
    assert [flag for _, flag, _ in late[0]] == [0, 0, 1, 0, 0]
    assert late[1] == late[0]
    assert late[2] == late[0]


def test_on_a_full_disk_nothing_moves_and_the_batch_can_be_tried_again(tmp_path: Path) -> None:
    life = noisy_life(1, n=60)
    ingest = again(tmp_path / "full", PLAN)
    take(ingest, *life[:10])
    before = (dump(ingest.states), ingest.seen.copy(), dict(ingest.alarms), counters(ingest))
    (pages,) = asked(ingest, "PRAGMA page_count")[0]
    asked(ingest, f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        take(ingest, *life[10:])
    assert dump(ingest.states) == before[0]
    assert np.array_equal(ingest.seen, before[1])
    assert (ingest.alarms, counters(ingest)) == before[2:]
    assert asked(ingest, "SELECT COUNT(*) FROM reading") == [(10,)]
    asked(ingest, "PRAGMA max_page_count = 1000000")
    assert take(ingest, *life[10:]).stored == len(life) - 10
    straight = again(tmp_path / "straight", PLAN)
    take(straight, *life[:10])
    take(straight, *life[10:])
    assert dump(ingest.states) == dump(straight.states)
    assert set(ingest.alarms) == set(straight.alarms)
    ingest.ledger.close()
    straight.ledger.close()


def alarm_ends(ingest: Ingest) -> list[tuple[str, str]]:
    events = [msgspec.json.decode(d) for (d,) in asked(ingest, "SELECT document FROM alarm_event ORDER BY id")]
    return [(e["transition"], e["reason"] or "") for e in events if e["kind"] == "silent"]


def test_a_silent_instrument_is_told_once_its_timeout_has_passed(ingest: Ingest) -> None:
    take(ingest, *steady([0]))
    assert ingest.tick(3 * DAY).happenings == []
    (raised,) = ingest.tick(3 * DAY + 1).happenings
    assert (raised.alarm.kind.value, raised.time) == ("silent", 3 * DAY)
    assert ingest.tick(9 * DAY).happenings == []
    take(ingest, *steady([5]))
    assert alarm_ends(ingest) == [("raised", ""), ("cleared", "back to normal")]


def test_data_that_come_after_all_undo_the_silence(ingest: Ingest) -> None:
    take(ingest, *steady([0]))
    assert len(ingest.tick(5 * DAY).happenings) == 1
    take(ingest, *steady([1, 2, 3, 4, 5]), at=5 * DAY + SECOND)
    assert ingest.alarms == {}
    assert alarm_ends(ingest) == [("raised", ""), ("cleared", "amended")]


def test_a_silence_that_data_moved_is_told_anew(ingest: Ingest) -> None:
    take(ingest, *steady([0]))
    ingest.tick(5 * DAY)
    take(ingest, *steady([1]), at=5 * DAY)
    assert ingest.alarms == {}
    (raised,) = ingest.tick(5 * DAY).happenings
    assert raised.time == 4 * DAY


def test_silence_survives_a_restart_and_is_not_told_twice(tmp_path: Path) -> None:
    ingest = again(tmp_path)
    take(ingest, *steady([0]))
    ingest.tick(5 * DAY)
    ingest.ledger.close()
    ingest = again(tmp_path)
    assert ingest.tick(6 * DAY).happenings == []
    assert [a.kind.value for a in ingest.alarms.values()] == ["silent"]
    ingest.ledger.close()


def gaps(ingest: Ingest) -> list[str]:
    rows = asked(ingest, "SELECT document FROM alarm_event ORDER BY id")
    return [e["transition"] for (text,) in rows if (e := msgspec.json.decode(text))["kind"] == "gap"]


def two_channels(*, wide: bool, lost: frozenset[int] = frozenset(), n: int = 12) -> list[Reading]:
    """Return readings that come on two channels in turns, numbered together, but for those lost."""
    return [
        msgspec.structs.replace(
            check("a", i / 4, 5.001 + i % 3 / 1000, seq=i), channel=("mass", "tare")[i % 2], seq_per_device=wide
        )
        for i in range(n)
        if i not in lost
    ]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Ingest]:
    with Ledger.open(tmp_path) as ledger:
        yield Ingest(ledger, PAIR, LATENESS)


@pytest.mark.parametrize("wide", [True, False])
def test_a_seq_that_counts_the_whole_device_leaves_no_gaps_in_its_channels(pair: Ingest, wide: bool) -> None:
    take(pair, *two_channels(wide=wide))
    assert bool(gaps(pair)) is not wide
    history = LedgerHistory(pair.ledger, {})
    assert sum(int(str(b["gaps"])) for b in history.buckets(Query(device="a"), "1d")) == (0 if wide else 10)


def test_a_number_that_no_channel_of_the_device_brought_is_a_gap_before_the_next_reading(pair: Ingest) -> None:
    life = two_channels(wide=True, lost=frozenset({6}))
    take(pair, *life[:6])
    assert gaps(pair) == []
    take(pair, *life[6:])
    assert gaps(pair) == ["raised"]
    event = msgspec.json.decode(asked(pair, "SELECT document FROM alarm_event")[0][0])
    assert (event["channel"], event["time"], event["evidence"]["seq"]) == ("tare", "1970-01-02T18:00:00Z", 7)
    take(pair, two_channels(wide=True)[6], at=4 * DAY)  # on the other channel: the first is judged again
    assert gaps(pair) == ["raised", "cleared"]


@settings(deadline=None, max_examples=25)
@given(st.sets(st.integers(0, 11), max_size=4), st.randoms(use_true_random=False), st.integers(1, 5))
def test_gaps_of_a_device_wide_seq_depend_on_no_cut_and_no_order(
    lost: set[int], chance: random.Random, size: int
) -> None:
    life = two_channels(wide=True, lost=frozenset(lost))
    mixed = chance.sample(life, len(life))
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        at_once, in_parts = again(Path(one), PAIR), again(Path(other), PAIR)
        take(at_once, *life, at=9 * DAY)
        for start in range(0, len(mixed), size):
            take(in_parts, *mixed[start : start + size], at=9 * DAY)
        assert dump(in_parts.states) == dump(at_once.states)
        assert {(d, c, k) for d, c, k in in_parts.alarms} == {(d, c, k) for d, c, k in at_once.alarms}
        in_parts.stale = dict.fromkeys(range(len(PAIR)), -(2**63))  # as if another plan had judged it all
        in_parts.rejudge(9 * DAY)
        started_again = again(Path(other), PAIR)
        assert dump(started_again.states) == dump(at_once.states)
        for made in (at_once, in_parts, started_again):
            made.ledger.close()


def test_a_repeat_or_a_conflict_of_a_device_wide_seq_is_still_told(ingest: Ingest) -> None:
    first = msgspec.structs.replace(check("a", 1, 5.001, seq=4), boot="b", seq_per_device=True)
    other = msgspec.structs.replace(first, value=5.002)
    done = take(ingest, first).plus(take(ingest, first)).plus(take(ingest, other))
    assert (done.stored, done.duplicate, done.quarantined) == (1, 1, 1)


@pytest.mark.parametrize("size", [1, 2, 12])
def test_where_the_centre_of_a_learning_check_lies_hangs_on_no_cut(tmp_path: Path, size: int) -> None:
    plan = plan_of([scale("a", sigma=None, learn=5)], [certificate("a")])
    with Ledger.open(tmp_path) as ledger:
        ingest = Ingest(ledger, plan, LATENESS)
        life = [check("a", d, 5.001 + d % 5 / 1000, seq=d) for d in range(12)]
        for start in range(0, len(life), size):
            take(ingest, *life[start : start + size])
        said = [str(verdict(b)["mode"]) for (b,) in asked(ingest, "SELECT verdict FROM reading ORDER BY time")]
    assert said == ["2"] * 5 + ["1"] * 7


@pytest.mark.parametrize("recorded", [True, False])
def test_an_empty_registry_quarantines_whatever_comes(tmp_path: Path, recorded: bool) -> None:
    with Ledger.open(tmp_path) as ledger:
        done = take(Ingest(ledger, plan_of([]), LATENESS), check("a", 1, 5.001, seq=1), recorded=recorded)
    assert (done.received, done.quarantined, done.reasons) == (1, 1, {"unknown_device": 1})


CERTIFIED = plan_of([scale("a"), scale("b")], [certificate("a"), certificate("b", name="cb")])
JUDGED = """SELECT channel.device, r.time, coalesce(a.verdict, r.verdict), context.document FROM reading r
              JOIN channel ON channel.id = r.channel LEFT JOIN amendment a ON a.reading = r.id
              JOIN context ON context.id = coalesce(a.context, r.context) ORDER BY 1, 2"""


def of_both(ingest: Ingest, days: range) -> None:
    for device in ("b", "a"):
        take(ingest, *(check(device, d, 5.001 + 0.0004 * (d % 3 - 1), seq=d) for d in days))


@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize("anew", [False, True])
def test_judging_again_that_a_full_disk_ends_is_finished_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, anew: bool
) -> None:
    ingest = Ingest(Ledger.open(tmp_path / "one"), plan_of([scale("a"), scale("b")]), LATENESS)
    of_both(ingest, range(1, 8))
    put, calls = states.put_states, itertools.count(1)

    def full(*what: Any) -> None:
        put(*what)
        if next(calls) == failing:
            raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(states, "put_states", full)
        with pytest.raises(sqlite3.OperationalError):
            ingest.replan(CERTIFIED, 9 * DAY)
    if anew:
        ingest.ledger.close()
        ingest = again(tmp_path / "one", CERTIFIED)
    of_both(ingest, range(8, 10))
    assert ingest.stale == {}
    other = Ingest(Ledger.open(tmp_path / "two"), CERTIFIED, LATENESS)
    of_both(other, range(1, 10))
    assert asked(ingest, JUDGED) == asked(other, JUDGED)
    ingest.ledger.close()
    other.ledger.close()
