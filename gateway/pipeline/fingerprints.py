"""What verdicts of a channel hang on, as a text that is kept with its state: a change says from when to judge again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import zip_longest

from gateway.metrology.limits import Limits
from gateway.pipeline.plan import NEVER, Epoch
from gateway.registry.model import Channel, Device, Kind

__all__ = ["KeyOf", "changed_from", "fingerprints"]

KeyOf = Callable[[Limits], str]

Row = tuple[Device, Channel]
Timeline = Sequence[tuple[int, str]]
"""(from when in ns, hash of what holds), in time order."""


def fingerprints(rows: Sequence[Row], epochs: Sequence[Sequence[Epoch]], key_of: KeyOf) -> tuple[str, ...]:
    """Return the fingerprint of each channel, hashes of what holds always and then stretch by stretch.

    Certificates of standards are part of it, since they give the uncertainty of references without one. Any reading may
    name any standard, so those of all standards with a channel of that name are: a standard is a device of kind
    `reference`, or one that a channel names.
    """
    named = {c.standard for _, c in rows}
    by_name: dict[str, list[tuple[str, Timeline]]] = {}
    for (d, c), of in zip(rows, epochs, strict=True):
        if d.kind is Kind.REFERENCE or d.id in named:
            by_name.setdefault(c.name, []).append((d.id, _certificates(of)))
    together = {name: _merged(dict(timelines)) for name, timelines in by_name.items()}
    always: dict[tuple[int, str, str], str] = {}
    found = []
    for (d, c), of in zip(rows, epochs, strict=True):
        key = id(c), d.kind, d.decision
        if key not in always:
            always[key] = _hash(repr(c), d.kind, d.decision)
        found.append(" ".join([always[key], *_stretches(of, together.get(c.name, ()), key_of)]))
    return tuple(found)


def _certificates(epochs: Sequence[Epoch]) -> Timeline:
    """Return what the certificates of a standard's channel are when; from its first one on."""
    found: list[tuple[int, str]] = []
    for e in epochs:
        said = "" if e.certificate is None and e.valid_to is None else _hash(repr((e.certificate, e.valid_to)))
        if said != (found[-1][1] if found else ""):
            found.append((e.start, said))
    return found


def _merged(timelines: Mapping[str, Timeline]) -> Timeline:
    """Return what all standards together are when; one without certificates is as if it were not there."""
    starts = sorted({start for timeline in timelines.values() for start, _ in timeline})
    return [(start, _hash(*(f"{d} {said}" for d, t in sorted(timelines.items()) if (said := _at(t, start)))))
            for start in starts]  # fmt: skip


def _at(timeline: Timeline, start: int) -> str:
    place = bisect_right(timeline, start, key=lambda entry: entry[0])
    return timeline[place - 1][1] if place else ""


def _stretches(epochs: Sequence[Epoch], standards: Timeline, key_of: KeyOf) -> Iterator[str]:
    """Yield what holds from when, in time order."""
    for start in sorted({*(e.start for e in epochs), *(start for start, _ in standards)}):
        e = [own for own in epochs if own.start <= start][-1]
        pack, limits = e.pack and e.pack.reference, e.limits and key_of(e.limits)
        said = repr((e.segment, e.certificate, e.valid_to, pack, limits, e.settings))
        yield f"{start}:" + _hash(said, *filter(None, [_at(standards, start)]))


def _hash(*texts: str) -> str:
    return blake2b("\n".join(texts).encode(), digest_size=8).hexdigest()


def changed_from(before: str, after: str) -> int | None:
    """Return from when (ns) two fingerprints judge otherwise; None if they do not.

    >>> changed_from("a -5:x 10:y", "a -5:x 10:y 20:z"), changed_from("a -5:x", "a -5:x")
    (20, None)
    >>> changed_from("a", "b") == NEVER
    True
    """
    old, new = before.split(), after.split()
    if old[:1] != new[:1]:
        return NEVER
    for a, b in zip_longest(old[1:], new[1:]):
        if a != b:
            return min(int(part.split(":")[0]) for part in (a, b) if part is not None)
    return None
