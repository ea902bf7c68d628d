"""What InfluxDB holds of roll-ups is in the end what the ledger answers, whatever came late or was amended."""

from __future__ import annotations

import json
import random
import tempfile
import urllib.parse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.history import Query
from gateway.history.forward import Feed, Parcel
from gateway.history.ledger import LedgerHistory, channel_settings
from gateway.history.rolling import advance, catch_up
from gateway.ledger import retention
from gateway.ledger.registry import documents, put
from gateway.ledger.store import Ledger
from gateway.metrology.instants import format_instant, parse_rfc3339
from gateway.metrology.readings import Reading
from tests.history.support import DAY, HOUR, MINUTE, START, UNLIMITED, Centre
from tests.history.test_gaps_of_devices import in_turns
from tests.history.test_gaps_of_devices import readings as counted_together
from tests.history.test_rolled_equals_made import readings
from tests.influx.lines import parse
from tests.influx.real import Bucket, bucket
from tests.influx.standin import StandIn

ZONE = ZoneInfo("Asia/Kolkata")  # half an hour beside the hours
TARGET = "http://localhost:8086 metergate/metergate"
GRADES = {"strict": "II", "lenient": "IIII", "unlimited": UNLIMITED}
Fields = dict[str, object]
Key = tuple[str, str, str, int]
"""Measurement, device, channel, time."""


class Kept(Protocol):
    """Where points are kept."""

    def take(self, parcel: Parcel) -> None:
        """Delete what is to be cleared, then write the lines."""
        ...

    def rollups(self) -> dict[Key, Fields]:
        """Return the points of roll-ups."""
        ...


class InStandIn:
    """The stand-in's store, without its server."""

    def __init__(self) -> None:
        self._standin = StandIn()

    def take(self, parcel: Parcel) -> None:
        for predicate, first, last in parcel.cleared:
            self._standin.delete(predicate, first, last)
        refused = [self._standin.store(point) for point in parse("\n".join(parcel.lines).encode())]
        assert not any(refused)

    def rollups(self) -> dict[Key, Fields]:
        return {
            (name, dict(tags)["device"], dict(tags)["channel"], at): dict(fields)
            for (name, tags, at), fields in self._standin.points.items()
            if name.startswith("rollup")
        }


class InServer:
    """A bucket of a real InfluxDB."""

    def __init__(self, real: Bucket) -> None:
        self._real = real

    def take(self, parcel: Parcel) -> None:
        where = urllib.parse.urlencode({"org": self._real.org, "bucket": self._real.name})
        for predicate, first, last in parcel.cleared:
            asked = {"predicate": predicate, "start": format_instant(first), "stop": format_instant(last)}
            self._real.call("POST", f"/api/v2/delete?{where}", asked)
        if parcel.lines:
            self._real.call("POST", f"/api/v2/write?{where}&precision=ns", "\n".join(parcel.lines).encode())

    def rollups(self) -> dict[Key, Fields]:
        found: dict[Key, Fields] = {}
        for name in ("rollup_1h", "rollup_1d"):
            asked = (
                f'from(bucket: "{self._real.name}") |> range(start: 0) |> filter(fn: (r) => r._measurement == "{name}")'
            )
            for row in self._real.query(asked):
                value = row["_value"] if row["_field"] in {"unit", "quality"} else float(row["_value"])
                key = name, row["device"], row["channel"], parse_rfc3339(row["_time"])
                found.setdefault(key, {})[row["_field"]] = value
        return found


