"""The sound part of a batch of registry files: everything that neither is wrong nor needs what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from gateway.errors import Mistake, Mistakes
from gateway.registry.canonical import Action, difference
from gateway.registry.specs import CertificateSpec, DeviceSpec, Entry, EventSpec, Specs
from gateway.registry.yamltext import dotted

__all__ = ["sound_part"]

E = TypeVar("E", DeviceSpec, CertificateSpec, EventSpec)


def sound_part(new: Specs, known: Specs, build: Callable[[Specs], object]) -> tuple[Specs, list[Mistake]]:
    """Return the specs that `build` accepts beside the known ones, and the mistakes of all others.

    What names a device that is left out is left out too, with its own mistake. Raises Mistakes if one cannot be put
    down to an entry.
    """
    mistakes = list(new.mistakes)
    rest = _without(replace(new, mistakes=(), broken=frozenset(), maimed=()), mistakes)
    contradicting = {c.id for c in difference(known, rest) if c.action is Action.CONTRADICTS}
    kept: list[Entry[CertificateSpec]] = []
    for entry in rest.certificates:
        name = f"{entry.spec.id} ({entry.spec.phase.value})"
        if name in contradicting:
            words = f"certificate {name} is known with other content; a certificate never changes, give it its own id"
            mistakes.append(entry.mistake(("id",), words))
        else:
            kept.append(entry)
    rest = replace(rest, certificates=tuple(kept))
    while True:
        try:
            build(rest)
        except Mistakes as error:
            left = _without(rest, error.mistakes)
            if left == rest:
                raise
            mistakes += error.mistakes
            rest = left
        else:
            return rest, mistakes


def _without(specs: Specs, mistakes: Iterable[Mistake]) -> Specs:
    wrong = list(mistakes)
    return replace(
        specs,
        devices=_sound(specs.devices, wrong),
        certificates=_sound(specs.certificates, wrong),
        events=_sound(specs.events, wrong),
    )


def _sound(found: tuple[Entry[E], ...], mistakes: list[Mistake]) -> tuple[Entry[E], ...]:
    return tuple(e for e in found if not any(_hits(e.document.file, dotted(e.path), m) for m in mistakes))


def _hits(file: str, place: str, mistake: Mistake) -> bool:
    return mistake.file == file and (mistake.key == place or mistake.key.startswith((f"{place}.", f"{place}[")))
