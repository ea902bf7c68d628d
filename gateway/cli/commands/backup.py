"""`metergate backup` and `metergate restore`: consistent copies of the ledger, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.console import JsonFlag, note, progress, write, write_json
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from gateway.ledger.backup import Copy

Target = Annotated[Path, typer.Argument(help="A new file, or a folder: the copy is named after site and time there.")]
Source = Annotated[Path, typer.Argument(help="A file that `metergate backup` made.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("backup", epilog="Example: metergate backup /mnt/usb")(backup)
    app.command("restore", epilog="Example: metergate restore /mnt/usb/van-giang-20261123T010000Z.sqlite")(restore)


def backup(to: Target, config: ConfigOption = None, json: JsonFlag = False) -> None:
    """Copy the ledger while the gateway runs; the copy is checked, and appears only when it is whole and on disk.

    Exit 1: it was not made. Settings and secrets are files of yours: copy config and secrets too.
    """
    from gateway.app import settings_of
    from gateway.ledger.backup import back_up
    from gateway.metrology.instants import format_instant
    from gateway.runtime.clock import now_ns

    settings = settings_of(config)
    moment = _compact(format_instant(now_ns() // 10**9 * 10**9))
    target = to / f"{settings.site}-{moment}.sqlite" if to.is_dir() else to
    with progress("copying") as advance:
        copy = back_up(settings.data_dir, target, advance)
    if json:
        write_json(_record(copy))
        return
    newest = "" if copy.newest is None else f", the newest received {format_instant(copy.newest)}"
    write(f"{copy.path}: {copy.readings} readings{newest}; {copy.bytes} bytes, sha256 {copy.sha256}")


def restore(source: Source, config: ConfigOption = None, json: JsonFlag = False) -> None:
    """Put a copy in the place of the ledger. The gateway must be stopped; the ledger that was there is kept beside it.

    What was received after the copy was made is only in the ledger put aside. Exit 1: refused, nothing changed.
    """
    from gateway.app import settings_of
    from gateway.ledger import backup as copies
    from gateway.metrology.instants import format_instant
    from gateway.runtime.clock import now_ns

    settings = settings_of(config)
    moment = _compact(format_instant(now_ns() // 10**9 * 10**9))
    was = copies.restore(source, settings.data_dir, f"ledger-before-{moment}.sqlite")
    if json:
        write_json({"restored": str(source), "ledger": str(settings.data_dir / "ledger.sqlite"),
                    "before": None if was is None else str(was)})  # fmt: skip
        return
    write(f"{settings.data_dir / 'ledger.sqlite'} is {source} now")
    if was is not None:
        note(f"the ledger that was there is {was}; delete it when it is no longer wanted")


def _compact(instant: str) -> str:
    return instant.replace("-", "").replace(":", "")


def _record(copy: Copy) -> dict[str, Any]:
    from gateway.metrology.instants import format_instant

    return {
        "file": str(copy.path),
        "bytes": copy.bytes,
        "schema": copy.schema,
        "readings": copy.readings,
        "newest_received_at": None if copy.newest is None else format_instant(copy.newest),
        "sha256": copy.sha256,
        "verified": True,
    }
