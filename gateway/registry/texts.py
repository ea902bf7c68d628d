"""A registry file as specs: any of the lists `devices`, `certificates`, `events`; nothing is raised."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from gateway.errors import Mistake
from gateway.registry.specs import CertificateSpec, DeviceSpec, Entry, EventSpec, Specs
from gateway.registry.validation import Written, validate
from gateway.registry.yamltext import Document, Path, Tree, parse

__all__ = ["entries", "parse_registry"]

LISTS = ("devices", "certificates", "events")

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


def _broken(items: Tree, sound: tuple[Entry[DeviceSpec], ...]) -> frozenset[str]:
    """Return the ids of devices that are written but not sound, so that what names them is not blamed too."""
    written = {str(i["id"]) for i in items if isinstance(i, dict) and "id" in i} if isinstance(items, list) else set()
    return frozenset(written - {e.spec.id for e in sound})
