"""Specs become the registry: units converted exactly, defaults by kind, certificates against their channels.

Nothing is half built: either all of it is sound, or every mistake is raised together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

from gateway.errors import Mistake, Mistakes
from gateway.metrology.instants import DAY_NS, SECOND_NS, parse_date, parse_epoch, parse_rfc3339
from gateway.registry.canonical import difference, refuse_contradictions
from gateway.registry.certify import certificate_from
from gateway.registry.channels import channel_from
from gateway.registry.model import Certificate, Channel, Device, Event, Registry
from gateway.registry.specs import (
    CertificateSpec,
    ChannelSpec,
    DeviceSpec,
    Entry,
    EventSpec,
    Spec,
    Specs,
    stored,
)  # fmt: skip
from gateway.registry.validation import Written

if TYPE_CHECKING:
    from gateway.metrology.rulepacks import RulePack, RulePacks

__all__ = ["build", "instant", "merge", "not_yet", "restore", "too_far_ahead"]

W = TypeVar("W", bound=Written)
T = TypeVar("T")


def merge(known: Specs, new: Specs) -> Specs:
    """Return both together: a new device replaces the known one of its id; certificates and events are added once."""
    replaced = {e.spec.id for e in new.devices}
    certificates = {(e.spec.id, e.spec.phase): e.spec for e in known.certificates}
    events = {(e.spec.device, e.spec.time, e.spec.kind, e.spec.note) for e in known.events}
    return Specs(
        devices=(*(e for e in known.devices if e.spec.id not in replaced), *new.devices),
        certificates=(
            *known.certificates,
            *(e for e in new.certificates if certificates.get((e.spec.id, e.spec.phase)) != e.spec),
        ),
        events=(
            *known.events,
            *(e for e in new.events if (e.spec.device, e.spec.time, e.spec.kind, e.spec.note) not in events),
        ),
        mistakes=(*known.mistakes, *new.mistakes),
        broken=known.broken | new.broken,
        maimed=(*known.maimed, *new.maimed),
    )


def build(
    specs: Specs, *, zone: ZoneInfo, packs: RulePacks, known: Specs | None = None, now: int | None = None
) -> Registry:
    """Return the registry of the specs, added to the known ones; raises Mistakes with every mistake.

    `zone` is the site's: dates begin at its midnight. A certificate or event may name a known device. With `now` (ns)
    new ones that have not happened yet are mistakes (`not_yet`). Raises Refused when a certificate contradicts a known
    one.
    """
    building = _Building(zone=zone, packs=packs)
    if now is not None:
        building.mistakes += not_yet(specs, zone, now)
    everything = merge(known, specs) if known is not None else specs
    registry = building.registry(specs, everything)
    if building.mistakes:
        raise Mistakes(building.mistakes)
    if known is not None:
        refuse_contradictions(difference(known, specs))
    return registry


def restore(specs: Iterable[Spec], *, zone: ZoneInfo, packs: RulePacks) -> Registry:
    """Return the registry of distinct specs as they are kept, devices first; each is let go of once it is built.

    Raises Mistakes: what was sound when it was kept may not fit a changed rule pack.
    """
    building = _Building(zone=zone, packs=packs)
    devices: dict[str, Device] = {}
    certificates: list[Certificate | None] = []
    events: list[Event | None] = []
    for spec in specs:
        match spec:
            case DeviceSpec():
                devices[spec.id] = building.device(stored(spec))
            case CertificateSpec():
                certificates.append(building.certificate(stored(spec), devices, frozenset()))
            case EventSpec():
                events.append(building.event(stored(spec), devices, frozenset()))
    if building.mistakes:
        raise Mistakes(building.mistakes)
    return _arranged(devices, certificates, events)


def _arranged(
    devices: Mapping[str, Device], certificates: Iterable[Certificate | None], events: Iterable[Event | None]
) -> Registry:
    """Return the registry in its order, without what could not be built and what says the same twice."""
    return Registry(
        devices=dict(sorted(devices.items())),
        certificates=tuple(
            sorted(
                _distinct(c for c in certificates if c is not None),
                key=lambda c: (c.performed_at, c.device, c.channel or "", c.id, c.phase),
            )
        ),
        events=tuple(
            sorted(_distinct(e for e in events if e is not None), key=lambda e: (e.time, e.device, e.kind, e.note))
        ),
    )


@dataclass(slots=True)
class _Building:
    """One run over the specs: the surroundings, and the mistakes so far."""

    zone: ZoneInfo
    packs: RulePacks
    mistakes: list[Mistake] = field(default_factory=list)
    checked: dict[tuple[object, ...], list[str]] = field(default_factory=dict)
    channels: dict[tuple[object, ...], tuple[ChannelSpec, Channel]] = field(default_factory=dict)

    def registry(self, new: Specs, everything: Specs) -> Registry:
        self.mistakes += new.mistakes
        written = [*new.devices, *(e for e in new.maimed if isinstance(e.spec, DeviceSpec))]
        self._once(written, lambda s: (s.id,), "id", "device {} is already in {}; ids are unique", same=False)
        self._once(
            new.certificates,
            lambda s: (s.id, s.phase.value),
            "id",
            "certificate {} ({}) is already in {} with other content; a certificate never changes",
        )
        devices = {e.spec.id: self.device(e) for e in everything.devices}
        certificates = [self.certificate(e, devices, everything.broken) for e in everything.certificates]
        events = [self.event(e, devices, everything.broken) for e in everything.events]
        for entry in new.maimed:
            self._other_mistakes(entry, devices, everything.broken)
        return _arranged(devices, certificates, events)

    def _other_mistakes(self, entry: Entry[Spec], devices: Mapping[str, Device], broken: frozenset[str]) -> None:
        document, path = entry.document, entry.path
        match entry.spec:
            case DeviceSpec() as device:
                self.device(Entry(spec=device, document=document, path=path))
            case CertificateSpec() as certificate:
                self.certificate(Entry(spec=certificate, document=document, path=path), devices, broken)
            case EventSpec() as event:
                self.event(Entry(spec=event, document=document, path=path), devices, broken)

    def _once(
        self,
        entries: Iterable[Entry[W]],
        identity: Callable[[W], tuple[str, ...]],
        key: str,
        message: str,
        *,
        same: bool = True,
    ) -> None:
        """Add a mistake for each entry whose identity was there; with `same`, identical content may be repeated."""
        first: dict[tuple[str, ...], Entry[W]] = {}
        for entry in entries:
            name = identity(entry.spec)
            before = first.setdefault(name, entry)
            if before is not entry and not (same and before.spec == entry.spec):
                self.mistakes.append(entry.mistake((key,), message.format(*name, before.place)))

    def device(self, entry: Entry[DeviceSpec]) -> Device:
        spec = entry.spec
        self._legal_limits(entry)
        return Device(
            id=spec.id,
            kind=spec.kind,
            site=spec.site,
            serial=spec.serial,
            name=spec.name,
            rule_pack=None if spec.rule_pack == "none" else spec.rule_pack,
            parameters=dict(spec.parameters),
            in_service=spec.in_service,
            decision=spec.decision,
            channels={name: self._channel(entry, name, channel) for name, channel in spec.channels.items()},
        )

    def _legal_limits(self, entry: Entry[DeviceSpec]) -> None:
        """Check the parameters against the rule pack; without one only `d` means anything."""
        spec = entry.spec
        if spec.rule_pack == "none":
            self.mistakes += [
                entry.mistake(("parameters", name), "unknown key; without a rule pack only d is read")
                for name in spec.parameters
                if name != "d"
            ]
            return
        versions = self.packs.packs.get(spec.rule_pack)
        if not versions:
            known = ", ".join((*self.packs.ids, "none"))
            self.mistakes.append(entry.mistake(("rule_pack",), f"{spec.rule_pack} is not known; there are {known}"))
            return
        for message in self._wrong_parameters(versions[-1], spec.parameters):
            name, _, words = message.partition(": ")
            path, said = (("parameters",), message) if " " in name else (("parameters", name), words)
            self.mistakes.append(entry.mistake(path, said))

    def _wrong_parameters(self, pack: RulePack, parameters: Mapping[str, str]) -> list[str]:
        """Return what the pack finds wrong; equal instruments are looked at once."""
        key = (pack.reference, *sorted(parameters.items()))
        if key not in self.checked:
            self.checked[key] = pack.validate(parameters)
        return self.checked[key]

    def _channel(self, entry: Entry[DeviceSpec], name: str, spec: ChannelSpec) -> Channel:
        """Return the channel; those of instruments of one model are one."""
        device = entry.spec
        if device.drift is not None:
            return channel_from(entry, name, spec, self.mistakes)
        key = (id(spec), name, device.kind, device.rule_pack == "none", device.parameters.get("d"))
        if key not in self.channels:
            mistakes: list[Mistake] = []
            channel = channel_from(entry, name, spec, mistakes)
            if mistakes:
                self.mistakes += mistakes
                return channel
            self.channels[key] = spec, channel
        return self.channels[key][1]

    def certificate(
        self, entry: Entry[CertificateSpec], devices: Mapping[str, Device], broken: frozenset[str]
    ) -> Certificate | None:
        channel = None
        spec = entry.spec
        device = self._named_device(entry, devices, broken)
        if device is None:
            return None
        if spec.channel is not None:
            channel = device.channels.get(spec.channel)
            if channel is None:
                names = ", ".join(device.channels) or "none"
                self.mistakes.append(
                    entry.mistake(("channel",), f"device {device.id} has no channel {spec.channel}; it has {names}")
                )
                return None
        found = certificate_from(entry, channel, lambda text: instant(text, self.zone), self.zone)
        if isinstance(found, list):
            self.mistakes += found
            return None
        return found

    def event(self, entry: Entry[EventSpec], devices: Mapping[str, Device], broken: frozenset[str]) -> Event | None:
        spec = entry.spec
        if self._named_device(entry, devices, broken) is None:
            return None
        return Event(device=spec.device, time=instant(spec.time, self.zone), kind=spec.kind, note=spec.note)

    def _named_device(
        self, entry: Entry[CertificateSpec] | Entry[EventSpec], devices: Mapping[str, Device], broken: frozenset[str]
    ) -> Device | None:
        found = devices.get(entry.spec.device)
        if found is None and entry.spec.device not in broken:
            self.mistakes.append(
                entry.mistake(("device",), f"device {entry.spec.device} is not known; add it under devices")
            )
        return found


def instant(text: str, zone: ZoneInfo) -> int:
    """Return the instant of a date (00:00 in the zone), an RFC 3339 time or epoch seconds, already known to be one."""
    if len(text) == 10 and text[4] == "-":
        return parse_date(text, zone)
    return parse_rfc3339(text) if "-" in text else parse_epoch(text, SECOND_NS)


def not_yet(specs: Specs, zone: ZoneInfo, now: int) -> Iterator[Mistake]:
    """Yield the certificates and events dated more than a year ahead of `now` (ns): slips of the pen.

    A year, because the clock of a small machine may be behind, and what is applied must not hang on it.
    """
    for certificate in specs.certificates:
        if words := too_far_ahead(certificate.spec.performed_at, instant(certificate.spec.performed_at, zone), now):
            yield certificate.mistake(("performed_at",), words)
    for event in specs.events:
        if words := too_far_ahead(event.spec.time, instant(event.spec.time, zone), now):
            yield event.mistake(("time",), words)


def too_far_ahead(text: str, at: int, now: int) -> str:
    """Return why something, written as `text`, cannot have happened `at` that moment (ns); empty if it can."""
    return f"{text} has not come yet; correct the date, or this machine's clock" if at > now + _YEAR_NS else ""


_YEAR_NS = 366 * DAY_NS


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))
