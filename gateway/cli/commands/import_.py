"""`metergate import`: recorded readings into the ledger, judged; repeating it changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.console import JsonFlag, progress, write, write_json
from gateway.cli.options import ConfigOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import", epilog="Example: metergate import 2025.csv 2026.csv --registry devices.yaml")(import_)


def import_(
    files: Annotated[list[Path], typer.Argument(help="Recorded readings: CSV, NDJSON or Parquet.")],
    registry: Annotated[
        list[Path] | None, typer.Option("--registry", "-r", help="Registry files to apply first.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", "-f", help="Format: auto (by its name), csv, ndjson or parquet.")
    ] = "auto",
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Quarantine unreadable rows and go on.")] = False,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Put recorded readings into the ledger, judged in event time; nothing is published or notified."""
    from gateway.app import import_files

    said = import_files(config, files, registry or [], form, keep_going=keep_going, watch=progress)
    if json:
        write_json(said)
        return
    r = said["readings"]
    if not isinstance(r, dict):
        raise TypeError("a summary has readings")
    write(
        f"{r['received']} readings: {r['stored']} stored, {r['duplicate']} duplicate, {r['quarantined']} quarantined, "
        f"{r['late']} late; {said['checks']} checks judged in {said['elapsed_s']} s"
    )
