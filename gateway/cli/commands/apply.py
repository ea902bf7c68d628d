"""`metergate apply`: devices, certificates and events from files into the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, note, write, write_json
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from gateway.app import Applied


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("apply", epilog="Example: metergate apply config/devices --dry-run")(apply)


def apply(
    paths: Annotated[list[Path], typer.Argument(help="Registry files (YAML, CSV) or folders of them.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Apply registry files; repeating it changes nothing. A certificate never changes: a new one needs its own id."""
    from gateway.app import apply as put_into_registry
    from gateway.runtime.clock import now_ns

    applied = put_into_registry(config, paths, dry_run=dry_run, now=now_ns())
    if json:
        write_json(_record(applied, dry_run))
    else:
        _tell(applied, dry_run)


def _record(applied: Applied, dry_run: bool) -> dict[str, object]:

    return {
        "dry_run": dry_run,
        "changes": [
            {
                "kind": c.kind,
                "id": c.id,
                "action": c.action.value,
                "fields": [{"key": f.key, "old": f.old, "new": f.new} for f in c.fields],
            }
            for c in applied.changes
        ],
        "superseded": [
            {"device": d, "channel": c, "from": _from(since), "verdicts": n}
            for (d, c), (since, n) in applied.superseded.items()
        ],
    }


def _from(since: int) -> str | None:
    from gateway.metrology.instants import format_instant
    from gateway.pipeline.plan import NEVER

    return None if since == NEVER else format_instant(since)


def _tell(applied: Applied, dry_run: bool) -> None:
    from collections import Counter

    signs = {"added": "+", "changed": "~", "unchanged": " "}
    for change in applied.changes:
        if change.action.value != "unchanged":
            write(f"{signs[change.action.value]} {change.kind} {change.id}")
            for field in change.fields:
                write(f"    {field}")
    for (device, channel), (since, n) in applied.superseded.items():
        start = _from(since) or "the beginning"
        write(f"! {device} {channel}: {n} verdicts from {start} on are judged again")
    counts = Counter(c.action.value for c in applied.changes)
    said = ", ".join(f"{n} {action}" for action, n in counts.items()) or "nothing"
    note(f"{said}; nothing was applied (dry run)" if dry_run else said)
