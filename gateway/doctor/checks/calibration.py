"""Calibration and verification certificates of the registry: which devices are overdue, or will be soon."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.doctor import Finding, Site, fine, warning
from gateway.doctor.reading import Unreadable, ledger_path, schema_known
from gateway.metrology.instants import DAY_NS

__all__ = ["check"]

SOON_NS = 30 * DAY_NS
NAMED = 5


def check(site: Site) -> Iterator[Finding]:
    """Take each device's latest due date and compare it with now."""
    from gateway.app import registry_of, rule_packs
    from gateway.doctor.reading import read_ledger
    from gateway.ledger.store import Ledger

    folder = site.settings.data_dir
    try:
        with read_ledger(folder) as connection:
            if int(connection.execute("PRAGMA user_version").fetchone()[0]) != schema_known():
                return
            packs = rule_packs(site.config, site.settings)
            registry = registry_of(Ledger(ledger_path(folder), connection), site.settings, packs)
    except Unreadable:
        return  # the check of the ledger says so
    due: dict[str, int] = {}
    for c in registry.certificates:
        if c.valid_to is not None:
            due[c.device] = max(due.get(c.device, c.valid_to), c.valid_to)
    over = sorted(d for d, end in due.items() if end <= site.at)
    soon = sorted(d for d, end in due.items() if site.at < end <= site.at + SOON_NS)
    if over:
        yield warning(f"the certificates of {_names(over)} have expired", "re-verify, and apply the new certificates")
    if soon:
        yield warning(f"the certificates of {_names(soon)} expire within 30 days", "plan their re-verification")
    if due and not over and not soon:
        yield fine(f"{len(due)} devices have a certificate that is valid for 30 days and more")


def _names(devices: list[str]) -> str:
    more = len(devices) - NAMED
    return ", ".join(devices[:NAMED]) + (f" and {more} more" if more > 0 else "")
