"""Where channels stand is found again at any moment, whether their rows are up to date or behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger import state_changes, states
from gateway.ledger.store import Ledger
from gateway.metrology.readings import Reading
from gateway.pipeline.intake import SEEN
from gateway.pipeline.state import dump, fresh
from gateway.runtime.ingest import Batch, Ingest
from tests.pipeline.centre import DAY, LATENESS, certificate, check, plan_of, scale

NAMES = "abcdefg"
PLAN = plan_of([scale(n) for n in NAMES], [certificate("a"), certificate("c")])
RECERTIFIED = plan_of([scale(n) for n in NAMES], [certificate("a"), certificate("c"), certificate("b", name="b1")])


@contextmanager
def few(n: int, turns: int = 3, together: int = 1) -> Iterator[None]:
    """Let the rows of more than `n` channels wait for their turn."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(states, "FEW", n)
        patched.setattr(states, "TURNS", turns)
        patched.setattr(states, "TOGETHER", together)
        yield


def day(number: int, names: str, *, times: int = 1) -> list[Reading]:
    """Some checks of each of these scales on one day."""
    return [
        check(n, number + k / 10, 5.001 + 0.0004 * ((number + k + ord(n)) % 3 - 1), seq=10 * number + k)
        for k in range(times)
        for n in names
    ]


def take(ingest: Ingest, readings: Sequence[Reading]) -> None:
    now = max(r.time for r in readings) + 10**9
    ingest.process(Batch(readings=readings, received_at=[now], topic=["t"], payload=[b"{}"], at=now))


def entries(connection: sqlite3.Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT id FROM state_change ORDER BY id")]


def behind(connection: sqlite3.Connection) -> int:
    changed, _ = state_changes.latest(connection)
    rows = dict(connection.execute("SELECT channel, up_to FROM state").fetchall())
    return sum(change.number > rows.get(channel, 0) for channel, change in changed.items())


STEP = st.tuples(
    st.sampled_from(["take", "take", "take", "late", "pack", "tick", "close", "other plan"]),
    st.sets(st.sampled_from(NAMES), min_size=1).map(lambda s: "".join(sorted(s))),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=14), st.integers(1, 4), st.integers(1, 5), st.integers(1, 9))
def test_a_ledger_opened_anew_stands_where_ingest_stood(
    steps: list[tuple[str, str]], n: int, turns: int, together: int
) -> None:
    plan = PLAN
    with TemporaryDirectory() as name, few(n, turns, together):
        ingest = Ingest(Ledger.open(Path(name)), plan, LATENESS)
        for number, (step, names) in enumerate(steps, start=1):
            if step == "tick":
                ingest.tick(number * DAY)
            elif step == "close":
                ingest.ledger.close()
                ingest = Ingest(Ledger.open(Path(name)), plan, LATENESS)
                assert behind(ingest.ledger.connection) == 0
            elif step == "other plan":
                plan = RECERTIFIED if plan is PLAN else PLAN
                ingest.replan(plan, number * DAY)
            else:
                late = step == "late" and number > 2
                take(ingest, day(number - 2 if late else number, names, times=5 if step == "pack" else 1))
            with Ledger.open(Path(name)) as beside, beside.transaction() as connection:
                found = states.standing(connection, plan)
                assert found.stale == {}
                assert found.states.tobytes() == ingest.states.tobytes()
                assert found.seen.tobytes() == ingest.seen.tobytes()
        ingest.ledger.close()


def test_rows_get_their_turn_and_entries_go(tmp_path: Path) -> None:
    with few(2), Ledger.open(tmp_path) as ledger:
        ingest = Ingest(ledger, PLAN, LATENESS)
        found = []
        for number in range(1, 40):
            take(ingest, day(number, NAMES))
            found.append((len(entries(ledger.connection)), behind(ledger.connection)))
        assert max(n for n, _ in found[5:]) <= 5
        assert min(b for _, b in found[5:]) > 0
        assert entries(ledger.connection)[-1] == 39


