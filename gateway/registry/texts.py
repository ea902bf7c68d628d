"""A registry file as specs: any of the lists `devices`, `certificates`, `events`; nothing is raised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from gateway.errors import Mistake
from gateway.registry.specs import CertificateSpec, DeviceSpec, Entry, EventSpec, Specs
from gateway.registry.validation import Written, validate, without_wrong
from gateway.registry.yamltext import Document, Path, Tree, parse

__all__ = ["entries", "parse_registry"]

LISTS = ("devices", "certificates", "events")

SPARE = frozenset({
    "serial", "name", "site", "in_service", "decision", "drift", "sigma", "resolution", "every", "timeout", "range",
    "stuck", "standard", "digits", "multiplier", "laboratory", "valid_to", "interval_months", "note",
})  # fmt: skip
"""Keys on which no other mistake hangs: what else is wrong can be told without them."""

M = TypeVar("M", bound=Written)


def parse_registry(text: str, file: str) -> Specs:
    """Return the specs in a YAML text; all its mistakes are part of the result."""
    document = parse(text, file)
    mistakes = list(document.mistakes)
    tree = document.tree
    if tree is None:
        if not text.strip():
            mistakes.append(Mistake(file=file, line=1, key="", message=f"is empty; list {', '.join(LISTS)} in it"))
        return Specs(mistakes=tuple(mistakes))
    if not isinstance(tree, dict):
        mistakes.append(document.mistake((), f"expected the keys {', '.join(LISTS)}"))
        return Specs(mistakes=tuple(mistakes))
    mistakes += [
        document.mistake((key,), f"unknown key; known here: {', '.join(LISTS)}") for key in tree if key not in LISTS
    ]
    devices, bad_devices = _list(DeviceSpec, document, tree, "devices")
    certificates, bad_certificates = _list(CertificateSpec, document, tree, "certificates")
    events, bad_events = _list(EventSpec, document, tree, "events")
    return Specs(
        devices=devices,
        certificates=certificates,
        events=events,
        mistakes=(*mistakes, *bad_devices, *bad_certificates, *bad_events),
        broken=_broken(tree.get("devices"), devices),
        maimed=(
            *_maimed(DeviceSpec, document, tree, "devices", devices),
            *_maimed(CertificateSpec, document, tree, "certificates", certificates),
            *_maimed(EventSpec, document, tree, "events", events),
        ),
    )


def entries(
    model: type[M], trees: Iterable[tuple[Path, Tree]], document: Document
) -> tuple[tuple[Entry[M], ...], list[Mistake]]:
    """Return the sound specs among trees of a document, and the mistakes of the others."""
    sound: list[Entry[M]] = []
    mistakes: list[Mistake] = []
    for path, tree in trees:
        found = validate(model, tree, document, path)
        if isinstance(found, list):
            mistakes += found
        else:
            sound.append(Entry(spec=found, document=document, path=path))
    return tuple(sound), mistakes


def _list(
    model: type[M], document: Document, tree: dict[str, Tree], key: str
) -> tuple[tuple[Entry[M], ...], list[Mistake]]:
    items = tree.get(key)
    if items is None:
        return (), []
    if not isinstance(items, list):
        return (), [document.mistake((key,), "expected a list; begin each item with -")]
    return entries(model, [((key, i), item) for i, item in enumerate(items)], document)


def _maimed(
    model: type[M], document: Document, tree: dict[str, Tree], key: str, sound: tuple[Entry[M], ...]
) -> Iterator[Entry[M]]:
    """Yield what is left of the entries of a list that are not sound, where something is."""
    items, well = tree.get(key), {e.path for e in sound}
    for i, item in enumerate(items if isinstance(items, list) else ()):
        left = None if (key, i) in well else without_wrong(model, item, SPARE)
        if left is not None:
            yield Entry(spec=left, document=document, path=(key, i))


def _broken(items: Tree, sound: tuple[Entry[DeviceSpec], ...]) -> frozenset[str]:
    """Return the ids of devices that are written but not sound, so that what names them is not blamed too."""
    written = {str(i["id"]) for i in items if isinstance(i, dict) and "id" in i} if isinstance(items, list) else set()
    return frozenset(written - {e.spec.id for e in sound})
