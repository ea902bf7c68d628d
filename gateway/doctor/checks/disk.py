"""The data folder: may it be written, and how much room is left on its disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from gateway.doctor import Finding, Site, fine, problem, warning

__all__ = ["check"]

TOO_LITTLE = 200 << 20
LITTLE = 2 << 30
LITTLE_PART = 0.05


def check(site: Site) -> Iterator[Finding]:
    """Look at the disk of `data_dir`, or of the nearest folder above it that is there."""
    folder = site.settings.data_dir
    there = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        yield problem(f"{there} cannot be written", "give it to the user the gateway runs as")
    room = shutil.disk_usage(there)
    said = f"{room.free >> 20} MiB free of {room.total >> 20} MiB for {folder}"
    if room.free < TOO_LITTLE:
        yield problem(
            said, "make room now: readings wait at the broker when the disk is full, and it drops some in time"
        )
    elif room.free < min(LITTLE, room.total * LITTLE_PART):
        yield warning(said, "make room, or move data_dir to a larger disk")
    else:
        yield fine(said)
