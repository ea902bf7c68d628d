"""The only place that wires: settings, packs, profiles, registry, ledger and sources put together for the commands."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from gateway.errors import Mistake, Refused, WrongUse
from gateway.ledger.store import FIRST_STOP, Ledger, hold
from gateway.settings import Settings, config_folder, load
from gateway.shipped import shipped_texts

if TYPE_CHECKING:
    from collectors.topics import Router
    from gateway.history import ChannelSettings, History
    from gateway.ledger.quarantine import Quarantined
    from gateway.metrology.readings import Reading, Refusal
    from gateway.metrology.rulepacks import RulePacks
    from gateway.pipeline.plan import Plan
    from gateway.registry.canonical import Change
    from gateway.registry.dcc_binding import DccBinding
    from gateway.registry.model import Registry
    from gateway.registry.specs import Spec, Specs
    from gateway.runtime.ingest import Ingest

__all__ = [
    "Applied", "apply", "apply_specs", "decide_entries", "import_files", "look_into_ledger", "make_router",
    "need_device", "open_history", "open_ledger", "plan_from", "read_recording", "registry_of", "remembered_dccs",
    "replay_plan", "rule_packs", "settings_of",
]  # fmt: skip


def settings_of(config: Path | None) -> Settings:
    """Return the settings of a file (default config/gateway.yaml) and the environment."""
    return load(config, os.environ)


def rule_packs(config: Path | None, settings: Settings) -> RulePacks:
    """Return the shipped rule packs and the site's own."""
    from gateway.registry.files import read_rule_packs

    return read_rule_packs(config_folder(config) / "rulepacks", settings.zone)


def make_router(config: Path | None, settings: Settings) -> Router:
    """Return the way from topics to decoders."""
    from collectors.profiles import read_profiles
    from collectors.topics import Router, Template, TopicMapping

    profiles = read_profiles(shipped_texts("profiles"), [config_folder(config) / "profiles"])
    mappings = [
        TopicMapping(
            template=Template.parse(t.filter),
            profile=t.profile,
            timezone=None if t.timezone is None else ZoneInfo(t.timezone),
            channels=None if t.channels is None else frozenset(t.channels),
        )
        for t in settings.topics
    ]
    return Router(mappings, profiles, site=settings.site)


def open_ledger(config: Path | None, *, create: bool = False) -> Ledger:
    """Open the site's ledger. Raises WrongUse if there is none and it may not be made."""
    return Ledger.open(settings_of(config).data_dir, create=create)


def look_into_ledger(config: Path | None) -> Ledger:
    """Open the site's ledger to see what is in it; an empty one where the data folder has none yet."""
    return Ledger.look(settings_of(config).data_dir)


def need_device(ledger: Ledger, device: str | None) -> None:
    """Raise WrongUse with near names if a device is asked for that the registry does not know; None asks for any."""
    import difflib

    from gateway.ledger.registry import documents

    known = sorted(name for kind, name, _ in documents(ledger.connection) if kind == "device")
    if device is not None and device not in known:
        near = difflib.get_close_matches(device, known, n=3)
        raise WrongUse(f"no device {device}", remedy=_did_you_mean(near, "see `metergate devices list`"))


def _stored_specs(ledger: Ledger) -> Iterator[Spec]:
    """Yield what the registry in the ledger says, devices first."""
    from gateway.ledger.registry import documents
    from gateway.registry.canonical import KINDS
    from gateway.registry.canonical import load as load_spec

    kept = documents(ledger.connection)
    for wanted in KINDS:
        for kind, _, text in kept:
            if kind == wanted:
                yield load_spec(kind, text)


def registry_of(ledger: Ledger, settings: Settings, packs: RulePacks) -> Registry:
    """Return the registry as the ledger holds it."""
    from gateway.registry.build import restore

    return restore(_stored_specs(ledger), zone=settings.zone, packs=packs)


def plan_from(ledger: Ledger, settings: Settings, packs: RulePacks) -> Plan:
    """Return the plan of the ledger's registry and designed limits."""
    from gateway.design import widen
    from gateway.ledger.registry import designed
    from gateway.pipeline.compiling import compile_plan

    registry = registry_of(ledger, settings, packs)
    return compile_plan(registry, packs, designed(ledger.connection), widen, settings.site)


