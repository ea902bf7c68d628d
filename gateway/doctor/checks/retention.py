"""Retention: up to where readings were deleted, when last, and whether it is done."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.doctor import Finding, Site, fine, warning
from gateway.doctor.reading import Unreadable, read_ledger
from gateway.metrology.instants import DAY_NS, format_duration, format_instant

__all__ = ["check"]

OVERDUE_NS = 2 * DAY_NS


def check(site: Site) -> Iterator[Finding]:
    """Look at the horizons in the ledger, if anything is or was to be deleted."""
    wanted = site.settings.ledger.retention
    try:
        with read_ledger(site.settings.data_dir) as connection:
            (n, first, last) = connection.execute("SELECT COUNT(*), MIN(time), MAX(time) FROM horizon").fetchone()
            run = connection.execute("SELECT begun_at, ended_at, readings FROM deletion ORDER BY id DESC").fetchone()
    except Unreadable:
        return  # the check of the ledger says so
    if wanted is None and not n:
        return
    gone = "nothing was deleted yet"
    if n:
        edges = format_instant(first) if first == last else f"{format_instant(first)} to {format_instant(last)}"
        gone = f"raw readings of {n} channels are deleted before {edges}"
    if wanted is None:
        yield fine(f"{gone}; from now on everything is kept")
        return
    kept = f"raw readings are kept for {format_duration(wanted.raw)}, roll-ups for {format_duration(wanted.rollups)}"
    if run is not None and run[1] is None and site.at - run[0] > OVERDUE_NS:
        yield warning(
            f"a deletion begun at {format_instant(run[0])} is not done",
            "start the gateway, or `metergate retention run`",
        )
    midnight = format_instant(site.at - site.at % DAY_NS + DAY_NS)
    yield fine(f"{kept}; {gone}; the next day goes after {midnight} while the gateway runs")
