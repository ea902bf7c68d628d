"""A `seq` that counts a whole device: buckets count a channel's readings before which some are missing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.history import Query
from gateway.history.rolling import advance, catch_up
from gateway.ledger import rollups
from gateway.metrology.readings import Reading
from tests.history.support import DAY, HOUR, MINUTE, START, Centre, bucket_of

CHANNELS = ("left", "right")
ZONES = ("UTC", "Asia/Kolkata")


def board(channel: str, moment: int, seq: int | None, boot: str = "b") -> Reading:
    return Reading(
        device="board", channel=channel, unit="V", time=START + moment, value=float(seq or 0), seq=seq, boot=boot,
        seq_per_device=seq is not None,
    )  # fmt: skip


def in_turns(*missing: int, n: int = 60) -> list[Reading]:
    """Return what the board says every 10 minutes, left and right in turns, without some numbers."""
    return [board(CHANNELS[i % 2], i * 10 * MINUTE, i) for i in range(n) if i not in missing]


def gaps(centre: Centre, channel: str, resolution: str = "1h", **asked: int) -> dict[int, int]:
    """Return the buckets (number of the stretch since the start) with gaps; rolled up or made, the answer is one."""
    query = Query(device="board", channel=channel, **asked)  # type: ignore[arg-type]
    found = centre.buckets(query, resolution)
    assert found == centre.buckets(query, resolution, rollups=False)
    return {i: int(str(b["gaps"])) for i, b in enumerate(found) if b["gaps"]}


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    made = Centre(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("rolled", [True, False])
def test_a_lost_number_is_one_gap_at_the_next_reading_of_whatever_channel(centre: Centre, rolled: bool) -> None:
    centre.put(in_turns(8, 13, 14, 35))
    if rolled:
        catch_up(centre.ledger, START + DAY)
    assert gaps(centre, "left") == {6: 1}
    assert gaps(centre, "right") == {1: 1, 2: 1}
    assert gaps(centre, "left", "1d") == {0: 1}
    assert sum(gaps(centre, "right", "1m").values()) == 2


def test_a_reading_knows_of_the_numbers_before_the_range_that_is_asked_for(centre: Centre) -> None:
    centre.put(in_turns(7))
    catch_up(centre.ledger, START + DAY)
    assert gaps(centre, "left", start=START + 80 * MINUTE) == {0: 1}
    assert gaps(centre, "left", start=START + 81 * MINUTE) == {}


@pytest.mark.parametrize("rolled", [True, False])
def test_late_data_of_one_channel_closes_the_gap_in_another_that_is_rolled_up(centre: Centre, rolled: bool) -> None:
    centre.put(in_turns(11))
    catch_up(centre.ledger, START + DAY)
    assert gaps(centre, "left") == {2: 1}
    revision = rollups.revision(centre.ledger.connection)
    centre.put([board("right", 110 * MINUTE, 11)])
    if rolled:
        catch_up(centre.ledger, START + DAY)
        made = {(c, s) for _, c, s, _ in rollups.changed(centre.ledger.connection, revision, 1000)}
        assert len(made) < 6  # what hangs on it, not all
    assert gaps(centre, "left") == gaps(centre, "right") == {}


def test_late_data_shows_a_gap_that_was_none(centre: Centre) -> None:
    centre.put([board("left", 0, 5), board("left", 200 * MINUTE, 6)])
    catch_up(centre.ledger, START + DAY)
    centre.put([board("right", 100 * MINUTE, 2)])
    assert gaps(centre, "left") == {1: 1}
    catch_up(centre.ledger, START + DAY)
    assert gaps(centre, "left") == {1: 1}
    assert gaps(centre, "right") == {}


def test_roll_ups_of_the_layout_that_knew_no_such_gaps_are_made_again(centre: Centre) -> None:
    centre.put(in_turns(8))
    catch_up(centre.ledger, START + DAY)
    with centre.ledger.transaction() as connection:
        connection.execute("UPDATE rollup_cursor SET n = 1 WHERE name = 'layout'")
        pieces = connection.execute("SELECT channel, start, piece FROM rollup").fetchall()
        blank = [(piece[:16] + bytes(4) + piece[20:], channel, start) for channel, start, piece in pieces]
        connection.executemany("UPDATE rollup SET piece = ? WHERE channel = ? AND start = ?", blank)
    catch_up(centre.ledger, START + DAY)
    assert gaps(centre, "right") == {1: 1}


readings = st.builds(
    lambda channel, moment, shift, seq, boot: board(channel, moment * 20 * MINUTE + shift, seq, boot),
    st.sampled_from(CHANNELS), st.integers(0, 24 * 3), st.sampled_from((0, 0, 0, 1)), st.none() | st.integers(0, 40),
    st.sampled_from(("a", "a", "b")),
)  # fmt: skip
moments = st.none() | st.integers(0, 3 * 24 * 4).map(lambda q: START + q * 15 * MINUTE)
steps = st.lists(
    st.lists(readings, min_size=1, max_size=20) | st.sampled_from(("advance", "part")), min_size=1, max_size=8
)


def plain(rows: Sequence[tuple[int, str, int, str]], query: Query, resolution: str) -> dict[int, int]:
    """Return gaps by the beginning of the bucket, by the rule in the plainest words; rows: time, boot, seq, channel."""
    found: dict[int, int] = {}
    for (_, boot, seq, _), (time, same, later, channel) in pairwise(sorted(rows)):
        asked = (query.start is None or time >= query.start) and (query.end is None or time < query.end)
        if channel == query.channel and asked and boot == same and later > seq + 1:
            start = bucket_of(time, resolution, query.zone)[0]
            found[start] = found.get(start, 0) + 1
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps, moments, moments)
def test_gaps_are_those_of_the_plain_rule_whatever_came_when(
    steps: list[object], start: int | None, end: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        centre = Centre(Path(folder))
        for step in steps:
            if isinstance(step, list):
                centre.put(step)
            else:
                advance(centre.ledger, START + DAY) if step == "part" else catch_up(centre.ledger, START + 9 * DAY)
        held = centre.ledger.connection.execute(
            "SELECT r.time, r.boot, r.seq, c.channel FROM reading r JOIN channel c ON c.id = r.channel"
            " WHERE r.seq_per_device"
        ).fetchall()
        for channel in CHANNELS:
            for zone in ZONES:
                query = Query(device="board", channel=channel, start=start, end=end, zone=ZoneInfo(zone))
                for resolution in ("1m", "1h", "1d") if zone == "UTC" else ("1d",):
                    wanted = sum(plain(held, query, resolution).values()), plain(held, query, resolution)
                    for rolled in (True, False):
                        said = centre.buckets(query, resolution, rollups=rolled)
                        assert sum(int(str(b["gaps"])) for b in said) == wanted[0], (query, resolution, rolled)
                        assert [int(str(b["gaps"])) for b in said if b["gaps"]] == [
                            n for _, n in sorted(wanted[1].items())
                        ]
        centre.close()


def test_hours_before_the_first_are_left_alone(centre: Centre) -> None:
    """A device of many channels does not have its whole past made again with each reading."""
    centre.put(in_turns(n=144))
    catch_up(centre.ledger, START + 2 * DAY)
    revision = rollups.revision(centre.ledger.connection)
    centre.put([board("left", 23 * HOUR + 55 * MINUTE, 144)])
    catch_up(centre.ledger, START + 2 * DAY)
    made = {s for _, _, s, _ in rollups.changed(centre.ledger.connection, revision, 1000)}
    assert made == {START + 23 * HOUR}
