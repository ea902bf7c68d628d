"""`drift design --apply`: limits of the ledger's registry designed anew, from its budget and its fleet as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.app import registry_of, rule_packs, settings_of
from gateway.design import redesign
from gateway.ledger.registry import designed, designed_for, put, put_designed, put_designed_for
from gateway.ledger.store import Ledger

__all__ = ["Redesign", "Redesigned", "redesign_limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Redesigned:
    """New limits of one channel's charts, by chart and parameter, from when (ns)."""

    device: str
    channel: str
    since: int
    charts: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Redesign:
    """What was (or would be) designed: for how many channels, before and now, and the channels whose limits change.

    `by_hand`: channels whose drift charts the registry sets; they signal as they are set to, beside the budget.
    """

    budget: str
    before: int
    channels: int
    by_hand: int
    changed: tuple[Redesigned, ...]


def redesign_limits(config: Path | None, *, now: int, keep: bool) -> Redesign:
    """Design the limits of every channel for the fleet as it is now, and `keep` them from `now` (ns) on.

    Past verdicts stay. A running gateway takes new limits over within a second. Raises Refused without a ledger.
    """
    settings = settings_of(config)
    packs = rule_packs(config, settings)
    with Ledger.open(settings.data_dir, create=False) as ledger:
        registry = registry_of(ledger, settings, packs)
        before = designed_for(ledger.connection)
        new, size = redesign(registry, settings.drift.budget, designed(ledger.connection), 0, now)
        if keep and (new or size != before):
            with ledger.transaction() as connection:
                put(connection, [], now)
                put_designed(connection, new)
                put_designed_for(connection, size)
    changed = tuple(Redesigned(device=d, channel=c, since=since, charts=charts) for d, c, since, charts in new)
    by_hand = sum(c.drift is not None for d in registry.devices.values() for c in d.channels.values())
    return Redesign(budget=settings.drift.budget, before=before, channels=size, by_hand=by_hand, changed=changed)