class Site:
    """A centre whose ledger knows its registry, and a feed whose parcels go to one place."""

    def __init__(self, folder: Path, kept: Kept) -> None:
        self.centre = Centre(folder)
        self.kept = kept
        self.register(1, exchanged=False)

    def register(self, multiplier: int, *, exchanged: bool, every: str | None = None) -> None:
        """Put the devices into the ledger's registry."""
        scale = {"id": "scale", "kind": "weighing", "site": "s", "channels": {"mass": {"unit": "kg", "every": "10m"}}}
        if every is None:
            del scale["channels"]["mass"]["every"]  # type: ignore[index]
        energy = {"unit": "kWh", "type": "register", "multiplier": multiplier, "digits": 6}
        channels = {"active_energy": energy, "voltage": {"unit": "V"}}
        both = {"left": {"unit": "V"}, "right": {"unit": "V"}}
        known = [
            scale,
            {"id": "meter", "kind": "electricity", "site": "s", "channels": channels},
            {"id": "board", "kind": "other", "site": "s", "channels": both},
        ]
        said = [("device", str(d["id"]), json.dumps(d).encode()) for d in known]
        if exchanged:
            at = format_instant(START + 30 * HOUR)
            said.append(("event", "e", json.dumps({"device": "meter", "time": at, "kind": "meter_exchange"}).encode()))
        with self.centre.ledger.transaction() as connection:
            put(connection, said, 1)

    def send(self) -> int:
        """Send everything there is, as a gateway that has just started; return how many roll-ups that was."""
        sent = 0
        with Ledger.open(self.centre.ledger.path.parent) as ledger:
            feed = Feed(ledger, "s", TARGET, ZONE)
            while (parcel := feed.next()) is not None:
                self.kept.take(parcel)
                feed.settle(parcel, [], 1)
                sent += sum(line.startswith("rollup") for line in parcel.lines)
        return sent

    def answers(self) -> dict[Key, Fields]:
        """Return what the ledger answers, as InfluxDB holds it: absent is absent, numbers are floats."""
        found: dict[Key, Fields] = {}
        ledger = self.centre.ledger
        history = LedgerHistory(ledger, channel_settings(documents(ledger.connection), ZONE))
        for device in ("scale", "meter", "board"):
            for resolution in ("1h", "1d"):
                for b in history.buckets(Query(device=device, zone=ZONE), resolution):
                    key = f"rollup_{resolution}", device, str(b["channel"]), parse_rfc3339(str(b["time"]))
                    found[key] = {
                        k: v if isinstance(v, str) else float(v)  # type: ignore[arg-type]
                        for k, v in b.items()
                        if k not in {"time", "device", "channel"} and v is not None
                    }
        return found

    def live(self, steps: Sequence[object]) -> None:
        for step in steps:
            if isinstance(step, list):
                self.centre.put(step)
            elif step == "roll":
                catch_up(self.centre.ledger, START + 10 * DAY)
            elif step == "roll a part":
                advance(self.centre.ledger, START + DAY)
            elif step == "send":
                self.send()
            elif step in GRADES:
                self.centre.regrade(GRADES[str(step)])
            else:
                self.register(40, exchanged=step == "exchange", every="5m")

    def come_to_rest(self) -> None:
        """Roll up and send all there is."""
        catch_up(self.centre.ledger, START + 10 * DAY)
        self.send()


words = st.sampled_from(("roll", "roll a part", "send", "send", *GRADES, "exchange", "ratio"))
said = st.lists(readings() | counted_together, min_size=1, max_size=15)
steps = st.lists(st.one_of(said, words), min_size=2, max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps)
def test_in_the_end_influxdb_holds_what_the_ledger_answers(steps: list[object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), InStandIn())
        site.live(steps)
        site.come_to_rest()
        assert site.kept.rollups() == site.answers()
        site.centre.close()


def meter(i: int, channel: str, unit: str, value: float) -> Reading:
    return Reading(
        device="meter", channel=channel, unit=unit, time=START + i * 25 * MINUTE, value=value, seq=i, boot="b"
    )


def check(i: int) -> Reading:
    return Reading(
        device="scale", channel="mass", unit="kg", time=START + i * 25 * MINUTE, value=5.0 + i % 3 / 1000,
        reference=5.0, reference_u=0.0001, seq=i, boot="b",
    )  # fmt: skip


