"""The numbers of a gateway in Prometheus' text format.

Few series, whatever the size of the fleet: none is per device. The ledger is read over a connection of its own, at most
once in `FRESH_S`, so that neither a scrape nor many can slow what is being stored.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

import gateway
from gateway.alarms.conditions import AlarmKind, Severity
from gateway.api.watched import Watched
from gateway.history.forward_state import ForwardingState, forwarding_state
from gateway.ledger.store import Ledger
from gateway.metrology.readings import Why

__all__ = ["CONTENT_TYPE", "Exposition", "Stored", "Survey"]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
FRESH_S = 1.0
_NS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the ledger says. `alarms`: open ones by (kind, severity); `newest`: when the last reading came, ns."""

    counters: dict[str, int]
    quarantined: dict[str, int]
    waiting: int
    alarms: dict[tuple[str, str], int]
    newest: int | None
    forwarding: ForwardingState
    ledger_bytes: int
    log_bytes: int
    free_bytes: int


class Survey:
    """Reads what the ledger says. Used by one thread at a time; opens the ledger when it is first asked."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "ledger.sqlite"
        self._connection: sqlite3.Connection | None = None
        self._quarantined = dict.fromkeys((w.value for w in Why), 0)
        self._counted_to = 0

    def __call__(self) -> Stored:
        """Return what the ledger says now. Raises sqlite3.Error or OSError when it cannot be read."""
        connection = self._connection
        if connection is None:
            uri = f"{self._path.resolve().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=2.0)
            self._connection = connection
        connection.execute("BEGIN")
        try:
            self._count_quarantined(connection)
            return self._read(connection)
        finally:
            connection.execute("COMMIT")

    def close(self) -> None:
        """Close the ledger."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _count_quarantined(self, connection: sqlite3.Connection) -> None:
        """Count the entries that are new since the last time: an inbox may be long."""
        rows = connection.execute(
            "SELECT reason, COUNT(*), MAX(id) FROM quarantine WHERE id > ? GROUP BY reason", (self._counted_to,)
        ).fetchall()
        for reason, count, last in rows:
            self._quarantined[reason] = self._quarantined.get(reason, 0) + count
            self._counted_to = max(self._counted_to, last)

    def _read(self, connection: sqlite3.Connection) -> Stored:
        alarms = {(k.value, s.text): 0 for k in AlarmKind for s in Severity if s is not Severity.NONE}
        for kind, severity, count in connection.execute(
            "SELECT kind, severity, COUNT(*) FROM alarm WHERE cleared_at IS NULL GROUP BY kind, severity"
        ):
            alarms[kind, severity] = count
        last = connection.execute("SELECT received_at FROM reading ORDER BY id DESC LIMIT 1").fetchone()
        (waiting,) = connection.execute("SELECT COUNT(*) FROM quarantine WHERE state = 'open'").fetchone()
        return Stored(
            counters=dict(connection.execute("SELECT name, n FROM counter")),
            quarantined=dict(self._quarantined),
            waiting=waiting,
            alarms=alarms,
            newest=None if last is None else int(last[0]),
            forwarding=forwarding_state(Ledger(self._path, connection)),
            ledger_bytes=_size(self._path),
            log_bytes=_size(self._path.with_name(self._path.name + "-wal")),
            free_bytes=shutil.disk_usage(self._path.parent).free,
        )