def replay_plan(config: Path | None, paths: Sequence[Path] | None, budget: str | None) -> Plan:
    """Return the plan of registry files, with limits designed for that fleet; without files the ledger's."""
    from gateway.design import design_site, fleet, widen
    from gateway.pipeline.compiling import compile_plan
    from gateway.pipeline.plan import NEVER
    from gateway.registry.build import build
    from gateway.registry.files import read_registry, registry_files

    settings = settings_of(config)
    packs = rule_packs(config, settings)
    if not paths:
        with Ledger.open(settings.data_dir, create=False) as ledger:
            if budget is None:
                return plan_from(ledger, settings, packs)
            registry = registry_of(ledger, settings, packs)
    else:
        files = registry_files(paths)
        specs = read_registry(files, dcc=remembered_dccs(config, files))
        registry = build(specs, zone=settings.zone, packs=packs)
    limits = design_site(registry, budget or settings.drift.budget, fleet(registry))
    return compile_plan(registry, packs, {k: [(NEVER, v)] for k, v in limits.items()}, widen, settings.site)


def remembered_dccs(config: Path | None, files: Sequence[Path]) -> DccBinding | None:
    """Return what is remembered of DCC XML; None without such a file among registry files."""
    if all(path.suffix.lower() != ".xml" for path in files):
        return None
    from gateway.registry.dcc_binding import DccBinding
    from gateway.registry.dcc_mapping import read_mappings

    return DccBinding(remembered=read_mappings(config_folder(config) / "dcc"))


