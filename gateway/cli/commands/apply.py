"""`metergate apply`: devices, certificates and events from files into the registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, note, write, write_json
from gateway.cli.dcc_options import (
    ColumnOption,
    RememberOption,
    Said,
    SignOption,
    TrustOption,
    binding_of,
    remember_said,
)
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from gateway.app import Applied


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("apply", epilog="Example: metergate apply config/devices --dry-run")(apply)


def apply(
    paths: Annotated[list[Path], typer.Argument(help="Registry files (YAML, CSV, DCC XML) or folders of them.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Apply what is sound, refuse the rest (exit code 1).")
    ] = False,
    device: Annotated[str | None, typer.Option("--device", help="DCC XML: the device it is of.")] = None,
    channel: Annotated[str | None, typer.Option("--channel", help="DCC XML: the channel of the device.")] = None,
    table: Annotated[str | None, typer.Option("--table", help="DCC XML: the table with the errors.")] = None,
    number: Annotated[str | None, typer.Option("--id", help="DCC XML: its id here, if not made of its number.")] = None,
    column: ColumnOption = None,
    sign: SignOption = None,
    trust: TrustOption = None,
    remember: RememberOption = False,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Apply registry files; repeating it changes nothing. A certificate never changes: a new one needs its own id."""
    from gateway.app import apply as put_into_registry
    from gateway.runtime.clock import now_ns

    said = Said(device=device, channel=channel, table=table, number=number, column=column, sign=sign, trust=trust)
    dcc = binding_of(paths, said, config)
    applied = put_into_registry(config, paths, dry_run=dry_run, now=now_ns(), dcc=dcc, keep_going=keep_going)
    if json:
        write_json(_record(applied, dry_run))
    else:
        _tell(applied, dry_run)
    if remember and not dry_run:
        note(remember_said(paths, said, config))
    for mistake in applied.refused:
        note(str(mistake))
    if applied.refused:
        raise typer.Exit(1)


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
        "gone": [{"device": d, "channel": c, "before": _from(since)} for (d, c), since in applied.gone.items()],
        "refused": [
            {"file": m.file, "line": m.line, "key": m.key, "message": m.message}
            for m in sorted(applied.refused, key=str)
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
    for (device, channel), since in applied.gone.items():
        note(f"! {device} {channel}: what was before {_from(since)} was deleted by retention; judged from there on")
    counts = Counter(c.action.value for c in applied.changes)
    nothing = "nothing: these files hold no devices, certificates or events"
    said = ", ".join(f"{n} {action}" for action, n in counts.items()) or ("nothing" if applied.refused else nothing)
    note(f"{said}; nothing was applied (dry run)" if dry_run else said)
