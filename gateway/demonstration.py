"""The demo: a simulated centre with known faults, through a real broker and the whole pipeline, in event time.

Event time runs with what has been published: the clock the gateway sees is the time of the newest reading sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from collectors.mqtt import MqttSource
from collectors.mqtt_settings import MqttSettings, Protocol
from collectors.profiles import read_profiles
from collectors.simulator.broker import demo_broker
from collectors.simulator.centre import Centre
from collectors.simulator.faults import Fault
from collectors.topics import Router
from gateway.alarms.conditions import AlarmKind, Transition
from gateway.alarms.life import Happening
from gateway.app import apply_specs, plan_from, rule_packs
from gateway.errors import Refused
from gateway.ledger import quarantine
from gateway.ledger.store import Ledger
from gateway.metrology.instants import format_instant, parse_rfc3339
from gateway.registry.specs import Specs
from gateway.registry.texts import parse_registry
from gateway.runtime.ingest import Done, Ingest
from gateway.runtime.publisher import Publisher, PublisherSettings
from gateway.runtime.service import Service
from gateway.settings import DriftBudget, Settings

__all__ = ["Demo", "DemoView", "Finding", "Outcome", "frames", "judge_outcome"]

FRAMES_PER_S = 10.0
SETTLE_S = 30.0
READY_S = 15.0
BUDGET = "0.1/year"
"""One false alarm of the whole centre in ten years: 120 days of it should show none."""

FOUND_BY: dict[str, frozenset[AlarmKind]] = {
    "span_ramp": frozenset({AlarmKind.DRIFT, AlarmKind.MPE}),
    "zero_shift": frozenset({AlarmKind.DRIFT, AlarmKind.MPE}),
    "step": frozenset({AlarmKind.DRIFT, AlarmKind.MPE}),
    "noise": frozenset({AlarmKind.NOISY}),
    "stuck": frozenset({AlarmKind.STUCK}),
    "silence": frozenset({AlarmKind.SILENT}),
    "gap": frozenset({AlarmKind.GAP}),
    "over_mpe": frozenset({AlarmKind.MPE}),
}
"""Which alarm answers which fault; a contradicting unit is found by quarantine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One injected fault and how it was found; event time in ns."""

    fault: Fault
    found_at: int | None
    by: str | None

    def record(self) -> dict[str, object]:
        """Return the entry of `demo --json` (CONTRACTS §5)."""
        found = self.found_at
        return {
            "device": self.fault.device,
            "fault": self.fault.kind,
            "injected_at": format_instant(self.fault.injected_at),
            "found_at": None if found is None else format_instant(found),
            "by": self.by,
            "delay_s": None if found is None else (found - self.fault.injected_at) / 1e9,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the demo found out about the gateway."""

    findings: tuple[Finding, ...]
    false_alarms: int
    false_alarm_texts: tuple[str, ...]
    readings: dict[str, int]
    alarms: dict[str, int]

    @property
    def passed(self) -> bool:
        """Every fault found and nothing else."""
        return not self.false_alarms and all(f.found_at is not None for f in self.findings)


class DemoView:
    """Who is shown the demo while it runs; this one shows nothing."""

    def progress(self, at: int, sent: int, stored: int) -> None:
        """Say how far event time has come."""

    def batch(self, ingest: Ingest, done: Done) -> None:
        """Say what a batch caused."""


def frames(readings: Iterable[tuple[int, str, bytes]], length_ns: int) -> Iterator[tuple[int, dict[str, list[bytes]]]]:
    """Cut a stream in time order into frames of event time: (time of the last reading, payloads by topic)."""
    start: int | None = None
    last = 0
    frame: dict[str, list[bytes]] = {}
    for time, topic, payload in readings:
        if start is None:
            start = time
        if time >= start + length_ns:
            if frame:
                yield last, frame
            frame = {}
            start += (time - start) // length_ns * length_ns
        frame.setdefault(topic, []).append(payload)
        last = time
    if frame:
        yield last, frame