def read_recording(file: Path, form: str, *, keep_going: bool) -> tuple[list[Reading], list[Refusal]]:
    """Return the readings of a file, and with `keep_going` the rows that could not be read. Raises Mistakes."""
    from collectors.files import read

    recording = read(file, form, keep_going=keep_going)
    return recording.readings, recording.unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What an apply did, or would do: changes, and per (device, channel) the verdicts it supersedes.

    `gone`: from when (ns) on there are any, of those it would supersede earlier ones of that retention has deleted.
    """

    changes: tuple[Change, ...]
    superseded: Mapping[tuple[str, str], tuple[int, int]]
    amended: int = 0
    gone: Mapping[tuple[str, str], int] = field(default_factory=dict)
    refused: tuple[Mistake, ...] = ()


def apply(
    config: Path | None,
    paths: Sequence[Path],
    *,
    dry_run: bool,
    now: int,
    dcc: DccBinding | None = None,
    keep_going: bool = False,
) -> Applied:
    """Put registry files into the ledger; idempotent. A running gateway takes them over within a second.

    Raises Mistakes if any file has one, Refused if a certificate would change; then nothing is applied. With
    `keep_going` what is sound is applied, and the mistakes of the rest are `refused`.
    """
    from gateway.registry.build import build
    from gateway.registry.files import read_registry, registry_files
    from gateway.registry.sound import sound_part
    from gateway.registry.specs import Specs

    settings = settings_of(config)
    packs = rule_packs(config, settings)
    files = registry_files(paths)
    if dry_run:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    with Ledger.look(settings.data_dir) if dry_run else Ledger.open(settings.data_dir) as ledger:
        known = Specs.of(_stored_specs(ledger))
        specs, refused = read_registry(files, known=known, dcc=dcc), list[Mistake]()
        if keep_going:
            specs, refused = sound_part(
                specs, known, lambda some: build(some, zone=settings.zone, packs=packs, known=known, now=now)
            )
        applied = apply_specs(ledger, settings, packs, specs, now, known=known, dry_run=dry_run)
    return replace(applied, refused=tuple(refused))


def apply_specs(
    ledger: Ledger, settings: Settings, packs: RulePacks, new: Specs, now: int, *, known: Specs, dry_run: bool = False
) -> Applied:
    """Put specs into the registry of an open ledger that holds the `known` ones, as `apply` does with files."""
    from gateway.design import redesign, widen
    from gateway.ledger.registry import designed, designed_for, put, put_designed, put_designed_for
    from gateway.pipeline.compiling import compile_plan
    from gateway.registry.build import build
    from gateway.registry.canonical import Action, difference, dump, kind_of

    changes = difference(known, new)
    registry = build(new, zone=settings.zone, packs=packs, known=known, now=now)
    limits = designed(ledger.connection)
    added, size = redesign(registry, settings.drift.budget, limits, designed_for(ledger.connection), now)
    for device, channel, since, chosen in added:
        limits.setdefault((device, channel), []).append((since, chosen))
    plan = compile_plan(registry, packs, limits, widen, settings.site)
    superseded = _superseded(ledger, plan, _new_certificates(registry, changes))
    gone = _gone(ledger, plan)
    documents = [(kind_of(c.spec), c.id, dump(c.spec)) for c in changes if c.action in {Action.ADDED, Action.CHANGED}]
    if dry_run or not (documents or added):
        return Applied(changes=changes, superseded=superseded, gone=gone)
    with ledger.transaction() as connection:
        put(connection, documents, now)
        put_designed(connection, added)
        put_designed_for(connection, size)
    amended = _rejudge_alone(settings, ledger, plan, now)
    return Applied(changes=changes, superseded=superseded, gone=gone, amended=amended)


def _new_certificates(registry: Registry, changes: Sequence[Change]) -> dict[int, frozenset[str]]:
    """Return which devices have a certificate that is added, by when it was performed (ns)."""
    from gateway.registry.canonical import Action
    from gateway.registry.specs import CertificateSpec

    added = {
        (c.spec.id, c.spec.phase) for c in changes if c.action is Action.ADDED and isinstance(c.spec, CertificateSpec)
    }
    found: dict[int, frozenset[str]] = {}
    for c in registry.certificates:
        if (c.id, c.phase) in added:
            found[c.performed_at] = found.get(c.performed_at, frozenset()) | {c.device}
    return found


def _superseded(
    ledger: Ledger, plan: Plan, certified: Mapping[int, frozenset[str]]
) -> dict[tuple[str, str], tuple[int, int]]:
    """Return per (device, channel) from when its verdicts are judged otherwise by this plan, and how many there are.

    `certified`: which devices have new certificates from when (ns) on. Where they are those of standards that are not
    the channel's own, the verdicts are those of readings that name one of them.
    """
    import json

    from gateway.ledger.retention import first_left
    from gateway.pipeline.fingerprints import changed_from

    rows = ledger.connection.execute(
        "SELECT c.device, c.channel, c.id, s.fingerprint FROM state s JOIN channel c ON c.id = s.channel"
    ).fetchall()
    standards = frozenset[str]().union(*certified.values())
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for device, channel, number, fingerprint in rows:
        index = plan.index.get((device, channel))
        if index is None:
            continue
        since = changed_from(fingerprint, plan.fingerprints[index])
        if since is None:
            continue
        own = since not in certified or bool(standards & {device, plan.facts[index].standard})
        since = max(since, first_left(ledger.connection, number))
        count = ledger.connection.execute(
            """SELECT COUNT(*) FROM by_time WHERE channel = ? AND time >= ? AND verdict IS NOT NULL
               AND (? OR standard IN (SELECT value FROM json_each(?)))""",
            (number, since, own, json.dumps(sorted(standards))),
        ).fetchone()[0]
        if count:
            found[device, channel] = (since, int(count))
    return found


def _gone(ledger: Ledger, plan: Plan) -> dict[tuple[str, str], int]:
    """Return the horizon (ns) of each (device, channel) that this plan judges otherwise from before it."""
    from gateway.pipeline.fingerprints import changed_from

    rows = ledger.connection.execute(
        "SELECT c.device, c.channel, s.fingerprint, h.time FROM horizon h"
        " JOIN state s ON s.channel = h.channel JOIN channel c ON c.id = h.channel"
    ).fetchall()
    found: dict[tuple[str, str], int] = {}
    for device, channel, fingerprint, horizon in rows:
        index = plan.index.get((device, channel))
        since = None if index is None else changed_from(fingerprint, plan.fingerprints[index])
        if since is not None and since < horizon:
            found[device, channel] = int(horizon)
    return found


def _rejudge_alone(settings: Settings, ledger: Ledger, plan: Plan, now: int) -> int:
    """Judge again what the new plan judges otherwise, unless a running gateway will; return how many channels."""
    from gateway.runtime.ingest import Ingest

    try:
        with hold(settings.data_dir):
            return len(Ingest(ledger, plan, settings.lateness).rejudge(now).channels)
    except Refused:
        return 0


@contextmanager
def _ingest_alone(config: Path | None, now: int) -> Iterator[Ingest]:
    """Hold the data folder and yield the ledger with its plan. Raises Refused while a gateway runs on it."""
    from gateway.runtime.ingest import Ingest

    settings = settings_of(config)
    packs = rule_packs(config, settings)
    with hold(settings.data_dir, FIRST_STOP), Ledger.open(settings.data_dir) as ledger:
        ingest = Ingest(ledger, plan_from(ledger, settings, packs), settings.lateness)
        ingest.rejudge(now)
        yield ingest


def import_files(
    config: Path | None,
    files: Sequence[Path],
    registry: Sequence[Path],
    form: str,
    *,
    keep_going: bool,
    watch: Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]],
) -> dict[str, object]:
    """Put recorded files into the ledger, sorted and judged; return a summary. All are read before any is kept.

    `watch` is given each piece of work and how much it is, and is told of what is done of it.
    """
    from collectors.files import read
    from gateway.history.rolling import catch_up
    from gateway.runtime.clock import now_ns
    from gateway.runtime.importing import import_recordings
    from gateway.runtime.spool import Spool

    started = time.perf_counter()
    unreadable: list[Refusal] = []
    with Spool(settings_of(config).data_dir) as spool:
        for i, file in enumerate(files):
            with watch(f"reading {file.name}", None):
                unreadable += read(file, form, keep_going=keep_going, source=i, keep=spool.add).unreadable
        total = spool.size + len(unreadable)
        if registry:
            apply(config, registry, dry_run=False, now=now_ns())
        with _ingest_alone(config, now_ns()) as ingest:
            with watch(f"importing {total} readings", total) as advance:
                said = import_recordings(ingest, spool, unreadable, [str(f) for f in files], now_ns(), advance)
            with watch("rolling up", None):
                catch_up(ingest.ledger, now_ns())
    elapsed = time.perf_counter() - started
    return {**said, "elapsed_s": round(elapsed, 3), "readings_per_s": round(total / elapsed)}


@contextmanager
def open_history(
    config: Path | None, device: str, channel: str | None, store: str = "ledger"
) -> Iterator[tuple[History, ZoneInfo]]:
    """Open the history of a device in the store `ledger` or `influx`.

    Raises WrongUse with near names for an unknown device or channel, or when InfluxDB is not configured.
    """
    import difflib

    from gateway.history.ledger import LedgerHistory, channel_settings
    from gateway.ledger.looking import open_to_read
    from gateway.ledger.registry import documents

    settings = settings_of(config)
    with open_to_read(settings.data_dir) as ledger:
        registry = documents(ledger.connection)
        known = channel_settings(registry, settings.zone, device)
        stored = set(ledger.connection.execute("SELECT device, channel FROM channel"))
        names = {name for kind, name, _ in registry if kind == "device"} | {d for d, _ in stored}
        if device not in names:
            near = difflib.get_close_matches(device, sorted(names), n=3)
            raise WrongUse(f"no device {device}", remedy=_did_you_mean(near, "see `metergate devices list`"))
        channels = {c for d, c in {*known, *stored} if d == device}
        if channel is not None and channel not in channels:
            near = difflib.get_close_matches(channel, sorted(channels), n=3)
            raise WrongUse(
                f"{device} has no channel {channel}", remedy=_did_you_mean(near, f"it has {', '.join(channels)}")
            )
        yield LedgerHistory(ledger, known) if store == "ledger" else _influx_history(settings, known), settings.zone


def _influx_history(settings: Settings, known: Mapping[tuple[str, str], ChannelSettings]) -> History:
    from gateway.history.flux import FluxLink
    from gateway.history.influx import InfluxHistory

    influx = settings.influx
    if influx is None:
        raise WrongUse("InfluxDB is not configured", remedy="add the section influx to the settings")
    link = FluxLink(url=influx.url, org=influx.org, token=influx.query_secret(), ca_file=influx.ca_file)
    return InfluxHistory(link, influx.bucket, known)


def _did_you_mean(near: Sequence[str], otherwise: str) -> str:
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def decide_entries(config: Path | None, entries: Sequence[int], state: str, by: str | None) -> list[Quarantined]:
    """Approve or reject quarantine entries; approved ones run again, here unless a gateway runs that does it."""
    import getpass

    from gateway.ledger import quarantine
    from gateway.runtime.clock import now_ns

    who = by or getpass.getuser()
    with open_ledger(config) as ledger:
        with ledger.transaction() as connection:
            for entry in entries:
                found = quarantine.entries(connection, state=None, entry=entry)
                if not found:
                    raise WrongUse(f"no quarantine entry {entry}", remedy="see `metergate quarantine list --state all`")
                if found[0].state != "open":
                    raise Refused(
                        f"entry {entry} is {found[0].state} already", remedy="only open entries can be decided"
                    )
                quarantine.decide(connection, entry, state, now_ns(), who)
        if state == "approved":
            _release_alone(config)
        return [quarantine.entries(ledger.connection, state=None, entry=e)[0] for e in entries]


def _release_alone(config: Path | None) -> None:
    from gateway.runtime.clock import now_ns
    from gateway.runtime.release import release_approved

    router = make_router(config, settings_of(config))
    try:
        with _ingest_alone(config, now_ns()) as ingest:
            release_approved(ingest, router.decode_batch, now_ns())
    except Refused:
        return  # a gateway runs: it does this within a second
