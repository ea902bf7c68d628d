"""Topics: the canonical one, templates of other makers' topics, and the way from a topic to its decoder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from msgspec import structs

from collectors import Message
from collectors.decoders import Address, Decoded, Decoder, DecodeTogether, Profile, find
from collectors.decoders.records import is_id, refuse
from collectors.decoders.strictjson import UnreadableError, shorten
from gateway.metrology.readings import Reading, Why

__all__ = [
    "READINGS", "Route", "Router", "Template", "TopicMapping", "filter_matches", "is_filter", "is_topic",
    "parse_canonical",
]  # fmt: skip

READINGS = "metergate/reading"
"""Where canonical readings arrive: `metergate/reading/{site}/{device}/{channel}`."""

_MAX_TOPIC_BYTES = 65535
_REMEMBERED = 100_000
TOGETHER = 64
"""So many messages at most are read at once: one that must be read alone makes so many be."""
_PLACES = ("site", "device", "channel")
_PLACE = re.compile(r"\{([^{}/]*)\}")


def is_topic(topic: str) -> bool:
    """Tell whether a text can be a topic a message was published to (MQTT 5 §4.7)."""
    return 0 < len(topic.encode(errors="replace")) <= _MAX_TOPIC_BYTES and not set(topic) & {"+", "#", "\0"}


def is_filter(filter_: str) -> bool:
    """Tell whether a text is a topic filter: `+` fills a whole level, `#` the last one (MQTT 5 §4.7.1)."""
    if not 0 < len(filter_.encode(errors="replace")) <= _MAX_TOPIC_BYTES or "\0" in filter_:
        return False
    *front, last = filter_.split("/")
    return all(level == "+" or not set(level) & {"+", "#"} for level in front) and (
        last in {"+", "#"} or not set(last) & {"+", "#"}
    )


def filter_matches(filter_: str, topic: str) -> bool:
    """Tell whether a filter takes a topic; an invalid filter or topic matches nothing."""
    if not is_filter(filter_) or not is_topic(topic) or (topic[0] == "$" and filter_[0] in "+#"):
        return False
    wanted, levels = filter_.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        if len(levels) < len(wanted):
            return False
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(w in {"+", level} for w, level in zip(wanted, levels, strict=True))


def parse_canonical(topic: str) -> Address:
    """Return who speaks on `metergate/reading/{site}/{device}/{channel}`; UnreadableError (bad_topic) otherwise."""
    levels = topic.split("/")
    if len(levels) != 5 or f"{levels[0]}/{levels[1]}" != READINGS:
        raise UnreadableError(Why.BAD_TOPIC, f'"{shorten(topic)}" is not {READINGS}/{{site}}/{{device}}/{{channel}}')
    for place, level in zip(_PLACES, levels[2:], strict=True):
        if not is_id(level):
            raise UnreadableError(Why.BAD_TOPIC, f'{place} "{shorten(level)}" of the topic is no id')
    return Address(site=levels[2], device=levels[3], channel=levels[4])


@dataclass(frozen=True, slots=True)
class Template:
    """A topic with `{site}`, `{device}` and `{channel}` where ids stand; `+` and `#` as in filters.

    Ids are read in lower case (`tele/DVES_0A1B2C/SENSOR` is the device `dves_0a1b2c`).
    """

    text: str
    filter: str
    _pattern: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Return the template a text describes; ValueError says what is wrong."""
        names = _PLACE.findall(text)
        if wrong := [name for name in names if name not in _PLACES]:
            raise ValueError(f"{{{wrong[0]}}} is not one of {{site}}, {{device}}, {{channel}}")
        if len(set(names)) != len(names):
            raise ValueError(f"{text!r} names a place twice")
        levels = text.split("/")
        filter_ = "/".join("+" if _PLACE.search(level) else level for level in levels)
        if not is_filter(filter_) or set(_PLACE.sub("", text)) & {"{", "}"}:
            raise ValueError(f"{text!r} is no topic template such as tele/{{device}}/SENSOR")
        tail = levels[-1] == "#"
        pattern = "/".join(_level_pattern(level) for level in (levels[:-1] if tail else levels))
        return cls(text=text, filter=filter_, _pattern=re.compile(pattern + ("(?:/.*)?" if tail else ""), re.DOTALL))

    def match(self, topic: str) -> Address | None:
        """Return who speaks on a topic, None when the template does not fit; UnreadableError when an id is none."""
        if not filter_matches(self.filter, topic):
            return None
        found = self._pattern.fullmatch(topic)
        if found is None:
            return None
        named = {place: value.lower() for place, value in found.groupdict().items()}
        for place, value in named.items():
            if not is_id(value):
                raise UnreadableError(Why.BAD_TOPIC, f'{place} "{shorten(value)}" of the topic is no id')
        return Address(**named)