@dataclass(kw_only=True)
class Demo:
    """One run of the demo in a scratch folder."""

    seed: int
    seconds: float
    folder: Path
    port: int = 0
    faults: bool = True
    view: DemoView = field(default_factory=DemoView)
    happenings: list[Happening] = field(default_factory=list)
    now: int = 0
    _sent: deque[tuple[int, int]] = field(default_factory=deque)
    _until: int = 0

    async def run(self) -> Outcome:
        """Run the whole centre and return what was found."""
        centre = Centre.build(self.seed, faults=self.faults)
        settings = Settings(site=centre.site, drift=DriftBudget(budget=BUDGET))
        settings = settings.model_copy(update={"data_dir": self.folder})
        packs = rule_packs(None, settings)
        self.now = centre.start
        with Ledger.open(self.folder) as ledger:
            specs = parse_registry(centre.registry_yaml(), "demo")
            apply_specs(ledger, settings, packs, specs, centre.start, known=Specs())
        router = Router([], read_profiles(()), site=centre.site)
        async with demo_broker(self.port) as port, Publisher(self._publisher(port)) as publisher:
            source = MqttSource(
                MqttSettings(
                    host="127.0.0.1", port=port, client_id="metergate-demo", username="gateway", protocol=Protocol.V4
                ),
                router.filters,
                self._clock,
            )
            service = Service(
                ledger=lambda: Ledger.open(self.folder),
                source=source,
                decode=router.decode_batch,
                replan=lambda ledger: plan_from(ledger, settings, packs),
                announce=self._announce,
                clock=self._clock,
                lateness_ns=settings.lateness,
                horizon=lambda: self._received_until(service),
            )
            stop, started = asyncio.Event(), asyncio.Event()

            async def ready() -> None:
                await started.wait()
                await source.wait_ready()

            running = asyncio.create_task(service.run(stop, started.set), name="gateway")
            try:
                await _first(ready, running)
                sent = await self._publish(centre, publisher, service)
                await self._settle(service, running, sent)
                self.now = self._until = centre.end
                await asyncio.get_running_loop().run_in_executor(None, service.let_time_pass)
            finally:
                stop.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
        with Ledger.open(self.folder) as ledger:
            return self._outcome(centre, ledger, service)

    def _clock(self) -> int:
        return self.now

    def _received_until(self, service: Service) -> int:
        """Return the time of the last frame of which everything has been received."""
        while self._sent and self._sent[0][0] <= service.totals.received:
            self._until = self._sent.popleft()[1]
        return self._until

    @staticmethod
    def _publisher(port: int) -> PublisherSettings:
        return PublisherSettings(host="127.0.0.1", port=port, client_id="metergate-demo-centre", version5=False)

    def _announce(self, ingest: Ingest, done: Done) -> None:
        self.happenings += done.happenings
        self.view.batch(ingest, done)

    async def _publish(self, centre: Centre, publisher: Publisher, service: Service) -> int:
        """Send every frame at its moment; return how many readings were sent."""
        loop = asyncio.get_running_loop()
        count = max(10.0, self.seconds * 0.8 * FRAMES_PER_S)
        begun, sent = loop.time(), 0
        span = centre.end - centre.start
        for time, frame in frames(centre.readings(), int(span / count)):
            due = begun + (time - centre.start) / span * self.seconds * 0.8
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.now = max(self.now, time)
            for topic, payloads in frame.items():
                sent += len(payloads)
                payload = payloads[0] if len(payloads) == 1 else b"[" + b",".join(payloads) + b"]"
                await publisher.send(topic, payload)
            self._sent.append((sent, time))
            self.view.progress(time, sent, service.totals.stored)
        return sent

    async def _settle(self, service: Service, running: asyncio.Task[None], sent: int) -> None:
        """Wait until everything sent has become durable."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SETTLE_S
        while service.totals.received < sent and loop.time() < until and not running.done():
            await asyncio.sleep(0.05)
            self.view.progress(self.now, sent, service.totals.stored)

    def _outcome(self, centre: Centre, ledger: Ledger, service: Service) -> Outcome:
        entries = quarantine.entries(ledger.connection, state=None)
        refused = [(e.device, e.reason, _time_of(e)) for e in entries]
        findings, false = judge_outcome(centre.faults, self.happenings, refused)
        kinds: dict[str, int] = {}
        for h in self.happenings:
            if h.transition is not Transition.RAISED:
                continue
            kinds[h.alarm.kind.value] = kinds.get(h.alarm.kind.value, 0) + 1
        totals = service.totals
        return Outcome(
            findings=findings,
            false_alarms=len(false),
            false_alarm_texts=tuple(f"{format_instant(h.time)} {h.alarm.text}" for h in false),
            readings={
                "received": totals.received,
                "stored": totals.stored,
                "duplicate": totals.duplicate,
                "quarantined": totals.quarantined,
                "late": totals.late,
            },
            alarms=dict(sorted(kinds.items())),
        )


async def _first(ready: Callable[[], Coroutine[None, None, None]], running: asyncio.Task[None]) -> None:
    """Wait until the source is connected; if the gateway ends before, raise what ended it."""
    waiting = asyncio.create_task(ready())
    await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED, timeout=READY_S)
    if not waiting.done() and not running.done():
        waiting.cancel()
        raise Refused("the demo's broker does not answer", remedy="try again, or choose another --port")
    if running.done():
        waiting.cancel()
        await running


def _explained(h: Happening, faults: Sequence[Fault]) -> bool:
    alarm = h.alarm
    return any(
        f.device == alarm.device and f.channel == alarm.channel and f.injected_at <= alarm.raised_at for f in faults
    )


def judge_outcome(
    faults: Sequence[Fault],
    happenings: Sequence[Happening],
    refused: Sequence[tuple[str | None, str, int | str | None]],
) -> tuple[tuple[Finding, ...], list[Happening]]:
    """Return how each fault was found, and the alarms that no fault explains.

    `refused`: (device, reason, event time as ns or RFC 3339) of what is in quarantine.
    """
    raised = [h for h in happenings if h.transition is Transition.RAISED]
    times = [(d, reason, parse_rfc3339(t) if isinstance(t, str) else t) for d, reason, t in refused]
    findings = tuple(_found(f, raised, times) for f in faults)
    return findings, [h for h in raised if not _explained(h, faults)]


def _found(fault: Fault, raised: Sequence[Happening], refused: Sequence[tuple[str | None, str, int | None]]) -> Finding:
    if fault.kind == "unit_error":
        times = [t for d, reason, t in refused if d == fault.device and reason in _UNIT_REASONS and t is not None]
        times = [t for t in times if t >= fault.injected_at]
        return Finding(fault=fault, found_at=min(times, default=None), by="quarantine" if times else None)
    answers = [
        h
        for h in raised
        if h.alarm.device == fault.device
        and h.alarm.channel == fault.channel
        and h.alarm.kind in FOUND_BY[fault.kind]
        and h.alarm.raised_at >= fault.injected_at
    ]
    if not answers:
        return Finding(fault=fault, found_at=None, by=None)
    first = min(answers, key=lambda h: h.alarm.raised_at)
    charts = first.alarm.evidence.get("detectors")
    by = f"{first.alarm.kind} ({', '.join(charts)})" if isinstance(charts, list) else first.alarm.kind.value
    return Finding(fault=fault, found_at=first.alarm.raised_at, by=by)


_UNIT_REASONS = frozenset({"unknown_unit", "wrong_dimension"})


def _time_of(entry: quarantine.Quarantined) -> int | None:
    """Return the event time of a refused reading, None if it says none."""
    try:
        ts = orjson.loads(entry.payload)["ts"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return parse_rfc3339(ts) if isinstance(ts, str) else round(ts * 1_000_000)
