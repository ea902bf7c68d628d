"""Rows of the ledger as points: exact, each once, the same ones every time they are made."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.history import forward
from gateway.history.forward import Feed
from gateway.history.forward_state import forwarding_state
from gateway.ledger.store import Ledger
from gateway.metrology.readings import Reading
from tests.influx.lines import Point
from tests.influx.support import all_points
from tests.pipeline.centre import DAY, certificate, check, feed, ingest_in, noisy_life, plan_of, scale, two_scales

TARGET = "http://localhost:8086 metergate/metergate"


def points_of(folder: Path) -> list[Point]:
    with Ledger.open(folder) as ledger:
        return all_points(Feed(ledger, "van-giang", TARGET))


def again(folder: Path) -> list[Point]:
    """Forget what was sent, as after a restore, and make everything anew."""
    from gateway.ledger.forwarding import forget_sent

    with Ledger.open(folder) as ledger:
        with ledger.transaction() as connection:
            forget_sent(connection)
        return all_points(Feed(ledger, "van-giang", TARGET))


def keys(points: list[Point]) -> list[tuple[object, ...]]:
    return sorted((p.measurement, p.tags, p.time) for p in points)


def of(points: list[Point], measurement: str) -> list[Point]:
    return [p for p in points if p.measurement == measurement]


def plain(at: int, value: float, seq: int | None = None, device: str = "a") -> Reading:
    return Reading(device=device, channel="mass", time=at, value=value, unit="kg", seq=seq, boot="b")


def test_every_reading_and_verdict_becomes_one_point_with_floats(tmp_path: Path) -> None:
    ingest = ingest_in(tmp_path, two_scales())
    feed(ingest, noisy_life(1))
    points = points_of(tmp_path)
    rows = ingest.ledger.connection.execute("SELECT COUNT(*), COUNT(verdict) FROM reading").fetchone()
    events = ingest.ledger.connection.execute("SELECT COUNT(*) FROM alarm_event").fetchone()[0]
    assert (len(of(points, "reading")), len(of(points, "verdict")), len(of(points, "alarm"))) == (*rows, events)
    assert events > 0
    assert all(not isinstance(v, int) or isinstance(v, bool) for p in points for _, v in p.fields)
    for p in points:
        assert set(dict(p.tags)) <= {"site", "device", "channel", "kind"}


def test_a_verdict_carries_what_the_check_said(tmp_path: Path) -> None:
    ingest = ingest_in(tmp_path, plan_of([scale("a")], [certificate("a")]))
    feed(ingest, [check("a", 1, 5.004, seq=1)])
    verdict = dict(of(points_of(tmp_path), "verdict")[0].fields)
    assert verdict["error"] == pytest.approx(0.004)
    assert verdict["residual"] == pytest.approx(0.003)
    assert verdict["z"] == pytest.approx(0.003 / 0.0016)
    assert verdict["center"] == "certificate"
    assert verdict["baseline"] == "c1"
    assert verdict["version"] == 0.0
    assert {"shewhart_statistic", "shewhart_limit", "ewma_statistic", "ewma_limit", "cusum_upper", "cusum_lower"} <= (
        verdict.keys()
    )
    assert verdict["shewhart_signal"] is False
    assert "mpe" not in verdict  # no rule pack


def test_readings_of_one_moment_stay_apart_and_keep_their_time(tmp_path: Path) -> None:
    ingest = ingest_in(tmp_path, plan_of([scale("a")]))
    feed(ingest, [plain(DAY, float(v), v) for v in range(5)])
    points = of(points_of(tmp_path), "reading")
    assert sorted(p.time or 0 for p in points) == [DAY + i for i in range(5)]
    assert {(p.time or 0) - int(dict(p.fields)["shift_ns"]) for p in points} == {DAY}


def test_a_reading_made_at_a_nanosecond_given_away_moves_on(tmp_path: Path) -> None:
    ingest = ingest_in(tmp_path, plan_of([scale("a")]))
    feed(ingest, [plain(DAY, 1.0, 1), plain(DAY, 2.0, 2)])
    first = of(points_of(tmp_path), "reading")
    feed(ingest, [plain(DAY + 1, 3.0, 3), plain(DAY, 4.0, 4)])
    second = of(points_of(tmp_path), "reading")
    times = [p.time for p in first + second]
    assert len(set(times)) == 4
    assert sorted((p.time or 0) - int(dict(p.fields)["shift_ns"]) for p in first + second) == [DAY, DAY, DAY, DAY + 1]
    assert keys(of(again(tmp_path), "reading")) == keys(first + second)


@settings(max_examples=25, deadline=None)
@given(
    cut=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=6), min_size=1, max_size=5),
    rows=st.integers(1, 7),
    backlog=st.integers(1, 9),
)
def test_however_readings_come_and_go_each_is_one_point_and_a_resend_makes_no_other(
    tmp_path_factory: pytest.TempPathFactory, cut: list[list[int]], rows: int, backlog: int
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    ingest = ingest_in(folder, plan_of([scale("a")]))
    sent: list[Point] = []
    number = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "ROWS", rows)
        patch.setattr(forward, "BACKLOG", backlog)
        for batch in cut:
            readings = []
            for moment in batch:
                number += 1
                readings.append(plain(DAY + moment, float(number), number))
            feed(ingest, readings)
            sent += of(points_of(folder), "reading")
        resent = of(again(folder), "reading")
    values = {dict(p.fields)["value"]: (p.time, dict(p.fields)["shift_ns"]) for p in resent}
    assert len(values) == number
    assert len({p.time for p in resent}) == number
    assert {dict(p.fields)["value"]: (p.time, dict(p.fields)["shift_ns"]) for p in sent} == values
    ingest.ledger.close()


def test_a_superseded_verdict_lands_on_its_own_point(tmp_path: Path) -> None:
    ingest = ingest_in(tmp_path, plan_of([scale("a")], [certificate("a")]))
    feed(ingest, [check("a", d, 5.001 + 0.0004 * (d % 3), seq=d) for d in range(8) if d != 3], at=8 * DAY)
    before = {p.time: dict(p.fields) for p in of(points_of(tmp_path), "verdict")}
    feed(ingest, [check("a", 3, 5.006, seq=3)], at=8 * DAY)
    after = {p.time: dict(p.fields) for p in of(points_of(tmp_path), "verdict")}
    assert after[3 * DAY]["version"] == 0.0
    assert {t for t, v in after.items() if v["version"] == 1.0} <= before.keys()
    assert after[4 * DAY]["ewma_statistic"] != before[4 * DAY]["ewma_statistic"]
    assert {p.time: dict(p.fields) for p in of(again(tmp_path), "verdict")} == {**before, **after}


def test_what_is_new_goes_before_a_backlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "ROWS", 10)
    monkeypatch.setattr(forward, "BACKLOG", 50)
    ingest = ingest_in(tmp_path, plan_of([scale("a")]))
    feed(ingest, [plain(DAY + i, 0.5 + i % 10, i) for i in range(100)])
    with Ledger.open(tmp_path) as ledger:
        source = Feed(ledger, "s", TARGET)
        first = source.next()
        assert first is not None
        source.settle(first, [], 1)
        assert forwarding_state(ledger).backlog == 90
        feed(ingest, [plain(2 * DAY, 14.25, 100)])
        order = [first.lines]
        while (parcel := source.next()) is not None:
            source.settle(parcel, [], 1)
            order.append(parcel.lines)
        assert any("value=14.25" in line for line in [*order[1], *order[2]])
        assert sum(len(lines) for lines in order) == 101
        assert forwarding_state(ledger).lag == 0


def test_a_device_that_moves_leaves_its_history_where_it_was(tmp_path: Path) -> None:
    from gateway.ledger.registry import put

    def placed(site: str) -> bytes:
        return f'{{"id":"a","kind":"weighing","site":"{site}","channels":{{"mass":{{"unit":"kg"}}}}}}'.encode()

    ingest = ingest_in(tmp_path, plan_of([scale("a")]))
    with ingest.ledger.transaction() as connection:
        put(connection, [("device", "a", placed("one"))], 1)
    feed(ingest, [plain(DAY, 1.0, 1)])
    points_of(tmp_path)
    feed(ingest, [plain(DAY + 1, 2.0, 2)])
    with ingest.ledger.transaction() as connection:
        put(connection, [("device", "a", placed("two"))], 2)
    points_of(tmp_path)
    feed(ingest, [plain(DAY + 2, 3.0, 3)])
    points_of(tmp_path)
    sites = {dict(p.fields)["value"]: dict(p.tags)["site"] for p in again(tmp_path)}
    assert sites == {1.0: "one", 2.0: "one", 3.0: "two"}
    assert dict(again(tmp_path)[0].fields)["unit"] == "kg"


def test_another_bucket_gets_everything_from_the_beginning(tmp_path: Path) -> None:
    ingest = ingest_in(tmp_path, plan_of([scale("a")]))
    feed(ingest, [plain(DAY, 1.0, 1)])
    assert len(points_of(tmp_path)) == 1
    assert points_of(tmp_path) == []
    with Ledger.open(tmp_path) as ledger:
        assert len(all_points(Feed(ledger, "s", "http://elsewhere:8086 o/b"))) == 1


def test_alarm_events_of_one_moment_stay_apart(tmp_path: Path) -> None:
    from gateway.alarms.conditions import Severity
    from gateway.runtime.system_alarms import calm, trouble

    ingest = ingest_in(tmp_path, plan_of([scale("a")]))
    for at in (DAY, DAY):
        trouble(ingest.ledger, "s", "influxdb", Severity.MAJOR, 'it says "no"', {"answer": "401"}, at)
        calm(ingest.ledger, "influxdb", "well again", at)
    points = points_of(tmp_path)
    assert [dict(p.fields)["transition"] for p in points] == ["raised", "cleared"] * 2
    assert len(set(keys(points))) == 4
    assert keys(again(tmp_path)) == keys(points)
    assert dict(points[0].tags) == {"site": "s", "channel": "influxdb", "kind": "system"}
    assert dict(points[0].fields)["text"] == 'it says "no"'


def test_roll_ups_say_what_the_history_says_and_are_sent_again_when_made_again(tmp_path: Path) -> None:
    from zoneinfo import ZoneInfo

    from gateway.history import Query
    from gateway.history.ledger import LedgerHistory
    from gateway.history.rolling import catch_up

    zone = ZoneInfo("Asia/Kolkata")  # half an hour beside the hours
    hour = DAY // 24

    def rolled() -> dict[tuple[str, int], dict[str, object]]:
        with Ledger.open(tmp_path) as ledger:
            catch_up(ledger, 20 * DAY)
            points = all_points(Feed(ledger, "s", TARGET, zone))
        return {(p.measurement, p.time or 0): dict(p.fields) for p in points if p.measurement.startswith("rollup")}

    def asked() -> dict[tuple[str, int], dict[str, object]]:
        from gateway.metrology.instants import parse_rfc3339

        found: dict[tuple[str, int], dict[str, object]] = {}
        with Ledger.open(tmp_path) as ledger:
            history = LedgerHistory(ledger, {})
            for r in ("1h", "1d"):
                for b in history.buckets(Query(device="a", zone=zone), r):
                    said: dict[str, object] = {
                        k: v if isinstance(v, str) else float(v)  # type: ignore[arg-type]
                        for k, v in b.items()
                        if k not in {"time", "device", "channel"} and v is not None and v != ""
                    }
                    found[f"rollup_{r}", parse_rfc3339(str(b["time"]))] = said
        return found

    ingest = ingest_in(tmp_path, plan_of([scale("a")]))
    feed(ingest, [plain(9 * DAY + i * hour // 3, 1.0 + i % 7, i) for i in range(200)])
    first = rolled()
    assert first == asked()
    assert {m for m, _ in first} == {"rollup_1h", "rollup_1d"}
    feed(ingest, [plain(9 * DAY + 30 * hour + 7, 14.0, 1000)])
    again = rolled()
    assert {m for m, _ in again} == {"rollup_1h", "rollup_1d"}
    assert 0 < len(again) <= 3
    assert first | again == asked()


@pytest.mark.parametrize("name", ["bad\\", "two\nlines value=1 1", "\0"])
def test_a_name_that_line_protocol_cannot_carry_is_set_aside_and_the_rest_goes(tmp_path: Path, name: str) -> None:
    from gateway.history.rolling import catch_up
    from gateway.ledger.forwarding import refused_points

    ingest = ingest_in(tmp_path, plan_of([scale("a"), scale(name)]))
    feed(ingest, [plain(DAY, 1.0, 1), plain(DAY, 2.0, 1, name), plain(2 * DAY, 3.0, 2)])
    catch_up(ingest.ledger, 5 * DAY)
    points = points_of(tmp_path)
    assert {dict(p.tags)["device"] for p in points} == {"a"}
    assert {dict(p.fields)["value"] for p in of(points, "reading")} == {1.0, 3.0}
    assert len(of(points, "rollup_1h")) == 2
    (refused,) = refused_points(ingest.ledger.connection)
    assert refused.words.startswith("not sent: the tag device")
