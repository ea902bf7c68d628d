"""`metergate certificates`: what certificates are known, and what one says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.console import JsonFlag, write, write_json, write_table
from gateway.cli.options import ConfigOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(no_args_is_help=True, help="See the certificates known, and read one from a file.")
    app.add_typer(group, name="certificates", epilog="Example: metergate certificates list")
    group.command("list", epilog="Example: metergate certificates list --device scale-07")(list_certificates)
    group.command("read", epilog="Example: metergate certificates read 3681-26.csv --json")(read)


def list_certificates(
    device: Annotated[str | None, typer.Option("--device", help="Only this device.")] = None,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """List the certificates of the registry, the oldest first."""
    from gateway.app import open_ledger, registry_of, rule_packs, settings_of
    from gateway.metrology.instants import format_instant

    settings = settings_of(config)
    with open_ledger(config) as ledger:
        registry = registry_of(ledger, settings, rule_packs(config, settings))
    found = [
        {
            "id": c.id,
            "phase": c.phase.value,
            "kind": c.kind,
            "device": c.device,
            "channel": c.channel,
            "laboratory": c.laboratory,
            "performed_at": format_instant(c.performed_at),
            "valid_to": None if c.valid_to is None else format_instant(c.valid_to),
            "points": len(c.points),
        }
        for c in registry.certificates
        if device in {None, c.device}
    ]
    if json:
        write_json(found)
    else:
        columns = ("id", "phase", "kind", "device", "channel", "performed_at", "valid_to", "points")
        write_table(columns, [[c[name] for name in columns] for c in found], empty="no certificates")


def read(
    file: Annotated[Path, typer.Argument(help="Certificate: YAML or CSV.")],
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Say what a certificate file says and where, without any registry."""
    from gateway.app import settings_of
    from gateway.errors import Mistakes
    from gateway.registry.reading_certificates import read_certificates

    try:
        found = read_certificates(file, settings_of(config).zone)
    except Mistakes as error:
        error.exit_code = 1
        raise
    if json:
        write_json(found[0] if len(found) == 1 else found)
        return
    for report in found:
        for name, value in report.items():
            if name != "points":
                write(f"{name:14} {'-' if value is None else value}")
        points = report["points"]
        if isinstance(points, list) and points:
            columns = list(points[0])
            write_table(columns, [[p[c] for c in columns] for p in points])
