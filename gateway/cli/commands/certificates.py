"""`metergate certificates`: what certificates are known, and what one says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, note, write, write_json, write_table
from gateway.cli.dcc_options import (
    ColumnOption,
    RememberOption,
    SignOption,
    TrustOption,
    mapping_folder,
    mappings_of,
    sign_of,
    utc_now,
)
from gateway.cli.options import ConfigOption
from gateway.errors import WrongUse

if TYPE_CHECKING:
    from gateway.registry.reading_certificates import DccReading, Report
    from gateway.registry.recalibrations import Recalibration


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(no_args_is_help=True, help="See the certificates known, and read one from a file.")
    app.add_typer(group, name="certificates", epilog="Example: metergate certificates list")
    group.command("list", epilog="Example: metergate certificates list --device scale-07")(list_certificates)
    group.command("compare", epilog="Example: metergate certificates compare --device scale-07")(compare)
    group.command("read", epilog="Example: metergate certificates read 3681-26.xml --trust issuers.pem --json")(read)


def list_certificates(
    device: Annotated[str | None, typer.Option("--device", help="Only this device.")] = None,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """List the certificates of the registry, the oldest first."""
    from gateway.app import look_into_ledger, need_device, registry_of, rule_packs, settings_of
    from gateway.metrology.instants import format_instant
    from gateway.registry.recalibrations import recalibrations

    settings = settings_of(config)
    with look_into_ledger(config) as ledger:
        need_device(ledger, device)
        registry = registry_of(ledger, settings, rule_packs(config, settings))
    to_previous = {(r.after.id, r.after.phase): _recalibration(r) for r in recalibrations(registry)}
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
            "en_to_previous": to_previous.get((c.id, c.phase)),
        }
        for c in registry.certificates
        if device in {None, c.device}
    ]
    if json:
        write_json(found)
    else:
        columns = ("id", "phase", "kind", "device", "channel", "performed_at", "valid_to", "points")
        write_table(columns, [[c[name] for name in columns] for c in found], empty="no certificates")


def compare(
    device: Annotated[str | None, typer.Option("--device", help="Only this device.")] = None,
    correlation: Annotated[
        float, typer.Option("--correlation", min=0.0, max=0.99, help="Of two results with one standard; default 0.")
    ] = 0.0,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Compare each calibration as found with the one before as left: the drift between them, by En."""
    from gateway.app import look_into_ledger, need_device, registry_of, rule_packs, settings_of
    from gateway.registry.recalibrations import recalibrations

    settings = settings_of(config)
    with look_into_ledger(config) as ledger:
        need_device(ledger, device)
        registry = registry_of(ledger, settings, rule_packs(config, settings))
    pairs = [
        {"device": r.after.device, "channel": r.after.channel, "id": r.after.id} | _recalibration(r)
        for r in recalibrations(registry, correlation=correlation)
        if device in {None, r.after.device}
    ]
    if json:
        write_json(pairs)
        return
    columns = ("device", "channel", "before", "id", "days", "x", "before_error", "error", "drift", "en", "verdict")
    rows = [[q[c] if c in q else p.get(c) for c in columns] for p in pairs for q in _rows(p)]
    write_table(columns, rows, empty="no calibration as found has one before it")


def _recalibration(pair: Recalibration) -> dict[str, object]:
    from gateway.metrology.instants import format_instant

    return {
        "before": pair.before.id,
        "before_phase": pair.before.phase.value,
        "before_performed_at": format_instant(pair.before.performed_at),
        "performed_at": format_instant(pair.after.performed_at),
        "days": round((pair.after.performed_at - pair.before.performed_at) / (86_400 * 10**9), 2),
        "interrupted_by": [{"kind": e.kind.value, "time": format_instant(e.time)} for e in pair.interrupted],
        "en": pair.worst,
        "significant": pair.significant,
        "points": [
            {
                "x": p.drift.x,
                "power_factor": p.power_factor,
                "phase": p.phase,
                "direction": p.direction,
                "before_error": p.drift.before,
                "before_U": p.drift.U_before,
                "error": p.drift.after,
                "U": p.drift.U_after,
                "drift": p.drift.drift,
                "en": p.drift.en,
                "significant": p.drift.significant,
            }
            for p in pair.points
        ],
    }


def _rows(pair: dict[str, object]) -> list[dict[str, object]]:
    """Return the points of a pair with rounded numbers and their verdict in a word."""
    points = pair["points"]
    words = {True: "drifted", False: "agrees", None: "not comparable"}
    done = ", ".join(e["kind"] for e in pair["interrupted_by"]) if isinstance(pair["interrupted_by"], list) else ""
    return [
        {
            **{k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in p.items()},
            "verdict": words[p["significant"]] + (f" (after {done})" if done else ""),
        }
        for p in (points if isinstance(points, list) else [])
    ]


def read(
    file: Annotated[Path, typer.Argument(help="Certificate: YAML, CSV or DCC XML.")],
    trust: TrustOption = None,
    sign: SignOption = None,
    column: ColumnOption = None,
    remember: RememberOption = False,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Say what a certificate file says and where, without any registry; an invalid signature is exit code 1."""
    from gateway.app import settings_of
    from gateway.errors import Mistakes
    from gateway.registry.reading_certificates import read_certificates
    from gateway.runtime.clock import now_ns

    zone = settings_of(config).zone
    reading = _dcc_reading(file, trust, sign, column, config)
    try:
        found = read_certificates(file, zone, reading, now_ns())
    except Mistakes as error:
        error.exit_code = 1
        raise
    for text in found.notes:
        note(text)
    if json:
        write_json(found.reports[0] if len(found.reports) == 1 else found.reports)
    else:
        for report in found.reports:
            _tell(report)
    if remember:
        _remember(found.reports, column, config)
    if found.invalid is not None:
        note(str(found.invalid))
        raise typer.Exit(1)


def _dcc_reading(
    file: Path, trust: list[Path] | None, sign: str | None, column: list[str] | None, config: Path | None
) -> DccReading | None:
    """Return how to read DCC XML; None for other files, which need none of its libraries."""
    if file.suffix.lower() != ".xml" or not file.is_file():
        return None
    from gateway.registry.dcc_mapping import columns_said
    from gateway.registry.dcc_signature import trusted_certificates
    from gateway.registry.reading_certificates import DccReading

    return DccReading(
        said=columns_said(column or ()),
        remembered=mappings_of(config),
        sign=sign_of(sign),
        trusted=trusted_certificates(trust or ()),
        now=utc_now(),
    )


def _remember(reports: Sequence[Report], column: list[str] | None, config: Path | None) -> None:
    from gateway.registry.dcc_mapping import columns_said, remember

    said, laboratory = columns_said(column or ()), reports[0]["laboratory"]
    if not said or not isinstance(laboratory, str) or not reports[0]["points"]:
        raise WrongUse("there is nothing to remember", remedy="say columns of a DCC that names its laboratory")
    path = remember(mapping_folder(config), laboratory, said)
    note(f"remembered for {laboratory}" + ("" if path is None else f" in {path}"))


def _tell(report: Report) -> None:
    for name, value in report.items():
        if name != "points":
            write(f"{name:14} {'-' if value is None else value}")
    points = report["points"]
    if isinstance(points, list) and points:
        columns = list(points[0])
        write_table(columns, [[p[c] for c in columns] for p in points])
