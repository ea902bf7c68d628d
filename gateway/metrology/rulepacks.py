"""The catalogue of rule packs: legal limits as versioned data, found by id and date (config/rulepacks).

A pack is one YAML file that names its parameters, what its bands run over, and one row per limit; formulas.py is the
language of its numbers. A site's own file replaces the shipped pack of the same version or the same date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from gateway.errors import Mistake, Mistakes
from gateway.metrology.packfile import UTC_ZONE, parse_rule_pack
from gateway.metrology.rules import RulePack

__all__ = ["RulePack", "RulePacks", "catalogue", "parse_rule_pack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePacks:
    """All rule packs known, found by id and date. Of two packs in force the one that began later holds."""

    packs: Mapping[str, tuple[RulePack, ...]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[RulePack]:
        return (pack for versions in self.packs.values() for pack in versions)

    def __contains__(self, name: object) -> bool:
        return name in self.packs

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids known, in order."""
        return tuple(sorted(self.packs))

    def get(self, name: str, at: int) -> RulePack | None:
        """Return the pack in force at an instant (ns); None when there is none."""
        for pack in reversed(self.packs.get(name, ())):
            if _start(pack) <= at and (pack.effective_to is None or at < pack.effective_to):
                return pack
        return None

    def changes(self, name: str | None) -> tuple[int, ...]:
        """Return the instants (ns) at which another version of a pack comes into force, or one ends."""
        packs = self.packs.get(name, ()) if name is not None else ()
        return tuple(sorted({t for p in packs for t in (p.effective_from, p.effective_to) if t is not None}))


_ALWAYS = -(2**63)


def _start(pack: RulePack) -> int:
    return _ALWAYS if pack.effective_from is None else pack.effective_from


def catalogue(
    texts: Iterable[tuple[str, str]], *, own: Iterable[tuple[str, str]] = (), zone: ZoneInfo = UTC_ZONE
) -> RulePacks:
    """Return the catalogue of (file, text) pairs; raises Mistakes with those of all files.

    Two packs of one id may share neither version nor date, except that the site's `own` replace shipped ones.
    """
    mistakes: list[Mistake] = []
    shipped = _read_all(texts, zone, mistakes)
    site = _read_all(own, zone, mistakes)
    if mistakes:
        raise Mistakes(mistakes)
    kept = [p for p in shipped if not any(_clash(p, q) for q in site)]
    found: dict[str, list[RulePack]] = {}
    for pack in (*kept, *site):
        found.setdefault(pack.id, []).append(pack)
    return RulePacks(packs={name: tuple(sorted(packs, key=_start)) for name, packs in sorted(found.items())})


def _clash(a: RulePack, b: RulePack) -> bool:
    return a.id == b.id and (a.version == b.version or _start(a) == _start(b))


def _read_all(texts: Iterable[tuple[str, str]], zone: ZoneInfo, mistakes: list[Mistake]) -> list[RulePack]:
    """Return the packs of these files, noting mistakes, duplicates among them."""
    packs: list[RulePack] = []
    for file, text in texts:
        try:
            pack = parse_rule_pack(text, file, zone=zone)
        except Mistakes as found:
            mistakes.extend(found.mistakes)
            continue
        for other in packs:
            if _clash(pack, other):
                same = "version" if pack.version == other.version else "effective_from"
                message = f"{pack.reference} has the same {same} as {other.reference} in {other.file}"
                mistakes.append(Mistake(file=file, line=1, key=same, message=message))
            if pack.id == other.id and pack.parameters != other.parameters:
                message = f"{pack.reference} takes other parameters than {other.reference} in {other.file}; "
                message += "give it an id of its own"
                mistakes.append(Mistake(file=file, line=1, key="parameters", message=message))
        packs.append(pack)
    return packs
