"""Specs as stable bytes for the ledger, and what differs between what is known and what was read.

The bytes are JSON with sorted keys in which every value is the text the format reads: equal specs are equal bytes, and
numbers stay exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import orjson

from gateway.errors import Refused, WrongUse
from gateway.registry.specs import CertificateSpec, ChannelSpec, DeviceSpec, EventSpec, Spec, Specs
from gateway.registry.validation import validate
from gateway.registry.yamltext import Document

__all__ = ["Action", "Change", "FieldChange", "difference", "dump", "kind_of", "load", "refuse_contradictions"]

KINDS: Mapping[str, type[Spec]] = {"device": DeviceSpec, "certificate": CertificateSpec, "event": EventSpec}


def kind_of(spec: Spec) -> str:
    """Return `device`, `certificate` or `event`."""
    return _identity(spec)[0]


def dump(spec: Spec) -> bytes:
    """Return the canonical bytes of a spec; what is absent is left out."""
    return orjson.dumps(spec.model_dump(mode="json", exclude_none=True), option=orjson.OPT_SORT_KEYS)


def load(kind: str, text: bytes) -> Spec:
    """Return the spec of `dump`; WrongUse when the bytes are none, which means a damaged or newer ledger."""
    try:
        tree = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WrongUse(
            f"a stored {kind} is damaged ({error})", remedy="put a backup in its place: metergate restore FILE"
        ) from None
    if kind == "device" and isinstance(channels := tree.get("channels"), dict):
        tree["channels"] = {name: _channel(orjson.dumps(channel)) for name, channel in channels.items()}
    found = validate(KINDS[kind], tree, Document(file="registry"))
    if isinstance(found, list):
        raise WrongUse(f"a stored {kind} cannot be read ({found[0]})", remedy="a newer Metergate may have written it")
    return found


@lru_cache(maxsize=1024)
def _channel(text: bytes) -> Any:
    """Return the channel of its canonical bytes, one for all instruments of a model; the tree where that is none."""
    tree = orjson.loads(text)
    found = validate(ChannelSpec, tree, Document(file="registry"))
    return tree if isinstance(found, list) else found


class Action(StrEnum):
    """What applying a spec does."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    CONTRADICTS = "contradicts"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One key with its text before and after; None is absent."""

    key: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        return f"{self.key}: {self.old or 'nothing'} -> {self.new or 'nothing'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What applying one spec does. A certificate that contradicts the known one is refused: it never changes."""

    kind: str
    id: str
    action: Action
    spec: Spec
    fields: tuple[FieldChange, ...] = ()


def difference(old: Specs, new: Specs) -> tuple[Change, ...]:
    """Return what adding the new specs to the old ones does, one change for each new spec, in its order.

    A spec that comes twice is added once, and then unchanged.
    """
    known: dict[tuple[str, str], Spec] = {_identity(s): s for s in _specs(old)}
    changes = []
    for spec in _specs(new):
        kind, name = _identity(spec)
        otherwise = Action.CONTRADICTS if kind == "certificate" else Action.CHANGED
        changes.append(_change(kind, name, known.get((kind, name)), spec, otherwise))
        known.setdefault((kind, name), spec)
    return tuple(changes)


def _specs(specs: Specs) -> Iterator[Spec]:
    for entries in (specs.devices, specs.certificates, specs.events):
        yield from (e.spec for e in entries)


def _identity(spec: Spec) -> tuple[str, str]:
    """Return kind and id; a certificate's id holds its phase, an event's all it says."""
    match spec:
        case DeviceSpec():
            return "device", spec.id
        case CertificateSpec():
            return "certificate", f"{spec.id} ({spec.phase.value})"
        case EventSpec():
            return "event", f"{spec.device} {spec.kind.value} {spec.time}" + (f" {spec.note}" if spec.note else "")


def refuse_contradictions(changes: tuple[Change, ...]) -> None:
    """Raise Refused when a certificate would change, naming each with the keys that differ."""
    found = [c for c in changes if c.action is Action.CONTRADICTS]
    if found:
        words = "; ".join(
            f"certificate {c.id} is known with other content ({', '.join(map(str, c.fields))})" for c in found
        )
        raise Refused(words, remedy="a certificate never changes; give the corrected one its own id")


def _change(kind: str, name: str, old: Spec | None, new: Spec, otherwise: Action) -> Change:
    if old is None:
        return Change(kind=kind, id=name, action=Action.ADDED, spec=new)
    if old == new:
        return Change(kind=kind, id=name, action=Action.UNCHANGED, spec=new)
    before, after = dict(_leaves(old)), dict(_leaves(new))
    fields = tuple(
        FieldChange(key=key, old=before.get(key), new=after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    )
    return Change(kind=kind, id=name, action=otherwise, spec=new, fields=fields)


def _leaves(spec: Spec) -> Iterator[tuple[str, str]]:
    yield from _below("", spec.model_dump(mode="json", exclude_none=True))


def _below(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _below(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _below(f"{path}[{i}]", inner)
    else:
        yield path, str(value)