def _level_pattern(level: str) -> str:
    if level == "+":
        return "[^/]*"
    parts = re.split(r"(\{[a-z]+\})", level)
    return "".join(f"(?P<{p[1:-1]}>[^/]*)" if _PLACE.fullmatch(p) else re.escape(p) for p in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicMapping:
    """One entry of `topics` in gateway.yaml.

    `timezone` replaces the profile's for devices that send local times; `channels`, when given, are all that is taken.
    """

    template: Template
    profile: str
    timezone: ZoneInfo | None = None
    channels: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How messages of one topic are read; `together`: how many at once, where the decoder can."""

    address: Address
    profile: Profile
    decoder: Decoder
    together: DecodeTogether | None = None


class Router:
    """From topics to decoders. `site` given: readings of another site are refused (identity_mismatch)."""

    def __init__(
        self, mappings: Sequence[TopicMapping], profiles: Mapping[str, Profile], *, site: str | None = None
    ) -> None:
        self.filters = tuple(dict.fromkeys([f"{READINGS}/#", *(m.template.filter for m in mappings)]))
        self._mappings = [(m, _adapted(m, profiles)) for m in mappings]
        self._profiles = profiles
        self._site = site
        self._known: dict[str, Route | UnreadableError] = {}

    def route(self, topic: str) -> Route:
        """Return how a topic is read; UnreadableError says bad_topic, identity_mismatch or unknown_profile."""
        found = self._known.get(topic)
        if found is None:
            try:
                found = self._find(topic)
            except UnreadableError as error:
                found = error
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[topic] = found
        if isinstance(found, UnreadableError):
            raise UnreadableError(found.why, found.detail)
        return found

    def decode(self, topic: str, payload: bytes, source: int, received_at: int) -> Decoded:
        """Read one message; never raises. A message that no route reads is one refusal."""
        try:
            route = self.route(topic)
        except UnreadableError as error:
            return Decoded(refused=[refuse(error, Address(), source=source)])
        decoded = route.decoder.decode(payload, route.address, source, route.profile, received_at)
        return _counted_by_device(decoded) if route.profile.seq_per_device else decoded

    def decode_batch(self, messages: Sequence[Message]) -> Iterator[Decoded]:
        """Yield what messages say, in their order, one or more of them at a time; `source` is a message's place."""
        for start in range(0, len(messages), TOGETHER):
            part = messages[start : start + TOGETHER]
            readings = self._together(part, start)
            if readings is not None:
                yield Decoded(readings=readings)
                continue
            for i, m in enumerate(part, start):
                yield self.decode(m.topic, m.payload, i, m.received_at)

    def _together(self, messages: Sequence[Message], start: int) -> Sequence[Reading] | None:
        """Return one reading for each message where one decoder can read all of them at once."""
        routes = [self._known.get(m.topic) for m in messages]
        first = routes[0]
        if not isinstance(first, Route) or first.together is None:
            return None
        together = first.together
        if not all(isinstance(r, Route) and r.together is together for r in routes):
            return None
        return together([m.payload for m in messages], [r.address for r in routes], start)  # type: ignore[union-attr]

    def _find(self, topic: str) -> Route:
        if not is_topic(topic):
            raise UnreadableError(Why.BAD_TOPIC, f'"{shorten(topic)}" is no topic')
        if topic == READINGS or topic.startswith(READINGS + "/"):
            address = parse_canonical(topic)
            if self._site is not None and address.site != self._site:
                raise UnreadableError(
                    Why.IDENTITY_MISMATCH, f'the topic says site "{address.site}", this gateway is "{self._site}"'
                )
            return _route(address, "canonical", self._profiles.get("canonical"))
        for mapping, profile in self._mappings:
            named = mapping.template.match(topic)
            if named is not None:
                return _route(replace(named, site=named.site or self._site), mapping.profile, profile)
        raise UnreadableError(Why.BAD_TOPIC, f'"{shorten(topic)}" is mapped to no profile')


def _counted_by_device(decoded: Decoded) -> Decoded:
    marked = [r if r.seq is None else structs.replace(r, seq_per_device=True) for r in decoded.readings]
    return structs.replace(decoded, readings=marked)


def _adapted(mapping: TopicMapping, profiles: Mapping[str, Profile]) -> Profile | None:
    profile = profiles.get(mapping.profile)
    if profile is None:
        return None
    kept = {
        name: quantity
        for name, quantity in profile.quantities.items()
        if mapping.channels is None or name in mapping.channels
    }
    return replace(profile, timezone=mapping.timezone or profile.timezone, quantities=kept)


def _route(address: Address, name: str, profile: Profile | None) -> Route:
    decoder = find(profile.decoder) if profile else None
    if profile is None or decoder is None:
        raise UnreadableError(Why.UNKNOWN_PROFILE, f'there is no profile "{shorten(name)}"')
    together = None if profile.seq_per_device else getattr(decoder, "decode_together", None)
    return Route(address=address, profile=profile, decoder=decoder, together=together)
