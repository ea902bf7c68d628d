"""A centre over some months: a scale with three certificates, a register that turns and is exchanged, a thermometer."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from gateway.app import rule_packs
from gateway.history import Bucket, ChannelSettings, Query
from gateway.history.ledger import LedgerHistory
from gateway.history.rolling import catch_up
from gateway.ledger.store import Ledger
from gateway.metrology.instants import parse_rfc3339
from gateway.metrology.readings import Reading
from gateway.pipeline.compiling import compile_plan
from gateway.pipeline.plan import Plan
from gateway.registry.build import build
from gateway.registry.canonical import difference, dump
from gateway.registry.files import read_registry
from gateway.registry.specs import Specs
from gateway.runtime.ingest import Batch, Ingest
from gateway.runtime.retention import Keeper, Policy
from gateway.settings import Settings

HOUR = 3600 * 10**9
DAY = 24 * HOUR
START = parse_rfc3339("2026-01-01T00:00:00Z")
LATENESS = 10 * DAY
POLICY = Policy(raw_ns=60 * DAY, rollups_ns=400 * DAY, forwarded=False)

REGISTRY = """\
devices:
  - id: scale
    kind: weighing
    site: s
    rule_pack: none
    channels:
      mass: {{unit: kg, sigma: 1.6 g, range: [0 kg, 15 kg], timeout: {timeout}, subgroup: {subgroup}}}
  - id: learner
    kind: weighing
    site: s
    rule_pack: none
    channels:
      mass: {{unit: kg, center: learned, learn: 5}}
  - id: meter
    kind: electricity
    site: s
    rule_pack: none
    channels:
      active_energy: {{unit: kWh, type: register, digits: 4, stuck: 5}}
      voltage: {{unit: V, range: [200 V, 250 V]}}
  - id: pack
    kind: other
    site: s
    rule_pack: none
    channels:
      inside: {{unit: C, range: [0 C, 40 C]}}
      outside: {{unit: C, range: [0 C, 40 C]}}
certificates:
{certificates}
events:
  - {{device: learner, time: 2026-02-20T05:00:00Z, kind: adjustment}}
  - {{device: meter, time: 2026-02-10T09:30:00Z, kind: meter_exchange}}
"""
CERTIFICATE = """\
  - {{id: "{name}", device: scale, channel: mass, kind: calibration, phase: as_left, performed_at: {day},
     points: [{{x: 5 kg, error: {error} g, U: 0.2 g, k: 2}}]}}
"""
CERTIFIED = (("c1", "2026-01-02", "1"), ("c2", "2026-02-15", "2"), ("c3", "2026-04-01", "0"))
SETTINGS = {
    ("scale", "mass"): ChannelSettings(unit="kg"),
    ("learner", "mass"): ChannelSettings(unit="kg"),
    ("meter", "active_energy"): ChannelSettings(
        unit="kWh", register=True, turn=1e4, exchanges=(parse_rfc3339("2026-02-10T09:30:00Z"),)
    ),
    ("meter", "voltage"): ChannelSettings(unit="V"),
    ("pack", "inside"): ChannelSettings(unit="C"),
    ("pack", "outside"): ChannelSettings(unit="C"),
}


def specs_of(text: str) -> Specs:
    """Return what a registry file says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "devices.yaml"
        path.write_text(text, "utf-8")
        return read_registry([path])


def documents() -> list[tuple[str, str, bytes]]:
    """Return the devices and events of this centre as a ledger's registry holds them."""
    specs = specs_of(REGISTRY.format(subgroup="1", timeout="3d", certificates=" []"))
    return [(c.kind, c.id, dump(c.spec)) for c in difference(Specs(), specs)]


@lru_cache(maxsize=8)
def plan(subgroup: str = "1", timeout: str = "3d", certified: tuple[tuple[str, str, str], ...] = CERTIFIED) -> Plan:
    """Return the plan of this centre."""
    settings = Settings(timezone="UTC")
    packs = rule_packs(None, settings)
    certificates = "".join(CERTIFICATE.format(name=n, day=d, error=e) for n, d, e in certified)
    specs = specs_of(REGISTRY.format(subgroup=subgroup, timeout=timeout, certificates=certificates))
    registry = build(specs, zone=settings.zone, packs=packs)
    return compile_plan(registry, packs, {}, lambda _chart, limit, _parameters, _m: limit, "s")


