"""A ledger with a scale that has legal limits, a register and a thermometer; and what a history must say, made plainly.

`expected` is the contract in the plainest words: no pieces, no roll-ups, no arrays.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from gateway.app import rule_packs
from gateway.history import RESOLUTIONS_NS, Bucket, ChannelSettings, Query, RawRow
from gateway.history.ledger import LedgerHistory
from gateway.ledger.store import Ledger
from gateway.metrology.instants import format_instant, parse_rfc3339
from gateway.metrology.readings import Reading
from gateway.metrology.registers import increments
from gateway.pipeline.compiling import compile_plan
from gateway.pipeline.plan import Plan
from gateway.registry.build import build
from gateway.registry.files import read_registry
from gateway.runtime.ingest import Batch, Ingest
from gateway.settings import Settings

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE
DAY = 24 * HOUR
START = parse_rfc3339("2026-03-28T00:00:00Z")
ZONES = ("UTC", "Asia/Ho_Chi_Minh", "Asia/Kolkata", "Europe/Berlin", "America/Santiago")
GRAVEST = ("unstable", "out_of_range", "late", "clock", "good")

REGISTRY = """\
devices:
  - id: scale
    kind: weighing
    site: s
    rule_pack: oiml-r76
    parameters: {{class: {grade}, max: 15 kg, e: 5 g, d: 1 g}}
    channels:
      mass: {{unit: kg, sigma: 1.6 g, range: [0 kg, 15 kg], every: 10m}}
  - id: meter
    kind: electricity
    site: s
    rule_pack: none
    channels:
      active_energy: {{unit: kWh, type: register}}
      voltage: {{unit: V}}
  - id: board
    kind: other
    site: s
    rule_pack: none
    channels:
      left: {{unit: V}}
      right: {{unit: V}}
"""
SETTINGS = {
    ("scale", "mass"): ChannelSettings(unit="kg", every_ns=10 * MINUTE),
    ("meter", "active_energy"): ChannelSettings(unit="kWh", register=True, turn=1e6, exchanges=(START + 30 * HOUR,)),
    ("meter", "voltage"): ChannelSettings(unit="V"),
    ("board", "left"): ChannelSettings(unit="V"),
    ("board", "right"): ChannelSettings(unit="V"),
}


UNLIMITED = "no limits"


@lru_cache(maxsize=4)
def plan(grade: str = "III") -> Plan:
    """Return the plan of this centre; the class of the scale decides its limits, `UNLIMITED` takes them away."""
    settings = Settings(timezone="UTC")
    packs = rule_packs(None, settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "devices.yaml"
        text = REGISTRY.format(grade=grade)
        if grade == UNLIMITED:
            legal = text[text.index("    rule_pack: oiml-r76") : text.index("    channels:")]
            text = text.replace(legal, "    rule_pack: none\n")
        path.write_text(text, encoding="utf-8")
        registry = build(read_registry([path]), zone=settings.zone, packs=packs)
    return compile_plan(registry, packs, {}, lambda _chart, limit, _parameters, _m: limit, "s")


class Centre:
    """A ledger of its own with readings put in as a gateway puts them."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger.open(folder)
        self.ingest = Ingest(self.ledger, plan(), 30 * DAY)
        self.settings = SETTINGS

    def put(self, readings: Sequence[Reading], at: int = START + 400 * DAY) -> None:
        """Take readings as one batch, live or late."""
        self.ingest.process(Batch(readings=readings, received_at=[at], topic=["t"], payload=[b"{}"], at=at))

    def regrade(self, grade: str) -> None:
        """Judge everything by another class: superseding verdicts."""
        self.ingest.replan(plan(grade), START + 401 * DAY)

    def history(self, *, rollups: bool = True) -> LedgerHistory:
        """Return the history store over this ledger."""
        return LedgerHistory(self.ledger, self.settings, rollups=rollups)

    def buckets(self, query: Query, resolution: str, *, rollups: bool = True) -> list[Bucket]:
        """Return all buckets."""
        return list(self.history(rollups=rollups).buckets(query, resolution))

    def close(self) -> None:
        self.ledger.close()


def expected(
    rows: Sequence[RawRow], margins: dict[tuple[Any, ...], float], query: Query, resolution: str, every: int | None
) -> list[Bucket]:
    """Return the buckets of one channel by the contract; `rows` are all it ever said, in order."""
    register = rows[0]["channel"] == "active_energy" if rows else False
    steps = register_steps(rows) if register else []
    found: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        t = parse_rfc3339(str(row["time"]))
        if (query.start is None or t >= query.start) and (query.end is None or t < query.end):
            found.setdefault(bucket_of(t, resolution, query.zone)[0], []).append(i)
    buckets = []
    for start, inside in sorted(found.items()):
        values = [float(str(rows[i]["value"])) for i in inside]
        checks = [i for i in inside if rows[i]["reference"] is not None]
        judged = [margins[key] for i in checks if (key := key_of(rows[i])) in margins]
        end = bucket_of(start, resolution, query.zone)[1]
        asked = min(end, query.end or end) - max(start, query.start or start)
        buckets.append(
            {
                "time": format_instant(start), "device": query.device, "channel": rows[0]["channel"],
                "unit": rows[0]["unit"], "n": len(inside), "checks": len(checks), "min": min(values),
                "max": max(values), "mean": None if register else math.fsum(values) / len(values), "first": values[0],
                "last": values[-1], "delta": float(sum(Decimal(repr(steps[i])) for i in inside)) if register else None,
                "worst_margin_percent": min(judged) if judged else None,
                "completeness": None if every is None else min(1.0, len(inside) / max(1, round(asked / every))),
                "gaps": sum(i > 0 and is_gap(rows[i - 1], rows[i]) for i in inside),
                "quality": next(q for q in GRAVEST if any(rows[i]["quality"] == q for i in inside)),
            }
        )  # fmt: skip
    return buckets


def register_steps(rows: Sequence[RawRow]) -> list[float]:
    """Return what the meter advanced at each reading, from all it ever said."""
    settings = SETTINGS["meter", "active_energy"]
    times = [parse_rfc3339(str(r["time"])) for r in rows]
    meter = np.array([sum(e <= t for e in settings.exchanges) for t in times], np.int64)
    found = increments(np.array([r["value"] for r in rows], np.float64), turn=settings.turn, meter=meter)
    return [float(v) for v in found.increment]


def is_gap(before: RawRow, row: RawRow) -> bool:
    """Return whether sequence numbers are missing between two readings."""
    a, b = before["seq"], row["seq"]
    return isinstance(a, int) and isinstance(b, int) and before["boot"] == row["boot"] and b > a + 1


def key_of(row: RawRow) -> tuple[Any, ...]:
    return row["time"], row["boot"], row["seq"], row["value"], row["reference"]


def bucket_of(t: int, resolution: str, zone: ZoneInfo) -> tuple[int, int]:
    """Return the bucket [from, to) of a time."""
    if resolution != "1d":
        width = RESOLUTIONS_NS[resolution]
        return t - t % width, t - t % width + width
    day = datetime.fromtimestamp(t // 10**9, UTC).astimezone(zone).date()
    edges = [datetime(d.year, d.month, d.day, tzinfo=zone).timestamp() for d in (day, day + timedelta(days=1))]
    return int(edges[0]) * 10**9, int(edges[1]) * 10**9
