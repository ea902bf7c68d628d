"""The clock of this machine: is it set by a time server, and has it gone back behind what was received."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator

from gateway.doctor import Finding, Site, fine, problem, warning
from gateway.doctor.reading import Unreadable, read_ledger
from gateway.metrology.instants import format_instant

__all__ = ["check", "is_synchronised"]

BEHIND_NS = 5 * 10**9
EARLIEST_NS = 1_735_689_600 * 10**9
"""1 January 2025: before this program was written."""
_TIME_ERROR = 5
_ADJTIMEX_BYTES = 512
"""More than struct timex has anywhere; all zero asks and sets nothing."""


def check(site: Site) -> Iterator[Finding]:
    """Compare the clock with the ledger, and ask the kernel whether it is disciplined."""
    now = format_instant(site.at // 10**9 * 10**9)
    newest = _newest(site)
    if site.at < EARLIEST_NS:
        yield problem(f"the clock says {now}", "set it, and let a time server keep it (chrony, systemd-timesyncd)")
        return
    if newest is not None and newest - site.at > BEHIND_NS:
        yield problem(
            f"the clock says {now}, and a reading was received at {format_instant(newest)}",
            "set the clock; readings that come now are taken for readings from the future",
        )
        return
    synchronised = is_synchronised()
    if synchronised is False:
        yield warning(
            f"the clock says {now} and no time server keeps it, as far as the kernel knows",
            "run chrony or systemd-timesyncd; in a container see to it on the host",
        )
    else:
        yield fine(f"the clock says {now}" + (", kept by a time server" if synchronised else ""))


def is_synchronised() -> bool | None:
    """Return what the kernel says of the clock, None where it cannot be asked."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    state = int(adjtimex(ctypes.create_string_buffer(_ADJTIMEX_BYTES)))
    return None if state < 0 else state != _TIME_ERROR


def _newest(site: Site) -> int | None:
    try:
        with read_ledger(site.settings.data_dir) as connection:
            row = connection.execute("SELECT received_at FROM reading ORDER BY id DESC LIMIT 1").fetchone()
    except Unreadable:
        return None
    return None if row is None else int(row[0])
