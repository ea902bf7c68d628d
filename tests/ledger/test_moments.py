"""Readings are found by channel and time, and by number, whether they have been placed yet or not."""

from __future__ import annotations

import sqlite3
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Refused
from gateway.ledger import moments
from gateway.ledger.backup import inspect
from gateway.ledger.forwarding import slots
from gateway.ledger.store import Ledger
from gateway.runtime import ingest as ingests
from gateway.runtime.ingest import Batch, Ingest
from tests.pipeline.centre import LATENESS, noisy_life, two_scales

ROW = st.tuples(
    st.integers(1, 3), st.integers(0, 9), st.sampled_from([None, "b1", "b2"]), st.none() | st.integers(0, 4)
)
COLUMNS = "id, channel, time, boot, seq, value, verdict"


def insert(connection: sqlite3.Connection, rows: list[tuple[int, int, str | None, int | None]]) -> None:
    connection.executemany(
        "INSERT INTO reading (channel, time, boot, seq, value, clock, received_at, late, quality) "
        "VALUES (?, ?, ?, ?, 1.5, 0, 0, 0, 0)",
        rows,
    )


def unplaced_of(connection: sqlite3.Connection, n: int) -> moments.Unplaced:
    rows = connection.execute("SELECT channel, time, id FROM reading ORDER BY id DESC LIMIT ?", (n,)).fetchall()
    channel, time, reading = np.array([*rows, (0, 0, 0)], np.int64)[:-1].T
    return moments.Unplaced(channel=channel, time=time, reading=reading, numbered=True)


def unplaced(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT COUNT(*) FROM unplaced").fetchone()[0])


def asked(connection: sqlite3.Connection, sql: str, *values: object) -> list[tuple[object, ...]]:
    return sorted(connection.execute(sql, values).fetchall())


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.tuples(st.lists(ROW, max_size=12), st.sampled_from([None, "all", "beside", 1, 2, 3])), max_size=5
    ),
    gone=st.sets(st.integers(1, 20)),
)
def test_the_views_say_what_a_search_of_all_readings_says(
    parts: list[tuple[list[tuple[int, int, str | None, int | None]], int | str | None]], gone: set[int]
) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with Ledger(Path(), connection) as ledger:
        ledger._migrate()
        waiting = moments.Unplaced.of()
        for rows, placed in parts:
            insert(connection, rows)
            waiting = moments.Unplaced.of([waiting, unplaced_of(connection, len(rows))])
            if isinstance(placed, int):
                waiting = waiting.place(connection, [placed])
            elif placed == "all":
                waiting = waiting.place(connection)
                assert unplaced(connection) == len(waiting) == 0
            elif placed is not None:  # as somebody else may, who does not know what is waiting here
                moments.place(connection)
        connection.executemany("DELETE FROM reading WHERE id = ?", [(i,) for i in gone])
        assert moments.wrong(connection) == 0
        for channel in range(1, 4):
            for time in range(10):
                query = f"SELECT {COLUMNS} FROM {{}} WHERE channel = ? AND time = ?"
                of_reading = asked(connection, query.format("reading"), channel, time)
                assert asked(connection, query.format("by_time"), channel, time) == of_reading
                ids = [row[0] for row in of_reading]
                assert [r[0] for r in asked(connection, "SELECT id FROM moments WHERE channel = ? AND time = ?",
                                            channel, time)] == ids  # fmt: skip
            for seq in range(5):
                query = "SELECT id FROM {} WHERE channel = ? AND seq = ? AND boot = ?"
                for boot in ("b1", "b2"):
                    of_reading = asked(connection, query.format("reading"), channel, seq, boot)
                    assert asked(connection, query.format("numbers"), channel, seq, boot) == of_reading


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(ROW, max_size=30), placed=st.integers(0, 30))
def test_readings_of_one_moment_are_told_apart_placed_or_not(
    rows: list[tuple[int, int, str | None, int | None]], placed: int
) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with Ledger(Path(), connection) as ledger:
        ledger._migrate()
        insert(connection, rows[:placed])
        moments.place(connection)
        insert(connection, rows[placed:])
        seen: set[tuple[int, int]] = set()
        crowded = set()
        for number, (channel, time, *_) in enumerate(rows, start=1):
            crowded |= {number} if (channel, time) in seen else set()
            seen.add((channel, time))
        assert crowded <= set(slots(ledger, "r.id BETWEEN ? AND ?", (1, len(rows))))
        moved = slots(ledger, "r.id BETWEEN ? AND ?", (1, len(rows)))
        moments.place(connection)
        assert slots(ledger, "r.id BETWEEN ? AND ?", (1, len(rows))) == moved


