"""Compile the registry to the plan: chapters and epochs of each channel, then columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

import numpy as np

from gateway.drift import Detector
from gateway.drift.charts import detectors
from gateway.drift.influence import MOST
from gateway.metrology.baseline import Curve, CurveTable
from gateway.metrology.limits import Limits
from gateway.metrology.registers import turn_of
from gateway.metrology.rulepacks import RulePack, RulePacks
from gateway.pipeline.columns import Floats, Ints, boot_code
from gateway.pipeline.fingerprints import KeyOf, fingerprints
from gateway.pipeline.plan import (
    AXES,
    CENTERS,
    DECISIONS,
    FEWEST_GROUPS,
    FOREVER,
    INFLUENCES,
    NEVER,
    ChannelFacts,
    Epoch,
    Plan,
)
from gateway.pipeline.registers import exchanges
from gateway.registry.model import (
    Axis,
    Center,
    Certificate,
    Channel,
    ChannelType,
    Device,
    DriftSettings,
    ErrorKind,
    Event,
    EventKind,
    Kind,
    Phase,
    Registry,
)  # fmt: skip

__all__ = ["Designed", "Widen", "compile_plan", "phase_one_points"]

Widen = Callable[[Detector, float, Mapping[str, float], int], float]
"""(chart, its limit, its parameters, Phase-I checks) -> the widened limit while provisional (METROLOGY §5.3)."""


def _chapters(device: Device, channel: Channel, registry: Registry) -> list[tuple[int, int | None, Certificate | None]]:
    """Return (start, segment start, baseline certificate) in time order, the first from the beginning."""
    certificates = [
        c for c in registry.certificates if c.device == device.id and c.channel in {channel.name, None} and c.points
    ]
    events = [e for e in registry.events if e.device == device.id]
    moments = sorted({c.performed_at for c in certificates} | {e.time for e in events})
    out: list[tuple[int, int | None, Certificate | None]] = [(NEVER, None, None)]
    for moment in moments:
        segment = max((e.time for e in events if e.time <= moment), default=None)
        out.append((moment, segment, _baseline(certificates, moment)))
    return out


def _baseline(certificates: Sequence[Certificate], at: int) -> Certificate | None:
    """Return the latest certificate performed at or before `at`, as left where it says so, else as found."""
    past = [c for c in certificates if c.performed_at <= at]
    if not past:
        return None
    latest = max(c.performed_at for c in past)
    candidates = sorted((c for c in past if c.performed_at == latest), key=lambda c: (c.phase is Phase.AS_LEFT, c.id))
    return candidates[-1]


def _valid_to(device: Device, channel: Channel, registry: Registry, at: int) -> int | None:
    """Return the due date that holds at `at`: that of the latest certificate that names one, points or not."""
    dated = [
        c
        for c in registry.certificates
        if c.device == device.id
        and c.channel in {channel.name, None}
        and c.valid_to is not None
        and c.performed_at <= at
    ]
    return max(dated, key=lambda c: (c.performed_at, c.phase is Phase.AS_LEFT, c.id)).valid_to if dated else None


def _curves(
    certificate: Certificate | None, channel: Channel
) -> tuple[tuple[tuple[float | None, str | None, str | None], Curve], ...]:
    if certificate is None:
        return ()
    groups: dict[tuple[float | None, str | None, str | None], list[tuple[float | None, float, float, float]]] = {}
    for p in certificate.points:
        key = (p.power_factor, p.phase, p.direction)
        groups.setdefault(key, []).append(
            (None if p.x is None else float(p.x) + 0.0, float(p.error) + 0.0, float(p.U), float(p.k)),  # no -0.0
        )
    widen = float(channel.resolution * channel.multiplier) if channel.axis in {Axis.REFERENCE, Axis.INDICATION} else 0.0
    return tuple((key, Curve.of(points, resolution=widen)) for key, points in groups.items())


def _epochs(
    device: Device,
    channel: Channel,
    registry: Registry,
    packs: RulePacks,
    charts: Sequence[Detector],
    designed: Designed,
    shared: dict[str, Mapping[str, Mapping[str, float]]],
    limits_of: LimitsOf,
    settings_of: SettingsOf,
) -> list[Epoch]:
    """Return the epochs of one channel in time order."""
    chapters = _chapters(device, channel, registry)
    dues = {c.performed_at for c in registry.certificates}
    legal = set(packs.changes(device.rule_pack))
    starts = sorted({c[0] for c in chapters} | dues | legal | {at for at, _ in designed} | {NEVER})
    epochs: list[Epoch] = []
    for start in starts:
        _, segment, certificate = [c for c in chapters if c[0] <= start][-1]
        chosen = _charts_of(channel, charts, next((d for at, d in reversed(designed) if at <= start), {}), shared)
        pack = packs.get(device.rule_pack, start) if device.rule_pack else None
        limits = initial = None
        if pack is not None:
            limits = limits_of(pack, device, channel, device.in_service)
            initial = limits_of(pack, device, channel, False)
        epoch = Epoch(
            start=start,
            segment=segment,
            certificate=certificate,
            valid_to=_valid_to(device, channel, registry, start),
            pack=pack,
            limits=limits,
            initial_limits=initial,
            charts=chosen,
            settings=settings_of(chosen, channel),
            curves=_curves(certificate, channel),
        )
        epochs.append(epoch)
    return epochs


def _settings_id(chosen: Mapping[str, Mapping[str, float]], channel: Channel) -> str:
    text = repr(sorted((k, sorted(v.items())) for k, v in chosen.items()))
    text += repr((channel.sigma, channel.resolution, channel.center, channel.learn, channel.subgroup_n))
    text += "" if channel.subgroup_ns is None else repr(channel.subgroup_ns)
    text += repr([str(name) for name in channel.influences]) if channel.influences else ""
    return blake2b(text.encode(), digest_size=6).hexdigest()


SettingsOf = Callable[[Mapping[str, Mapping[str, float]], Channel], str]
"""(charts, channel) -> the id of its settings."""


def _remembered_settings() -> SettingsOf:
    """Return the way to ids of settings that works out each once, as long as the charts are held."""
    known: dict[tuple[object, ...], str] = {}

    def settings_of(chosen: Mapping[str, Mapping[str, float]], channel: Channel) -> str:
        key = (
            id(chosen), str(channel.sigma), str(channel.resolution), channel.center, channel.learn,
            channel.subgroup_n, channel.subgroup_ns, channel.influences,
        )  # fmt: skip
        if key not in known:
            known[key] = _settings_id(chosen, channel)
        return known[key]

    return settings_of


LimitsOf = Callable[[RulePack, Device, Channel, bool], Limits | None]
"""(pack, device, channel, in service) -> the limits of that channel."""


def _remembered_limits() -> LimitsOf:
    """Return the way to limits that works out those of equal instruments once: fleets are alike."""
    known: dict[tuple[object, ...], Limits | None] = {}

    def limits_of(pack: RulePack, device: Device, channel: Channel, in_service: bool) -> Limits | None:
        key = (id(pack), tuple(sorted(device.parameters.items())), in_service, channel.unit, channel.error)
        if key not in known:
            known[key] = pack.limits(device.parameters, in_service=in_service, unit=channel.unit, error=channel.error)
        return known[key]

    return limits_of


def _remembered_keys() -> KeyOf:
    """Return the way to the keys of limits that works out each once, as long as the limits are held."""
    known: dict[int, str] = {}

    def key_of(limits: Limits) -> str:
        key = known.get(id(limits))
        if key is None:
            key = known[id(limits)] = limits.key
        return key

    return key_of


Designed = Sequence[tuple[int, DriftSettings]]
"""(from when in ns, settings of the charts), in time order: limits designed from the budget."""


def compile_plan(
    registry: Registry,
    packs: RulePacks,
    designed: Mapping[tuple[str, str], Designed],
    widen: Widen,
    site: str | None = None,
) -> Plan:
    """Return the plan. `site` is that of devices that name none.

    `designed` holds, per (device, channel), limits for the charts the registry leaves open.

    A channel whose `drift` is given has exactly those drift charts; the spread chart (`noise`) it has always. Optional
    charts that no channel names are not in the plan.
    """
    rows = [(d, c) for d in registry.devices.values() for c in d.channels.values()]
    named = {name for _, c in rows for name in c.drift or ()}
    charts = tuple(d for d in detectors() if not d.optional or d.name in named)
    about = _by_device_id(registry)
    shared: dict[str, Mapping[str, Mapping[str, float]]] = {}
    limits_of, settings_of = _remembered_limits(), _remembered_settings()
    all_epochs = [
        _epochs(
            d, c, about.get(d.id, Registry()), packs, charts, designed.get((d.id, c.name), ()), shared, limits_of,
            settings_of,
        )
        for d, c in rows
    ]  # fmt: skip
    epochs = [e for es in all_epochs for e in es]
    channel_of = [c for (_, c), es in zip(rows, all_epochs, strict=True) for _ in es]
    chosen = [es[0].charts for es in all_epochs]
    counts = np.array([len(es) for es in all_epochs], np.int64)
    key_of = _remembered_keys()
    limits, e_limits = _unique_limits(epochs, key_of)
    curves, e_curve, conditions = _flat_curves(epochs)
    provisional = {
        d.name: np.array([_provisional(e, d, c, widen) for e, c in zip(epochs, channel_of, strict=True)], np.float64)
        for d in charts
    }
    index = {(d.id, c.name): i for i, (d, c) in enumerate(rows)}
    return Plan(
        facts=tuple(
            ChannelFacts(
                device=d.id,
                channel=c.name,
                site=d.site or site,
                kind=d.kind,
                unit=c.unit,
                error_unit="%" if c.error is ErrorKind.RELATIVE else c.unit,
                decision=d.decision,
                standard=c.standard,
            )
            for d, c in rows
        ),
        index=index,
        devices=_by_device(rows),
        charts=charts,
        unit=np.array([c.unit for _, c in rows], object),
        relative=np.array([c.error is ErrorKind.RELATIVE for _, c in rows], np.bool_),
        register=np.array([c.type is ChannelType.REGISTER for _, c in rows], np.bool_),
        weighing=np.array([d.kind is Kind.WEIGHING for d, _ in rows], np.bool_),
        axis=np.array([AXES.index(c.axis) for _, c in rows], np.int8),
        decision=np.array([DECISIONS.index(d.decision) for d, _ in rows], np.int8),
        resolution=np.array([float(c.resolution) for _, c in rows], np.float64),
        turn=np.array([turn_of(c.digits) for _, c in rows], np.float64),
        multiplier=np.array([float(c.multiplier) for _, c in rows], np.float64),
        exchanged=exchanges(registry.events, [(d.id, c.type) for d, c in rows]),
        sigma=np.array([np.nan if c.sigma is None else float(c.sigma) for _, c in rows], np.float64),
        center=np.array([CENTERS.index(Center.LEARNED if c.influences else c.center) for _, c in rows], np.int8),
        learn=np.array([c.learn for _, c in rows], np.int64),
        influences=np.array([_influences(c) for _, c in rows], np.int64).reshape(len(rows), MOST),
        subgroup_n=np.array([c.subgroup_n for _, c in rows], np.int64),
        subgroup_ns=np.array([c.subgroup_ns or 0 for _, c in rows], np.int64),
        timeout=np.array([FOREVER if c.timeout_ns is None else c.timeout_ns for _, c in rows], np.int64),
        low=np.array([-np.inf if c.range is None else float(c.range[0]) for _, c in rows], np.float64),
        high=np.array([np.inf if c.range is None else float(c.range[1]) for _, c in rows], np.float64),
        stuck_n=np.array([FOREVER if c.stuck_n is None else c.stuck_n for _, c in rows], np.int64),
        stuck_ns=np.array([FOREVER if c.stuck_ns is None else c.stuck_ns for _, c in rows], np.int64),
        retired=np.array([_retired(d, registry.events) for d, _ in rows], np.int64),
        standard=np.array([index.get((c.standard or "", c.name), -1) for _, c in rows], np.int64),
        standard_code=np.array([boot_code(c.standard) for _, c in rows], np.int64),
        extra=np.array([any(d.optional and d.name in s for d in charts) for s in chosen], np.bool_),
        parameters={d.name: _parameter_columns(d, chosen) for d in charts},
        limit={d.name: np.array([_limit(e.charts, d) for e in epochs], np.float64) for d in charts},
        limit_provisional=provisional,
        epochs=tuple(epochs),
        first_epoch=np.cumsum(counts) - counts,
        epoch_count=counts,
        e_start=np.array([e.start for e in epochs], np.int64),
        e_chapter=_chapter_numbers(all_epochs),
        e_curve=e_curve,
        e_conditional=np.array([i in conditions for i in range(len(epochs))], np.bool_),
        e_certified=np.array([e.certificate is not None for e in epochs], np.bool_),
        e_limits=e_limits,
        e_unverified=np.array([e.limits is not None and not e.limits.verified for e in epochs], np.bool_),
        e_valid_to=np.array([FOREVER if e.valid_to is None else e.valid_to for e in epochs], np.int64),
        limits=limits,
        curves=curves,
        conditions=conditions,
        fingerprints=fingerprints(rows, all_epochs, key_of),
    )


def _parameter_columns(detector: Detector, chosen: Sequence[Mapping[str, Mapping[str, float]]]) -> tuple[Floats, ...]:
    """Return the parameters of one chart, all but a limit that may change, then options where any channel has one."""
    own = [s.get(detector.name, detector.parameters) for s in chosen]
    wanted = {p: v for p, v in detector.parameters.items() if detector.optional or p != detector.limit}
    if any(option in settings for settings in own for option in detector.options):
        wanted |= detector.options
    return tuple(np.array([s.get(p, v) for s in own], np.float64) for p, v in wanted.items())


def _influences(channel: Channel) -> list[int]:
    """Return the influences of a channel as indexes, -1 for none, `MOST` of them."""
    found = [INFLUENCES.index(name) for name in channel.influences]
    return found + [-1] * (MOST - len(found))


def _by_device(rows: Sequence[tuple[Device, Channel]]) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = {}
    for i, (d, _) in enumerate(rows):
        found.setdefault(d.id, []).append(i)
    return {k: tuple(v) for k, v in found.items()}


def _by_device_id(registry: Registry) -> dict[str, Registry]:
    """Return the certificates and events of each device, so that each looks through its own only."""
    certificates: dict[str, list[Certificate]] = {}
    events: dict[str, list[Event]] = {}
    for certificate in registry.certificates:
        certificates.setdefault(certificate.device, []).append(certificate)
    for event in registry.events:
        events.setdefault(event.device, []).append(event)
    return {
        device: Registry(certificates=tuple(certificates.get(device, ())), events=tuple(events.get(device, ())))
        for device in certificates.keys() | events.keys()
    }


def _charts_of(
    channel: Channel,
    charts: Sequence[Detector],
    designed: DriftSettings,
    shared: dict[str, Mapping[str, Mapping[str, float]]],
) -> Mapping[str, Mapping[str, float]]:
    """Return the charts of a channel with complete parameters; equal ones are one object in a fleet."""
    out: dict[str, Mapping[str, float]] = {}
    for d in charts:
        if d.kind != "drift" or (channel.drift is None and not d.optional):
            out[d.name] = {**d.parameters, **designed.get(d.name, {})}
        elif channel.drift is not None and d.name in channel.drift:
            out[d.name] = {**d.parameters, **channel.drift[d.name]}
    return shared.setdefault(repr(out), out)


def _provisional(epoch: Epoch, detector: Detector, channel: Channel, widen: Widen) -> float:
    if channel.sigma is not None or detector.optional or detector.name not in epoch.charts:
        return _limit(epoch.charts, detector)
    settings = epoch.charts[detector.name]
    return widen(detector, settings[detector.limit], settings, phase_one_points(channel))


def phase_one_points(channel: Channel) -> int:
    """Return from how many points (checks, or means of subgroups) σ and centre of a channel are learned.

    A slope fitted to them takes one away.
    """
    if channel.subgroup_ns is not None:
        return FEWEST_GROUPS
    if channel.subgroup_n == 1:
        return channel.learn - len(channel.influences)
    return max(-(-channel.learn // channel.subgroup_n), FEWEST_GROUPS)


def _limit(chosen: Mapping[str, Mapping[str, float]], detector: Detector) -> float:
    return chosen[detector.name][detector.limit] if detector.name in chosen else np.inf


def _retired(device: Device, events: Sequence[Event]) -> int:
    return min((e.time for e in events if e.device == device.id and e.kind is EventKind.RETIRED), default=FOREVER)


def _chapter_numbers(all_epochs: Sequence[Sequence[Epoch]]) -> Ints:
    """Number the chapters of each channel from 1, so that 0 means "no check yet"."""
    numbers: list[int] = []
    for epochs in all_epochs:
        chapter = 1
        for i, epoch in enumerate(epochs):
            chapter += i > 0 and epoch.chapter != epochs[i - 1].chapter
            numbers.append(chapter)
    return np.array(numbers, np.int64)


def _unique_limits(epochs: Sequence[Epoch], key_of: KeyOf) -> tuple[tuple[Limits, ...], Ints]:
    """Return the distinct limits and, per epoch, which one holds (-1: none)."""
    places: dict[object, int] = {}
    limits: list[Limits] = []
    which = []
    for epoch in epochs:
        if epoch.limits is None:
            which.append(-1)
            continue
        place = places.setdefault(key_of(epoch.limits), len(limits))
        if place == len(limits):
            limits.append(epoch.limits)
        which.append(place)
    return tuple(limits), np.array(which, np.int64)


def _flat_curves(
    epochs: Sequence[Epoch],
) -> tuple[CurveTable, Ints, dict[int, tuple[tuple[tuple[float | None, str | None, str | None], int], ...]]]:
    """Return all curves, per epoch the curve that needs no condition (-1: none), and those that need one."""
    curves: list[Curve] = []
    plain: list[int] = []
    conditions: dict[int, tuple[tuple[tuple[float | None, str | None, str | None], int], ...]] = {}
    for i, epoch in enumerate(epochs):
        numbered = [(key, len(curves) + n) for n, (key, _) in enumerate(epoch.curves)]
        curves.extend(curve for _, curve in epoch.curves)
        plain.append(next((n for key, n in numbered if key == (None, None, None)), -1))
        if any(key != (None, None, None) for key, _ in numbered):
            conditions[i] = tuple(numbered)
    return CurveTable.of(curves), np.array(plain, np.int64), conditions