def register(chance: random.Random) -> list[Reading]:
    """Return a register with some readings out of line and some resets, whose meaning hangs on those about them."""
    values = [1000 + i * 0.5 for i in range(150)]
    for i in chance.sample(range(150), 12):
        for k in range(i, min(150, i + chance.randint(1, 3))):
            values[k] -= 300
    return [meter(i, "active_energy", "kWh", v) for i, v in enumerate(values)]


@pytest.mark.parametrize("where", ["stand-in", "server"])
@pytest.mark.parametrize("seed", range(4))
def test_what_comes_late_reaches_the_hours_about_it(where: str, seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    lives = [register(chance), [meter(i, "voltage", "V", 230.0 + i % 9) for i in range(150)], [*map(check, range(150))]]
    lives.append(in_turns(n=150))
    held = chance.sample(range(150), 30)
    with ExitStack() as stack:
        kept: Kept = InStandIn() if where == "stand-in" else InServer(stack.enter_context(bucket()))
        site = Site(tmp_path, kept)
        for some in lives:
            site.live([[r for i, r in enumerate(some) if i not in held], "roll", "send"])
        for i in held:
            site.live([[some[i] for some in lives], "roll", "send"])
        assert kept.rollups() == site.answers()
        site.live(["unlimited", "roll", "send"])
        assert kept.rollups() == site.answers()
        assert not any("worst_margin_percent" in fields for fields in kept.rollups().values())
        site.live(["exchange", "send"])
        assert kept.rollups() == site.answers()
        site.centre.close()


def test_a_register_in_order_sends_few_hours_again_and_a_quiet_registry_none(tmp_path: Path) -> None:
    site = Site(tmp_path, InStandIn())
    for i in range(0, 150, 30):
        site.live([[meter(k, "active_energy", "kWh", 1000 + k * 0.5) for k in range(i, i + 30)], "roll"])
        assert 0 < site.send() <= 25  # 13 hours of its own, 6 of the readings before, days
    site.register(1, exchanged=False)
    assert site.send() == 0
    site.register(40, exchanged=False)
    assert site.send() == len(site.answers())
    assert site.send() == 0
    site.centre.close()


def test_what_the_ledger_has_deleted_stays_in_influxdb_as_it_was(tmp_path: Path) -> None:
    site = Site(tmp_path, InStandIn())
    site.register(1, exchanged=False, every="10m")
    site.live([[meter(k, "voltage", "V", 230.0) for k in range(300)], [check(k) for k in range(300)], "roll", "send"])
    before = site.kept.rollups()
    edge = START + 2 * DAY + 7 * HOUR
    with site.centre.ledger.transaction() as connection:
        for (channel,) in connection.execute("SELECT id FROM channel").fetchall():
            retention.draw(connection, channel, edge, b"", [])
        retention.draw_rolled(connection, edge, None)
        connection.execute("DELETE FROM reading WHERE time < ?", (edge,))
        connection.execute("DELETE FROM rollup WHERE start < ?", (edge,))
    site.register(1, exchanged=False)  # the scale's readings are no longer expected every so often
    assert site.send() > 0
    after = site.kept.rollups()
    assert after.keys() == before.keys()
    changed = {key for key in after if after[key] != before[key]}
    assert {(name, device) for name, device, _, _ in changed} == {("rollup_1h", "scale"), ("rollup_1d", "scale")}
    assert min(at for _, _, _, at in changed) >= edge
    with Ledger.open(tmp_path) as ledger:
        feed = Feed(ledger, "s", TARGET, ZoneInfo("Asia/Ho_Chi_Minh"))
        while (parcel := feed.next()) is not None:
            site.kept.take(parcel)
            feed.settle(parcel, [], 1)
    moved = site.kept.rollups()
    assert {key: moved[key] for key in before if key[3] < edge} == {
        key: v for key, v in before.items() if key[3] < edge
    }
    assert {key for key in moved if key[0] == "rollup_1d" and key[3] >= edge}.isdisjoint(before)
    site.centre.close()