def life(seed: int, days: int = 150) -> list[Reading]:
    """Return what the instruments say in so many days, in time order, with faults now and then."""
    chance = random.Random(seed)
    found: list[Reading] = []
    counted, seq, packed = 9000.0, 0, 0
    for day in range(days):
        for hour in sorted(chance.sample(range(24), 4)):
            at = START + day * DAY + hour * HOUR + chance.randrange(HOUR)
            shift = 0.008 if day in range(50, 56) else 0.0
            found.append(_check("scale", at, 5.0 + shift + chance.gauss(0.001, 0.0016), chance))
            if chance.random() < 0.5:
                found.append(_check("learner", at + 1, 5.0 + chance.gauss(0.002, 0.002), chance))
            counted = 7.0 if day == 40 and counted > 100 else (counted + chance.choice((0.0, 1.5, 4.25))) % 1e4
            seq += 1 + (chance.random() < 0.02)
            glitch = chance.random() < 0.02
            found.append(_said("active_energy", at + 2, 5000.0 if glitch else round(counted, 2), "kWh", seq))
            low = day in range(20, 23) or chance.random() < 0.01
            found.append(_said("voltage", at + 3, round(chance.gauss(230, 2) - 40 * low, 1), "V", None))
            for place, channel in enumerate(chance.sample(("inside", "outside"), chance.choice((1, 2)))):
                packed += 1 + (chance.random() < 0.02)
                hot = channel == "inside" and day in range(88, 92)
                found.append(_packed(channel, at + 4 + place, 20.0 + 30.0 * hot + packed % 7, packed))
    return sorted(found, key=lambda r: r.time)


def _packed(channel: str, at: int, value: float, seq: int) -> Reading:
    return Reading(
        device="pack", channel=channel, time=at, value=value, unit="C", seq=seq, boot="p1", seq_per_device=True
    )  # fmt: skip


def _check(device: str, at: int, value: float, chance: random.Random) -> Reading:
    reference = None if chance.random() < 0.1 else 5.0
    return Reading(
        device=device, channel="mass", time=at, value=round(value, 4), unit="kg", reference=reference,
        reference_u=None if reference is None else 0.0001,
    )  # fmt: skip


def _said(channel: str, at: int, value: float, unit: str, seq: int | None) -> Reading:
    boot = None if seq is None else "b1"
    return Reading(device="meter", channel=channel, time=at, value=value, unit=unit, seq=seq, boot=boot)


class Site:
    """A ledger that readings are put into, and a keeper that may delete."""

    def __init__(self, folder: Path, chosen: Plan | None = None, policy: Policy = POLICY) -> None:
        self.ledger = Ledger.open(folder)
        self.ingest = Ingest(self.ledger, chosen or plan(), LATENESS)
        self.keeper = Keeper(policy=policy)

    def put(self, readings: Sequence[Reading]) -> dict[str, int]:
        """Take readings as one batch, live; return its counters."""
        at = max(r.time for r in readings) + 1
        done = self.ingest.process(Batch(readings=readings, received_at=[at], topic=["t"], payload=[b"{}"], at=at))
        assert done.received == done.stored + done.duplicate + done.quarantined
        return {"stored": done.stored, "duplicate": done.duplicate, "quarantined": done.quarantined}

    def retain(self, at: int) -> None:
        """Make the roll-ups, then delete all that is due."""
        catch_up(self.ledger, at)
        self.keeper.begin(self.ingest, at)
        while self.keeper.step(self.ingest, at):
            pass

    def horizon(self, device: str, channel: str) -> int:
        """Return the horizon of a channel, ns; 0: none."""
        rows = self.rows(
            "SELECT h.time FROM horizon h JOIN channel c ON c.id = h.channel WHERE c.device = ? AND c.channel = ?",
            device, channel,
        )  # fmt: skip
        return int(rows[0][0]) if rows else 0

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what a query of the ledger finds."""
        return self.ledger.connection.execute(sql, values).fetchall()

    def history(self) -> LedgerHistory:
        """Return the history of this ledger."""
        return LedgerHistory(self.ledger, SETTINGS)

    def buckets(self, device: str, channel: str, resolution: str, **asked: Any) -> list[Bucket]:
        """Return the buckets of one channel."""
        return list(self.history().buckets(Query(device=device, channel=channel, **asked), resolution))

    def verdicts(self) -> list[tuple[Any, ...]]:
        """Return every verdict there is, all versions, of readings that are not hidden, without ids of rows."""
        return self.rows(
            """SELECT c.device, c.channel, r.time, r.value, 0, k.document, r.verdict, NULL FROM reading r
               JOIN channel c ON c.id = r.channel JOIN context k ON k.id = r.context
               LEFT JOIN horizon h ON h.channel = r.channel WHERE r.time >= COALESCE(h.time, 0)
               UNION ALL SELECT c.device, c.channel, r.time, r.value, a.version, k.document, a.verdict, a.supersedes
               FROM amendment a JOIN reading r ON r.id = a.reading JOIN channel c ON c.id = r.channel
               JOIN context k ON k.id = a.context
               LEFT JOIN horizon h ON h.channel = r.channel WHERE r.time >= COALESCE(h.time, 0)
               ORDER BY 1, 2, 3, 4, 5"""
        )

    def close(self) -> None:
        self.ledger.close()
