"""Profiles: what a model of device sends, one YAML file a model, the file's name being the profile's.

```yaml
title: Tasmota energy monitor
decoder: json-paths
topics: ["tele/{device}/SENSOR"]        # where the model publishes by itself
wrappers: [StatusSNS]                   # keys that may enclose the whole message
ignore: [Online]                        # payload texts without readings
time: {path: Time, format: local, without_zone: receipt}    # rfc3339, local, epoch_s, epoch_ms
timezone: Asia/Ho_Chi_Minh              # for local times; else they are refused, or the receipt counts
seq: channel                            # or device: one count for all channels
channels:
  active_energy: {path: ENERGY.Total, unit: kWh, type: register}
  volume: {path: V2, unit: L, type: register, fields: {value_start: V1, reference: Vc2, reference_start: Vc1}}
  test_energy: {path: N, per: k, unit: kWh, type: run}      # per: a number, or the path of one
```
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from collectors.decoders import Profile, Quantity, TimeField, every
from collectors.decoders.jsonpaths import NAME as JSON_PATHS
from collectors.decoders.jsonpaths import TIME_FORMATS
from collectors.decoders.records import FIELDS, is_id
from collectors.topics import Template
from gateway.errors import Mistake, Mistakes, WrongUse
from gateway.metrology.packtext import Node, read_page

__all__ = ["BUILT_IN", "parse_profile", "read_profiles"]

BUILT_IN: Mapping[str, Profile] = {
    "canonical": Profile(
        name="canonical",
        decoder="canonical",
        title="Canonical JSON readings, or a SenML pack",
        topics=("metergate/reading/{site}/{device}/{channel}",),
    ),
    "senml": Profile(name="senml", decoder="senml", title="SenML pack (RFC 8428)"),
}
"""The profiles that need no file."""

_KEYS = frozenset({
    "title", "decoder", "source", "topics", "wrappers", "ignore", "time", "timezone", "seq", "channels",
})  # fmt: skip
_CHANNEL_KEYS = frozenset({"path", "unit", "type", "per", "fields"})
_TYPES = ("indication", "register", "run")


def read_profiles(shipped: Iterable[tuple[str, str]], folders: Iterable[Path] = ()) -> dict[str, Profile]:
    """Return the built-in profiles, the shipped ones (file name, text), and those of the folders' *.yaml.

    Later ones replace earlier ones of the same name. Mistakes holds every mistake of every file. A missing folder is
    empty.
    """
    sources: list[tuple[str, str | Path]] = list(shipped)
    for folder in folders:
        sources += [(path.name, path) for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])]
    found, mistakes = dict(BUILT_IN), []
    for name, held in sources:
        try:
            text, file = (_text(held), str(held)) if isinstance(held, Path) else (held, name)
            profile = parse_profile(Path(name).stem, text, file)
        except Mistakes as error:
            mistakes += error.mistakes
        else:
            found[profile.name] = profile
    if mistakes:
        raise Mistakes(mistakes)
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise Mistakes([Mistake(file=str(path), line=None, key="", message="is not UTF-8; save it as UTF-8")]) from None
    except OSError as error:
        raise WrongUse(f"cannot read {path}: {error.strerror}", remedy="check the path and its permissions") from None


def parse_profile(name: str, text: str, file: str) -> Profile:
    """Return the profile a YAML text describes; Mistakes names every mistake with its line and key."""
    page = read_page(text, file)
    if not is_id(name) or name in BUILT_IN:
        page.wrong(f"the file's name {name!r} is no free profile id; an id is [a-z0-9][a-z0-9._-]{{0,63}}")
    keys = page.mapping(allowed=_KEYS, needed=frozenset({"decoder"}))
    decoder = _choice(keys.get("decoder"), tuple(every()), "")
    if decoder == JSON_PATHS and "channels" not in keys:
        page.wrong("is missing", "channels")
    profile = Profile(
        name=name,
        decoder=decoder,
        title=_word(keys.get("title")),
        source=_word(keys.get("source")),
        topics=tuple(_topic(node) for node in _list(keys.get("topics"))),
        wrappers=tuple(node.text() for node in _list(keys.get("wrappers"))),
        ignore=tuple(node.text() for node in _list(keys.get("ignore"))),
        time=_time(keys.get("time")),
        timezone=_zone(keys.get("timezone")),
        seq_per_device=_choice(keys.get("seq"), ("channel", "device"), "channel") == "device",
        quantities=_quantities(keys.get("channels")),
    )
    page.page.settle()
    return profile


def _word(node: Node | None) -> str:
    return node.text() if node else ""


def _list(node: Node | None) -> tuple[Node, ...]:
    return node.items() if node else ()


def _choice(node: Node | None, choices: tuple[str, ...], default: str) -> str:
    if node is None:
        return default
    text = node.text()
    if text and text not in choices:
        node.wrong(f"is {text!r}, not one of {', '.join(choices)}")
    return text


def _topic(node: Node) -> str:
    text = node.text()
    try:
        Template.parse(text)
    except ValueError as error:
        node.wrong(str(error))
    return text


def _time(node: Node | None) -> TimeField | None:
    if node is None:
        return None
    needed = frozenset({"path", "format"})
    keys = node.mapping(allowed=needed | {"without_zone"}, needed=needed)
    without_zone = _choice(keys.get("without_zone"), ("refuse", "receipt"), "refuse")
    if not keys.keys() >= needed:
        return None
    return TimeField(
        path=_path(keys["path"]),
        format=_choice(keys["format"], TIME_FORMATS, ""),
        or_receipt=without_zone == "receipt",
    )


def _zone(node: Node | None) -> ZoneInfo | None:
    if node is None:
        return None
    text = node.text()
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        node.wrong(f"{text!r} is no timezone such as Asia/Ho_Chi_Minh")
        return None


def _quantities(node: Node | None) -> dict[str, Quantity]:
    found: dict[str, Quantity] = {}
    for name, below in (node.mapping() if node else {}).items():
        if not is_id(name):
            below.wrong("is no channel id")
        keys = below.mapping(allowed=_CHANNEL_KEYS, needed=frozenset({"path", "unit"}))
        found[name] = Quantity(
            paths=tuple(_path(path) for path in _list(keys.get("path"))),
            unit=_word(keys.get("unit")),
            type=_choice(keys.get("type"), _TYPES, "indication"),
            per=_path(keys["per"]) if "per" in keys else "",
            fields=_fields(keys.get("fields")),
        )
    if node is not None and not found:
        node.wrong("names no channel")
    return found


def _fields(node: Node | None) -> dict[str, str]:
    return {name: _path(below) for name, below in (node.mapping(allowed=FIELDS) if node else {}).items()}


def _path(node: Node) -> str:
    text = node.text()
    if not all(text.split(".")):
        node.wrong(f"{text!r} is no path of keys joined by dots, such as ENERGY.Total")
    return text
