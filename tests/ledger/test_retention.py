"""Retention: what is deleted is gone as a whole, and what is left says what it would say with everything there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

from gateway.history import Query, hours, rolling
from gateway.history.forward import Feed
from gateway.history.keeping import carry_over
from gateway.history.pieces import PIECE
from gateway.history.rolling import catch_up
from gateway.ledger import forwarding, quarantine, readings, retention
from gateway.ledger.registry import put
from gateway.ledger.states import counters
from gateway.metrology.instants import parse_rfc3339
from gateway.metrology.readings import Reading
from gateway.pipeline.state import dump
from gateway.runtime.ingest import Batch, Ingest
from gateway.runtime.retention import BELIEVED_NS, LOOK_S, Housekeeping
from gateway.verifying import Verification, verify_verdicts
from tests.ledger.retained import CERTIFIED, DAY, HOUR, LATENESS, POLICY, SETTINGS, START, Site, documents, life, plan

END = START + 150 * DAY
LAST_CERTIFICATE = parse_rfc3339("2026-04-01T00:00:00Z")
VIETNAM = ZoneInfo("Asia/Ho_Chi_Minh")
OPEN = "SELECT id, severity, raised_at FROM alarm WHERE cleared_at IS NULL ORDER BY id"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def lived(site: Site, seed: int = 1, *, retained: bool = True) -> Site:
    """Return the site after a life of 150 days; without alarms that would keep readings."""
    everything = life(seed)
    for start in range(0, len(everything), 200):
        site.put(everything[start : start + 200])
    if retained:
        site.retain(END)
    return site


def verified(site: Site) -> Verification:
    chosen = site.ingest.plan
    return verify_verdicts(site.ledger.connection, chosen, lambda _at: chosen)


@pytest.mark.parametrize(("seed", "subgroup"), [(0, "1"), (1, "3"), (2, "2h")])
def test_what_is_left_is_as_if_nothing_had_been_deleted(tmp_path: Path, seed: int, subgroup: str) -> None:
    """However readings are cut, come late and are deleted in between: verdicts, states, alarms, all hours and days."""
    chance = random.Random(seed)
    whole, pruned = Site(tmp_path / "whole", plan(subgroup)), Site(tmp_path / "pruned", plan(subgroup))
    left, held = life(seed), list[Reading]()
    while left:
        size = chance.randrange(1, 400)
        part, left = left[:size], left[size:]
        late = [r for r in part if chance.random() < 0.05]
        comes = bool(held) and (chance.random() < 0.7 or held[0].time < part[0].time - 20 * DAY)
        part = [r for r in part if r not in late] + (held if comes else [])
        held = late if comes else held + late
        chance.shuffle(part)
        if not part:
            continue
        assert whole.put(part) == pruned.put(part)
        if chance.random() < 0.2:
            pruned.retain(max(r.time for r in part))
    pruned.retain(END)
    catch_up(whole.ledger, END)
    horizons = {key: pruned.horizon(*key) for key in SETTINGS}
    assert all(START < h <= END - POLICY.raw_ns for h in horizons.values())
    assert horizons["pack", "inside"] == horizons["pack", "outside"]  # one seq counts both
    assert pruned.rows("SELECT COUNT(*) FROM reading") < whole.rows("SELECT COUNT(*) / 2 FROM reading")
    assert dump(pruned.ingest.states) == dump(whole.ingest.states)
    assert pruned.rows(OPEN) == whole.rows(OPEN)
    assert pruned.verdicts() == [v for v in whole.verdicts() if v[2] >= horizons[v[0], v[1]]]
    for key, horizon in horizons.items():
        for resolution, zone in (("1h", VIETNAM), ("1d", VIETNAM), ("1d", ZoneInfo("UTC"))):
            assert pruned.buckets(*key, resolution, zone=zone) == whole.buckets(*key, resolution, zone=zone)
            for _ in range(4):
                start = START + chance.randrange(150 * 24) * HOUR
                asked: dict[str, Any] = {"start": start, "end": start + chance.randrange(1, 900) * HOUR, "zone": zone}
                assert pruned.buckets(*key, resolution, **asked) == whole.buckets(*key, resolution, **asked)
        for begin in (None, horizon, horizon + HOUR // 3):
            since = max(begin or 0, horizon)
            assert pruned.buckets(*key, "1m", start=begin) == whole.buckets(*key, "1m", start=since)
            raw = list(whole.history().raw(Query(device=key[0], channel=key[1], start=since)))
            assert list(pruned.history().raw(Query(device=key[0], channel=key[1], start=begin))) == raw
    assert verified(pruned).sound
    whole.close()
    pruned.close()


def test_what_is_older_than_the_horizon_is_refused_and_counted(site: Site) -> None:
    lived(site)
    horizon = site.horizon("meter", "voltage")
    before = [r for r in life(1) if r.channel == "voltage" and r.time < horizon][-1]
    stored = site.rows("SELECT COUNT(*) FROM reading")
    for recorded in (False, True):
        edge = msgspec.structs.replace(before, time=horizon + recorded)
        done = site.ingest.process(
            Batch(
                readings=[before, edge], received_at=[END], topic=["t"], payload=[b"[{},{}]"], at=END, recorded=recorded
            )
        )  # fmt: skip
        assert (done.received, done.stored, done.duplicate, done.quarantined) == (2, 1, 0, 1)
    assert site.rows("SELECT COUNT(*) FROM reading") == [(stored[0][0] + 2,)]
    entry = quarantine.entries(site.ledger.connection)[0]
    assert entry.reason == "bad_time"
    assert "deleted by retention" in entry.detail
    counted = counters(site.ledger.connection)
    assert counted["received"] == counted["stored"] + counted["duplicate"] + counted["quarantined"]


def test_a_gateway_that_starts_again_knows_the_horizons(site: Site) -> None:
    lived(site)
    before = next(r for r in life(1) if r.channel == "voltage")
    again = Ingest(site.ledger, plan(), LATENESS)
    done = again.process(Batch(readings=[before], received_at=[END], topic=["t"], payload=[b"{}"], at=END))
    assert (done.stored, done.quarantined) == (0, 1)


def test_a_chapter_that_holds_is_kept_whole_however_old(site: Site) -> None:
    lived(site)
    assert site.horizon("scale", "mass") == LAST_CERTIFICATE  # what the third certificate judged, and no more
    site.keeper = replace(site.keeper, policy=replace(POLICY, raw_ns=DAY))
    site.retain(END)
    assert site.horizon("scale", "mass") == LAST_CERTIFICATE
    assert site.horizon("meter", "voltage") == END - DAY - LATENESS  # what could still come late is kept too


def test_an_open_alarm_keeps_what_it_was_raised_on(site: Site) -> None:
    everything = life(1)
    low = START + 62 * DAY
    site.put([r for r in everything if r.time < low])
    cold = [
        msgspec.structs.replace(r, value=100.0) if r.channel == "voltage" else r for r in everything if r.time >= low
    ]
    site.put(cold)
    site.retain(END)
    (raised,) = site.rows(
        "SELECT raised_at FROM alarm WHERE kind = 'range' AND channel = 'voltage' AND cleared_at IS NULL"
    )
    assert site.horizon("meter", "voltage") == raised[0] - raised[0] % DAY
    assert site.horizon("meter", "active_energy") > raised[0]


def test_nothing_is_deleted_that_is_not_rolled_up(site: Site) -> None:
    lived(site, retained=False)
    site.keeper.begin(site.ingest, END)
    while site.keeper.step(site.ingest, END):
        pass
    assert site.rows("SELECT COUNT(*) FROM horizon") == [(0,)]
    assert site.keeper.waiting is not None
    catch_up(site.ledger, END)
    with site.ledger.transaction() as connection:
        hour = START + 100 * HOUR
        connection.execute("INSERT INTO rollup_stale (channel, start) SELECT id, ? FROM channel", (hour,))
    site.keeper.begin(site.ingest, END)
    while site.keeper.step(site.ingest, END):
        pass
    assert site.rows("SELECT COUNT(*) FROM horizon") == [(0,)]


def test_nothing_is_deleted_that_influxdb_does_not_have(site: Site) -> None:
    site.keeper = replace(site.keeper, policy=replace(POLICY, forwarded=True))
    lived(site)
    (half, all_of_it) = site.rows("SELECT MAX(id) / 4, MAX(id) FROM reading")[0]
    assert site.rows("SELECT COUNT(*) FROM horizon") == [(0,)]
    voltage = "SELECT MIN(r.time) FROM reading r JOIN channel c ON c.id = r.channel WHERE r.id > ? AND c.channel = ?"
    (sent,) = site.rows(voltage, half, "voltage")[0]
    for done in (half, all_of_it):
        with site.ledger.transaction() as connection:
            forwarding.put_cursor(connection, forwarding.READING, forwarding.Cursor(live=done))
            amended = forwarding.Cursor(live=site.rows("SELECT MAX(id) FROM amended")[0][0] or 0)
            forwarding.put_cursor(connection, forwarding.AMENDED, amended)
        site.retain(END)
        horizon = site.horizon("meter", "voltage")
        assert 0 < horizon <= (sent if done == half else END - POLICY.raw_ns)
    assert horizon == END - POLICY.raw_ns


def test_other_rules_from_before_the_horizon_begin_anew_there_and_change_no_chapter_that_holds(site: Site) -> None:
    lived(site)
    before = [v[:7] for v in site.verdicts() if v[0] == "scale"]
    site.ingest.replan(plan("1", "4d"), END)
    after = {v[:4]: v[6] for v in site.verdicts() if v[0] == "scale"}
    assert {v[:4]: v[6] for v in before} == after
    assert verified(site).sound


def test_a_certificate_dated_before_the_horizon_changes_nothing_that_is_gone(site: Site) -> None:
    lived(site)
    readings_left = site.rows("SELECT COUNT(*) FROM reading")
    site.ingest.replan(plan(certified=(*CERTIFIED, ("c0", "2026-01-20", "3"))), END)
    assert site.rows("SELECT COUNT(*) FROM reading") == readings_left
    found = verified(site)
    assert found.sound
    assert ("scale", "mass", LAST_CERTIFICATE) in found.horizons


def test_a_clock_that_is_years_ahead_has_no_history_deleted(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    lived(site, retained=False)
    newest, ahead = int(site.ingest.seen["newest"].max()), 3650 * DAY
    catch_up(site.ledger, newest + ahead)
    housekeeping = Housekeeping(keeper=site.keeper)
    for hour in range(2):
        while housekeeping(site.ingest, newest + ahead + hour * HOUR) < LOOK_S:
            pass
    assert caplog.text.count("3650 days ahead of the newest reading") == 1
    assert site.horizon("meter", "voltage") == newest + BELIEVED_NS - POLICY.raw_ns - (newest + BELIEVED_NS) % DAY
    assert site.rows("SELECT COUNT(*) FROM reading WHERE time < ?", newest)[0][0] > 0


def test_tampering_is_still_found_behind_a_horizon(site: Site) -> None:
    lived(site)
    assert verified(site).sound
    with site.ledger.transaction() as connection:
        connection.execute(
            "UPDATE reading SET value = value + 0.001 WHERE id = (SELECT MIN(id) FROM reading WHERE time >= ?"
            " AND verdict IS NOT NULL)",
            (LAST_CERTIFICATE,),
        )
    assert not verified(site).sound


def test_what_was_deleted_is_on_record(site: Site) -> None:
    lived(site, retained=False)
    there = site.rows("SELECT COUNT(*), COUNT(verdict) FROM reading")[0]
    site.retain(END)
    left = site.rows("SELECT COUNT(*), COUNT(verdict) FROM reading")[0]
    (run,) = retention.deletions(site.ledger.connection)
    assert (run.readings, run.verdicts) == (there[0] - left[0], there[1] - left[1])
    assert run.readings > 1000
    assert run.first_time == life(1)[0].time
    assert run.raw_before == END - POLICY.raw_ns
    assert run.ended_at == END
    assert len(run.digest) == 64
    site.retain(END)
    assert retention.deletions(site.ledger.connection) == [run]


def test_the_number_of_the_newest_row_is_never_given_again(site: Site) -> None:
    everything = life(1)
    old = [r for r in everything if r.time < START + 30 * DAY and r.channel == "voltage"]
    site.put([r for r in everything if r not in old and r.channel == "voltage"])
    site.ingest.process(Batch(readings=old, received_at=[END], topic=["t"], payload=[b"{}"], recorded=True))
    newest = site.rows("SELECT MAX(id) FROM reading")
    site.retain(END)
    assert site.horizon("meter", "voltage") > old[-1].time
    assert site.rows("SELECT MAX(id) FROM reading") == newest
    assert site.rows("SELECT COUNT(*) FROM horizon WHERE pending") == [(0,)]


def test_rollups_go_when_they_are_old_and_never_before_the_readings(site: Site) -> None:
    site.keeper = replace(site.keeper, policy=replace(POLICY, rollups_ns=90 * DAY))
    lived(site)
    key = ("meter", "voltage")
    since = END - 90 * DAY
    assert site.history().gone(Query(device="meter", channel="voltage"), "1h") == [("voltage", since)]
    buckets = site.buckets(*key, "1h")
    assert parse_rfc3339(str(buckets[0]["time"])) >= since
    assert site.rows(
        "SELECT MIN(start) >= ? FROM rollup r JOIN channel c ON c.id = r.channel WHERE c.channel = ?", since, "voltage"
    ) == [(1,)]
    kept = site.horizon("learner", "mass")
    assert kept < since
    assert parse_rfc3339(str(site.buckets("learner", "mass", "1h")[0]["time"])) >= kept
    assert site.buckets("learner", "mass", "1h", end=since)  # of the readings that are kept


def test_another_layout_of_rollups_loses_no_hour_whose_readings_are_gone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(site)
    before = {key: site.buckets(*key, "1d") for key in SETTINGS}
    names = list(PIECE.names or ())[::-1]
    older = np.dtype([(n, PIECE[n]) for n in names])
    with site.ledger.transaction() as connection:
        rows = connection.execute(
            "SELECT r.piece, r.channel, r.start FROM rollup r JOIN horizon h USING (channel) WHERE r.start < h.time"
        ).fetchall()
        assert len(rows) > 100
        for piece, channel, start in rows:
            old = np.zeros(1, older)
            for name in names:
                old[name] = np.frombuffer(piece, PIECE)[name]
            connection.execute(
                "UPDATE rollup SET piece = ? WHERE channel = ? AND start = ?", (old.tobytes(), channel, start)
            )
        number = readings.layout_id(connection, older)
        connection.execute("UPDATE rollup_cursor SET n = ? WHERE name = 'kept'", (number,))
    for module in (rolling, hours):
        monkeypatch.setattr(module, "LAYOUT", 77)
    assert {key: site.buckets(*key, "1d") for key in SETTINGS} == before
    catch_up(site.ledger, END)
    assert {key: site.buckets(*key, "1d") for key in SETTINGS} == before
    with site.ledger.transaction() as connection:
        carry_over(connection)  # once is enough
    assert {key: site.buckets(*key, "1d") for key in SETTINGS} == before


def test_a_step_is_short(site: Site) -> None:
    lived(site, retained=False)
    catch_up(site.ledger, END)
    site.keeper.begin(site.ingest, END)
    left = site.rows("SELECT COUNT(*) FROM reading")[0][0]
    while site.keeper.step(site.ingest, END):
        now = site.rows("SELECT COUNT(*) FROM reading")[0][0]
        assert left - now <= retention.CHUNK
        left = now


def sent(site: Site) -> dict[str, list[str]]:
    """Return the lines that a forwarder sends from the beginning, by measurement."""
    with site.ledger.transaction() as connection:
        forwarding.forget_sent(connection)
    feed = Feed(site.ledger, "s", f"target {id(site)}")
    found: dict[str, list[str]] = {}
    while (parcel := feed.next()) is not None:
        for line in parcel.lines:
            found.setdefault(line.partition(",")[0], []).append(line)
        feed.settle(parcel, [], END)
    return {name: sorted(set(lines)) for name, lines in found.items()}


def test_sent_again_to_influxdb_all_rollups_come_and_what_readings_are_left(tmp_path: Path) -> None:
    whole, pruned = lived(Site(tmp_path / "whole"), retained=False), lived(Site(tmp_path / "pruned"))
    for site in (whole, pruned):
        with site.ledger.transaction() as connection:
            put(connection, documents(), 1)
        catch_up(site.ledger, END)
    once, again = sent(whole), sent(pruned)
    assert once["rollup_1h"] == again["rollup_1h"]
    assert once["rollup_1d"] == again["rollup_1d"]
    left = pruned.rows("SELECT COUNT(*) FROM reading")[0][0]
    assert len(again["reading"]) == left < len(once["reading"]) / 2
    assert set(again["reading"]) < set(once["reading"])
    for site in (whole, pruned):
        site.close()


def test_channels_that_share_a_count_are_cut_together(tmp_path: Path) -> None:
    """An alarm keeps one of them; the other's readings tell what is missing in its `seq`, so they are kept too."""
    everything = [r for r in life(1) if r.device == "pack"]
    low = START + 62 * DAY
    hot = [msgspec.structs.replace(r, value=90.0) if r.channel == "inside" and r.time >= low else r for r in everything]
    late = [r for r in hot if START + 139 * DAY <= r.time < START + 142 * DAY and r.channel == "inside"]
    assert len(late) > 3
    whole, pruned = Site(tmp_path / "whole"), Site(tmp_path / "pruned")
    for site in (whole, pruned):
        site.put([r for r in hot if r.time < low])
        site.put([r for r in hot if r.time >= low and r not in late])
    pruned.retain(END)
    edge = pruned.horizon("pack", "inside")
    assert low - DAY < edge <= low + DAY
    assert pruned.horizon("pack", "outside") == edge
    assert pruned.rows("SELECT COUNT(*) FROM reading") < whole.rows("SELECT COUNT(*) FROM reading")
    for site in (whole, pruned):
        site.put(late)
    assert dump(pruned.ingest.states) == dump(whole.ingest.states)
    assert pruned.rows(OPEN) == whole.rows(OPEN)
    for site in (whole, pruned):
        site.close()


def test_a_gap_at_the_beginning_of_what_is_asked_for_is_counted_where_readings_are_gone(tmp_path: Path) -> None:
    whole, pruned = lived(Site(tmp_path / "whole"), retained=False), lived(Site(tmp_path / "pruned"))
    key = ("meter", "active_energy")
    horizon = pruned.horizon(*key)
    gapped = [parse_rfc3339(str(b["time"])) for b in whole.buckets(*key, "1h", end=horizon) if b["gaps"]]
    assert len(gapped) > 2
    for start in (*gapped, horizon):
        asked: dict[str, Any] = {"start": start, "end": start + 3 * DAY}
        assert pruned.buckets(*key, "1h", **asked) == whole.buckets(*key, "1h", **asked)
    for site in (whole, pruned):
        site.close()