def test_rows_that_are_due_are_written_some_together(tmp_path: Path) -> None:
    with few(2, turns=7, together=3), Ledger.open(tmp_path) as ledger:  # one row is due with each batch
        ingest = Ingest(ledger, PLAN, LATENESS)
        take(ingest, day(1, NAMES))
        found = []
        for number in range(2, 11):
            take(ingest, day(number, NAMES))
            (up_to_date,) = ledger.connection.execute(
                "SELECT COUNT(*) FROM state WHERE up_to = ?", (number,)
            ).fetchone()
            found.append(up_to_date)
        assert found == [0, 3, 0] * 3


def test_a_quiet_ledger_has_its_rows_up_to_date_and_numbers_go_on(tmp_path: Path) -> None:
    with few(2), Ledger.open(tmp_path) as ledger:
        ingest = Ingest(ledger, PLAN, LATENESS)
        for number in range(1, 4):
            take(ingest, day(number, NAMES))
        assert behind(ledger.connection) > 0
        ingest.tick(3 * DAY + 2 * 10**9)  # something has come since the last
        assert behind(ledger.connection) > 0
        ingest.tick(3 * DAY + 3 * 10**9)
        assert (entries(ledger.connection), behind(ledger.connection)) == ([3], 0)
        take(ingest, day(4, NAMES))
        assert entries(ledger.connection)[-1] == 4
        assert behind(ledger.connection) > 0


def test_few_channels_and_packs_are_written_as_rows(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ingest = Ingest(ledger, PLAN, LATENESS)
        take(ingest, day(1, NAMES))
        with few(2):
            take(ingest, day(2, NAMES, times=states.OFTEN))
        assert entries(ledger.connection) == []


@pytest.mark.parametrize("damage", [b"", b"\2", b"nothing of the kind", None])
def test_after_a_damaged_entry_the_channels_are_judged_again(tmp_path: Path, damage: bytes | None) -> None:
    with few(2):
        ingest = Ingest(Ledger.open(tmp_path), PLAN, LATENESS)
        for number in range(1, 4):
            take(ingest, day(number, NAMES))
        with ingest.ledger.transaction() as connection:
            (whole,) = connection.execute("SELECT states FROM state_change WHERE id = 3").fetchone()
            cut = whole[:-8] if damage is None else damage
            connection.execute("UPDATE state_change SET states = ? WHERE id = 3", (cut,))
            rows = connection.execute("SELECT channel FROM state WHERE up_to < 3").fetchall()
        ingest.ledger.close()
        anew = Ingest(Ledger.open(tmp_path), PLAN, LATENESS)
        assert {int(anew.ids[c]) for c in anew.stale} == {channel for (channel,) in rows} != set()
        anew.rejudge(4 * DAY)
        assert anew.states.tobytes() == ingest.states.tobytes()
        anew.ledger.close()


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1)),
        min_size=1,
        unique_by=lambda r: r[0],
    )
)
def test_an_entry_says_what_was_put_in(rows: list[tuple[int, int, int]]) -> None:
    given_states = fresh(len(rows))
    given_states["checks"] = [n for _, n, _ in rows]
    given_states["error"] = np.array([word for *_, word in rows], np.uint64).view(np.float64)
    with TemporaryDirectory() as name, Ledger.open(Path(name)) as ledger, ledger.transaction() as connection:
        seen = np.array([(n, -n - 1, n) for _, n, _ in rows], SEEN)
        ids = np.array([c for c, *_ in rows], np.int64)
        number = state_changes.add(connection, ids, seen, given_states)
        found, damaged = state_changes.latest(connection)
    assert (number, damaged) == (1, 0)
    assert found == {
        c: state_changes.Change(number=1, newest=n, boot=-n - 1, seq=n, state=s)
        for (c, n, _), s in zip(rows, dump(given_states), strict=True)
    }