def test_the_view_shows_every_column_of_a_reading(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        columns = [
            [name for _, name, *_ in ledger.connection.execute(f"PRAGMA table_info({t})")]
            for t in ("reading", "by_time", "unplaced")
        ]
        (turns,) = ledger.connection.execute("SELECT COUNT(*) FROM placed").fetchone()
    assert columns[0] == columns[1] == columns[2]
    assert turns == moments.SLOTS


def test_a_channel_and_a_time_are_searched_and_no_more_than_the_unplaced_are_scanned(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        for where in ("by_time WHERE channel = 1 AND time > 5 ORDER BY time", "moments WHERE channel = 1 AND time = 5",
                      "reading WHERE id IN (SELECT id FROM numbers WHERE channel = 1 AND seq = 5 AND boot = 'b')",
        ):  # fmt: skip
            plan = [row[3] for row in ledger.connection.execute(f"EXPLAIN QUERY PLAN SELECT time FROM {where}")]
            scans = [step for step in plan if step.startswith("SCAN")]
            assert not scans, plan


def test_an_older_ledger_is_brought_up_to_date_with_its_readings_in_place(tmp_path: Path) -> None:
    scripts = sorted(resources.files("gateway.ledger").joinpath("schema").iterdir(), key=lambda f: f.name)
    old = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    for script in scripts[:6]:
        old.executescript(script.read_text())
    old.execute("PRAGMA user_version = 6")
    insert(old, [(1, 5, "b1", 1), (2, 4, None, 2), (1, 3, None, None)])
    old.close()
    assert inspect(tmp_path / "ledger.sqlite").readings == 3
    with Ledger.open(tmp_path) as ledger:
        assert asked(ledger.connection, "SELECT * FROM moment") == [(1, 3, 3), (1, 5, 1), (2, 4, 2)]
        assert asked(ledger.connection, "SELECT * FROM number") == [(1, 1, "b1", 1)]
        assert unplaced(ledger.connection) == 0
        assert moments.wrong(ledger.connection) == 0


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM moment WHERE reading = 2",
        "DELETE FROM number WHERE reading = 1",
        "UPDATE moment SET time = 9 WHERE reading = 2",
        "INSERT INTO moment VALUES (7, 7, 7)",
    ],
)
def test_damage_to_the_places_is_noticed(tmp_path: Path, damage: str) -> None:
    with Ledger.open(tmp_path) as ledger:
        insert(ledger.connection, [(1, 5, "b1", 1), (2, 4, None, 2)])
        moments.place(ledger.connection)
        ledger.connection.execute(damage)
        assert moments.wrong(ledger.connection) > 0
    with pytest.raises(Refused, match="damaged"):
        inspect(tmp_path / "ledger.sqlite")


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 20),
    size=st.integers(1, 60),
    few=st.integers(0, 40),
    turn=st.integers(1, 40),
    looked=st.integers(0, 60),
)
def test_when_readings_are_placed_changes_no_result(
    tmp_path_factory: pytest.TempPathFactory, seed: int, size: int, few: int, turn: int, looked: int
) -> None:
    life = noisy_life(seed)
    life = life + life[10:20]  # repeats
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for limits in ((10**9, 1, 0), (few, turn, looked)):
            patch.setattr(ingests, "FEW", limits[0])
            patch.setattr(ingests, "TURN_READINGS", limits[1])
            patch.setattr(ingests, "LOOKED_THROUGH", limits[2])
            with Ledger.open(tmp_path_factory.mktemp("ledger")) as ledger:
                ingest = Ingest(ledger, two_scales(), LATENESS)
                for start in range(0, len(life), size):
                    part = life[start : start + size]
                    at = 10**19 // 2 + start
                    ingest.process(Batch(readings=part, received_at=[at], topic=["t"], payload=[b"{}"], at=at))
                assert moments.wrong(ledger.connection) == 0
                assert unplaced(ledger.connection) <= len(ingest._unplaced)
                tables = ("reading", "state", "amendment", "alarm_event", "counter")
                found.append([asked(ledger.connection, f"SELECT * FROM {t}") for t in tables])
                for _ in range(2):
                    ingest.tick(10**19 // 2)
                assert unplaced(ledger.connection) == 0
    assert repr(found[0]) == repr(found[1])
