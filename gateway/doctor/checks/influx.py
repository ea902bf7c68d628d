"""InfluxDB, where it is configured: does it take points and keep them for long enough, and how far is the forwarder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from gateway.doctor import Finding, Site, fine, problem, warning
from gateway.doctor.reading import Unreadable, ledger_path, read_ledger

__all__ = ["check"]

BEHIND = 100_000
BEHIND_NS = 10 * 60 * 10**9


def check(site: Site) -> Iterator[Finding]:
    """Ask InfluxDB, then the ledger where forwarding stands."""
    influx = site.settings.influx
    if influx is None:
        return
    from gateway.runtime.influx_setup import inspect

    if influx.token is None and influx.token_file is None:
        yield problem("influx has no token", "set influx.token_file; `metergate influx setup` makes one")
        return
    found = asyncio.run(inspect(influx))
    yield from (problem(f.what, f.remedy) for f in found)
    if not found:
        yield fine(f"InfluxDB at {influx.url} takes points into {influx.org}/{influx.bucket}")
    yield from _forwarding(site, influx.target)


def _forwarding(site: Site, wanted: str) -> Iterator[Finding]:
    from gateway.history.forward_state import forwarding_state
    from gateway.ledger.store import Ledger

    folder = site.settings.data_dir
    try:
        with read_ledger(folder) as connection:
            state = forwarding_state(Ledger(ledger_path(folder), connection))
    except Unreadable:
        return  # the check of the ledger says so
    if state.target is None:
        yield warning("nothing has been sent to InfluxDB yet", "the running gateway does it: `metergate run`")
        return
    if state.target != wanted:
        yield warning(
            f"what was sent went to {state.target}, not to {wanted}",
            "the gateway sends the whole ledger there once it runs with these settings",
        )
        return
    age = 0 if state.oldest_unsent is None else max(0, site.at - state.oldest_unsent)
    said = f"{state.lag} readings are not in InfluxDB yet, the oldest received {age // 10**9} s ago"
    if state.held_since is not None:
        yield problem(f"{said}; it refuses them: {state.last_answer}", "mend what it says; they are kept in the ledger")
    elif state.failing_since is not None or state.lag > BEHIND or age > BEHIND_NS:
        words = f"; the last answer: {state.last_answer}" if state.last_answer else ""
        yield warning(said + words, "nothing is lost: they are kept in the ledger and sent when InfluxDB takes them")
    else:
        yield fine(said if state.lag else "everything is in InfluxDB")
    if state.poison:
        yield warning(f"InfluxDB refused {state.poison} points for good", "see `metergate influx status`")