class Exposition(Collector):
    """All numbers as text. Used by one thread at a time; `clock` gives ns."""

    def __init__(self, watched: Watched, survey: Callable[[], Stored], clock: Callable[[], int]) -> None:
        self._watched = watched
        self._survey = survey
        self._clock = clock
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self._text = b""
        self._made_at = -FRESH_S

    def text(self) -> bytes:
        """Return the exposition, at most `FRESH_S` old."""
        now = time.monotonic()
        if now - self._made_at >= FRESH_S:
            self._text = generate_latest(self._registry)
            self._made_at = now
        return self._text

    def collect(self) -> Iterator[Metric]:
        """Yield the families; without those of the ledger when it cannot be read, which one of them says."""
        yield from self._of_work()
        try:
            stored = self._survey()
        except (sqlite3.Error, OSError):
            yield GaugeMetricFamily("metergate_ledger_readable", "Whether the ledger could be read.", value=0)
            return
        yield GaugeMetricFamily("metergate_ledger_readable", "Whether the ledger could be read.", value=1)
        yield from self._of_readings(stored)
        yield from _of_alarms(stored)
        yield from _of_ledger(stored)
        if stored.forwarding.target is not None:
            yield from _of_forwarding(stored.forwarding, self._clock())

    def _of_work(self) -> Iterator[Metric]:
        work = self._watched()
        yield InfoMetricFamily("metergate_build", "The program.", value={"version": gateway.__version__})
        yield _gauge("ingesting", "Whether readings are taken.", work.ingesting)
        yield _gauge("broker_connected", "Whether all subscriptions at the broker stand.", work.connected)
        yield _gauge("ledger_writable", "Whether the last batch could be stored.", work.writable)
        yield _gauge("queue_messages", "Messages received and not yet stored.", work.queued)
        yield _gauge("queue_paused", "Whether reading from the broker waits for the ledger.", work.paused)
        yield _gauge("devices", "Devices of the registry.", work.devices)
        yield _gauge("channels", "Channels of the registry.", work.channels)
        yield _counter("messages", "Messages stored and acknowledged since the start.", work.messages)
        yield _counter("batches", "Batches committed since the start.", work.batches)
        yield _counter("checks", "Readings with a reference judged since the start.", work.checks)

    def _of_readings(self, stored: Stored) -> Iterator[Metric]:
        count = stored.counters
        yield _counter("readings_received", "Readings received.", count.get("received", 0))
        outcomes = CounterMetricFamily(
            "metergate_readings", "Readings by what became of them; each in exactly one.", labels=["outcome"]
        )
        for outcome in ("stored", "duplicate", "quarantined"):
            outcomes.add_metric([outcome], count.get(outcome, 0))
        yield outcomes
        yield _counter("readings_late", "Stored readings older than the newest of their channel.", count.get("late", 0))
        reasons = CounterMetricFamily("metergate_quarantined", "Quarantine entries by reason.", labels=["reason"])
        for reason, n in stored.quarantined.items():
            reasons.add_metric([reason], n)
        yield reasons
        yield _gauge("quarantine_open", "Quarantine entries nobody has decided.", stored.waiting)
        if stored.newest is not None:
            yield _gauge("last_reading_timestamp_seconds", "When the last reading came in.", stored.newest / _NS)
            age = max(0.0, (self._clock() - stored.newest) / _NS)
            yield _gauge("last_reading_age_seconds", "How long ago the last reading came in.", age)


def _of_alarms(stored: Stored) -> Iterator[Metric]:
    open_now = GaugeMetricFamily("metergate_alarms_open", "Alarms that are not cleared.", labels=["kind", "severity"])
    for (kind, severity), n in stored.alarms.items():
        open_now.add_metric([kind, severity], n)
    yield open_now


def _of_ledger(stored: Stored) -> Iterator[Metric]:
    yield _gauge("ledger_bytes", "Size of the ledger.", stored.ledger_bytes)
    yield _gauge("ledger_log_bytes", "Size of the ledger's write-ahead log.", stored.log_bytes)
    yield _gauge("ledger_disk_free_bytes", "Free space of the disk the ledger is on.", stored.free_bytes)


def _of_forwarding(state: ForwardingState, at: int) -> Iterator[Metric]:
    yield _gauge("forward_lag_readings", "Readings that are not in InfluxDB yet.", state.lag)
    yield _gauge("forward_backlog_readings", "Those of them that wait behind the new ones.", state.backlog)
    oldest = 0.0 if state.oldest_unsent is None else max(0.0, (at - state.oldest_unsent) / _NS)
    yield _gauge("forward_lag_seconds", "How long ago the oldest reading that is not in InfluxDB came in.", oldest)
    yield _gauge("forward_failing", "Whether InfluxDB gives no answer of use.", state.failing_since is not None)
    yield _gauge("forward_held", "Whether InfluxDB refuses what only a person can mend.", state.held_since is not None)
    yield _gauge("forward_refused_points", "Points that InfluxDB refused for good.", state.poison)
    if state.last_sent_at is not None:
        yield _gauge("forward_last_sent_timestamp_seconds", "When it last took something.", state.last_sent_at / _NS)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"metergate_{name}", words, value=value)


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(f"metergate_{name}", words, value=value)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
