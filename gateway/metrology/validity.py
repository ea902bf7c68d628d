"""How long a verification is valid by law: intervals by kind of instrument, as versioned data, and the day they end.

A rule that an instrument's kind, rule pack and parameters contradict does not apply; what they leave open stays open,
so that there may be several. The calendar is `add_months`: 31 January and one month is the last of February.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from zoneinfo import ZoneInfo

from gateway.errors import Mistake, Mistakes
from gateway.metrology.formulas import Span, parse_span
from gateway.metrology.instants import add_months, parse_date
from gateway.metrology.packtext import Node, read_page
from gateway.metrology.units import UnitError, parse_quantity, unit

__all__ = ["IntervalRule", "Intervals", "Suggestion", "interval_catalogue", "parse_intervals", "suggest"]

KINDS = ("weighing", "electricity", "water", "gas", "fuel", "reference", "other")
_TOP = frozenset({"id", "version", "title", "source", "zones", "effective_from", "effective_to", "intervals"})
_RULE = frozenset({"kind", "instrument", "rule_packs", "parameters", "months", "procedures", "status", "note"})
_LONGEST = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalRule:
    """One line of a circular: for what, how many months, by which procedures (ĐLVN), whether it was verified.

    `choices` lists the values a parameter may have, `sizes` the span a quantity may lie in (base units).
    """

    kind: str
    instrument: str
    months: int
    rule_packs: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: Mapping[str, Span] = field(default_factory=dict)
    procedures: tuple[str, ...] = ()
    verified: bool = False
    note: str = ""

    def fits(self, kind: str, rule_pack: str | None, parameters: Mapping[str, str]) -> bool:
        """Return whether nothing known of an instrument contradicts the rule."""
        if kind != self.kind or (self.rule_packs and (rule_pack or "none") not in self.rule_packs):
            return False
        if any(name in parameters and parameters[name] not in values for name, values in self.choices.items()):
            return False
        return all(_inside(parameters.get(name), span) for name, span in self.sizes.items())


def _inside(text: str | None, span: Span) -> bool:
    if text is None:
        return True
    try:
        quantity = parse_quantity(text)
        found = unit(quantity.unit)
    except (UnitError, ValueError):
        return True
    return span.holds(Fraction(quantity.value) * found.factor, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """The intervals of one country in one version; `zones` are the time zones of the sites it is for."""

    id: str
    version: str
    title: str
    source: str
    zones: tuple[str, ...]
    effective_from: int | None
    effective_to: int | None
    rules: tuple[IntervalRule, ...]

    @property
    def reference(self) -> str:
        """`id@version`."""
        return f"{self.id}@{self.version}"

    def holds(self, at: int, zone: ZoneInfo) -> bool:
        """Return whether the version is in force at an instant (ns) for a site of that zone."""
        begun = self.effective_from is None or at >= self.effective_from
        return zone.key in self.zones and begun and (self.effective_to is None or at < self.effective_to)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """When the next verification is due (ns) if the law's shortest fitting interval is the instrument's."""

    due: int
    months: int
    source: str
    candidates: tuple[IntervalRule, ...]

    @property
    def verified(self) -> bool:
        """Whether there is no doubt: one interval only, and verified."""
        return len({c.months for c in self.candidates}) == 1 and all(c.verified for c in self.candidates)


def suggest(
    known: Iterable[Intervals],
    *,
    performed_at: int,
    zone: ZoneInfo,
    kind: str,
    rule_pack: str | None,
    parameters: Mapping[str, str],
) -> Suggestion | None:
    """Return the end of validity of a verification that names none; None where no law is known to give one."""
    for intervals in known:
        if not intervals.holds(performed_at, zone):
            continue
        candidates = tuple(r for r in intervals.rules if r.fits(kind, rule_pack, parameters))
        if candidates:
            months = min(r.months for r in candidates)
            due = add_months(performed_at, months, zone)
            return Suggestion(due=due, months=months, source=intervals.reference, candidates=candidates)
    return None


def interval_catalogue(
    shipped: Iterable[tuple[str, str]], own: Iterable[tuple[str, str]] = (), *, zone: ZoneInfo
) -> tuple[Intervals, ...]:
    """Return what (file, text) pairs hold, the site's own first; raises Mistakes with those of all files.

    A site's own file replaces the shipped one of its id and version.
    """
    mistakes: list[Mistake] = []
    mine = _read(own, zone, mistakes)
    theirs = _read(shipped, zone, mistakes)
    if mistakes:
        raise Mistakes(mistakes)
    replaced = {i.reference for i in mine}
    return (*mine, *(i for i in theirs if i.reference not in replaced))


def _read(texts: Iterable[tuple[str, str]], zone: ZoneInfo, mistakes: list[Mistake]) -> list[Intervals]:
    found = []
    for file, text in texts:
        try:
            found.append(parse_intervals(text, file, zone=zone))
        except Mistakes as error:
            mistakes.extend(error.mistakes)
    return found


def parse_intervals(text: str, file: str, *, zone: ZoneInfo) -> Intervals:
    """Return the intervals a YAML text holds; raises Mistakes with every mistake, its line and key."""
    root = read_page(text, file)
    top = root.mapping(allowed=_TOP, needed=_TOP - {"effective_from", "effective_to"})
    rules = tuple(_rule(node) for node in (top["intervals"].items() if "intervals" in top else ()))
    dates = {key: _date(top[key], zone) if key in top else None for key in ("effective_from", "effective_to")}
    root.page.settle()
    return Intervals(
        id=top["id"].text(),
        version=top["version"].text(),
        title=top["title"].text(),
        source=top["source"].text(),
        zones=_texts(top, "zones"),
        rules=tuple(rule for rule in rules if rule is not None),
        **dates,
    )


def _texts(keys: Mapping[str, Node], name: str) -> tuple[str, ...]:
    return tuple(node.text() for node in keys[name].items()) if name in keys else ()


def _date(node: Node, zone: ZoneInfo) -> int | None:
    try:
        return parse_date(node.text(), zone)
    except ValueError as error:
        node.wrong(str(error))
        return None


def _one_of(node: Node, allowed: Sequence[str]) -> str:
    text = node.text()
    if text not in allowed:
        node.wrong(f"{text!r} is not one of {', '.join(allowed)}")
    return text


def _rule(node: Node) -> IntervalRule | None:
    keys = node.mapping(allowed=_RULE, needed=frozenset({"kind", "instrument", "months", "status"}))
    if not keys.keys() >= {"kind", "instrument", "months", "status"}:
        return None
    months = keys["months"].text()
    if not re.fullmatch(r"[0-9]{1,3}", months) or not 1 <= int(months) <= _LONGEST:
        keys["months"].wrong(f"{months!r} is not a number of months from 1 to {_LONGEST}")
        return None
    choices: dict[str, tuple[str, ...]] = {}
    sizes: dict[str, Span] = {}
    for name, below in keys["parameters"].mapping().items() if "parameters" in keys else ():
        if isinstance(below.value, str) and below.value[:1] in {"[", "("}:
            try:
                sizes[name] = parse_span(below.value, frozenset())
            except ValueError as error:
                below.wrong(str(error))
        else:
            choices[name] = tuple(n.text() for n in below.items())
    return IntervalRule(
        kind=_one_of(keys["kind"], KINDS),
        instrument=keys["instrument"].text(),
        months=int(months),
        rule_packs=_texts(keys, "rule_packs"),
        choices=choices,
        sizes=sizes,
        procedures=_texts(keys, "procedures"),
        verified=_one_of(keys["status"], ("verified", "unverified")) == "verified",
        note=keys["note"].text() if "note" in keys else "",
    )
